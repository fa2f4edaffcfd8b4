"""Graphs of many start years merged into one: which features matter, when they fire, and what they say of the years.

1. A prompt of every second start year is traced with one output that is asked about, later years less the others, and
   beside it all hundred years, which weigh nothing.
2. Features of the same layer, place and number are one node. Its influence on what is asked about is the mean over the
   graphs of its share of all features'; its direct effect on the years is a heat map, start year by end year, 0 where
   it is silent.
3. Nodes in front of the start year cannot depend on it, and are dropped before the most influential ones are taken.
4. How active each is at its place is then read in all prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.ids import FeatureId
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.greater_than.prompts import START, YEARS, YearPrompts, later_years
from clew.studies.slots import SlottedPrompt, align

MOST_FEATURES = 4096
"""Of one graph, the most influential ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Merged:
    """The most influential nodes of the merged graph, and what they do by start year."""

    keys: tuple[tuple[int, str, int], ...]
    """Layer, place and feature, the most influential first."""
    influence: Float[np.ndarray, " node"]
    """The share of all features' influence."""
    n_early: int
    """How many nodes in front of the start year would have been among them."""
    replacement: float
    """The replacement score, a mean over the graphs."""
    starts: Int[np.ndarray, " start"]
    """The start years that were traced."""
    effects: Float[np.ndarray, "node start year"]
    """The direct effect on the logit of every year, less its mean over the years."""
    all_starts: Int[np.ndarray, " every"]
    """Every start year."""
    activations: Float[np.ndarray, "node every"]
    """The mean activation by start year."""

    def feature(self, node: int) -> FeatureId:
        layer, _, index = self.keys[node]
        return FeatureId(layer, index)

    @property
    def at_start(self) -> list[int]:
        """The nodes at the start year's own token."""
        return [node for node, (_, place, _) in enumerate(self.keys) if place == START]


def merge(kit: Kit, asked: YearPrompts, places: Sequence[int], count: int) -> Steps:
    """Trace some prompts and merge their graphs; the tensors of `Merged`, keys as numbers of the template's places."""
    graphs, prompts = [], [asked.prompts[place] for place in places]
    for done, (place, prompt) in enumerate(zip(places, prompts, strict=True)):
        yield Progress(what="graphs", done=done, of=len(prompts), unit="prompts")
        targets = [later_years(asked, int(asked.judged[place])), *asked.years.tolist()]
        graph = kit.trace(list(prompt.token_ids), targets=targets, max_features=MOST_FEATURES)
        weighted = (replace(target, weight=float(rank == 0)) for rank, target in enumerate(graph.targets))
        graphs.append(replace(graph, targets=tuple(weighted)))
    aligned = align(graphs, prompts)
    shares = aligned.values([_shares(graph) for graph in graphs]).mean(0)
    order = np.argsort(-shares, kind="stable")
    late = [key for key in order if _depends(prompts[0], aligned.keys[key][1])]
    kept = late[:count]
    n_early = sum(not _depends(prompts[0], aligned.keys[key][1]) for key in order[:count])
    effects = np.stack([_on_years(graph, row[kept]) for graph, row in zip(graphs, aligned.rows, strict=True)], 1)
    names = list(prompts[0].places)
    numbers = [[layer, names.index(place), feature] for layer, place, feature in (aligned.keys[key] for key in kept)]
    return {
        "keys": torch.tensor(numbers).reshape(-1, 3),
        "influence": torch.from_numpy(shares[kept]),
        "n_early": torch.tensor([n_early]),
        "replacement": torch.tensor([np.mean([graph.scores().replacement for graph in graphs])]),
        "effects": torch.from_numpy(effects),
    }


def _depends(prompt: SlottedPrompt, place: str) -> bool:
    """Whether a place is the start year's token or lies behind it."""
    return place in prompt.places and prompt.places.index(place) >= prompt.last("year")


def _shares(graph: Graph) -> Float[np.ndarray, " feature"]:
    through = influence(graph)[graph.part("feature")].double().numpy()
    shares: np.ndarray = through / max(through.sum(), 1e-12)
    return shares


def _on_years(graph: Graph, rows: Int[np.ndarray, " node"]) -> Float[np.ndarray, "node year"]:
    """Edges from some nodes to all years, less their mean over the years; 0 for a node that is not there."""
    edges = graph.rows[torch.tensor([graph.row_of(target) for target in graph.target_range[1:]])]
    whole = torch.zeros(len(edges), graph.n_nodes, dtype=edges.dtype)
    whole[:, graph.col_nodes] = edges
    found = np.zeros((len(rows), YEARS))
    there = rows >= 0
    found[there] = whole[:, rows[there]].T.double().numpy()
    return found - found.mean(1, keepdims=True)


@torch.no_grad()
def activation_by_start(kit: Kit, asked: YearPrompts, keys: Int[Tensor, "node 3"]) -> Steps:
    """The mean activation of every node at its place, by start year."""
    starts = np.unique(asked.starts)
    sums, counts = np.zeros((len(keys), len(starts))), np.zeros(len(starts))
    features = [FeatureId(layer, index) for layer, _, index in keys.tolist()]
    first = asked.prompts[0].last("year")
    places = asked.prompts[0].places[first:]  # those at or behind the start year, which all prompts have
    slots = keys[:, 1] - first
    prompts = [[prompt.places.index(place) for place in places] for prompt in asked.prompts]
    read = kit.activations([list(ids) for ids in asked.ids], positions=prompts)
    for done, (found, start) in enumerate(zip(read, asked.starts, strict=True)):
        yield Progress(what="activations", done=done, of=len(asked.prompts), unit="prompts")
        column = int(np.searchsorted(starts, start))
        values = found.of(features)
        sums[:, column] += values[slots, torch.arange(len(features))].double().numpy()
        counts[column] += 1
    return {"activations": torch.from_numpy(sums / counts)}
