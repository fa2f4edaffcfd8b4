"""Runs of one prompt with sets of its features ablated together: what is left of the targets without them.

Every MLP output is the recorded one plus what the changed features write, errors held; attention and norms are live.
Two things may be said of the features that stay:

- *held*: they keep their recorded activation, so that a removed feature acts on the targets by its direct effect
  alone, through attention and norms but through no other feature;
- *recomputed*: they are read anew from the changed stream, and so pass on what they were given: effects over any number
  of hops count. A skip connection follows as well.

In both, features that did not fire on the prompt stay off, so that the measure is a function of a set of the graph's
features and the empty set has none; features that `max_features` left out stay as they were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.targets import target_biases, target_directions
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import ActiveFeatures
from clew.dictionary.nonlinearity import TopK
from clew.intervention.run import read_sites, rows_at_once
from clew.subject.recording import SiteAt
from clew.subject.subject import Change, Seen, Subject


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What is left of the targets when something is removed whole: centred logits and top probability."""

    logit: float
    probability: float
    """Of the token that was on top before."""
    same_top: float
    """1 where the top token stays; over several prompts, the share of them."""


class Removed:
    """Runs of one prompt with any active features, or all errors, taken out of the MLP outputs.

    With `means`, a removed feature falls to its mean, by layer and index, in place of zero.
    """

    def __init__(
        self,
        subject: Subject,
        dictionary: Dictionary,
        graph: Graph,
        means: Mapping[int, Tensor] | None = None,
        *,
        recomputed: bool = False,
    ) -> None:
        self.subject, self.dictionary, self.graph, self.recomputed = subject, dictionary, graph, recomputed
        self.ids = torch.tensor(graph.token_ids, device=subject.device)
        self.directions, self.biases = target_directions(subject, graph), target_biases(subject, graph)
        self.activations = graph.activations.to(self.directions)
        self.keys = graph.feature_keys.to(self.directions.device)
        self.ablated = torch.zeros_like(self.activations)
        if means is not None:
            layer, _, index = graph.feature_keys.T
            mean = [float(means[i][j]) for i, j in zip(layer.tolist(), index.tolist(), strict=True)]
            self.ablated = self.activations.new_tensor(mean)
        self.errors = dict(enumerate(LocalModel.of_graph(subject, dictionary, graph).errors))

    @torch.no_grad()
    def run(
        self, removed: Bool[Tensor, "row feature"], errors: bool = False
    ) -> tuple[Float[Tensor, " row"], list[Removal]]:
        """The measure of every row, each with some features (and, if asked, every error) taken away."""
        measures, removals = [], []
        for final in self.finals(removed, errors):
            measure = self.measure(final)
            measures.append(measure[1:])
            removals += self._removals(final, measure.tolist())
        return torch.cat(measures), removals

    def finals(
        self, removed: Bool[Tensor, "row feature"], errors: bool = False
    ) -> Iterator[Float[Tensor, "some pos d_model"]]:
        """The final normed streams of the rows, some at a time, each time behind that of the run as it was."""
        reads = read_sites(self.dictionary) if self.recomputed else []
        for part in removed.to(self.keys.device).split(rows_at_once(self.subject, len(self.ids))):
            response = _Response(self, part, errors)
            change: dict[SiteAt, Change] = {
                (self.dictionary.write_site, layer): partial(response.output, layer)
                for layer in range(self.subject.n_layers)
            }
            tokens = self.ids[None].expand(len(part) + 1, -1)  # row 0 is the run as it was
            yield self.subject.run(tokens, change=change, reads=reads).final

    def measure(self, final: Float[Tensor, "row pos d_model"]) -> Float[Tensor, " row"]:
        """The targets' mean centred logit, weighted as in the graph, of every row's final normed stream."""
        weights = self.directions.new_tensor([target.weight for target in self.graph.targets])
        places = zip(self.graph.targets, self.directions, strict=True)
        logits = self.biases + torch.stack([final[:, t.position].to(d) @ d for t, d in places], 1)
        return logits @ (weights / weights.sum())

    def is_read(self, source: int, layer: int) -> bool:
        """Whether the features that read one layer have read when the MLP of another gives its output."""
        return source < layer or (source == layer and self.dictionary.read_site != "resid_post")

    def activations_on(
        self, layer: int, x: Float[Tensor, "row pos d_model"], nodes: Int[Tensor, " node"]
    ) -> Float[Tensor, "row node"]:
        """What some features of a layer come to on the streams of all rows."""
        _, position, index = self.keys[nodes].T
        if isinstance(self.dictionary.layers[layer].nonlinearity, TopK):
            every = self.dictionary.activations(layer, x)
            return every[:, position, index].to(self.activations)
        return self.dictionary.activations_of(layer, x[:, position].transpose(0, 1), index).T.to(self.activations)

    def _removals(self, final: Tensor, measures: list[float]) -> list[Removal]:
        probabilities = self.subject.probabilities(self.subject.unembed(final[:, self.graph.targets[-1].position]))
        top = int(probabilities[0].argmax())
        return [
            Removal(logit=measures[i], probability=float(p[top]), same_top=float(int(p.argmax()) == top))
            for i, p in enumerate(probabilities)
        ][1:]


class _Response:
    """What one batch adds to every MLP output, layer by layer as the run goes on."""

    def __init__(self, runs: Removed, removed: Bool[Tensor, "row feature"], errors: bool) -> None:
        self.runs, self.removed, self.n_rows, self.n_pos = runs, removed, len(removed), len(runs.ids)
        self.empty = runs.activations.new_zeros(self.n_rows, self.n_pos, runs.dictionary.d_model)
        self.shifts: dict[int, Tensor] = {}
        self.waiting = sorted(runs.dictionary.layers)
        if errors:
            self.shifts = {layer: self.empty - error for layer, error in runs.errors.items()}

    def output(self, layer: int, real: Tensor, seen: Seen) -> Tensor:
        """The MLP output of a layer in every row: the first row's, and what was added in the others."""
        while self.waiting and self.runs.is_read(self.waiting[0], layer):
            self._write(self.waiting.pop(0), seen)
        shift = self.shifts.pop(layer, self.empty)
        return torch.cat([real[:1], real[:1] + shift.to(real)])

    def _write(self, layer: int, seen: Seen) -> None:
        """Add what the features that read one layer write differently, by the layer whose output gets it."""
        runs, dictionary = self.runs, self.runs.dictionary
        nodes = (runs.keys[:, 0] == layer).nonzero()[:, 0]
        if runs.recomputed:
            x = seen(dictionary.read_site, layer)
            activations = runs.activations_on(layer, x, nodes)
            before, after = activations[:1], activations[1:]
            skip = dictionary.layers[layer].skip
            if skip is not None:
                moved = (x[1:] - x[:1]).to(self.empty)
                self._add(layer, torch.nn.functional.linear(moved, skip.to(moved)))
        else:
            before = after = runs.activations[nodes]
        changed = torch.where(self.removed[:, nodes], runs.ablated[nodes], after) - before
        row, place = changed.nonzero(as_tuple=True)
        _, position, index = runs.keys[nodes[place]].T
        amount = changed[row, place]
        written = ActiveFeatures(
            position=row * self.n_pos + position, index=index, activation=amount, preactivation=amount
        )
        for out, part in dictionary.decode_layer(layer, written, self.n_rows * self.n_pos).items():
            self._add(out, part.view_as(self.empty))

    def _add(self, layer: int, part: Tensor) -> None:
        self.shifts[layer] = self.shifts.get(layer, self.empty) + part
