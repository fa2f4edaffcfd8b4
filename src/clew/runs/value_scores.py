"""How well something that is more or less active tells a variable's value: chosen on one half, scored on the other.

1. On the first half the best source and its threshold are chosen: active above it says that the value holds.
2. On the second half this one is scored: balanced accuracy (the mean share that is right where the value holds and
   where it does not; 0.5 by chance) or F1 (of what is said to hold).
3. The null does the same with the labels shuffled within each half: what choosing among so many sources gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from clew.dictionary.dictionary import Dictionary
from clew.ids import NodeId
from clew.organism.variables import ValueQuestion
from clew.subject.batches import padded
from clew.subject.positions import first_counted
from clew.subject.subject import Subject

DRAWS = 20  # shuffles of the null

Counts = Int[np.ndarray, "*row"]
Measure = Callable[[Counts, Counts, float, float], Float[np.ndarray, "*row"]]
"""Of right and wrong 'it holds', of how often it does and does not hold."""


def balanced(right: Counts, wrong: Counts, yes: float, no: float) -> Float[np.ndarray, "*row"]:
    """Balanced accuracy."""
    return (right / max(yes, 1) + 1 - wrong / max(no, 1)) / 2


def f1(right: Counts, wrong: Counts, yes: float, no: float) -> Float[np.ndarray, "*row"]:
    """F1 of what is said to hold."""
    return 2 * right / np.maximum(right + wrong + yes, 1)


@dataclass(frozen=True, kw_only=True)
class ValueScore:
    """The best source's score on the half that it was not chosen on, and the same under shuffled labels."""

    best: int
    score: float
    null: float
    """The mean over the shuffles."""
    other_templates: float
    """The score where one half of the templates is chosen on, the other scored on; NaN where there are no others."""


def value_score(
    question: ValueQuestion,
    values: Float[np.ndarray, "sentence source"],
    measure: Measure,
    generator: np.random.Generator,
) -> ValueScore:
    """How well the best of some sources tells the value of a question, from what each comes to in its sentences."""
    holds, held_out = np.array(question.holds), np.array(question.held_out)
    best, score = _score(values, holds, held_out, measure)
    null = [_score(values, shuffled, held_out, measure)[1] for shuffled in shuffles(question, generator)]
    others = np.array(question.other_templates)
    both = all((holds & half).sum() > 0 and (~holds & half).sum() > 0 for half in (others, ~others))
    elsewhere = _score(values, holds, others, measure)[1] if both else float("nan")
    return ValueScore(best=best, score=score, null=float(np.mean(null)), other_templates=elsewhere)


def shuffles(question: ValueQuestion, generator: np.random.Generator) -> Iterator[Bool[np.ndarray, " sentence"]]:
    """The labels of a question, shuffled within each half, again and again."""
    holds, held_out = np.array(question.holds), np.array(question.held_out)
    for _ in range(DRAWS):
        shuffled = holds.copy()
        for half in (held_out, ~held_out):
            shuffled[half] = generator.permutation(holds[half])
        yield shuffled


def source_scores(
    values: Float[np.ndarray, "sentence source"],
    holds: Bool[np.ndarray, " sentence"],
    held_out: Bool[np.ndarray, " sentence"],
    measure: Measure,
) -> tuple[Float[np.ndarray, " source"], Float[np.ndarray, " source"]]:
    """Every source's measure on the half that its threshold was chosen on, and on the other."""
    cuts, scores = _best_cuts(values[~held_out], holds[~held_out], measure)
    above, truth = values[held_out] > cuts, holds[held_out]
    right, wrong = (above & truth[:, None]).sum(0), (above & ~truth[:, None]).sum(0)
    return scores, measure(right, wrong, float(truth.sum()), float((~truth).sum()))


def _score(
    values: Float[np.ndarray, "sentence source"],
    holds: Bool[np.ndarray, " sentence"],
    held_out: Bool[np.ndarray, " sentence"],
    measure: Measure,
) -> tuple[int, float]:
    """The source that is best on the one half with its best threshold, and its score on the other."""
    chosen_on, scored_on = source_scores(values, holds, held_out, measure)
    best = int(chosen_on.argmax())
    return best, float(scored_on[best])


def _best_cuts(
    values: Float[np.ndarray, "sentence source"], holds: Bool[np.ndarray, " sentence"], measure: Measure
) -> tuple[Float[np.ndarray, " source"], Float[np.ndarray, " source"]]:
    """For every source the threshold with the best measure, and that measure: midway between two of its values."""
    order: Int[np.ndarray, "sentence source"] = (-values).argsort(0, kind="stable")
    falling = np.take_along_axis(values, order, 0)
    truth = holds[order]
    scores = measure(truth.cumsum(0), (~truth).cumsum(0), float(holds.sum()), float((~holds).sum()))
    apart = np.vstack([falling[:-1] > falling[1:], np.zeros((1, values.shape[1]), bool)])  # no cut between equals
    scores = np.where(apart, scores, -np.inf)
    place = scores.argmax(0)
    columns = np.arange(values.shape[1])
    none = ~apart.any(0)
    below = np.minimum(place + 1, len(falling) - 1)
    cuts = (falling[place, columns] + falling[below, columns]) / 2
    return np.where(none, np.inf, cuts), np.where(none, -1.0, scores[place, columns])


@torch.no_grad()
def activations_in(
    subject: Subject, dictionary: Dictionary, sentences: Sequence[str], nodes: Sequence[NodeId], output: int
) -> Float[np.ndarray, "sentence node"]:
    """What the features of some nodes of a prompt come to in other sentences.

    One that stands at the position of the output is read at a sentence's end, any other where it is highest.
    """
    ids = [subject.encode(sentence) for sentence in sentences]
    lengths = torch.tensor([len(row) for row in ids])
    streams = subject.capture(padded(ids), [dictionary.read_site])
    positions = torch.arange(int(lengths.max()))
    counted = (positions >= first_counted(subject, ids[0])) & (positions < lengths[:, None])
    values = np.zeros((len(sentences), len(nodes)))
    for layer in {node.feature.layer for node in nodes}:
        places = [place for place, node in enumerate(nodes) if node.feature.layer == layer]
        indices = torch.tensor([nodes[place].feature.index for place in places])
        x = streams[dictionary.read_site, layer]
        rows = x.flatten(0, 1)[None].expand(len(places), -1, -1)
        read = dictionary.activations_of(layer, rows, indices).view(len(places), *x.shape[:2]).float().cpu()
        last = read[:, torch.arange(len(ids)), lengths - 1]
        highest = (read * counted).amax(2)
        at_end = torch.tensor([nodes[place].position == output for place in places])
        values[:, places] = torch.where(at_end[:, None], last, highest).T.double().numpy()
    return values
