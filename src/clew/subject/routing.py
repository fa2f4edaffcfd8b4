"""The router of a mixture of experts: which experts a token gets, and with what weights.

The logits W x of all experts become probabilities p, the largest few are chosen, and each chosen expert's output is
multiplied by its *share*: p, or p divided by the sum of the chosen ones. Which experts are chosen is held like an
attention pattern; in effects the shares follow, d share_e = share_e (d logit_e - sum_j q_j d logit_j), where q is p, or
the shares where these are divided by their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

LogitChange = Callable[[int, Float[Tensor, "token expert"]], Float[Tensor, "token expert"]]
"""A layer and its router's logits; what stands in their place. Minus infinity takes an expert away."""


@dataclass(frozen=True, kw_only=True)
class Router:
    """How one MLP chooses among its experts."""

    weight: Float[Tensor, "expert d_model"]
    n_chosen: int
    """Experts that every token gets."""
    normalised: bool
    """Whether the shares of the chosen ones sum to one."""

    @property
    def n_experts(self) -> int:
        return len(self.weight)

    def logits(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch expert"]:
        """In the dtype of `x`."""
        return linear(x, self.weight.to(x))

    def chosen(self, logits: Float[Tensor, "*batch expert"]) -> tuple[Tensor, Tensor]:
        """The shares and the numbers of the experts that are chosen by these logits, the largest first."""
        values, experts = torch.topk(torch.softmax(logits, -1), self.n_chosen, -1)
        return values / values.sum(-1, keepdim=True) if self.normalised else values, experts

    def shares(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch expert"]:
        """What each expert's output is multiplied by: zero for one that is not chosen."""
        logits = self.logits(x)
        values, experts = self.chosen(logits)
        return torch.zeros_like(logits).scatter(-1, experts, values)

    def slopes(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch expert d_model"]:
        """The derivative of every share along `x`, the choice held."""
        shares = self.shares(x)
        weights = shares if self.normalised else torch.softmax(self.logits(x), -1)
        weight = self.weight.to(x)
        return shares[..., None] * (weight - (weights @ weight)[..., None, :])

    def experts_of(self, neurons: Int[Tensor, " n"], n_neurons: int) -> Int[Tensor, " n"]:
        """The expert that each neuron belongs to: an MLP's neurons stand expert by expert."""
        return neurons // (n_neurons // self.n_experts)


def router_of(module: Any) -> Router:
    """What a module does that chooses experts as OLMoE's and Mixtral's do."""
    normalised = bool(getattr(module, "norm_topk_prob", True))
    return Router(weight=module.weight, n_chosen=int(module.top_k), normalised=normalised)
