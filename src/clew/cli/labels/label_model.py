"""`clew label --endpoint`: labels by a language model, what they may cost and what they do, and who scores them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from clew.cli.labels.label_scores import (
    LabelOutcome,
    local_judge,
    money,
    null_pool,
    number_of,
    scored,
    texts_by_feature,
)
from clew.cli.progress_bar import bar
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels import cost
from clew.labels.cost import CostEstimate
from clew.labels.endpoint import BudgetError, ChatModel, Endpoint, Spent
from clew.labels.endpoint_config import LOCAL, EndpointConfig
from clew.labels.judges import Judge
from clew.labels.local_chat import ANSWER_TOKENS, LocalChat
from clew.labels.model_labeller import (
    Asker,
    label_with_model,
    labels_by,
    lacking,
    readable,
    score_with_model,
)
from clew.labels.scoring import lacks_score
from clew.labels.store import LabelStore
from clew.progress import Progress
from clew.subject.packaged import PACKAGED, load_packaged
from clew.subject.subject import Subject

_EVERY = 5.0  # seconds between two lines where no bar can be drawn


@dataclass(frozen=True)
class ModelRun:
    """What was asked for. `judge` is one that costs nothing; `paid` says that the model itself judges."""

    config: EndpointConfig
    """Where its endpoint is LOCAL, the model runs here."""
    key: str
    paid: bool
    judge: Judge | None


def model_run(settings: dict[str, Any], key_env: str | None, judge: str) -> ModelRun | None:
    """None when no model is named; InputError when the options do not go together or a judge is not there."""
    if "model" not in settings:
        if "endpoint" in settings:
            raise InputError("--endpoint needs the name of a model there: give --model")
        if settings or key_env is not None or judge == "model":
            raise InputError("a language model needs its name: give --model, and --endpoint unless it runs here")
        return None
    if "endpoint" not in settings:
        if other := [name for name in settings if name not in ("model", "answer_tokens")]:
            raise InputError(f"--{other[0].replace('_', '-')} is for an endpoint: give --endpoint, or leave it out")
        if key_env is not None:
            raise InputError("--key-env is for an endpoint: give --endpoint, or leave it out")
        settings = {"answer_tokens": ANSWER_TOKENS, **settings, "endpoint": LOCAL}
    return ModelRun(EndpointConfig(**settings), _key(key_env), judge == "model", local_judge(judge))


def _key(name: str | None) -> str:
    if name is None:
        return ""
    if not os.environ.get(name):
        raise InputError(f"the environment variable {name} holds no key: set it, or leave --key-env out")
    return os.environ[name]


def by_model(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId], run: ModelRun) -> LabelOutcome:
    """Label what has no label by this model yet, and score what has no score by this judge, also of earlier runs.

    What the budget leaves out waits for another run; a judge that costs nothing scores all that was labelled.
    """
    wanted = list(lacking(features, store, run.config.model))
    outcome = LabelOutcome()
    with _opened(run) as endpoint:
        asker = Asker(endpoint, store)
        expected = _estimate(atlas, store, wanted, features, run, endpoint)
        typer.echo(f"At most {_announced(expected)}{_budget(run.config)}.", err=True)
        try:
            _label(atlas, store, wanted, asker, outcome)
            if run.paid:
                _judge(atlas, store, features, asker, outcome)
        except BudgetError as error:
            outcome.stopped = f"the budget is used up ({error}): run again to go on where this stopped"
        outcome.spent = endpoint.spent
        if asker.failures:
            n_calls = len(asker.failures) + len(asker.answers)
            text = f"{len(asker.failures)} of {n_calls} calls failed, the last because of: {asker.failures[-1]}"
            typer.echo(f"clew: {text}", err=True)
            outcome.fruitless = "" if asker.answers else text
    if run.judge is not None:
        waiting = list(_waiting(atlas, store, features, run.config.model, run.judge.name))
        outcome.scores += scored(atlas, store, waiting, run.judge)
    return outcome


def _opened(run: ModelRun) -> Endpoint | LocalChat:
    """The model that is asked."""
    if run.config.endpoint != LOCAL:
        return Endpoint(run.config, run.key)
    name = run.config.model
    subject = load_packaged(PACKAGED[name]) if name in PACKAGED else Subject.load(name)
    return LocalChat(subject, name=name, answer_tokens=run.config.answer_tokens)


def _label(atlas: Atlas, store: LabelStore, wanted: Sequence[FeatureId], asker: Asker, outcome: LabelOutcome) -> None:
    with _spending("labelling", len(wanted), asker.endpoint) as report:
        for answer in label_with_model(map(atlas.__getitem__, wanted), store, asker):
            if answer.label is None:
                outcome.failures.append(f"{answer.card.feature}: {answer.failure}")
            else:
                outcome.labels.append(answer.label)
            report()


def _judge(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId], asker: Asker, outcome: LabelOutcome) -> None:
    model = asker.endpoint.config.model
    labels = {label.feature: label for label in _waiting(atlas, store, features, model, model)}
    with _spending("scoring", len(labels), asker.endpoint) as report:
        pool, texts = null_pool(atlas, store), texts_by_feature(atlas, store, labels)
        for label, scores in score_with_model(labels, map(atlas.__getitem__, labels), asker, pool, texts):
            store.score({number_of(label): scores})
            outcome.scores += scores
            report()


def _waiting(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId], model: str, judge: str) -> Iterator[Label]:
    """Labels by this model that a judge could score and did not."""
    return (label for label in labels_by(features, store, model) if lacks_score(atlas[label.feature], label, judge))


# --- what it costs --------------------------------------------------------------------------------------------------


def _estimate(
    atlas: Atlas,
    store: LabelStore,
    wanted: Sequence[FeatureId],
    features: Sequence[FeatureId],
    run: ModelRun,
    endpoint: ChatModel,
) -> CostEstimate:
    """Of every prompt that may be sent: dead features are asked nothing."""
    null = max((len(text.encode()) for text in null_pool(atlas, store)), default=0) if run.paid else 0

    def costs() -> Iterator[Spent]:
        with bar("estimating", len(wanted)) as report:
            for done, feature in enumerate(wanted, 1):
                for card in readable([atlas[feature]]):
                    yield cost.labelling(card, endpoint)
                    if run.paid:
                        yield cost.scoring(card, endpoint, None, null)
                report(Progress(what="estimating", done=done, of=len(wanted), unit="features"))
        if run.paid:
            for label in _waiting(atlas, store, features, run.config.model, run.config.model):
                yield cost.scoring(atlas[label.feature], endpoint, label.text, null)

    return cost.estimate(costs(), endpoint)


def _announced(expected: CostEstimate) -> str:
    if expected.most == expected.once:
        return money(expected.most)
    return f"{money(expected.most)} ({money(expected.once)} if none is tried again)"


def _budget(config: EndpointConfig) -> str:
    limits = [f"{config.budget_tokens} tokens"] if config.budget_tokens is not None else []
    limits += [f"{config.budget_money:g} in money"] if config.budget_money is not None else []
    return f"; the budget is {' and '.join(limits)}" if limits else "; there is no budget"


@contextmanager
def _spending(what: str, of: int, endpoint: ChatModel) -> Iterator[Callable[[], None]]:
    """What is done and spent, beside the budget, on the error stream: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[spent]}")
    done, last = 0, time.monotonic()

    def spent() -> str:
        return f"{money(endpoint.spent)} spent{_budget(endpoint.config)}"

    with Bar(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as drawn:
        task = drawn.add_task(what, total=of, spent="")

        def report() -> None:
            nonlocal done, last
            done += 1
            drawn.update(task, advance=1, spent=spent())
            if not console.is_terminal and time.monotonic() - last > _EVERY:
                last = time.monotonic()
                typer.echo(f"{what}: {done} of {of}; {spent()}", err=True)

        try:
            yield report
        finally:
            if done and not console.is_terminal:
                typer.echo(f"{what}: {done} of {of}; {spent()}", err=True)
