"""How each family cuts the weights of an MLP module into neurons.

An MLP is f(x @ w_in.T + b_in) @ w_out + b_out, or, where it is gated, (f(x @ w_gate.T + b_gate) * (x @ w_in.T + b_in))
@ w_out + b_out: a sum over neurons, each with rows of its own. In a mixture of experts the outputs of several such MLPs
are multiplied by the shares that a router gives to them, and added: a sum over the neurons of all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from clew.subject.routing import Router, router_of


@dataclass(frozen=True, kw_only=True)
class MlpWeights:
    """The neurons of one MLP, and the function f that it applies."""

    w_in: Float[Tensor, "neuron d_model"]
    b_in: Float[Tensor, " neuron"] | None
    w_out: Float[Tensor, "neuron d_model"]
    b_out: Float[Tensor, " d_model"] | None
    function: Callable[[Tensor], Tensor]
    w_gate: Float[Tensor, "neuron d_model"] | None = None
    """What f is applied to in a gated MLP."""
    b_gate: Float[Tensor, " neuron"] | None = None
    router: Router | None = None
    """What chooses among experts; neurons then stand expert by expert, the same number of each."""


ROUTER = "gate"
"""Where a mixture of experts keeps what chooses among them."""
WeightsOf = Callable[[Any], MlpWeights]
"""The weights of an MLP module."""


def gpt2_mlp(mlp: Any) -> MlpWeights:
    """GPT-2 stores its matrices as [in, out]."""
    inner, outer = mlp.c_fc, mlp.c_proj
    return MlpWeights(w_in=inner.weight.T, b_in=inner.bias, w_out=outer.weight, b_out=outer.bias, function=mlp.act)


def gptj_mlp(mlp: Any) -> MlpWeights:
    inner, outer = mlp.fc_in, mlp.fc_out
    return MlpWeights(w_in=inner.weight, b_in=inner.bias, w_out=outer.weight.T, b_out=outer.bias, function=mlp.act)


def neox_mlp(mlp: Any) -> MlpWeights:
    inner, outer = mlp.dense_h_to_4h, mlp.dense_4h_to_h
    return MlpWeights(w_in=inner.weight, b_in=inner.bias, w_out=outer.weight.T, b_out=outer.bias, function=mlp.act)


def gated_mlp(mlp: Any) -> MlpWeights:
    """Llama and those that call the projections as it does."""
    gate, inner, outer = mlp.gate_proj, mlp.up_proj, mlp.down_proj
    return MlpWeights(
        w_in=inner.weight,
        b_in=inner.bias,
        w_out=outer.weight.T,
        b_out=outer.bias,
        function=mlp.act_fn,
        w_gate=gate.weight,
        b_gate=gate.bias,
    )


def fused_gated_mlp(mlp: Any) -> MlpWeights:
    """Gate and input projection in one matrix, the gate first."""
    w_gate, w_in = mlp.gate_up_proj.weight.chunk(2)
    outer = mlp.down_proj
    return MlpWeights(
        w_in=w_in, b_in=None, w_out=outer.weight.T, b_out=outer.bias, function=mlp.activation_fn, w_gate=w_gate
    )


def routed_gated_mlp(mlp: Any) -> MlpWeights:
    """Experts with gates, a matrix of all experts for each of their projections, behind a router."""
    experts = mlp.experts
    w_gate, w_in = experts.gate_up_proj.chunk(2, 1)
    return MlpWeights(
        w_in=w_in.flatten(0, 1),
        b_in=None,
        w_out=experts.down_proj.mT.flatten(0, 1),
        b_out=None,
        function=experts.act_fn,
        w_gate=w_gate.flatten(0, 1),
        router=router_of(getattr(mlp, ROUTER)),
    )
