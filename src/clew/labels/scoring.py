"""Is a label true? Two tests on contexts that its labeller did not see, each beside the same test of a wrong label.

1. *Detection*: a judge reads the label and a text, and says whether the feature fires in it. Half of the texts are
   contexts in which it fires, of all strengths; half are contexts in which it is silent.
2. *Fuzzing*: one token of a text is marked, in half of the questions the one at which the feature fires, in the other
   half one of the same text at which it is silent. The judge says whether the label fits the mark.

The score is balanced accuracy. Its 95 % interval joins the two Wilson intervals of the shares judged right (Zou and
Donner 2008, MOVER), which holds for the few contexts that there are. The null is the mean score of labels of other
features on the same questions: what a judge gets right without reading the right label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from clew.features.card import Card, Context
from clew.features.label import TESTS, Label, Score
from clew.ids import FeatureId
from clew.labels.context_split import split
from clew.labels.judges import Judge, Question
from clew.stats import balanced_accuracy, mean_interval

LEAST = 4  # questions of each answer: of fewer, a score says nothing
MOST = 15  # of each answer, so that a judge which is paid for each stays cheap
NULLS = 3  # labels of other features that make the null: one of them may be right by accident

Asked = Sequence[tuple[Question, bool]]
"""Questions with their true answers."""


def score_label(card: Card, label: str, judge: Judge, others: Sequence[str] = ()) -> tuple[Score, ...]:
    """What the tests find, one after the other; a test with too few contexts or answers gives no score.

    `others` are labels of other features, for the null.
    """
    found = []
    for test, asked in zip(TESTS, (detection(card), fuzzing(card)), strict=True):
        shares = _judged(label, asked, judge)
        if shares is None:
            continue
        wrong = [null for other in others if (null := _judged(other, asked, judge)) is not None]
        accuracy = balanced_accuracy(*shares)
        found.append(
            Score(
                test=test,
                judge=judge.name,
                value=accuracy.value,
                low=accuracy.low,
                high=accuracy.high,
                null=sum(balanced_accuracy(*null).value for null in wrong) / len(wrong) if wrong else None,
                contexts=shares[1] + shares[3],
            )
        )
    return tuple(found)


def lacks_score(card: Card, label: Label, judge: str) -> bool:
    """Whether a test for which the card has enough contexts was not scored by this judge."""
    return any(
        label.score(test, judge) is None and len(asked(card)) >= 2 * LEAST
        for test, asked in zip(TESTS, (detection, fuzzing), strict=True)
    )


def other_labels(
    feature: FeatureId, text: str, pool: Sequence[str], count: int = NULLS, own: Collection[str] = ()
) -> list[str]:
    """Labels out of a pool that say something else, drawn by a hash of the feature; none of its `own`."""
    found: list[str] = []
    for draw in range(10 * count):
        if len(found) == count or not pool:
            break
        other = pool[_hash(f"{feature}", draw) % len(pool)]
        if other != text and other not in found and other not in own:
            found.append(other)
    return found


def score_labels(
    labels: Mapping[FeatureId, Label],
    card_of: Callable[[FeatureId], Card],
    judge: Judge,
    pool: Sequence[str] | None = None,
    own: Mapping[FeatureId, Collection[str]] | None = None,
) -> Iterator[tuple[Label, tuple[Score, ...]]]:
    """Score every clear label; its nulls are drawn from a pool of labels, left out those of the other features.

    `own` are other labels of a feature, which are no null to it.
    """
    texts = pool if pool is not None else [label.text for label in labels.values() if label.clear]
    for feature, label in labels.items():
        if label.clear:
            others = other_labels(feature, label.text, texts, own=(own or {}).get(feature, ()))
            yield label, score_label(card_of(feature), label.text, judge, others)


# --- the questions --------------------------------------------------------------------------------------------------


def detection(card: Card) -> Asked:
    """Held-out contexts, as many in which the feature fires as in which it does not, in the order of a hash."""
    _, held_out = split(card)
    many = min(len(held_out.firing), len(held_out.silent), MOST)
    asked = [(_question(context), True) for context in _spread(held_out.firing, many)]
    asked += [(_question(context), False) for context in held_out.silent[:many]]
    return _mixed(card, asked)


def fuzzing(card: Card) -> Asked:
    """Held-out contexts in which it fires, each once with that token marked and once with one where it is silent."""
    _, held_out = split(card)
    asked = []
    for context in _spread(held_out.firing, MOST):
        rests = [at for at, value in enumerate(context.activations) if value == 0 and at != context.at]
        if rests:
            other = rests[_hash(f"{card.feature}", context.document, context.position) % len(rests)]
            asked += [(_question(context, context.at), True), (_question(context, other), False)]
    return _mixed(card, asked)


def _question(context: Context, marked: int | None = None) -> Question:
    return Question(context.tokens, context.position - context.at, marked)


def _spread(contexts: Sequence[Context], count: int) -> list[Context]:
    """At most so many, evenly from first to last: the strongest stand first."""
    if len(contexts) <= count:
        return list(contexts)
    return [contexts[place * len(contexts) // count] for place in range(count)]


def _mixed(card: Card, asked: list[tuple[Question, bool]]) -> Asked:
    return sorted(asked, key=lambda pair: (_hash(f"{card.feature}", *pair[0].tokens, pair[0].marked), pair[1]))


def _hash(*of: object) -> int:
    return int.from_bytes(blake2b(repr(of).encode(), digest_size=8).digest())


# --- the figures ----------------------------------------------------------------------------------------------------


def _judged(label: str, asked: Asked, judge: Judge) -> tuple[int, int, int, int] | None:
    """Of the questions that were answered: right and all where the answer is yes, right and all where it is no."""
    verdicts = judge.verdicts(label, [question for question, _ in asked]) if len(asked) >= 2 * LEAST else []
    assert len(verdicts) in (0, len(asked))
    yes = [verdict for verdict, (_, truth) in zip(verdicts, asked, strict=False) if verdict is not None and truth]
    no = [
        not verdict for verdict, (_, truth) in zip(verdicts, asked, strict=False) if verdict is not None and not truth
    ]
    return (sum(yes), len(yes), sum(no), len(no)) if min(len(yes), len(no)) >= LEAST else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One test by one judge over many labels."""

    test: str
    judge: str
    labels: int
    mean: float
    low: float
    high: float
    """Ends of the mean's 95 % interval over labels (normal: there are many)."""
    null: float | None
    """The mean null of those that have one."""
    above_null: float | None
    """Share of labels whose score is above their null."""


def summarise(scores: Iterable[Score]) -> list[Summary]:
    """Means over labels, by test and judge."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.test, score.judge), []).append(score)
    return [_summary(*key, group) for key, group in sorted(groups.items())]


def _summary(test: str, judge: str, scores: Sequence[Score]) -> Summary:
    mean = mean_interval([score.value for score in scores])
    nulls = [(score.value, score.null) for score in scores if score.null is not None]
    return Summary(
        test=test,
        judge=judge,
        labels=len(scores),
        mean=mean.value,
        low=0.0 if math.isnan(mean.low) else max(0.0, mean.low),
        high=1.0 if math.isnan(mean.high) else min(1.0, mean.high),
        null=sum(null for _, null in nulls) / len(nulls) if nulls else None,
        above_null=sum(value > null for value, null in nulls) / len(nulls) if nulls else None,
    )
