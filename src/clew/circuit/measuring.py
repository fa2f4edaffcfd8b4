"""What is measured of groups of features, in runs of the model with some of them ablated.

Every MLP output is the recorded one less what the ablated features wrote, and less what the others write more or less
because of it: features are computed anew on the changed stream, attention and norms are the model's own, errors are
held (`clew.intervention.ablated_runs`, recomputed). So a group that only feeds others counts by what they lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.circuit.answer import CircuitAnswer, answer_of
from clew.dictionary.dictionary import Dictionary
from clew.intervention.ablated_runs import Removed
from clew.intervention.run import read_sites
from clew.subject.subject import Subject

_AT_ONCE = 64  # prompts in one batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """What is left in each of some runs."""

    probability: Float[Tensor, " row"]
    """Of the answer."""
    activations: Float[Tensor, "row feature"]
    """Of every feature of the graph, before it is ablated; the recorded one where nothing reads."""
    likelihood: Float[Tensor, " row"]
    """Of the row's text, in nats; 0 where rows are one text."""


class LiveRuns(Removed):
    """Runs of a graph's prompt with features ablated, read for its answer and for what other features come to."""

    def __init__(self, subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
        super().__init__(subject, dictionary, graph, recomputed=True)
        self.layers = graph.feature_keys[:, 0]
        run = subject.run(self.ids[None], keep=read_sites(dictionary))
        self.final = run.final[0]
        self.answer: CircuitAnswer = answer_of(subject, graph, self.final)
        self._read: list[tuple[Int[Tensor, " node"], Float[Tensor, "row node"]]] = []

    def activations_on(self, layer: int, x: Tensor, nodes: Int[Tensor, " node"]) -> Float[Tensor, "row node"]:
        """As in any such run; they are remembered for `outcomes`."""
        activations = super().activations_on(layer, x, nodes)
        self._read.append((nodes, activations))
        return activations

    @torch.no_grad()
    def outcomes(self, removed: Bool[Tensor, "row feature"]) -> Outcomes:
        """What the answer and the features come to where each row's features are ablated."""
        probabilities, activations = [], []
        self._read = []
        for final in self.finals(removed):
            probabilities.append(self.answer.of(self.subject, final[1:]))
            values = self.activations[None].repeat(len(final) - 1, 1)
            for nodes, read in self._read:
                values[:, nodes] = read[1:].to(values)
            activations.append(values.cpu())
            self._read = []
        probability = torch.cat(probabilities)
        return Outcomes(
            probability=probability, activations=torch.cat(activations), likelihood=torch.zeros_like(probability)
        )

    @torch.no_grad()
    def on_prompts(self, prompts: Int[Tensor, "row pos"]) -> Outcomes:
        """What the answer and the features come to on other prompts of the same length, with nothing ablated."""
        probabilities, activations, likelihoods = [], [], []
        for part in prompts.to(self.subject.device).split(_AT_ONCE):
            run = self.subject.run(part, keep=read_sites(self.dictionary))
            probabilities.append(self.answer.of(self.subject, run.final))
            values = self.activations.new_zeros(len(part), len(self.keys))
            for layer in self.dictionary.layers:
                nodes = (self.keys[:, 0] == layer).nonzero()[:, 0]
                x = run.kept[self.dictionary.read_site, layer]
                values[:, nodes] = super().activations_on(layer, x, nodes).to(values)
            activations.append(values.cpu())
            likelihoods.append(self.subject.log_likelihood(run.final, part).cpu())
        return Outcomes(
            probability=torch.cat(probabilities),
            activations=torch.cat(activations),
            likelihood=torch.cat(likelihoods),
        )


def marked(n_features: int, sets: Sequence[Tensor]) -> Bool[Tensor, "set feature"]:
    """Sets of features as rows of marks."""
    rows = torch.zeros(len(sets), n_features, dtype=torch.bool)
    for row, nodes in zip(rows, sets, strict=True):
        row[nodes] = True
    return rows


def share_lost(before: Tensor, after: Tensor, weights: Tensor) -> float:
    """The mean share of their activation that some features lose, weighted; negative where they gain."""
    lost = torch.where(before != 0, 1 - after / before.where(before != 0, torch.ones_like(before)), 0.0)
    whole = float(weights.sum())
    return float((lost.clamp(-1, 1) * weights).sum()) / whole if whole > 0 else 0.0
