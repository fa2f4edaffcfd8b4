"""On which words of the prompt the answer and every feature depend: measured, by putting other tokens in their place.

Each token is replaced by the few others with which the prompt is likeliest as a text of the model's, among those that
it holds likely there. A feature depends on a token by the share of its activation that it loses on average, the answer
by the share of its probability. "Paris" depends on "France" and "capital"; of the features at "is" some fall with
either word alone, some with both. Where every other token makes a text that the model holds for broken, nothing is said
of the word: what changes then is the form of the sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.circuit.measuring import LiveRuns, Outcomes
from clew.circuit.words import Word

OTHERS = 4  # tokens that are put in the place of each
TRIED = 8  # likely tokens among which they are chosen
BROKEN = 8.0  # nats by which a text may be less likely than the prompt and still be one
BROKEN_WORD = 14.0  # where a part of a longer word is replaced: what comes of it is mostly no word
MOST = 40  # tokens that are replaced, the most influential ones


@dataclass(frozen=True, kw_only=True, eq=False)
class Dependence:
    """Shares from 0 to 1."""

    features: Float[Tensor, "feature word"]
    answer: Float[Tensor, " word"]
    tried: Bool[Tensor, " word"]
    """Whether another token could stand in its place: where none could, nothing is said of the word."""


@torch.no_grad()
def dependence(runs: LiveRuns, words: list[Word], influence: Float[Tensor, " pos"]) -> Dependence:
    """What replacing each word's tokens, one at a time, takes from every feature and from the answer."""
    graph: Graph = runs.graph
    positions = [position for word in words for position in word.positions]
    chosen = sorted(sorted(positions, key=lambda position: -float(influence[position]))[:MOST])
    ids = torch.tensor(graph.token_ids)
    rows, places = [], []
    for position in chosen:
        for other in runs.subject.substitutes(ids, position, runs.final, TRIED):
            row = ids.clone()
            row[position] = other
            rows.append(row)
            places.append(position)
    features, answer = torch.zeros(graph.n_tokens, graph.n_features), torch.zeros(graph.n_tokens)
    replaced = torch.zeros(graph.n_tokens, dtype=torch.bool)
    if rows:
        outcomes = runs.on_prompts(torch.stack([ids, *rows]))
        lost, gone = lost_activation(runs, outcomes), fallen(runs, outcomes)
        less = outcomes.likelihood[0] - outcomes.likelihood[1:]
        at = torch.tensor(places)
        parts = {position for word in words if len(word.positions) > 1 for position in word.positions}
        for position in chosen:
            tried = (at == position).nonzero()[:, 0]
            texts = tried[less[tried].argsort(stable=True)][:OTHERS]
            texts = texts[less[texts] <= (BROKEN_WORD if position in parts else BROKEN)]
            if len(texts):
                features[position], answer[position] = lost[texts].mean(0), gone[texts].mean()
                replaced[position] = True
    groups = [list(word.positions) for word in words]
    return Dependence(
        features=torch.stack([features[group].amax(0) for group in groups], 1),
        answer=torch.stack([answer[group].max() for group in groups]),
        tried=torch.stack([replaced[group].any() for group in groups]),
    )


def lost_activation(runs: LiveRuns, outcomes: Outcomes) -> Float[Tensor, "text feature"]:
    """The share of its activation that every feature loses in each text but the first, which is the prompt."""
    before = runs.graph.activations.float()
    whole = before.where(before != 0, torch.ones_like(before))
    return ((before - outcomes.activations[1:].float()) / whole).clamp(0, 1)


def fallen(runs: LiveRuns, outcomes: Outcomes) -> Float[Tensor, " text"]:
    """The share of its probability that the answer loses in each of these texts."""
    return (1 - outcomes.probability[1:] / runs.answer.probability).clamp(0, 1).float()
