"""How few features carry a prompt's answer, and how much is left without them: faithfulness and completeness.

All MLP outputs are clamped at once to what they were, less what the removed features wrote; attention and norms stay
live. The measure is the targets' mean centred logit, weighted as in the graph, on a scale from 0 (every feature
removed) to 1 (none removed):

- *faithfulness(k)*: only the k most influential features are kept;
- *completeness(k)*: only those are removed, and the curve is 1 less what is left.

Both are 1 where k features are all that matters (Marks et al. 2024). Beside them stand random sets of the same size,
drawn from active features of the same layers and positions, matched on activation x decoder norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from clew.intervention.run import rows_at_once
from clew.subject.recording import SiteAt
from clew.subject.subject import Change, Seen, Subject

RANDOM_SETS = 5
NEAREST = 4  # a matched feature is drawn from this many with the most similar size


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One measure over the number of features kept or removed, beside matched random sets."""

    sizes: tuple[int, ...]
    values: tuple[float, ...]
    random: tuple[float, ...]
    """The mean of the random sets."""
    area: float
    """Mean over the share of features, the sizes spaced evenly in their logarithm."""
    random_area: float


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What is left of the targets when something is removed whole: centred logits and top probability."""

    logit: float
    probability: float
    """Of the token that was on top before."""
    same_top: float
    """1 where the top token stays; over several prompts, the share of them."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Faithfulness and completeness, and what removing all features or all errors does."""

    ablation: str
    """What a removed feature's activation becomes: `zero`, or its `mean`."""
    faithfulness: Curve
    completeness: Curve
    whole: Removal
    no_features: Removal
    no_errors: Removal


class Removed:
    """Runs of one prompt with any active features, or all errors, taken out of the MLP outputs."""

    def __init__(
        self, subject: Subject, dictionary: Dictionary, graph: Graph, means: Mapping[int, Tensor] | None
    ) -> None:
        self.subject, self.dictionary, self.graph = subject, dictionary, graph
        self.ids = torch.tensor(graph.token_ids, device=subject.device)
        self.directions, self.biases = target_directions(subject, graph), target_biases(subject, graph)
        self.amounts = graph.activations.to(self.directions)
        self.feature_keys = graph.feature_keys.to(self.directions.device)
        if means is not None:
            layer, _, index = graph.feature_keys.T
            mean = [float(means[i][j]) for i, j in zip(layer.tolist(), index.tolist(), strict=True)]
            self.amounts = self.amounts - self.amounts.new_tensor(mean)
        self.site = dictionary.write_site
        self.errors = dict(enumerate(LocalModel.of_graph(subject, dictionary, graph).errors))

    @torch.no_grad()
    def run(
        self, removed: Bool[Tensor, "row feature"], errors: bool = False
    ) -> tuple[Float[Tensor, " row"], list[Removal]]:
        """The measure of every row, each with some features (and, if asked, every error) taken away."""
        measures, removals = [], []
        for part in removed.split(rows_at_once(self.subject, len(self.ids))):
            shifts = self._shifts(part, errors)
            change: dict[SiteAt, Change] = {
                (self.site, layer): partial(_shifted, shift, len(part)) for layer, shift in shifts.items()
            }
            tokens = self.ids[None].expand(len(part) + 1, -1)  # row 0 is the run as it was
            final = self.subject.run(tokens, change=change).final
            logits = self.biases + torch.stack(
                [final[:, t.position].to(d) @ d for t, d in zip(self.graph.targets, self.directions, strict=True)], 1
            )
            measures.append((logits @ self._weights())[1:])
            removals += self._removals(final, logits)
        return torch.cat(measures), removals

    def _weights(self) -> Float[Tensor, " target"]:
        weights = self.directions.new_tensor([target.weight for target in self.graph.targets])
        return weights / weights.sum()

    def _removals(self, final: Tensor, logits: Tensor) -> list[Removal]:
        probabilities = self.subject.probabilities(self.subject.unembed(final[:, self.graph.targets[-1].position]))
        top = int(probabilities[0].argmax())
        measures = (logits @ self._weights()).tolist()
        return [
            Removal(logit=measures[i], probability=float(p[top]), same_top=float(int(p.argmax()) == top))
            for i, p in enumerate(probabilities)
        ][1:]

    def _shifts(self, removed: Bool[Tensor, "row feature"], errors: bool) -> dict[int, Tensor]:
        """What is added to the recorded output of every layer in every row."""
        n_rows, n_pos, keys = len(removed), len(self.ids), self.feature_keys
        removed = removed.to(keys.device)
        empty = self.amounts.new_zeros(n_rows, n_pos, self.dictionary.d_model)
        total = {layer: empty.clone() for layer in range(self.subject.n_layers)}
        for layer in sorted(self.dictionary.layers):
            nodes_of_layer = (keys[:, 0] == layer).nonzero()[:, 0]  # sorted by position
            row, place = removed[:, nodes_of_layer].nonzero(as_tuple=True)
            node = nodes_of_layer[place]
            amount = self.amounts[node]
            taken = ActiveFeatures(
                position=row * n_pos + keys[node, 1], index=keys[node, 2], activation=amount, preactivation=amount
            )
            for out, part in self.dictionary.decode_layer(layer, taken, n_rows * n_pos).items():
                total[out] -= part.view_as(empty)
        if errors:
            for layer, error in self.errors.items():
                total[layer] -= error
        return total


def _shifted(shift: Tensor, n_rows: int, real: Tensor, seen: Seen) -> Tensor:
    return torch.cat([real[:1], real[:1] + shift.to(real)])


@torch.no_grad()
def curves(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    ranking: Sequence[int],
    *,
    means: Mapping[int, Tensor] | None = None,
    seed: int = 0,
) -> Curves:
    """Keep or remove the first k features of a ranking (all of the graph's, best first), for growing k.

    `means` are mean activations of all features by layer; with them, a removed feature falls to its mean.
    """
    runs, n = Removed(subject, dictionary, graph, means), graph.n_features
    sizes = _sizes(n)
    order = torch.tensor(ranking)
    best = torch.zeros(len(sizes), n, dtype=torch.bool)
    for row, size in enumerate(sizes):
        best[row, order[:size]] = True
    mass = graph.activations * _decoder_norms(dictionary, graph)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([matched_set(chosen, graph, mass, generator) for chosen in best for _ in range(RANDOM_SETS)])
    none, every = torch.zeros(1, n, dtype=torch.bool), torch.ones(1, n, dtype=torch.bool)
    levels, ends = runs.run(torch.cat([none, every]))
    scale = levels[0] - levels[1]

    def relative(removed: Tensor) -> Tensor:
        return ((runs.run(removed)[0] - levels[1]) / torch.where(scale == 0, torch.nan, scale)).double()

    def curve(values: Tensor, random: Tensor) -> Curve:
        random = random.view(len(sizes), RANDOM_SETS).mean(1)
        return Curve(
            sizes=sizes,
            values=tuple(values.tolist()),
            random=tuple(random.tolist()),
            area=_area(sizes, values),
            random_area=_area(sizes, random),
        )

    return Curves(
        ablation="zero" if means is None else "mean",
        faithfulness=curve(relative(~best), relative(~drawn)),
        completeness=curve(1 - relative(best), 1 - relative(drawn)),
        whole=ends[0],
        no_features=ends[1],
        no_errors=runs.run(none, errors=True)[1][0],
    )


def _sizes(n: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, twice as many each time, and all."""
    sizes = [1 << i for i in range(n.bit_length()) if 1 << i < n]
    return (*sizes, n)


def _area(sizes: Sequence[int], values: Float[Tensor, " size"]) -> float:
    """The mean height of a curve over the logarithm of the size."""
    if len(sizes) == 1:
        return float(values[0])
    x = torch.tensor(sizes, dtype=torch.float64, device=values.device).log()
    return float(torch.trapezoid(values, x) / (x[-1] - x[0]))


def _decoder_norms(dictionary: Dictionary, graph: Graph) -> Float[Tensor, " feature"]:
    """Norm of each node's decoder over all the layers that it writes to."""
    norms = torch.zeros(graph.n_features)
    for layer in torch.unique(graph.feature_keys[:, 0]).tolist():
        of_layer = graph.feature_keys[:, 0] == layer
        decoders = dictionary.decoder_rows(layer, graph.feature_keys[of_layer, 2])
        norms[of_layer] = decoders.flatten(1).norm(dim=1).float().cpu()
    return norms.to(graph.activations)


def matched_set(
    chosen: Bool[Tensor, " feature"], graph: Graph, mass: Float[Tensor, " feature"], generator: torch.Generator
) -> Bool[Tensor, " feature"]:
    """As many features from the same layers and positions, each one of the nearest in size that are still free."""
    drawn = torch.zeros_like(chosen)
    cells = graph.feature_keys[:, 0] * graph.n_tokens + graph.feature_keys[:, 1]
    for place in chosen.nonzero()[:, 0][torch.randperm(int(chosen.sum()), generator=generator)].tolist():
        free = ((cells == cells[place]) & ~drawn).nonzero()[:, 0]
        others = free[free != place]
        free = others if len(others) else free
        nearest = free[(mass[free] - mass[place]).abs().argsort()[:NEAREST]]
        drawn[nearest[int(torch.randint(len(nearest), (1,), generator=generator))]] = True
    return drawn


def feature_ranking(through: Float[Tensor, " node"], n_features: int) -> Int[Tensor, " feature"]:
    """Features by influence, the most influential first."""
    return torch.sort(through[:n_features], descending=True, stable=True).indices
