"""One graph drawn from two: what both have, what went, what came, and by how much each edge changed.

1. Features of the two graphs that stand for one another are one node: at positions that `compare` aligns (`position`),
   or all of one feature's places together (`feature`). Tokens join by aligned positions, or by their text.
2. The nodes are those with the most influence in either graph, the tokens with edges into them, and the answer: each
   graph's likeliest target.
3. An edge is what both graphs, or one, have between two nodes, added up over the places that a node stands for. Listed
   are those that carry the most influence in either.

What a graph does not have is None there, so that nothing that is absent is taken for a zero that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.compare import compare
from clew.attribution.diff import effects_on
from clew.attribution.graph import Graph
from clew.attribution.influence import influence, start_of
from clew.attribution.merge import check_one_kit
from clew.errors import InputError
from clew.ids import FeatureId
from clew.kernels.shares import share

By = Literal["position", "feature"]
Kind = Literal["feature", "token", "answer"]
Key = tuple[Kind, *tuple[str | int, ...]]
"""What makes nodes of two graphs one: a feature by layer, index and column, a token by column or text."""
_LEAST = 0.002  # of the targets' weight: edges that carry less in both graphs are not listed


@dataclass(frozen=True, kw_only=True)
class DifferenceSide:
    """What one graph has of a node."""

    nodes: tuple[str, ...]
    """The nodes of the graph that it stands for, the most influential first."""
    text: str
    """A token, or an answer; empty for a feature."""
    position: int
    """Of the most influential of its nodes."""
    influence: float
    """The share of the targets' weight that passes through them."""
    activation: float
    """The largest of them; 0 for tokens and answers."""
    effect: float
    """What the answer's centred logit loses with them, to first order: positive speaks for it."""


@dataclass(frozen=True, kw_only=True)
class DifferenceNode:
    """A feature, a token or the answer, in one graph or in both."""

    kind: Kind
    feature: FeatureId | None
    column: int
    """The place among the aligned positions, `DifferenceGraph.columns`; -1 where nodes are not told apart by place."""
    a: DifferenceSide | None
    b: DifferenceSide | None

    @property
    def status(self) -> Literal["kept", "changed", "gone", "new"]:
        """Whether both graphs have it, and with the same text; else which of them lacks it."""
        if self.a is None or self.b is None:
            return "new" if self.a is None else "gone"
        return "kept" if self.a.text == self.b.text else "changed"

    @property
    def change(self) -> float:
        """How much more the answer loses with it in b than in a."""
        return (self.b.effect if self.b else 0.0) - (self.a.effect if self.a else 0.0)

    @property
    def reach(self) -> float:
        """Its influence in that graph where it has more."""
        return max(side.influence for side in (self.a, self.b) if side is not None)


@dataclass(frozen=True, kw_only=True)
class DifferenceEdge:
    """An edge between two nodes, by their places in the list.

    Values are as in the graphs; None without both of its ends.
    """

    source: int
    target: int
    a: float | None
    b: float | None
    influence_a: float
    influence_b: float
    """Shares of the targets' weight that the edge carries."""

    @property
    def change(self) -> float:
        """How much more it adds in b than in a."""
        return (self.b or 0.0) - (self.a or 0.0)


@dataclass(frozen=True, kw_only=True)
class DifferenceGraph:
    """Features, the largest change of their effect on the answer first; then tokens, then the answer."""

    by: By
    kind: Literal["effects", "values"]
    """What effects are by; edges are values."""
    columns: tuple[tuple[int | None, int | None], ...]
    """Positions of a and of b that stand for one another, in reading order."""
    nodes: tuple[DifferenceNode, ...]
    edges: tuple[DifferenceEdge, ...]
    n_features: int
    """How many features, by place or not, the two graphs have together."""


@dataclass
class _Side:
    """One graph with what is asked of it."""

    graph: Graph
    effects: Float[Tensor, " feature"]
    columns: dict[int, int]
    by: By
    members: dict[Key, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        self.through = (influence(graph) / max(1e-12, float(graph.target_weights.sum()))).tolist()
        self.answer = graph.target_range[_likeliest(graph)]
        places = self.by == "position"
        for node, (layer, position, index) in enumerate(graph.feature_keys.tolist()):
            where = self.columns[position] if places else -1
            self.members.setdefault(("feature", layer, index, where), []).append(node)
        for position, node in enumerate(graph.token_range):
            word: str | int = self.columns[position] if places else graph.tokens[position]
            self.members.setdefault(("token", word), []).append(node)
        self.members[("answer",)] = [self.answer]
        for nodes in self.members.values():
            nodes.sort(key=lambda node: -self.through[node])

    def reach(self, key: Key) -> float:
        return sum((self.through[node] for node in self.members.get(key, ())), 0.0)

    def of(self, key: Key) -> DifferenceSide | None:
        """What the graph has of a node; None where nothing."""
        nodes = self.members.get(key)
        if nodes is None:
            return None
        graph, is_feature = self.graph, key[0] == "feature"
        first = graph.node(nodes[0])
        target = graph.targets[self.answer - graph.target_range[0]]
        return DifferenceSide(
            nodes=tuple(str(graph.node(node).id) for node in nodes),
            text=target.label if key == ("answer",) else "" if is_feature else graph.tokens[first.position],
            position=first.position,
            influence=self.reach(key) if key != ("answer",) else 1.0,
            activation=max(float(graph.activations[node]) for node in nodes) if is_feature else 0.0,
            effect=sum(float(self.effects[node]) for node in nodes) if is_feature else 0.0,
        )

    def edges(self, keys: Sequence[Key]) -> tuple[Float[Tensor, "target source"], Float[Tensor, "target source"]]:
        """Between nodes: values, and the influence that they carry, added up over the places of each."""
        graph = self.graph
        pairs = [(place, node) for place, key in enumerate(keys) for node in self.members.get(key, ())]
        places, nodes = torch.tensor([place for place, _ in pairs]), [node for _, node in pairs]
        values = graph.between(nodes, nodes)
        reach = (influence(graph) + start_of(graph)) / max(1e-12, float(graph.target_weights.sum()))
        carried = share(values.abs(), graph.over_nodes(graph.input_mass)[nodes, None]) * reach[nodes, None]
        sums = []
        for table in (values, carried):
            rows = table.new_zeros(len(keys), len(nodes)).index_add_(0, places, table)
            sums.append(table.new_zeros(len(keys), len(keys)).index_add_(1, places, rows))
        return sums[0], sums[1]


def difference_graph(
    a: Graph, b: Graph, *, by: By = "position", features: int = 24, edges: int = 80
) -> DifferenceGraph:
    """Draw two graphs of one kit as one, at most so many features and edges.

    MismatchError for graphs of different kits, InputError for a graph without a target or for `features` below 1.
    """
    check_one_kit([a, b])
    if features < 1 or edges < 0:
        raise InputError(f"at least one feature is drawn, not {features}, and no fewer than 0 edges, not {edges}")
    if not (a.targets and b.targets):
        raise InputError("a graph without a target has no answer to compare: trace it again")
    columns = _columns(a.n_tokens, b.n_tokens, compare(a, b).positions)
    kind: Literal["effects", "values"] = (
        "effects" if a.effect_rows is not None and b.effect_rows is not None else "values"
    )
    sides = []
    for side, graph in enumerate((a, b)):
        places = {at: place for place, pair in enumerate(columns) if (at := pair[side]) is not None}
        lost = effects_on(graph.effects if kind == "effects" else graph, _likeliest(graph))
        sides.append(_Side(graph, lost, places, by))
    every = dict.fromkeys(key for side in sides for key in side.members if key[0] == "feature")
    ranked = sorted(every, key=lambda key: -max(side.reach(key) for side in sides))
    tokens = dict.fromkeys(key for side in sides for key in side.members if key[0] == "token")
    keys = [*ranked[:features], *tokens, ("answer",)]
    nodes = [_node(key, sides) for key in keys]
    links = _strongest(keys, nodes, sides, edges)
    nodes, links = _ordered(nodes, links)
    return DifferenceGraph(
        by=by, kind=kind, columns=columns, nodes=tuple(nodes), edges=tuple(links), n_features=len(every)
    )


def _likeliest(graph: Graph) -> int:
    """The rank of the target with the most weight."""
    return max(range(len(graph.targets)), key=lambda rank: graph.targets[rank].weight)


def _columns(n: int, m: int, aligned: tuple[tuple[int, int], ...]) -> tuple[tuple[int | None, int | None], ...]:
    """Aligned positions share a column, every other position has its own; in reading order."""
    columns, i, j = list[tuple[int | None, int | None]](), 0, 0
    for x, y in (*aligned, (n, m)):
        columns += [(k, None) for k in range(i, x)] + [(None, k) for k in range(j, y)]
        if (x, y) != (n, m):
            columns.append((x, y))
        i, j = x + 1, y + 1
    return tuple(columns)


def _node(key: Key, sides: Sequence[_Side]) -> DifferenceNode:
    kind, *rest = key
    feature = FeatureId(int(rest[0]), int(rest[1])) if kind == "feature" else None
    a, b = (side.of(key) for side in sides)
    column = rest[-1] if rest and isinstance(rest[-1], int) else -1
    if kind == "answer":
        column = sides[0].columns[a.position] if sides[0].by == "position" and a is not None else -1
    return DifferenceNode(kind=kind, feature=feature, column=column, a=a, b=b)


def _strongest(
    keys: Sequence[Key], nodes: Sequence[DifferenceNode], sides: Sequence[_Side], count: int
) -> list[DifferenceEdge]:
    """The edges that carry the most influence in either graph."""
    (values_a, carried_a), (values_b, carried_b) = (side.edges(keys) for side in sides)
    most = torch.maximum(carried_a, carried_b)
    most.fill_diagonal_(0)  # a feature that stands at several places may write to itself
    strongest, places = most.flatten().topk(min(count, most.numel()))
    links = []
    for carried, place in zip(strongest.tolist(), places.tolist(), strict=True):
        target, source = divmod(place, len(keys))
        if carried < _LEAST:
            break
        ends = nodes[source], nodes[target]
        links.append(
            DifferenceEdge(
                source=source,
                target=target,
                a=float(values_a[target, source]) if all(end.a for end in ends) else None,
                b=float(values_b[target, source]) if all(end.b for end in ends) else None,
                influence_a=float(carried_a[target, source]),
                influence_b=float(carried_b[target, source]),
            )
        )
    return links


def _ordered(
    nodes: Sequence[DifferenceNode], links: Sequence[DifferenceEdge]
) -> tuple[list[DifferenceNode], list[DifferenceEdge]]:
    """Features by change, tokens that have edges, the answer; edges by their new places."""
    used = {end for link in links for end in (link.source, link.target)}
    features = [place for place, node in enumerate(nodes) if node.kind == "feature"]
    features.sort(key=lambda place: (-abs(nodes[place].change), -nodes[place].reach))
    tokens = [place for place, node in enumerate(nodes) if node.kind == "token" and place in used]
    order = [*features, *tokens, len(nodes) - 1]
    moved = {place: i for i, place in enumerate(order)}
    edges = [replace(link, source=moved[link.source], target=moved[link.target]) for link in links]
    return [nodes[place] for place in order], edges
