"""Which features a circuit holds, and in which groups.

1. *Members*: the most influential features, until the circuit covers its share of the influence, and as few of those
   with the largest contributions (`circuit_scores`) as, measured, hold the answer and without which it is gone.
2. *Cells*: features at one stage that depend on the same words, those that decide the answer. Stages: a feature *reads*
   a word where it stands, or *carries* it at a later one; at the output's position it *gathers* words, when half of its
   input comes straight from tokens, or is an *output*, when it comes from other features. What speaks *against* the
   answer is a cell of its own.
3. *Merging*: cells that are small or too many are left out while the measured answer and the covered influence stay,
   else joined to the cell most like them; words that decide little end up in one cell of the *rest*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.circuit.measuring import LiveRuns, marked
from clew.circuit.replacements import Dependence
from clew.circuit.words import Word

Stage = Literal["reads", "carries", "gathers", "output", "against", "rest"]
STAGES: tuple[Stage, ...] = get_args(Stage)
EARLY = ("reads", "carries", "rest")
SIZES = (4, 8, 16, 32, 64, 128)
HELD = 0.9  # share of the answer that the members keep alone, and that is gone without them
DECIDES = 0.2  # share of the answer that a word decides: replaced, so much of it goes
LITTLE = 0.02  # share of the answer with which a word counts where none decides
DEPENDS = 0.4  # share of its activation that a feature owes to a word on which it depends
BESIDE = 0.6  # of the word that it owes the most: what counts beside it
WORDS = 2  # that a group depends on, at most
DECIDING = 6  # words that decide, at most
FROM_TOKENS = 0.5  # share of its input with which a feature is made of tokens, not of other features
SMALL = 0.02  # share of the influence below which a cell is no group of its own


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """Features that do the same: at which stage, and on which words they depend."""

    stage: Stage
    words: tuple[int, ...]
    """The deciding words that it depends on, in the order of the prompt; none where it depends on none of them."""
    nodes: Int[Tensor, " node"]
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureEvidence:
    """What features are grouped by."""

    runs: LiveRuns
    words: Sequence[Word]
    influence: Float[Tensor, " feature"]
    """As shares of all features' influence: they add up to 1."""
    scores: Float[Tensor, " feature"]
    """Contributions to the answer; below 0 for what speaks against it."""
    direct: Float[Tensor, " feature"]
    """What the targets get from each feature straight."""
    from_tokens: Float[Tensor, " feature"]
    """The share of each feature's absolute input that comes straight from tokens."""
    dependence: Dependence


def members(material: FeatureEvidence, coverage: float) -> Int[Tensor, " node"]:
    """The features of the circuit (step 1), in the graph's order."""
    runs, n = material.runs, len(material.influence)
    best = material.scores.argsort(descending=True, stable=True)
    by_influence = material.influence.argsort(descending=True, stable=True)
    sets = marked(n, [_covering(material, by_influence, best[:size], coverage) for size in (0, *SIZES) if size < n])
    probability = runs.outcomes(torch.cat([sets, ~sets, torch.ones(1, n, dtype=torch.bool)])).probability
    without, alone, nothing = probability[: len(sets)], probability[len(sets) : -1], float(probability[-1])
    room = max(1e-9, runs.answer.probability - nothing)
    least = torch.minimum(runs.answer.probability - without, alone - nothing) / room
    good = (least >= HELD).nonzero()
    return sets[int(good[0]) if len(good) else int(least.argmax())].nonzero()[:, 0]


def _covering(
    material: FeatureEvidence, by_influence: Int[Tensor, " feature"], chosen: Int[Tensor, " chosen"], coverage: float
) -> Int[Tensor, " covering"]:
    """Some features, and the most influential others until together they cover so much of the influence."""
    outside = by_influence[~torch.isin(by_influence, chosen)]
    covered = float(material.influence[chosen].sum()) + material.influence[outside].double().cumsum(0)
    count = int((covered < coverage).sum()) + 1 if float(material.influence[chosen].sum()) < coverage else 0
    return torch.cat([chosen, outside[:count]])


def cells(material: FeatureEvidence, nodes: Int[Tensor, " node"]) -> list[Cell]:
    """The features of the circuit by what they do (step 2), the largest share first."""
    deciding = deciding_words(material)
    by_key: dict[tuple[Stage, tuple[int, ...]], list[int]] = {}
    for node in nodes.tolist():
        by_key.setdefault(role_of(material, node, deciding), []).append(node)
    listed = [
        Cell(stage=stage, words=words, nodes=torch.tensor(each), share=float(material.influence[each].sum()))
        for (stage, words), each in by_key.items()
    ]
    return sorted(listed, key=lambda cell: -cell.share)


def role_of(material: FeatureEvidence, node: int, deciding: Sequence[int]) -> tuple[Stage, tuple[int, ...]]:
    """At which stage a feature stands, and the words that it depends on."""
    graph = material.runs.graph
    position = int(graph.feature_keys[node, 1])
    here = next((place for place, word in enumerate(material.words) if position in word.positions), None)
    words = _words_of(material.dependence.features[node], [word for word in deciding if word != here])
    if position in {target.position for target in graph.targets}:
        if float(material.scores[node]) < 0 and float(material.direct[node]) < 0:
            return "against", ()
        gathers = float(material.from_tokens[node]) >= FROM_TOKENS
        if gathers and not words and here is not None and float(material.dependence.features[node, here]) >= DEPENDS:
            return "reads", (here,)
        return "gathers" if gathers else "output", words
    if not words:
        return ("reads", (here,)) if here is not None else ("rest", ())
    return "carries", words


def deciding_words(material: FeatureEvidence) -> list[int]:
    """The words before the output without which the answer goes; where none decides much, the first of them."""
    answer, words = material.dependence.answer, material.words
    outputs = {target.position for target in material.runs.graph.targets}
    before = [place for place, word in enumerate(words) if not outputs & {*word.positions}]
    before = [place for place in before if any(map(str.isalnum, words[place].text))] or before
    order = sorted(before, key=lambda place: -float(answer[place]))
    deciding = [place for place in order if float(answer[place]) >= DECIDES][:DECIDING]
    most = max((float(answer[place]) for place in order), default=0.0)
    some = [place for place in order if float(answer[place]) >= max(LITTLE, most / 2)][:WORDS]
    return sorted(deciding or some)


def _words_of(depends: Float[Tensor, " word"], deciding: Sequence[int]) -> tuple[int, ...]:
    """The deciding words that a feature owes its activation to."""
    most = max((float(depends[word]) for word in deciding), default=0.0)
    least = max(DEPENDS, BESIDE * most)
    chosen = sorted(deciding, key=lambda word: -float(depends[word]))
    return tuple(sorted(word for word in chosen[:WORDS] if float(depends[word]) >= least))


def readable(material: FeatureEvidence, listed: Sequence[Cell], *, most: int, coverage: float) -> list[Cell]:
    """Few cells, none very small (step 3), the largest share first."""
    kept = _without_idle(material, listed, coverage)
    while len(kept) > 1 and (len(kept) > most or any(_is_small(cell) for cell in kept)):
        least = next((cell for cell in reversed(kept) if _is_small(cell)), None)
        least = least or next((cell for cell in reversed(kept) if cell.stage != "against"), kept[-1])
        others = [cell for cell in kept if cell is not least]
        like = max(others, key=lambda cell: (_likeness(cell, least), cell.share))
        early = least.stage in EARLY and like.stage in EARLY and not {*least.words} & {*like.words}
        name: Cell = replace(like, stage="rest", words=()) if early else like
        nodes = torch.cat([like.nodes, least.nodes]).sort().values
        joined = replace(name, nodes=nodes, share=like.share + least.share)
        kept = sorted([*(cell for cell in others if cell is not like), joined], key=lambda cell: -cell.share)
    return kept


def _is_small(cell: Cell) -> bool:
    """What speaks against the answer, and the rest, may be as small as they are."""
    return cell.share < SMALL and cell.stage not in ("against", "rest")


def _likeness(cell: Cell, other: Cell) -> float:
    """How alike two cells are: both early or both at the output, the words that both depend on, the stage."""
    both, either = {*cell.words} & {*other.words}, {*cell.words} | {*other.words}
    words = len(both) / len(either) if either else 1.0
    if cell.stage in EARLY and other.stage in EARLY:
        small = max(cell.share, other.share) < 2 * SMALL  # two small words make one rest; a large one stays itself
        return 2 + (words if both else 0.5 * (cell.stage == "rest" or small))
    if (cell.stage in EARLY) != (other.stage in EARLY):
        return -1.0
    if "against" in (cell.stage, other.stage):
        return 0.0
    return 1 + words + (cell.stage == other.stage)


def _without_idle(material: FeatureEvidence, listed: Sequence[Cell], coverage: float) -> list[Cell]:
    """Leave out the smallest cells, as many as neither the covered influence nor the measured answer needs."""
    small = [place for place, cell in enumerate(listed) if cell.share < 2 * SMALL][::-1]
    spare = sum(cell.share for cell in listed) - coverage
    tries = []
    for count in range(1, len(small) + 1):
        if sum(listed[place].share for place in small[:count]) > spare:
            break
        tries.append([cell for place, cell in enumerate(listed) if place not in small[:count]])
    if not tries:
        return list(listed)
    runs, n = material.runs, len(material.influence)
    sets = marked(n, [torch.cat([cell.nodes for cell in each]) for each in (list(listed), *tries)])
    probability = runs.outcomes(torch.cat([sets, ~sets])).probability
    without, alone = probability[: len(sets)], probability[len(sets) :]
    slack = (1 - HELD) * runs.answer.probability
    good = (without[1:] <= without[0] + slack) & (alone[1:] >= alone[0] - slack)
    return tries[int(good.nonzero()[-1])] if bool(good.any()) else list(listed)
