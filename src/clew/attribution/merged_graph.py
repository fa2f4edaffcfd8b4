"""A merged graph as a value: a Graph of means, and beside its edges how they spread and how many prompts have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.attribution.pruning import prune, without
from clew.displays import brief
from clew.errors import InputError
from clew.ids import NodeId

ENVELOPE = files.Envelope(format="clew.merged", schema=1, what="merged graph")


@dataclass(frozen=True, kw_only=True, eq=False)
class MergedGraph:
    """Several graphs as one. `graph` is a Graph like any other: rank it, look for its paths, draw it."""

    graph: Graph
    """Means of edges, activations and offsets."""
    prompts: tuple[str, ...]
    node_share: Float[Tensor, " node"]
    """The share of the graphs that have each node."""
    edge_share: Float[Tensor, "row col"]
    """The share of the graphs in which each edge is there."""
    edge_spread: Float[Tensor, "row col"]
    """The standard deviation of each edge over the graphs that its mean is over."""
    effect_spread: Float[Tensor, "row col"] | None = None

    def __repr__(self) -> str:
        everywhere = int((self.node_share[self.graph.part("feature")] == 1).sum())
        return (
            f"MergedGraph({len(self.prompts)} graphs, {brief(self.prompts[0])}: {self.graph.n_features:,} features, "
            f"{everywhere:,} of them in every graph)"
        )

    def share_of(self, node: NodeId | str | int) -> float:
        """The share of the graphs that have a node; InputError for one that none has."""
        return float(self.node_share[node if isinstance(node, int) else self.graph.index(node)])

    def prune(
        self,
        node: float | int = 0.8,
        edge: float | int = 0.98,
        by: str | Tensor = "influence",
        *,
        share: float | int = 0.0,
    ) -> MergedGraph:
        """Drop nodes and edges that less than `share` of the graphs have, then prune the graph of means.

        InputError for a share outside [0, 1], and see `Graph.prune`.
        """
        few = self.present_in(share) if share else self
        by = by[few._places(self)] if isinstance(by, Tensor) else by
        return few._of(prune(few.graph, node=node, edge=edge, by=by))

    def present_in(self, share: float | int) -> MergedGraph:
        """What at least this share of the graphs have; tokens and outputs stay. InputError unless it is in [0, 1]."""
        if not 0 <= share <= 1:
            raise InputError(f"share {share} is not in [0, 1]: give a share of the graphs such as 0.5")
        least = share * (1 - 1e-6)
        kept = (self.node_share >= least) | self.graph.mask("token", "target")
        return self._of(without(self.graph, kept, self.edge_share >= least))

    def _places(self, other: MergedGraph) -> Tensor:
        """Where this graph's nodes are among those of another."""
        return torch.tensor([other.graph.index(node.id) for node in self.graph.nodes], dtype=torch.long)

    def _of(self, graph: Graph) -> MergedGraph:
        """The same figures for a part of the graph."""
        places = torch.tensor([self.graph.index(node.id) for node in graph.nodes], dtype=torch.long)
        rows, cols = self.graph._row_of[places[graph.row_nodes]], self.graph._col_of[places[graph.col_nodes]]
        there = graph.rows != 0

        def part(values: Tensor) -> Tensor:
            return values[rows[:, None], cols[None, :]] * there

        return replace(
            self,
            graph=graph,
            node_share=self.node_share[places],
            edge_share=part(self.edge_share),
            edge_spread=part(self.edge_spread),
            effect_spread=None if self.effect_spread is None else part(self.effect_spread),
        )

    def to_json(self, path: Path | str | None = None) -> dict[str, Any]:
        """Nodes and edges as plain values, written to `path` when given. Prune first: every edge is listed."""
        graph, through = self.graph, influence(self.graph).tolist()
        ids = [str(node.id) for node in graph.nodes]
        nodes = [
            {"id": ids[i], "label": graph.node_label(i), "share": float(self.node_share[i]), "influence": through[i]}
            | ({"activation": float(graph.activations[i])} if i < graph.n_features else {})
            for i in range(graph.n_nodes)
        ]
        row, col = graph.rows.nonzero(as_tuple=True)
        columns: Mapping[str, list[Any]] = {
            "source": [ids[i] for i in graph.col_nodes[col].tolist()],
            "target": [ids[i] for i in graph.row_nodes[row].tolist()],
            "mean": graph.rows[row, col].tolist(),
            "spread": self.edge_spread[row, col].tolist(),
            "share": self.edge_share[row, col].tolist(),
        }
        if graph.effect_rows is not None:
            columns = {**columns, "effect": graph.effect_rows[row, col].tolist()}
        edges = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        value = ENVELOPE.head(
            prompts=list(self.prompts), slots=list(graph.tokens), subject=graph.subject, dictionary=graph.dictionary,
            nodes=nodes, edges=edges,
        )  # fmt: skip
        if path is not None:
            files.write_json(path, value)
        return value
