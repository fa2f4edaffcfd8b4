"""Labels by a language model, and its verdicts on labels.

1. The model reads contexts in which a feature fires, with the tokens marked, some in which it does not, and the tokens
   that the feature promotes; none of them is held out for scores.
2. It answers in JSON. An answer in another form is a failed call: it becomes no label and no score.
3. A well-formed answer is stored by a hash of its prompt, so that a run that was stopped goes on from there and no
   prompt is paid for twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from clew.errors import InputError
from clew.features.card import Card, Context
from clew.features.label import LONGEST, UNCLEAR, Label, Score
from clew.ids import FeatureId
from clew.labels.context_split import split
from clew.labels.endpoint import BudgetError, CallError, ChatModel, Messages, Spent
from clew.labels.judges import Question
from clew.labels.scoring import other_labels, score_label
from clew.labels.store import Answer, LabelStore
from clew.subject.token_names import whole_characters

METHOD = "contexts 1"  # changes with the prompt
LEAST = 4  # contexts that a card must show: fewer have too much in common by chance
_STRONG, _WEAK, _SILENT, _PROMOTED = 8, 6, 4, 10  # contexts and tokens in a prompt
_IN_A_ROW = 8  # failed calls that end a run: the endpoint is at fault, not the features
T = TypeVar("T")

_NAMING = """You are shown where one feature of a language model is active. In each text the tokens at which it is \
active stand in [[double brackets]]. Find what these places have in common that the other texts lack: the marked token \
itself, what stands before it, what is about to come after it, or the subject of the text. Name it in at most twelve \
words, as exactly as the texts allow. If they have nothing in common, the name is "unclear".
Reply with one JSON object and nothing else: {"label": "..."}"""

_DETECTING = """A feature of a language model was given a name. You are shown texts; in some of them the feature is \
active at some token, in others it is nowhere active. Judge by the name alone in which it is active.
Reply with one JSON object and nothing else, the numbers of the texts in which it is active: {"active": [1, 2]}"""

_FUZZING = """A feature of a language model was given a name. In each text one token stands in [[double brackets]]. \
In some texts that is a token at which the feature is active, in others it is not. Judge by the name alone which marks \
are right.
Reply with one JSON object and nothing else, the numbers of the texts whose mark is right: {"active": [1, 2]}"""


# --- asking ---------------------------------------------------------------------------------------------------------


class Asker:
    """An endpoint and a store of its answers: no prompt is sent twice. It keeps why calls failed, in their order."""

    def __init__(self, endpoint: ChatModel, store: LabelStore) -> None:
        self.endpoint = endpoint
        self.answers: list[Answer] = []
        """What was asked for and read, without what was stored before."""
        self.failures: list[str] = []
        self._store = store

    def ask(self, messages: Messages, read: Callable[[str], T]) -> T:
        """Ask, unless the answer is stored, and parse the answer by `read`; only answers that it parses are stored.

        Raises what `read` and `Endpoint.ask` raise.
        """
        config = self.endpoint.config
        prompt = json.dumps([config.endpoint, config.model, config.answer_tokens, list(messages)], ensure_ascii=False)
        key = hashlib.sha256(prompt.encode()).hexdigest()
        stored = self._store.answer(key)
        if stored is not None:
            return read(stored.text)
        try:
            answer = self.endpoint.ask(messages)
            parsed = self._parsed(answer, read)  # before it is stored: what cannot be parsed is asked for again
        except CallError as error:
            self.failures.append(str(error))
            raise
        self.answers.append(answer)
        self._store.keep_answer(key, config.model, answer)
        return parsed

    def _parsed(self, answer: Answer, read: Callable[[str], T]) -> T:
        try:
            return read(answer.text)
        except CallError as error:
            if answer.cut:
                raise CallError(f"{error}{self.endpoint.limit}") from error
            raise


def _object(text: str) -> dict[str, Any]:
    """The JSON object in an answer, without the model's reasoning and text around a code fence.

    CallError when there is none.
    """
    reply = re.sub(r".*</think>", "", text, flags=re.DOTALL)  # some servers drop the opening tag
    fenced = re.findall(r"```(?:json)?\s*(.*?)\s*```", reply, re.DOTALL)
    for part in (reply, *reversed(fenced)):
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            raise CallError("the answer is not a JSON object")
        return value
    raise CallError("the answer is not JSON")


def read_label(text: str) -> str:
    """The label in an answer; CallError when there is none."""
    label = _object(text).get("label")
    if not isinstance(label, str) or not label.strip() or len(label) > LONGEST:
        raise CallError("the answer holds no label")
    if any("\ud800" <= letter <= "\udfff" for letter in label):
        raise CallError("the answer's label is no whole text")
    line = " ".join(label.split())
    return UNCLEAR if line.strip('."').casefold() == UNCLEAR else line


# --- labelling ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """The label of one feature, or why it has none; `spent` is the sum over all calls so far."""

    card: Card
    label: Label | None
    failure: str | None
    spent: Spent


def naming_prompt(card: Card) -> Messages:
    """The messages that ask for the label of a card."""
    evidence, _ = split(card)
    strong = evidence.top[:_STRONG]
    weak = [context for context in evidence.firing if context not in strong]
    shown = [*strong, *(weak[place * len(weak) // _WEAK] for place in range(_WEAK) if len(weak) >= _WEAK)]
    lines = ["Texts in which it is active, the strongest first:", *map(_marked, shown)]
    if evidence.silent:
        silent = evidence.silent[:_SILENT]
        lines += ["", "Texts in which it is not active:", *(_line(context.shown) for context in silent)]
    if card.promoted:
        promoted = json.dumps([weight.token for weight in card.promoted[:_PROMOTED]], ensure_ascii=False)
        lines += ["", f"Next tokens that it makes more likely: {promoted}"]
    return [{"role": "system", "content": _NAMING}, {"role": "user", "content": "\n".join(lines)}]


def _marked(context: Context) -> str:
    return _line(
        tuple(
            f"[[{token}]]" if value > 0 else token
            for token, value in zip(context.shown, context.activations, strict=True)
        )
    )


def _line(tokens: Sequence[str]) -> str:
    return "- " + json.dumps("".join(tokens), ensure_ascii=False)


def lacking(features: Iterable[FeatureId], store: LabelStore, model: str) -> Iterator[FeatureId]:
    """Features that have no label by this model and method yet."""
    for feature in features:
        if ("model", model, METHOD) not in {(label.kind, label.author, label.method) for label in store.of(feature)}:
            yield feature


def labels_by(features: Iterable[FeatureId], store: LabelStore, model: str) -> Iterator[Label]:
    """Clear labels by this model and method, with their scores."""
    for feature in features:
        for label in store.of(feature):
            if label.clear and (label.kind, label.author, label.method) == ("model", model, METHOD):
                yield label


def readable(cards: Iterable[Card]) -> Iterator[Card]:
    """Cards that show enough contexts for a label."""
    return (card for card in cards if len(split(card)[0].firing) >= LEAST)


def label_with_model(cards: Iterable[Card], store: LabelStore, asker: Asker) -> Iterator[LabelReport]:
    """Ask for a label of every card; each is on the disk before it is reported.

    BudgetError when the budget is spent, and the labels so far are stored; InputError when the endpoint refuses, or
    fails many times in a row.
    """
    model, failed = asker.endpoint.config.model, 0

    def work(card: Card) -> str:
        return asker.ask(naming_prompt(card), read_label)

    for card, outcome in _side_by_side(readable(cards), work, asker.endpoint.config.concurrency):
        label, failure = None, None
        if isinstance(outcome, CallError):
            failed, failure = failed + 1, str(outcome)
            if failed == _IN_A_ROW:
                raise InputError(f"{failed} calls in a row failed, the last because of: {failure}")
        else:
            failed = 0
            label = Label(feature=card.feature, text=outcome, kind="model", author=model, method=METHOD)
            label = replace(label, id=store.add([label])[0])
        yield LabelReport(card=card, label=label, failure=failure, spent=asker.endpoint.spent)


def _side_by_side(
    cards: Iterable[Card], work: Callable[[Card], T], workers: int
) -> Iterator[tuple[Card, T | CallError]]:
    """Work on several cards at once; results come as they are done, and all of them before an error is raised."""
    rest, running, stopped = iter(cards), dict[Future[T], Card](), list[Exception]()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while not stopped and len(running) < workers and (card := next(rest, None)) is not None:
                    running[pool.submit(work, card)] = card
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    card, error = running.pop(future), future.exception()
                    if error is None or isinstance(error, CallError):
                        yield card, future.result() if error is None else error
                    elif isinstance(error, Exception):
                        stopped.append(error)
                    else:
                        raise error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if stopped:
        raise next((error for error in stopped if not isinstance(error, BudgetError)), stopped[0])


# --- judging --------------------------------------------------------------------------------------------------------


class ModelJudge:
    """Asks the model which texts or marks fit a label; where a call fails, all its verdicts are None."""

    def __init__(self, asker: Asker) -> None:
        self.name = asker.endpoint.config.model
        self._asker = asker

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        if label == UNCLEAR or not questions:
            return [None] * len(questions)

        def read(text: str) -> list[bool | None]:
            active = _object(text).get("active")
            if not isinstance(active, list) or not all(type(n) is int and 1 <= n <= len(questions) for n in active):
                raise CallError("the answer holds no list of numbers")
            return [number in active for number in range(1, len(questions) + 1)]

        try:
            return self._asker.ask(judging_prompt(label, questions), read)
        except CallError:
            return [None] * len(questions)


def score_with_model(
    labels: Mapping[FeatureId, Label],
    cards: Iterable[Card],
    asker: Asker,
    pool: Sequence[str],
    excluded: Mapping[FeatureId, Collection[str]] | None = None,
) -> Iterator[tuple[Label, tuple[Score, ...]]]:
    """Score labels by the model's verdicts; the null is a label of a pool that is not `excluded` for the feature.

    Raises what `label_with_model` raises.
    """
    judge = ModelJudge(asker)

    def work(card: Card) -> tuple[Score, ...]:
        text = labels[card.feature].text
        others = other_labels(card.feature, text, pool, 1, (excluded or {}).get(card.feature, ()))
        return score_label(card, text, judge, others)

    clear = (card for card in cards if labels[card.feature].clear)
    for card, scores in _side_by_side(clear, work, asker.endpoint.config.concurrency):
        assert not isinstance(scores, CallError)
        yield labels[card.feature], scores


def judging_prompt(label: str, questions: Sequence[Question]) -> Messages:
    """The messages that ask for verdicts on a label."""
    lines = [f"The name: {json.dumps(label, ensure_ascii=False)}", ""]
    for number, question in enumerate(questions, 1):
        tokens = whole_characters(question.tokens, -1 if question.marked is None else question.marked)
        shown = [f"[[{token}]]" if i == question.marked else token for i, token in enumerate(tokens)]
        lines.append(f"{number}. {json.dumps(''.join(shown), ensure_ascii=False)}")
    task = _DETECTING if questions[0].marked is None else _FUZZING
    return [{"role": "system", "content": task}, {"role": "user", "content": "\n".join(lines)}]
