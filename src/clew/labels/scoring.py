"""Scores of labels: two tests on contexts that the labeller did not see, each beside the same test of wrong labels.

1. *Detection*: a judge reads the label and a text, and says whether the feature fires in it. Half of the texts are
   contexts in which it fires, of all strengths; half are contexts in which it is silent.
2. *Fuzzing*: one token of a text is marked, in half of the questions the one at which the feature fires, in the other
   half one of the same text at which it is silent. The judge says whether the label fits the mark.

A label by rule was made from all contexts. Its score is that of the rules: the contexts are held out in parts, and each
part is judged by the label that the rules give without it; where they give none, by a guess.

The score is balanced accuracy. Its 95 % interval joins the two Wilson intervals of the shares judged right (Zou and
Donner 2008, MOVER), which holds for few contexts too. The null is the mean score of labels of other features on the
same questions: how well a judge does without the right label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeVar

from clew.features.card import Card, Context
from clew.features.label import RULE_METHOD, TESTS, UNCLEAR, Label, Score
from clew.ids import FeatureId
from clew.labels.context_split import Fold, split
from clew.labels.judges import Judge, Question, TokenJudge
from clew.labels.rules import RuleLabeller
from clew.stats import balanced_accuracy, mean_interval

LEAST = 4  # questions with each answer: of fewer, the interval of a score is too wide
MOST = 15  # questions with each answer, because a model is paid for each
NULLS = 3  # labels of other features in the null: one of them may be right by accident

Test = Sequence[tuple[Question, bool]]
"""Questions with their true answers."""
Counts = tuple[int, int, int, int]
"""Right and all where the answer is yes, right and all where it is no."""
T = TypeVar("T")


def score_label(card: Card, label: str, judge: Judge, others: Sequence[str] = ()) -> tuple[Score, ...]:
    """A score for every test with enough contexts and answers; `others` are labels of other features, for the null."""
    scores = []
    for name, test in zip(TESTS, (detection(card), fuzzing(card)), strict=True):
        shares = _judged(label, test, judge)
        if shares is None:
            continue
        wrong = [null for other in others if (null := _judged(other, test, judge)) is not None]
        scores.append(_score(name, judge, shares, [balanced_accuracy(*null).value for null in wrong]))
    return tuple(scores)


def score_rule(labeller: RuleLabeller, judge: Judge, others: Sequence[str] = ()) -> tuple[Score, ...]:
    """The scores of the rules on a card: every part of its contexts judged by the label from the others."""
    scores = []
    parts = [(labeller.text_without(fold), fold) for fold in labeller.folds]
    for name, asked in zip(TESTS, (_detection_of, _fuzzing_of), strict=True):
        tests = [(text, asked(labeller, fold)) for text, fold in parts]
        counts = _added(_judged_part(text, test, judge) for text, test in tests)
        if min(counts[1], counts[3]) < LEAST:
            continue
        wrong = [_added(_judged_part(other, test, judge) for _, test in tests) for other in others]
        nulls = [balanced_accuracy(*each).value for each in wrong if min(each[1], each[3]) >= LEAST]
        scores.append(_score(name, judge, counts, nulls))
    return tuple(scores)


def labelled_by_rule(card: Card, pool: list[str], *, scored: bool = True) -> Label:
    """The label by rule, scored by its words; nulls are drawn from a pool of labels, to which a clear one is added."""
    labeller = RuleLabeller(card)
    label = labeller.label
    if not label.clear:
        return label
    if scored:
        others = other_labels(card.feature, label.text, pool)
        label = replace(label, scores=score_rule(labeller, TokenJudge(), others))
    pool.append(label.text)
    return label


def _detection_of(labeller: RuleLabeller, fold: Fold) -> Test:
    count = min(len(fold.firing), len(fold.silent))
    questions = [(_question(labeller.firing[i]), True) for i in _spread(fold.firing, count)]
    questions += [(_question(labeller.card.silent[i]), False) for i in _spread(fold.silent, count)]
    return _mixed(labeller.card, questions)


def _fuzzing_of(labeller: RuleLabeller, fold: Fold) -> Test:
    return _marks(labeller.card, [labeller.firing[i] for i in fold.firing])


def _judged_part(text: str, test: Test, judge: Judge) -> Counts:
    """Right and all where the answer is yes, right and all where it is no; `unclear` is right about half of them."""
    questions = [question for question, _ in test]
    verdicts: Sequence[bool | None] = [False] * len(test) if text == UNCLEAR else judge.verdicts(text, questions)
    yes = [verdict for verdict, (_, truth) in zip(verdicts, test, strict=True) if verdict is not None and truth]
    no = [not verdict for verdict, (_, truth) in zip(verdicts, test, strict=True) if verdict is not None and not truth]
    return sum(yes), len(yes), sum(no), len(no)


def _added(parts: Iterable[Counts]) -> Counts:
    a, b, c, d = (sum(column) for column in zip(*parts, strict=True))
    return a, b, c, d


def _score(test: str, judge: Judge, counts: Counts, nulls: Sequence[float]) -> Score:
    accuracy = balanced_accuracy(*counts)
    return Score(
        test=test,
        judge=judge.name,
        value=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        null=sum(nulls) / len(nulls) if nulls else None,
        contexts=counts[1] + counts[3],
    )


def lacks_score(card: Card, label: Label, judge: str) -> bool:
    """Whether a test for which the card has enough contexts was not scored by this judge."""
    return any(
        label.score(name, judge) is None and len(test(card)) >= 2 * LEAST
        for name, test in zip(TESTS, (detection, fuzzing), strict=True)
    )


def other_labels(
    feature: FeatureId, text: str, pool: Sequence[str], count: int = NULLS, excluded: Collection[str] = ()
) -> list[str]:
    """Labels of a pool that make a null, drawn by a hash of the feature: neither this text nor an `excluded` one."""
    others: list[str] = []
    for draw in range(10 * count):
        if len(others) == count or not pool:
            break
        other = pool[_hash(f"{feature}", draw) % len(pool)]
        if other != text and other not in others and other not in excluded:
            others.append(other)
    return others


def score_labels(
    labels: Mapping[FeatureId, Label],
    card_of: Callable[[FeatureId], Card],
    judge: Judge,
    pool: Sequence[str] | None = None,
    excluded: Mapping[FeatureId, Collection[str]] | None = None,
) -> Iterator[tuple[Label, tuple[Score, ...]]]:
    """Score every clear label; nulls are drawn from a pool of labels, by default those of the other features.

    `excluded` are further labels of a feature, which are no null for it.
    """
    texts = pool if pool is not None else [label.text for label in labels.values() if label.clear]
    for feature, label in labels.items():
        if label.clear:
            others = other_labels(feature, label.text, texts, excluded=(excluded or {}).get(feature, ()))
            card = card_of(feature)
            if (label.kind, label.method) == ("heuristic", RULE_METHOD):
                yield label, score_rule(RuleLabeller(card), judge, others)
            else:
                yield label, score_label(card, label.text, judge, others)


# --- the questions --------------------------------------------------------------------------------------------------


def detection(card: Card) -> Test:
    """Held-out contexts, as many in which the feature fires as in which it does not, in the order of a hash."""
    _, held_out = split(card)
    count = min(len(held_out.firing), len(held_out.silent), MOST)
    questions = [(_question(context), True) for context in _spread(held_out.firing, count)]
    questions += [(_question(context), False) for context in _spread(held_out.silent, count)]
    return _mixed(card, questions)


def fuzzing(card: Card) -> Test:
    """Held-out contexts in which it fires, each once with that token marked and once with one where it is silent."""
    _, held_out = split(card)
    return _marks(card, _spread(held_out.firing, MOST))


def _marks(card: Card, contexts: Sequence[Context]) -> Test:
    questions = []
    for context in contexts:
        quiet = [i for i, activation in enumerate(context.activations) if activation == 0 and i != context.at]
        if quiet:
            other = quiet[_hash(f"{card.feature}", context.document, context.position) % len(quiet)]
            questions += [(_question(context, context.at), True), (_question(context, other), False)]
    return _mixed(card, questions)


def _question(context: Context, marked: int | None = None) -> Question:
    return Question(context.tokens, context.position - context.at, marked)


def _spread(contexts: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, evenly spaced: of firing contexts from the strongest to the weakest, of silent ones of
    every kind.
    """
    if len(contexts) <= count:
        return list(contexts)
    return [contexts[place * len(contexts) // count] for place in range(count)]


def _mixed(card: Card, questions: list[tuple[Question, bool]]) -> Test:
    return sorted(questions, key=lambda pair: (_hash(f"{card.feature}", *pair[0].tokens, pair[0].marked), pair[1]))


def _hash(*values: object) -> int:
    return int.from_bytes(blake2b(repr(values).encode(), digest_size=8).digest())


# --- the figures ----------------------------------------------------------------------------------------------------


def _judged(label: str, test: Test, judge: Judge) -> Counts | None:
    """What the judge got right; None where it was asked or answered too little."""
    if label == UNCLEAR or len(test) < 2 * LEAST:
        return None
    counts = _judged_part(label, test, judge)
    return counts if min(counts[1], counts[3]) >= LEAST else None


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """The scores of many labels in one test by one judge."""

    test: str
    judge: str
    labels: int
    mean: float
    low: float
    high: float
    """Ends of the mean's 95 % interval over labels (normal, for many labels)."""
    null: float | None
    """The mean null of the labels that have one."""
    above_null: float | None
    """Share of these labels whose score is above their null."""


def summarise(scores: Iterable[Score]) -> list[ScoreSummary]:
    """Means over labels, by test and judge."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.test, score.judge), []).append(score)
    return [_summary(*key, group) for key, group in sorted(groups.items())]


def _summary(test: str, judge: str, scores: Sequence[Score]) -> ScoreSummary:
    mean = mean_interval([score.value for score in scores])
    nulls = [(score.value, score.null) for score in scores if score.null is not None]
    return ScoreSummary(
        test=test,
        judge=judge,
        labels=len(scores),
        mean=mean.value,
        low=0.0 if math.isnan(mean.low) else max(0.0, mean.low),
        high=1.0 if math.isnan(mean.high) else min(1.0, mean.high),
        null=sum(null for _, null in nulls) / len(nulls) if nulls else None,
        above_null=sum(value > null for value, null in nulls) / len(nulls) if nulls else None,
    )
