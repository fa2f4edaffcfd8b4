"""What the edges into one node are made of: which heads carry their values, and which steps make effects of them.

1. *Loadings*: an edge's value passes a layer by the stream or by the layer's heads. The loading of a head is the flow
   through its values; the loadings of a layer and what passes it by add up to the value.
2. *Parts*: an effect is the value and what each step adds when its scale or pattern follows. Steps are switched from
   held to following one after the other, from the embedding on: the part of a step is what its switch adds. It runs
   from the node back to the step with everything held, through what the step adds, and on with everything following.
   So value and parts add up to the effect exactly. Neurons have two parts more: the derivative of the node's own
   activation, and what passes the neurons of a layer that have no row.

Both are found for all sources of the node at once, in one walk back through the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import FeatureNode, TargetNode
from clew.attribution.targets import target_directions
from clew.errors import InputError
from clew.ids import NodeId
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian, linearized
from clew.subject.recording import Add, Affine, Attend, Embed, Mlp, Normalize, Site, Step, Unembed


@dataclass(frozen=True, kw_only=True)
class EdgeParts:
    """The edges into one node, from every node of the graph: values, what they pass, and what effects add."""

    node: NodeId
    value: Float[Tensor, " node"]
    effect: Float[Tensor, " node"]
    loadings: Mapping[tuple[int, int], Float[Tensor, " node"]]
    """By layer and head: the share of the value that passes the head."""
    parts: Mapping[str, Float[Tensor, " node"]]
    """By step, such as `L3H1 query`, `L3 attention norm`, `final norm`: what the effect has beyond the value."""

    @property
    def stream(self) -> dict[int, Float[Tensor, " node"]]:
        """By layer: what of the value passes by the layer's heads."""
        rest: dict[int, Float[Tensor, " node"]] = {}
        for (layer, _), loading in self.loadings.items():
            rest[layer] = rest.get(layer, self.value) - loading
        return rest


@torch.no_grad()
def edge_parts(model: LocalModel, graph: Graph, node: NodeId | str | int) -> EdgeParts:
    """Take the edges into a feature or an output apart.

    InputError for a node without inputs or one that is a side of a look, MismatchError for a graph of another prompt.
    """
    if "look" in graph.settings:
        raise InputError("parts are of edges into features and outputs, and this graph explains a look")
    place = node if isinstance(node, int) else graph.index(node)
    if graph.row_of(place) < 0:
        raise InputError(f"{graph.node(place).id} has no inputs: give a feature or an output")
    walk = _Walk(model, graph, place)
    held, following = walk.run()
    value = held[0]
    loadings = {key: held[column] for key, column in walk.loads.items()}
    parts = {name: following[column] for name, column in walk.names.items()}
    return EdgeParts(
        node=graph.node(place).id,
        value=value,
        effect=value + sum(parts.values(), torch.zeros_like(value)),
        loadings=loadings,
        parts=parts,
    )


@torch.no_grad()
def head_loadings(
    model: LocalModel, graph: Graph, place: int
) -> tuple[Float[Tensor, " node"], dict[tuple[int, int], Float[Tensor, " node"]]]:
    """The values of the edges into a node and what of them passes each head: `edge_parts` without what effects add,
    for a third of the work. Errors are those of `edge_parts`.
    """
    if graph.row_of(place) < 0:
        raise InputError(f"{graph.node(place).id} has no inputs: give a feature or an output")
    walk = _Walk(model, graph, place, follows=False)
    held, _ = walk.run()
    return held[0], {key: held[column] for key, column in walk.loads.items()}


class _Walk:
    """Gradients of one node, as columns: its own with everything held first, then those that started on the way.

    Columns of loadings go on with everything held, columns of parts with everything following.
    """

    def __init__(self, model: LocalModel, graph: Graph, place: int, *, follows: bool = True) -> None:
        self.model, self.graph, self.sources = model, graph, model.sources
        self.follows = follows
        self.columns = model.columns(graph)
        self.start, self.position, self.vector, self.extra = _reader(model, graph, place)
        self.held: dict[str, Tensor] = {}
        self.following: dict[str, Tensor] = {}
        self.waiting: dict[int, list[tuple[dict[str, Tensor], Tensor]]] = {}
        self.rest: dict[int, Tensor] = {}
        self.loads: dict[tuple[int, int], int] = {}
        self.names: dict[str, int] = {}

    def run(self) -> list[Float[Tensor, "column node"]]:
        """Rows over the graph's nodes: those held, which are the value's and the loadings', and those of the parts."""
        recorded = self.model.recording.steps
        full = linearized(self.model.recording, fold=False)
        n_heads = sum(len(step.output) for step in recorded if isinstance(step, Attend))
        n_norms = sum(isinstance(step, Normalize) for step in recorded)
        n_parts = 2 * n_heads + n_norms + self.model.recording.n_layers + 1  # of neurons also the rest, and their own
        rows = [self.vector.new_zeros(n, self.sources.n_nodes) for n in (1 + n_heads, n_parts)]
        for place in reversed(range(len(recorded))):
            step, other = recorded[place], full[place]
            match step:
                case Unembed():
                    if self.start is None:
                        self._begin(step.source)
                case Site():
                    self._site(step, rows)
                case Add():
                    for gradients in (self.held, self.following):
                        if step.target in gradients:
                            gradients[step.source] = gradients[step.target]
                case Mlp():
                    self.held.pop(step.target, None)
                    self.following.pop(step.target, None)
                case Embed():
                    self._embed(step, rows)
                case Affine():
                    for gradients in (self.held, self.following):
                        if step.target in gradients:
                            self._gain(gradients, step.source, step.transpose(gradients.pop(step.target)))
                case Normalize() | Attend():
                    self._through(step, other, self._name(place))
        pad = len(self.graph.targets)  # a target has no output
        return [torch.nn.functional.pad(found[:, self.columns], (0, pad)).cpu() for found in rows]

    def _name(self, place: int) -> str:
        """What a step is called: the layer, and which norm of it."""
        steps = self.model.recording.steps
        behind = steps[place:]
        following = next((s for s in behind[1:] if isinstance(s, Attend | Mlp | Add | Unembed)), None)
        match steps[place], following:
            case Attend() as attend, _:
                return f"L{attend.layer}"
            case _, Unembed():
                return "final norm"
            case _, Attend() as attend:
                return f"L{attend.layer} attention norm"
            case _, Mlp() as mlp:
                return f"L{mlp.layer} MLP norm"
        before = next(s for s in reversed(steps[:place]) if isinstance(s, Attend | Mlp))
        return f"L{before.layer} norm after {'attention' if isinstance(before, Attend) else 'MLP'}"

    # --- the node ---------------------------------------------------------------------------------------------

    def _begin(self, register: str) -> None:
        gradient = self.vector.new_zeros(self.graph.n_tokens, len(self.vector), 1)
        gradient[self.position, :, 0] = self.vector
        self._gain(self.held, register, gradient)
        if self.extra is not None and self.follows:
            gradient = torch.zeros_like(gradient)
            gradient[self.position, :, 0] = self.extra
            self._start(f"L{self.start} activation", register, gradient[:, :, 0])

    def _start(self, part: str, register: str, extra: Float[Tensor, "pos d_model"]) -> None:
        """What a step adds to the gradient of what it reads when it follows: a part, which goes on following."""
        column = self.names.setdefault(part, len(self.names))
        started = extra.new_zeros(*extra.shape, column + 1)
        started[:, :, column] = extra
        self._gain(self.following, register, started)

    # --- steps ------------------------------------------------------------------------------------------------

    def _gain(self, gradients: dict[str, Tensor], register: str, moved: Tensor) -> None:
        """Add to a register's gradient; columns that one of the two does not have yet are zero there."""
        old = gradients.get(register)
        if old is None:
            gradients[register] = moved
            return
        width = max(old.shape[2], moved.shape[2])
        padded = [torch.nn.functional.pad(each, (0, width - each.shape[2])) for each in (old, moved)]
        gradients[register] = padded[0] + padded[1]

    def _through(self, step: Normalize | Attend, full: Step | NormalizeJacobian | AttendJacobian, name: str) -> None:
        assert isinstance(full, NormalizeJacobian | AttendJacobian)
        held, following = self.held.pop(step.target, None), self.following.pop(step.target, None)
        if following is not None:
            self._gain(self.following, step.source, full.transpose(following))
        if held is None:
            return
        self._gain(self.held, step.source, step.transpose(held))
        own = held[:, :, 0]
        for part, extra in self._parts(step, full, own, name) if self.follows else ():
            self._start(part, step.source, extra)
        if isinstance(step, Attend):
            for head in range(len(step.output)):
                column = self.loads.setdefault((step.layer, head), 1 + len(self.loads))
                started = own.new_zeros(*own.shape, column + 1)
                started[:, :, column] = step.through_head(own, head)
                self._gain(self.held, step.source, started)

    def _parts(
        self, step: Normalize | Attend, full: NormalizeJacobian | AttendJacobian, g: Tensor, name: str
    ) -> Iterator[tuple[str, Tensor]]:
        """What a step adds to the gradient of what it reads when it follows."""
        if isinstance(full, NormalizeJacobian):
            yield name, (full.transpose(g[:, :, None]) - step.transpose(g[:, :, None]))[:, :, 0]
            return
        for head in range(len(full.attend.output)):
            for side in ("query", "key"):
                yield f"{name}H{head} {side}", full.through_pattern(g, head, side)

    # --- sources ----------------------------------------------------------------------------------------------

    def _site(self, site: Site, rows: list[Tensor]) -> None:
        dictionary = self.model.dictionary
        if site.name == dictionary.write_site:
            for gradients, found in zip((self.held, self.following), rows, strict=True):
                gradient = gradients.pop(site.register, None)
                if gradient is not None:
                    self._contract(site.layer, gradient, found)
                    self._behind(site.layer, gradients, gradient)
        if site.name == dictionary.read_site:
            for gradients, back in self.waiting.pop(site.layer, ()):
                self._gain(gradients, site.register, back)
            own = self.rest.pop(site.layer, None)
            if own is not None and self.follows:
                self._start(f"L{site.layer} rest", site.register, own)
            if self.start == site.layer:
                self._begin(site.register)

    def _behind(self, layer: int, gradients: dict[str, Tensor], gradient: Tensor) -> None:
        """What a gradient at a written layer becomes at what was read: by a skip, and by the rest where it responds."""
        skip, rest = self.sources.skip(layer), self.model.rest
        if skip is not None:
            back = torch.matmul(skip.T, gradient)
            back[: self.sources.first_position] = 0
            self.waiting.setdefault(layer, []).append((gradients, back))
        if rest is not None and gradients is self.following:
            for read, back in rest.back(layer, gradient):
                self.waiting.setdefault(read, []).append((gradients, back))
        elif rest is not None:
            for read, back in rest.back(layer, gradient[:, :, :1]):
                self.rest[read] = self.rest.get(read, 0) + back[:, :, 0]

    def _contract(self, layer: int, gradient: Tensor, rows: Tensor) -> None:
        """With what every source writes to this layer; in place."""
        written, width = self.sources.written(layer), gradient.shape[2]
        for position, span in enumerate(self.sources.spans(layer)):
            out = rows[:width, span.first_column : span.last_column]
            out.addmm_(gradient[position].T, written[span.first_row : span.last_row].T)

    def _embed(self, step: Embed, rows: list[Tensor]) -> None:
        for gradients, found in zip((self.held, self.following), rows, strict=True):
            gradient = gradients.pop(step.target, None)
            if gradient is not None:
                found[: gradient.shape[2], self.sources.token_columns] += torch.einsum(
                    "pd,pdc->cp", step.tokens, gradient
                )


def _reader(model: LocalModel, graph: Graph, place: int) -> tuple[int | None, int, Tensor, Tensor | None]:
    """Where a node reads: the layer (None: what is unembedded), the position, the direction.

    Last, what a neuron's derivative has beyond the direction that adds up to its value.
    """
    node = graph.node(place)
    dtype = model.sources.dtype
    if isinstance(node, TargetNode):
        return None, node.position, target_directions(model.subject, graph)[node.rank].to(dtype), None
    assert isinstance(node, FeatureNode)
    ids, dictionary = torch.tensor([node.feature], device=model.sources.device), model.dictionary
    x = model.recording.sites[dictionary.read_site, node.layer][[node.position]]
    value = dictionary.reader_rows(node.layer, ids, x)[0][0].to(dtype)
    extra = dictionary.slope_rows(node.layer, ids, x)[0].to(dtype) - value if dictionary.reads_by_position else None
    return node.layer, node.position, value, extra
