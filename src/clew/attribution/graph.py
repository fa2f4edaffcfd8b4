"""The attribution graph of one prompt: nodes, weighted edges, offsets, and the graph's own file.

Only the rows of features and targets are stored, because nothing flows into errors and tokens. A row's sources may be
kept in any order, which `row_nodes` and `col_nodes` record, so that a sweep can leave its result where it computed it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew import files
from clew.attribution.nodes import (
    OFFSETS,
    ErrorNode,
    FeatureNode,
    Node,
    NodeOrder,
    TargetInfo,
    TargetNode,
    TokenNode,
    array_shapes,
    signed_label,
)
from clew.displays import Displayed, brief, rendered
from clew.errors import FileError, InputError
from clew.ids import FeatureId, NodeId, NodeKind
from clew.kernels.shares import share
from clew.memory import check_room

if TYPE_CHECKING:
    from clew.attribution.influence import Scores
    from clew.attribution.robustness import Robustness

ENVELOPE = files.Envelope(format="clew.graph", schema=2, what="graph")


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph(Displayed, NodeOrder):
    """Who caused what on one prompt: `adjacency[target, source]` is the direct effect of source on target.

    For every feature and target, incoming edges plus offsets equal its pre-activation (for a target its centred logit).
    """

    prompt: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    n_layers: int
    first_position: int  # positions before it carry no features or errors: 1 when the first one is left out
    feature_keys: Int[Tensor, "feature 3"]  # layer, position, index
    activations: Float[Tensor, " feature"]
    preactivations: Float[Tensor, " feature"]
    error_keys: Int[Tensor, "error 2"]  # layer, position
    targets: tuple[TargetInfo, ...]
    rows: Float[Tensor, "row col"]
    row_nodes: Int[Tensor, " row"]
    col_nodes: Int[Tensor, " col"]
    row_offsets: Float[Tensor, "row 4"]  # bias, position, sink, left_out
    input_mass: Float[Tensor, " row"]  # sum of absolute inputs in the whole graph, before any pruning
    effect_rows: Float[Tensor, "row col"] | None = None  # what changes when a source goes; not always there
    next_tokens: tuple[tuple[str, float], ...] = ()  # the most probable next tokens at the last target position
    subject: str = ""
    dictionary: str = ""
    dictionary_kind: str = ""
    dictionary_fingerprint: str = ""
    first_reason: str = ""  # what speaks for or against the first position, in words; "" when it was not measured
    first_ratio: float = 0.0  # the norm of its largest MLP output beside the prompt's median in that layer
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[FeatureId, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        targets = ", ".join(f"{brief(target.label, 24)} {target.weight:.3f}" for target in self.targets[:3])
        more = f" and {len(self.targets) - 3} more" if len(self.targets) > 3 else ""
        return (
            f"Graph({brief(self.prompt)}: {self.n_features:,} features, {self.n_errors:,} errors, {self.n_tokens:,} "
            f"tokens; explains {targets}{more}; {self.subject}, {self.dictionary})"
        )

    # --- nodes ------------------------------------------------------------------------------------------------

    def node_label(self, index: int) -> str:
        """A short name for a person: the token, the output, or the feature's id with its label."""
        node = self.node(index)
        match node:
            case FeatureNode():
                label = self.labels.get(FeatureId(node.layer, node.feature))
                return f"{node.id}" if label is None else f"{node.id} {signed_label(label, node.activation)}"
            case ErrorNode():
                return f"{node.id} {self.error_name}"
            case TokenNode():
                return f"{self.tokens[node.position]!r}"
            case TargetNode():
                return node.label if self.targets[node.rank].token is None else f"{node.label!r}"

    @property
    def error_name(self) -> str:
        """What its error nodes are: what a dictionary misses, or the rest of an MLP's neurons, which have no row."""
        return "rest" if self.settings.get("rest") == "neurons" else "error"

    # --- edges ------------------------------------------------------------------------------------------------

    @property
    def adjacency(self) -> Float[Tensor, "node node"]:
        """All edges, row = target, column = source; built on each request.

        InputError when there is not enough memory.
        """
        advice = "prune the graph first, or read graph.rows, where nodes without inputs have no row"
        check_room(self.n_nodes**2 * self.rows.itemsize, f"the adjacency of {self.n_nodes:,} nodes", advice)
        whole = self.rows.new_zeros(self.n_nodes, self.n_nodes)
        whole[self.row_nodes[:, None], self.col_nodes[None, :]] = self.rows
        return whole

    @property
    def offsets(self) -> Float[Tensor, "node 4"]:
        """What enters each node beside its edges: bias, position embeddings, sink, left-out features."""
        whole = self.row_offsets.new_zeros(self.n_nodes, len(OFFSETS))
        whole[self.row_nodes] = self.row_offsets
        return whole

    @cached_property
    def _row_of(self) -> Tensor:
        where = torch.full((self.n_nodes,), -1)
        where[self.row_nodes] = torch.arange(len(self.row_nodes))
        return where

    @cached_property
    def _col_of(self) -> Tensor:
        where = torch.full((self.n_nodes,), -1)
        where[self.col_nodes] = torch.arange(len(self.col_nodes))
        return where

    def row_of(self, index: int) -> int:
        """The row of a node in `rows`; -1 when nothing flows into it."""
        return int(self._row_of[index])

    def inputs(self, node: Node | NodeId | str | int) -> Float[Tensor, " node"]:
        """The edges into one node, one entry for each source node."""
        index = self._place(node)
        whole = self.rows.new_zeros(self.n_nodes)
        row = self.row_of(index)
        if row >= 0:
            whole[self.col_nodes] = self.rows[row]
        return whole

    def outputs(self, node: Node | NodeId | str | int) -> Float[Tensor, " node"]:
        """The edges out of one node, one entry for each target node."""
        index = self._place(node)
        whole = self.rows.new_zeros(self.n_nodes)
        column = int(self._col_of[index])
        if column >= 0:
            whole[self.row_nodes] = self.rows[:, column]
        return whole

    def between(self, readers: Sequence[int], sources: Sequence[int]) -> Float[Tensor, "reader source"]:
        """The edges from some nodes into others, by their places; 0 where a node has no inputs, or no outputs."""
        rows, cols = self._row_of[list(readers)], self._col_of[list(sources)]
        if not self.rows.numel():
            return self.rows.new_zeros(len(rows), len(cols))
        there = (rows >= 0)[:, None] & (cols >= 0)[None, :]
        return self.rows[rows.clamp_min(0)[:, None], cols.clamp_min(0)[None, :]] * there

    @property
    def shares(self) -> Float[Tensor, "row col"]:
        """Each edge as a signed share of its target's absolute input in the whole graph; 0 in a row without input."""
        return share(self.rows, self.input_mass[:, None])

    def columns(self, *kinds: NodeKind) -> Bool[Tensor, " col"]:
        """True for the columns of nodes of these kinds."""
        return self.mask(*kinds)[self.col_nodes]

    def over_nodes(self, values: Float[Tensor, " row"]) -> Float[Tensor, " node"]:
        """Values of rows at their nodes; 0 for nodes without a row."""
        return values.new_zeros(self.n_nodes).index_copy(0, self.row_nodes, values)

    @property
    def values(self) -> Float[Tensor, " row"]:
        """What each stored row adds up to: the pre-activation of a feature, the centred logit of a target."""
        logits = torch.tensor([t.value for t in self.targets], dtype=self.rows.dtype)
        middle = self.rows.new_zeros(self.n_errors + self.n_tokens)
        return torch.cat([self.preactivations.to(self.rows.dtype), middle, logits])[self.row_nodes]

    @property
    def target_weights(self) -> Float[Tensor, " target"]:
        return torch.tensor([t.weight for t in self.targets], dtype=self.rows.dtype)

    @property
    def effects(self) -> Graph:
        """The same graph with effects in place of values: what changes when a source goes.

        Its rows are a source's size times the derivative of what the row's node reads, patterns and norm scales
        following, other features and errors held. They do not add up to an activation. InputError where the graph was
        traced without effects.
        """
        if self.effect_rows is None:
            raise InputError("the graph has no effects: trace it with effects=True (clew trace --effects)")
        mass = self.effect_rows.abs().sum(1)
        return replace(self, rows=self.effect_rows, effect_rows=None, row_offsets=0 * self.row_offsets, input_mass=mass)

    # --- verbs ------------------------------------------------------------------------------------------------

    def scores(self) -> Scores:
        """Replacement and completeness, both in [0, 1]: see `clew.attribution.influence.scores`."""
        from clew.attribution.influence import scores

        return scores(self)

    def prune(self, node: float | int = 0.8, edge: float | int = 0.98, by: str | Tensor = "influence") -> Graph:
        """Keep the smallest set of nodes and edges that holds these shares of the influence.

        graph.prune(by="signed-influence")  # nodes by another measure: see `clew.attribution.rankings`
        graph.prune(by=kit.integrated_gradients(graph))  # or by a number for every node
        """
        from clew.attribution.pruning import prune

        return prune(self, node=node, edge=edge, by=by)

    def predict(self, gone: Sequence[NodeId | str]) -> Float[Tensor, " node"]:
        """What every feature and target loses when these nodes go together, by the graph's effects, to first order.

        Of features the pre-activation, of targets the centred logit, over all paths; every other feature responds.
        `clew.Kit.predict` holds what an edit clamps, and applies the final norm and the softmax exactly, for which the
        model is needed. InputError for a graph without effects, and for a node that is none.
        """
        from clew.attribution.influence import responses

        effects, removed = self.effects, torch.zeros(self.n_nodes, 1, dtype=torch.float64)
        removed[[self.index(node) for node in gone]] = 1
        return responses(effects, removed)[0][:, 0]

    def flow(self, kept: Graph | Sequence[NodeId | str | int]) -> Graph:
        """The graph on some of its nodes, the edges between them through all that is left out, exactly.

            graph.flow(graph.prune())

        Pre-activations and total effects between kept nodes stay as they are: see `clew.attribution.elimination`.
        """
        from clew.attribution.elimination import flow

        return flow(self, kept)

    def robustness(self, *, draws: int = 20, rewirings: int = 10, seed: int = 0) -> Robustness:
        """Whether the graph hangs on an edge or spreads: see `clew.attribution.robustness`. Prune it first."""
        from clew.attribution.robustness import robustness

        return robustness(self, draws=draws, rewirings=rewirings, seed=seed)

    def with_labels(self, labels: Mapping[FeatureId, str]) -> Graph:
        """The same graph with more features named; a name already there stays unless given anew."""
        return replace(self, labels={**self.labels, **labels})

    def show(self, *, kit: Any = None, height: int = 760) -> Any:
        """The graph's page, to be shown in a notebook as the last line of a cell: no server, no request.

        With the Kit that traced it, the page has the cards of its features. `height` is in pixels.
        """
        return rendered("Graph.show", self, kit=kit, height=height)

    def to_json(self, path: Path | str | None = None, *, slug: str = "") -> dict[str, Any]:
        """The graph in the JSON that Neuronpedia and circuit-tracer's page read; written to `path` when given."""
        from clew.attribution.graph_json import to_json

        value = to_json(self, slug=slug)
        if path is not None:
            files.write_json(path, value)
        return value

    @classmethod
    def from_json(cls, source: Path | str | Mapping[str, Any]) -> Graph:
        """Read graph JSON, ours or another program's, from a file or a parsed value; FileError when it is neither."""
        from clew.attribution.graph_json import from_json

        return from_json(source if isinstance(source, Mapping) else files.read_json(source))

    # --- file -------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the graph as one safetensors file, atomically."""
        whole = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors = {name: value for name, value in whole.items() if isinstance(value, Tensor)}
        head = {name: value for name, value in whole.items() if name not in tensors and name != "effect_rows"}
        head["targets"] = [t.to_json() for t in self.targets]
        head["labels"] = {str(feature): label for feature, label in self.labels.items()}
        read_back = "packages" in self.provenance  # then it says already which program computed the graph
        head["provenance"] = dict(self.provenance) if read_back else files.provenance(**self.provenance)
        note = ENVELOPE.note(head=json.dumps(head, ensure_ascii=False))
        files.save_tensors(path, tensors, note)

    @classmethod
    def load(cls, path: Path | str) -> Graph:
        """Read a graph file; FileError when it is truncated, foreign or of a newer schema."""
        note = files.load_note(path)
        ENVELOPE.check_note(note, path)
        try:
            head: dict[str, Any] = json.loads(note["head"])
            head["targets"] = tuple(TargetInfo.from_json(t) for t in head["targets"])
            head["labels"] = {FeatureId.parse(name): label for name, label in head["labels"].items()}
            head["tokens"], head["token_ids"] = tuple(head["tokens"]), tuple(head["token_ids"])
            head["next_tokens"] = tuple((token, probability) for token, probability in head.get("next_tokens", ()))
            tensors = files.load_tensors(path)
            _check_shapes(tensors, head)
            return cls(**(head | tensors))
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise FileError(f"{path} lacks part of a graph or holds a damaged one ({error})") from error


def _check_shapes(tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
    """ValueError unless the tensors describe one graph: sizes that agree, nodes that exist."""
    n_rows, n_cols = tensors["rows"].shape
    n_features, n_errors = len(tensors["feature_keys"]), len(tensors["error_keys"])
    n_nodes = n_features + n_errors + len(head["tokens"]) + len(head["targets"])
    shapes = array_shapes(n_features, n_errors, n_rows, n_cols)
    if "effect_rows" in tensors:
        shapes["effect_rows"] = (n_rows, n_cols)
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
    for name in ("row_nodes", "col_nodes"):
        places = tensors[name]
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < n_nodes:
            raise ValueError(f"{name} points outside the graph's {n_nodes} nodes")
