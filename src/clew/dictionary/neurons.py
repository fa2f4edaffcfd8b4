"""A model's own neurons as features.

An MLP is a sum over its neurons, each an activation times a row of the output matrix: what a per-layer transcoder
computes. So neurons are a dictionary that misses nothing, of any model, trained by nobody.

A ReLU neuron reads what a transcoder's feature reads. Of any other one the activation a takes the place of the
pre-activation, and what it reads depends on x, the input at its position:

1. *Values*, which add up to a. Of a = f(z), z = w . x + b, the factor f(z) / z is held: it reads (f(z) / z) w. Of a
   gated a = f(g) u, half is credited to each factor: it reads (f(g) / g) (u w_gate + g w_in) / 2.
2. *Effects*, which follow the derivative: f'(z) w, and f'(g) u w_gate + f(g) w_in.

The neurons of all experts of a mixture are one such MLP: a is multiplied by s, the share that the router gives to the
neuron's expert, zero where that is not chosen. For values s is held; effects add a times the derivative of s, the
choice held (`clew.subject.routing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear, one_hot

from clew.dictionary.layer import Layer
from clew.dictionary.nonlinearity import Elementwise, ReLU

if TYPE_CHECKING:
    from clew.subject import Subject

RELU = "relu"


def neuron_layer(subject: Subject, layer: int) -> Layer:
    """The neurons of one MLP; InputError where it is a choice of experts of which only the output is recorded."""
    weights, function = subject.mlp_neurons(layer), subject.mlp_function
    w_in, w_out, gate, gate_bias = weights.w_in, weights.w_out, weights.w_gate, weights.b_gate
    zeros = w_in.new_zeros(len(w_in))
    is_relu = gate is None and function == RELU and weights.router is None
    return Layer(
        encoder=w_in.contiguous(),
        bias=zeros if weights.b_in is None else weights.b_in,
        nonlinearity=ReLU() if is_relu else Elementwise(name=function, function=weights.function),
        decoder=w_out.contiguous()[:, None],
        decoder_bias=w_out.new_zeros(w_out.shape[1]) if weights.b_out is None else weights.b_out,
        gate=None if gate is None else gate.contiguous(),
        gate_bias=zeros if gate is not None and gate_bias is None else gate_bias,
        router=weights.router,
    )


def activations(layer: Layer, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
    """Of neurons whose function is not a ReLU."""
    unrouted = _activations(layer, *_read(layer, x))
    return unrouted if layer.router is None else unrouted * _by_neuron(layer, layer.router.shares(x.to(unrouted)))


def activations_of(layer: Layer, x: Float[Tensor, "n pos d_model"], ids: Int[Tensor, " n"]) -> Float[Tensor, "n pos"]:
    """The activation of another neuron in every row of x."""
    rows = _Rows(layer, ids, x)
    unrouted = _activations(layer, rows.inner, rows.gate)
    return (unrouted if rows.share is None else unrouted * rows.share).mT


def responses(
    layer: Layer, x: Float[Tensor, "*batch d_model"], moved: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch feature"]:
    """How activations on x change when x moves, to first order."""
    inner, gate = _read(layer, x)
    along_inner, along_gate = _slopes(layer, inner, gate)
    moved = moved.to(inner)
    change = along_inner * linear(moved, layer.encoder.to(inner))
    if gate is not None and layer.gate is not None:
        change = change + along_gate * linear(moved, layer.gate.to(inner))
    if layer.router is None:
        return change
    x = x.to(inner)
    shares = (layer.router.slopes(x) @ moved[..., None])[..., 0]
    unrouted = _activations(layer, inner, gate)
    return change * _by_neuron(layer, layer.router.shares(x)) + unrouted * _by_neuron(layer, shares)


def reader_rows(
    layer: Layer, ids: Int[Tensor, " n"], x: Float[Tensor, "n d_model"]
) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
    """What some neurons read of x, one position each, and the constant: together their activations."""
    rows = _Rows(layer, ids, x)
    factor = rows.function.factor(rows.inner if rows.gate is None else rows.gate)
    if rows.share is not None:
        factor = factor * rows.share
    if rows.gate is None:
        return factor[:, None] * rows.w_in, factor * rows.b_in
    half = factor / 2
    reads = half[:, None] * (rows.inner[:, None] * rows.w_gate + rows.gate[:, None] * rows.w_in)
    return reads, half * (rows.inner * rows.b_gate + rows.gate * rows.b_in)


def slope_rows(layer: Layer, ids: Int[Tensor, " n"], x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
    """The derivative of some neurons' activations, one position each."""
    rows = _Rows(layer, ids, x)
    along_inner, along_gate = _slopes(layer, rows.inner, rows.gate)
    reads = along_inner[:, None] * rows.w_in
    if rows.gate is not None:
        reads = reads + along_gate[:, None] * rows.w_gate
    if layer.router is None or rows.share is None:
        return reads
    shares = torch.einsum("ned,ne->nd", layer.router.slopes(rows.x), rows.expert)
    return reads * rows.share[:, None] + _activations(layer, rows.inner, rows.gate)[:, None] * shares


class Jacobian:
    """The derivative of a layer's MLP output at each of some positions, some of its neurons held.

    Where many gradients will pass and there is room, the map of each position is multiplied out once (`drawn`).
    """

    def __init__(
        self, layer: Layer, x: Float[Tensor, "pos d_model"], held: Int[Tensor, "held 2"], *, drawn: bool = False
    ) -> None:
        """`held` are positions and neurons."""
        self.layer = layer
        inner, gate = _read(layer, x)
        self.along_inner, self.along_gate = _slopes(layer, inner, gate)
        self.routing = None if layer.router is None else _Routing(layer, x.to(inner), held, inner, gate)
        for along in (self.along_inner, self.along_gate):
            along[held[:, 0], held[:, 1]] = 0
            if self.routing is not None:
                along *= _by_neuron(layer, self.routing.shares)
        self.maps = self._drawn() if drawn else None

    def _weights(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of input, output and gate, in the dtype of the run."""
        like, gate = self.along_inner, self.layer.gate
        w_in, w_out = self.layer.encoder.to(like), self.layer.decoder[:, 0].to(like)
        return w_in, w_out, None if gate is None else gate.to(like)

    def _drawn(self) -> Float[Tensor, "pos d_model d_model"]:
        """From gradients of the output to those of what is read, at every position."""
        w_in, w_out, w_gate = self._weights()
        maps = [w_in.T @ (along[:, None] * w_out) for along in self.along_inner]
        if w_gate is not None:
            for own, along in zip(maps, self.along_gate, strict=True):
                own.addmm_(w_gate.T, along[:, None] * w_out)
        if self.routing is not None:
            return torch.stack(maps) + self.routing.slopes.mT @ self.routing.outputs
        return torch.stack(maps)

    def forward(self, moved: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """How the output changes with what is read."""
        w_in, w_out, w_gate = self._weights()
        change = self.along_inner * linear(moved, w_in)
        if w_gate is not None:
            change = change + self.along_gate * linear(moved, w_gate)
        out = torch.matmul(change, w_out)
        return out if self.routing is None else out + self.routing.forward(moved)

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        """Gradients of what is read, from those of the output, at the first positions."""
        if self.maps is not None:
            return torch.bmm(self.maps[: len(g)], g)
        w_in, w_out, w_gate = self._weights()
        back = torch.empty_like(g)
        for position, gradient in enumerate(g):
            through = w_out @ gradient
            torch.matmul(w_in.T, self.along_inner[position, :, None] * through, out=back[position])
            if w_gate is not None:
                back[position].addmm_(w_gate.T, through.mul_(self.along_gate[position, :, None]))
        return back if self.routing is None else back + self.routing.transpose(g)


class _Routing:
    """How an MLP's output follows the shares of its experts at each of some positions."""

    def __init__(self, layer: Layer, x: Tensor, held: Tensor, inner: Tensor, gate: Tensor | None) -> None:
        assert layer.router is not None
        unrouted = _activations(layer, inner, gate)
        unrouted[held[:, 0], held[:, 1]] = 0
        decoders = layer.decoder[:, 0].to(inner).unflatten(0, (layer.router.n_experts, -1))
        self.shares: Float[Tensor, "pos expert"] = layer.router.shares(x)
        self.slopes: Float[Tensor, "pos expert d_model"] = layer.router.slopes(x)
        self.outputs: Float[Tensor, "pos expert d_model"] = torch.einsum(
            "pen,end->ped", unrouted.unflatten(1, decoders.shape[:2]), decoders
        )

    def forward(self, moved: Tensor) -> Tensor:
        """How the output changes with what is read."""
        return torch.einsum("ped,...pd,peo->...po", self.slopes, moved, self.outputs)

    def transpose(self, g: Tensor) -> Tensor:
        """Gradients of what is read, from those of the output, at the first positions."""
        return self.slopes[: len(g)].mT @ (self.outputs[: len(g)] @ g)


class _Rows:
    """The weights of some neurons, and what each makes of the input at its position."""

    def __init__(self, layer: Layer, ids: Tensor, x: Tensor) -> None:
        dtype = _dtype(layer, x)
        self.function, x = _function(layer), x.to(dtype)

        def rows(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, ids.to(tensor.device)).to(dtype)

        self.w_in, self.b_in = rows(layer.encoder), rows(layer.bias)
        self.inner: Tensor = torch.einsum("n...d,nd->...n", x, self.w_in) + self.b_in
        self.gate: Tensor | None = None
        if layer.gate is not None and layer.gate_bias is not None:
            self.w_gate, self.b_gate = rows(layer.gate), rows(layer.gate_bias)
            self.gate = torch.einsum("n...d,nd->...n", x, self.w_gate) + self.b_gate
        self.x = x
        self.share: Tensor | None = None
        if layer.router is not None:
            experts = layer.router.experts_of(ids.to(x.device), len(layer.encoder))
            self.expert = one_hot(experts, layer.router.n_experts).to(x)
            self.share = torch.einsum("n...e,ne->...n", layer.router.shares(x), self.expert)


def _by_neuron(layer: Layer, shares: Float[Tensor, "*batch expert"]) -> Float[Tensor, "*batch feature"]:
    """What stands for an expert, for each of its neurons."""
    return shares.repeat_interleave(len(layer.encoder) // shares.shape[-1], -1)


def _function(layer: Layer) -> Elementwise:
    assert isinstance(layer.nonlinearity, Elementwise), "a ReLU's neurons read as a transcoder's features do"
    return layer.nonlinearity


def _dtype(layer: Layer, x: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(layer.encoder.dtype, x.dtype), torch.float32)


def _read(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """What goes into every neuron: its own pre-activation, and its gate's."""
    dtype = _dtype(layer, x)
    inner = linear(x.to(dtype), layer.encoder.to(dtype), layer.bias.to(dtype))
    if layer.gate is None or layer.gate_bias is None:
        return inner, None
    return inner, linear(x.to(dtype), layer.gate.to(dtype), layer.gate_bias.to(dtype))


def _activations(layer: Layer, inner: Tensor, gate: Tensor | None) -> Tensor:
    """Before the shares of a router."""
    function = _function(layer)
    return function.apply(inner) if gate is None else function.apply(gate) * inner


def _slopes(layer: Layer, inner: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    """How activations change with what goes in and with the gate; without a gate the second is zero."""
    function = _function(layer)
    if gate is None:
        return function.slope(inner), torch.zeros_like(inner)
    return function.apply(gate), function.slope(gate) * inner
