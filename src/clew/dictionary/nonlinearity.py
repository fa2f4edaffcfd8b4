"""How pre-activations become activations: values with one method, `apply`.

They are applied to whole layers, [..., feature]. TopK and BatchTopK keep positive values only; where values are equal
the lowest index wins, so that a result never depends on the machine. Elementwise is what a model's own MLP applies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from clew.errors import InputError
from clew.kernels.decode import largest


@dataclass(frozen=True, kw_only=True)
class ReLU:
    """Keep what is positive."""

    name: ClassVar[str] = "relu"

    def apply(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Activations, zero where a feature is off."""
        return pre.relu()


@dataclass(frozen=True, kw_only=True)
class JumpReLU:
    """Keep what lies above the feature's own threshold, unchanged (Rajamanoharan et al. 2024)."""

    name: ClassVar[str] = "jumprelu"
    threshold: Float[Tensor, "feature"]

    def apply(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Activations, zero where a feature is off; a value equal to its threshold is off."""
        return pre * (pre > self.threshold.to(pre))


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Keep the k largest positive values of every position."""

    name: ClassVar[str] = "topk"
    k: int

    def __post_init__(self) -> None:
        _check_k(self.k)

    def apply(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Activations, zero where a feature is off."""
        positive = pre.relu()
        return positive * largest(positive, self.k)


@dataclass(frozen=True, kw_only=True)
class BatchTopK:
    """Train on the largest k * n values of a batch of n; afterwards a fixed threshold takes their place.

    The threshold is one number for the layer or one a feature (Bussmann et al. 2024).
    """

    name: ClassVar[str] = "batchtopk"
    k: int
    threshold: Float[Tensor, "feature"] | Float[Tensor, ""]

    def __post_init__(self) -> None:
        _check_k(self.k)

    def apply(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Activations at inference: each position alone, by the fixed threshold."""
        return pre.relu() * (pre > self.threshold.to(pre))

    def apply_batch(self, pre: Float[Tensor, "pos feature"]) -> Float[Tensor, "pos feature"]:
        """Activations in training: the largest k * pos positive values of the whole batch."""
        positive = pre.relu()
        return positive * largest(positive.flatten(), self.k * len(pre)).view_as(positive)


@dataclass(frozen=True, kw_only=True)
class Elementwise:
    """The function of a model's own MLP, such as GELU or SiLU: a feature is active wherever it is not zero."""

    name: str
    function: Callable[[Tensor], Tensor]

    def apply(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Activations, of either sign."""
        return self.function(pre)

    def slope(self, pre: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The derivative at each pre-activation."""
        with torch.enable_grad():
            leaf = pre.detach().requires_grad_()
            return torch.autograd.grad(self.function(leaf).sum(), leaf)[0]

    def factor(self, pre: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Activation over pre-activation; at zero its limit, the derivative."""
        return torch.where(pre == 0, self.slope(torch.zeros_like(pre)), self.function(pre) / pre)


Nonlinearity = ReLU | JumpReLU | TopK | BatchTopK | Elementwise


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"k is {k}: at least one feature must be kept")
