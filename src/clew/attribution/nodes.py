"""The nodes of a graph in their order: features (by layer, position, index), errors (layer, position), tokens, targets.

All arithmetic on that order is here. Others ask for a kind's `part` or `mask`, or for the layer and position of every
node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clew.errors import InputError
from clew.ids import NodeId, NodeKind

OFFSETS = ("bias", "position", "sink", "left_out")


def signed_label(label: str, activation: float) -> str:
    """A feature's label, turned round where a neuron is negative: what it promotes, it then speaks against."""
    if activation >= 0 or not label:
        return label
    verb, *rest = label.split(" ", 1)
    return f"demotes {rest[0]}" if verb == "promotes" and rest else f"negative: {label}"


def array_shapes(n_features: int, n_errors: int, n_rows: int, n_cols: int) -> dict[str, tuple[int, ...]]:
    """The shape of each of a graph's arrays but `rows`, which is `(n_rows, n_cols)`."""
    return {
        "feature_keys": (n_features, 3),
        "activations": (n_features,),
        "preactivations": (n_features,),
        "error_keys": (n_errors, 2),
        "row_nodes": (n_rows,),
        "col_nodes": (n_cols,),
        "row_offsets": (n_rows, len(OFFSETS)),
        "input_mass": (n_rows,),
    }


@dataclass(frozen=True)
class FeatureNode:
    """An active feature at one position."""

    layer: int
    position: int
    feature: int
    activation: float

    @property
    def id(self) -> NodeId:
        return NodeId("feature", self.position, self.layer, self.feature)


@dataclass(frozen=True)
class ErrorNode:
    """What the Dictionary missed of one MLP output."""

    layer: int
    position: int

    @property
    def id(self) -> NodeId:
        return NodeId("error", self.position, self.layer)


@dataclass(frozen=True)
class TokenNode:
    """The token embedding at one position."""

    position: int

    @property
    def id(self) -> NodeId:
        return NodeId("token", self.position)


@dataclass(frozen=True)
class TargetNode:
    """An output that the graph explains; `rank` is its place among the graph's targets."""

    label: str
    position: int
    weight: float
    rank: int

    @property
    def id(self) -> NodeId:
        return NodeId("target", self.position, None, self.rank)


Node = FeatureNode | ErrorNode | TokenNode | TargetNode


@dataclass(frozen=True, kw_only=True)
class TargetInfo:
    """One output: `value` is its centred logit (what the edges and offsets add up to).

    `weight` is what the scores weigh it with: the token's probability, or 1 for a single target. `probability` and
    `token` are None when the target is a direction and not one token. A contrast keeps its tokens with their weights.
    """

    label: str
    position: int
    weight: float
    value: float
    token: int | None = None
    probability: float | None = None
    plus: tuple[tuple[int, float], ...] = ()
    minus: tuple[tuple[int, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain values; a contrast's tokens only where it has some."""
        return {name: value for name, value in vars(self).items() if value != ()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TargetInfo:
        """Read what `to_json` gave, in which pairs have become lists."""
        sides = {name: tuple((int(t), float(w)) for t, w in fields.get(name, ())) for name in ("plus", "minus")}
        return cls(**{**fields, **sides})


class NodeOrder:
    """The order of a graph's nodes, from its keys, tokens and targets."""

    feature_keys: Int[Tensor, "feature 3"]
    activations: Tensor
    error_keys: Int[Tensor, "error 2"]
    tokens: tuple[str, ...]
    targets: tuple[TargetInfo, ...]
    n_layers: int

    @cached_property
    def n_features(self) -> int:
        return len(self.feature_keys)

    @cached_property
    def n_errors(self) -> int:
        return len(self.error_keys)

    @cached_property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @cached_property
    def n_nodes(self) -> int:
        return self.n_features + self.n_errors + self.n_tokens + len(self.targets)

    def __len__(self) -> int:
        return self.n_nodes

    @cached_property
    def feature_range(self) -> range:
        return range(self.n_features)

    @cached_property
    def error_range(self) -> range:
        return range(self.n_features, self.n_features + self.n_errors)

    @cached_property
    def token_range(self) -> range:
        start = self.n_features + self.n_errors
        return range(start, start + self.n_tokens)

    @cached_property
    def target_range(self) -> range:
        return range(self.n_nodes - len(self.targets), self.n_nodes)

    def part(self, kind: NodeKind) -> slice:
        """The part of a tensor over nodes that belongs to one kind."""
        places: range = getattr(self, f"{kind}_range")
        return slice(places.start, places.stop)

    def mask(self, *kinds: NodeKind) -> Bool[Tensor, " node"]:
        """True for nodes of these kinds."""
        mask = torch.zeros(self.n_nodes, dtype=torch.bool)
        for kind in kinds:
            mask[self.part(kind)] = True
        return mask

    @cached_property
    def node_layers(self) -> Int[Tensor, " node"]:
        """The layer of every feature and error; -1 for tokens, the number of layers for targets."""
        layers = torch.full((self.n_nodes,), -1)
        layers[self.part("feature")] = self.feature_keys[:, 0]
        layers[self.part("error")] = self.error_keys[:, 0]
        layers[self.part("target")] = self.n_layers
        return layers

    @cached_property
    def node_positions(self) -> Int[Tensor, " node"]:
        """The position of every node; a target's is the one whose next token it is."""
        targets = torch.tensor([target.position for target in self.targets], dtype=torch.long)
        return torch.cat([self.feature_keys[:, 1], self.error_keys[:, 1], torch.arange(self.n_tokens), targets])

    def node(self, index: int) -> Node:
        """The node at `index` in the order features, errors, tokens, targets; InputError when there is none."""
        if not 0 <= index < self.n_nodes:
            raise InputError(f"node index {index} is outside 0..{self.n_nodes - 1}")
        if index in self.feature_range:
            layer, position, feature = self.feature_keys[index].tolist()
            return FeatureNode(layer, position, feature, float(self.activations[index]))
        if index in self.error_range:
            layer, position = self.error_keys[index - self.n_features].tolist()
            return ErrorNode(layer, position)
        if index in self.token_range:
            return TokenNode(index - self.token_range.start)
        rank = index - self.target_range.start
        target = self.targets[rank]
        return TargetNode(target.label, target.position, target.weight, rank)

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes, in the order of the adjacency's rows and columns."""
        return _Nodes(self)

    @cached_property
    def _index_of(self) -> dict[NodeId, int]:
        keys = self.feature_keys.tolist()
        places = {NodeId("feature", p, layer, f): i for i, (layer, p, f) in enumerate(keys)}
        start = self.n_features
        places |= {NodeId("error", p, layer): start + i for i, (layer, p) in enumerate(self.error_keys.tolist())}
        places |= {NodeId("token", p): self.token_range.start + p for p in range(self.n_tokens)}
        first = self.target_range.start
        return places | {NodeId("target", t.position, None, i): first + i for i, t in enumerate(self.targets)}

    def index(self, node: Node | NodeId | str) -> int:
        """The place of a node in the adjacency; InputError when the graph does not hold it."""
        name = NodeId.parse(node) if isinstance(node, str) else node if isinstance(node, NodeId) else node.id
        try:
            return self._index_of[name]
        except KeyError:
            raise InputError(f"{name} is not a node of this graph ({self.n_nodes} nodes)") from None

    def _place(self, node: Node | NodeId | str | int) -> int:
        return self.index(self.node(node)) if isinstance(node, int) else self.index(node)


class _Nodes(Sequence[Node]):
    """A view of a graph's nodes that builds each one when it is looked at."""

    def __init__(self, graph: NodeOrder) -> None:
        self._graph = graph

    def __len__(self) -> int:
        return self._graph.n_nodes

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._graph.node(i) for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self._graph.node(place)

    def __iter__(self) -> Iterator[Node]:
        return (self._graph.node(i) for i in range(len(self)))
