"""Many graphs as one: what they share, how edges differ between them, and how many prompts have each node and edge.

1. Every position gets a *slot*: a name that stands for the same thing in each prompt ("country", "last"). A feature is
   one node a layer, index and slot; without slots, one node a layer and index, wherever it stands. Within each graph,
   positions of one slot are added up.
2. The nodes are those of any graph. The merged graph holds means: over all graphs, a missing edge counting as 0, so
   that incoming edges plus offsets still equal the mean pre-activation; or over the graphs that have the edge.
3. Beside each edge stand its standard deviation and the share of the graphs that have it.

What a mean cancels between prompts is no loss: a node's absolute input is that of its mean edges, and what the graphs
themselves had lost by pruning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.merged_graph import MergedGraph
from clew.attribution.nodes import OFFSETS, TargetInfo
from clew.errors import InputError, MismatchError
from clew.memory import check_room

ANYWHERE = "(any position)"
ELSEWHERE = "(elsewhere)"
"""The slot of positions that are given none."""
OVER = ("all", "present")
Slots = Sequence[Sequence[str | None] | Mapping[int, str]]
"""For every graph a name for each of its positions, or for some of them."""


def merge(
    graphs: Sequence[Graph], slots: Slots | None = None, *, targets: str = "label", over: str = "all"
) -> MergedGraph:
    """The mean of several graphs of one kit, with spreads and shares.

    Outputs with the same label are one, or with targets="rank" those of the same place. MismatchError, by name, for
    graphs of different models or dictionaries; InputError for no graph, slots that do not fit, and where some graphs
    have effects and others not.
    """
    graphs = list(graphs)
    check_one_kit(graphs)
    if targets not in ("label", "rank") or over not in OVER:
        raise InputError(f"targets={targets!r}, over={over!r}: choose label or rank, and all or present")
    if len({graph.effect_rows is None for graph in graphs}) > 1:
        raise InputError("some of the graphs have effects and others not: trace all of them alike")
    return _Union(graphs, slots, targets == "rank").merged(over == "present")


def check_one_kit(graphs: Sequence[Graph]) -> None:
    """InputError for no graph; MismatchError, naming both, for graphs of different models or dictionaries."""
    if not graphs:
        raise InputError("there is no graph: give at least one")
    first = graphs[0]
    for other in graphs[1:]:
        marks = first.dictionary_fingerprint, other.dictionary_fingerprint
        names = (first.subject, first.dictionary), (other.subject, other.dictionary)
        if len(set(marks if all(marks) else names)) > 1:
            raise MismatchError(
                f"the graphs are of different kits, {_kit(first)} and {_kit(other)}: their features have other meanings"
            )
        if first.n_layers != other.n_layers:
            raise MismatchError(f"the graphs have {first.n_layers} and {other.n_layers} layers: trace one model")


def _kit(graph: Graph) -> str:
    mark = f" [{graph.dictionary_fingerprint[:8]}]" if graph.dictionary_fingerprint else ""
    return f"{graph.subject or 'a model without a name'} with {graph.dictionary or 'a dictionary without a name'}{mark}"


def position_slots(graphs: Sequence[Graph]) -> Slots:
    """Every position a slot of its own: for graphs of prompts of one length that mean the same at each position."""
    return [[str(position) for position in range(graph.n_tokens)] for graph in graphs]


class _Union:
    """The nodes of all graphs together, and where each graph's nodes are among them."""

    def __init__(self, graphs: list[Graph], slots: Slots | None, by_rank: bool) -> None:
        self.graphs, self.by_rank, self.anywhere = graphs, by_rank, slots is None
        self.names = [list(graph.tokens) for graph in graphs] if slots is None else _checked(graphs, slots)
        self.slots = ([ANYWHERE] if self.anywhere else []) + _in_order(self.names, keep_first=self.anywhere)
        self.slot_of = {name: i for i, name in enumerate(self.slots)}
        keys = [self._keys(graph, names) for graph, names in zip(graphs, self.names, strict=True)]
        self.features = sorted({key for of_graph in keys for key in of_graph[0]})
        self.errors = sorted({key for of_graph in keys for key in of_graph[1]})
        self.targets = list(dict.fromkeys(key for of_graph in keys for key in of_graph[3]))
        number: dict[Any, int] = {}
        everything = (self.features, self.errors, [(i,) for i in range(len(self.slots))], self.targets)
        for kind, members in enumerate(everything):
            number |= {(kind, key): len(number) + i for i, key in enumerate(members)}
        self.n_nodes = len(number)
        self.maps = [
            torch.tensor([number[kind, key] for kind, of_kind in enumerate(of_graph) for key in of_kind])
            for of_graph in keys
        ]

    def _keys(self, graph: Graph, names: list[str]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Of one graph's nodes in their order, by kind: what makes nodes of different graphs the same."""
        at = [0 if self.anywhere else self.slot_of[name] for name in names]
        features = [(layer, at[position], index) for layer, position, index in graph.feature_keys.tolist()]
        errors = [(layer, at[position]) for layer, position in graph.error_keys.tolist()]
        tokens = [(self.slot_of[name],) for name in names]
        targets = [rank if self.by_rank else (t.label, at[t.position]) for rank, t in enumerate(graph.targets)]
        return features, errors, tokens, targets

    # --- the edges --------------------------------------------------------------------------------------------

    @cached_property
    def row_nodes(self) -> Int[Tensor, " row"]:
        return _all_of([nodes[graph.row_nodes] for nodes, graph in zip(self.maps, self.graphs, strict=True)])

    @cached_property
    def col_nodes(self) -> Int[Tensor, " col"]:
        return _all_of([nodes[graph.col_nodes] for nodes, graph in zip(self.maps, self.graphs, strict=True)])

    def blocks(self, field: str) -> Iterator[tuple[Int[Tensor, " r"], Int[Tensor, " c"], Float[Tensor, "r c"]]]:
        """Every graph's edges, positions of one slot added up, and their rows and columns among all."""
        for nodes, graph in zip(self.maps, self.graphs, strict=True):
            rows, row = torch.unique(nodes[graph.row_nodes], return_inverse=True)
            cols, col = torch.unique(nodes[graph.col_nodes], return_inverse=True)
            edges = getattr(graph, field)
            block = edges.new_zeros(len(rows), edges.shape[1]).index_add_(0, row, edges)
            block = edges.new_zeros(len(rows), len(cols)).index_add_(1, col, block)
            yield torch.searchsorted(self.row_nodes, rows), torch.searchsorted(self.col_nodes, cols), block

    def edges(self, field: str, present: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard deviation of every edge, and the number of graphs that have it."""
        shape, like = (len(self.row_nodes), len(self.col_nodes)), getattr(self.graphs[0], field)
        total, count, touched, squares = (like.new_zeros(shape) for _ in range(4))
        for rows, cols, block in self.blocks(field):
            place = rows[:, None], cols[None, :]
            total[place] += block
            count[place] += (block != 0).to(like)
            touched[place] += 1
        n = count if present else torch.full_like(count, len(self.graphs))
        mean = torch.where(n > 0, total / n.clamp_min(1), 0.0)
        for rows, cols, block in self.blocks(field):
            place = rows[:, None], cols[None, :]
            counted = (block != 0).to(like) if present else 1.0
            squares[place] += counted * (block - mean[place]).square()
        if not present:
            squares += (len(self.graphs) - touched) * mean.square()
        return mean, (squares / n.clamp_min(1)).sqrt(), count

    # --- the merged graph -------------------------------------------------------------------------------------

    def merged(self, present: bool) -> MergedGraph:
        n, like = len(self.graphs), self.graphs[0].rows
        n_edges = len(self.row_nodes) * len(self.col_nodes)
        kinds = 1 + (self.graphs[0].effect_rows is not None)
        advice = "prune the graphs first, or give fewer"
        what = f"the edges between {len(self.col_nodes):,} merged nodes"
        check_room((2 + 3 * kinds) * n_edges * like.itemsize, what, advice)
        mean, spread, count = self.edges("rows", present)
        effects = self.edges("effect_rows", present) if kinds > 1 else None
        nodes = like.new_zeros(self.n_nodes)
        for each in self.maps:
            nodes[torch.unique(each)] += 1
        n_of = nodes.clamp_min(1) if present else torch.full_like(nodes, n)
        own = self._over_nodes("activations", "preactivations", n_of)
        offsets, lost = self._over_rows(n_of[self.row_nodes])
        return MergedGraph(
            graph=self._graph(
                rows=mean,
                effect_rows=None if effects is None else effects[0],
                activations=own[0],
                preactivations=own[1],
                row_offsets=offsets,
                input_mass=mean.abs().sum(1) + lost,
                n_of=n_of,
            ),
            prompts=tuple(graph.prompt for graph in self.graphs),
            node_share=nodes / n,
            edge_share=count / n,
            edge_spread=spread,
            effect_spread=None if effects is None else effects[1],
        )

    def _over_nodes(self, *names_and_counts: Any) -> list[Float[Tensor, " feature"]]:
        *names, n_of = names_and_counts
        results = []
        for name in names:
            total = self.graphs[0].rows.new_zeros(len(self.features))
            for nodes, graph in zip(self.maps, self.graphs, strict=True):
                total.index_add_(0, nodes[: graph.n_features], getattr(graph, name).to(total))
            results.append(total / n_of[: len(self.features)])
        return results

    def _over_rows(self, n_of: Float[Tensor, " row"]) -> tuple[Float[Tensor, "row 4"], Float[Tensor, " row"]]:
        """Mean offsets of every row, and what its graphs had lost of its absolute input before."""
        offsets = self.graphs[0].rows.new_zeros(len(self.row_nodes), len(OFFSETS))
        lost = offsets[:, 0].clone()
        for nodes, graph in zip(self.maps, self.graphs, strict=True):
            rows = torch.searchsorted(self.row_nodes, nodes[graph.row_nodes])
            offsets.index_add_(0, rows, graph.row_offsets.to(offsets))
            lost.index_add_(0, rows, (graph.input_mass - graph.rows.abs().sum(1)).clamp_min(0).to(lost))
        return offsets / n_of[:, None], lost / n_of

    def _graph(self, *, n_of: Float[Tensor, " node"], **tensors: Any) -> Graph:
        first, n = self.graphs[0], len(self.graphs)
        labels: dict[Any, str] = {}
        for graph in reversed(self.graphs):
            labels |= graph.labels
        return replace(
            first,
            prompt=first.prompt if len({g.prompt for g in self.graphs}) == 1 else f"{n} prompts: {first.prompt} ...",
            tokens=tuple(self._token(i)[0] for i in range(len(self.slots))),
            token_ids=tuple(self._token(i)[1] for i in range(len(self.slots))),
            first_position=min(graph.first_position for graph in self.graphs) if self._first_is_one_slot() else 0,
            feature_keys=torch.tensor(self.features, dtype=torch.long).reshape(-1, 3),
            error_keys=torch.tensor(self.errors, dtype=torch.long).reshape(-1, 2),
            targets=tuple(self._target(rank, n_of) for rank in range(len(self.targets))),
            row_nodes=self.row_nodes,
            col_nodes=self.col_nodes,
            next_tokens=first.next_tokens if n == 1 else (),
            labels=labels,
            settings={**first.settings, **({"merged": n} if n > 1 else {})},
            **tensors,
        )

    def _token(self, slot: int) -> tuple[str, int]:
        """A slot's text and id: its token's, where all graphs have the same one there, else its name and -1."""
        name = self.slots[slot]
        if self.anywhere and slot == 0:
            return name, -1
        there = {
            (graph.tokens[i], graph.token_ids[i])
            for graph, names in zip(self.graphs, self.names, strict=True)
            for i in range(graph.n_tokens)
            if names[i] == name
        }
        return next(iter(there)) if len(there) == 1 else (name, -1)

    def _first_is_one_slot(self) -> bool:
        """Whether the first positions, and no others, are the first slot."""
        return not self.anywhere and all(
            [self.slot_of[name] == 0 for name in names] == [i == 0 for i in range(len(names))] for names in self.names
        )

    def _target(self, rank: int, n_of: Float[Tensor, " node"]) -> TargetInfo:
        """Mean weight, value and probability; the label that all share, else the first and how many there are."""
        node = self.n_nodes - len(self.targets) + rank
        infos = [
            graph.targets[place]
            for nodes, graph in zip(self.maps, self.graphs, strict=True)
            for place in (nodes[graph.part("target")] == node).nonzero()[:, 0].tolist()
        ]
        count, first = float(n_of[node]), infos[0]
        labels = dict.fromkeys(info.label for info in infos)
        sides = {(info.plus, info.minus) for info in infos}
        chances = [info.probability for info in infos if info.probability is not None]
        return replace(
            first,
            label=first.label if len(labels) == 1 else f"{first.label} and {len(labels) - 1} more",
            position=0 if self.anywhere else self._slot_of_target(node),
            weight=sum(info.weight for info in infos) / count,
            value=sum(info.value for info in infos) / count,
            token=first.token if len({info.token for info in infos}) == 1 else None,
            probability=sum(chances) / count if len(chances) == len(infos) else None,
            plus=first.plus if len(sides) == 1 else (),
            minus=first.minus if len(sides) == 1 else (),
        )

    def _slot_of_target(self, node: int) -> int:
        for nodes, graph, names in zip(self.maps, self.graphs, self.names, strict=True):
            for place in (nodes[graph.part("target")] == node).nonzero()[:, 0].tolist():
                return self.slot_of[names[graph.targets[place].position]]
        raise AssertionError("every target is one of some graph")


def _all_of(nodes: list[Int[Tensor, " _"]]) -> Int[Tensor, " node"]:
    return torch.unique(torch.cat(nodes))


def _checked(graphs: Sequence[Graph], slots: Slots) -> list[list[str]]:
    """A slot for every position of every graph; InputError where there are not as many as graphs or tokens."""
    if len(slots) != len(graphs):
        raise InputError(f"slots are given for {len(slots)} graphs, but there are {len(graphs)}")
    checked = []
    for number, (graph, names) in enumerate(zip(graphs, slots, strict=True)):
        if isinstance(names, Mapping):
            if outside := [place for place in names if not 0 <= place < graph.n_tokens]:
                raise InputError(f"graph {number}: position {outside[0]} is outside its {graph.n_tokens} tokens")
            names = [names.get(position) for position in range(graph.n_tokens)]
        if len(names) != graph.n_tokens:
            raise InputError(f"graph {number} has {graph.n_tokens} tokens, but {len(names)} slots")
        checked.append([ELSEWHERE if name is None else str(name) for name in names])
    return checked


def _in_order(names: Sequence[Sequence[str]], *, keep_first: bool) -> list[str]:
    """The slots in the order in which they stand in the prompts, on average; or as they are first met."""
    met: dict[str, list[float]] = {}
    for of_graph in names:
        for position, name in enumerate(of_graph):
            met.setdefault(name, []).append(position / max(1, len(of_graph) - 1))
    return list(met) if keep_first else sorted(met, key=lambda name: sum(met[name]) / len(met[name]))
