"""What the kernels work on: active pairs, weights with their moments, one step of the optimizer.

Weights and moments are kept feature by feature, one row each, so that a step reads and writes the rows of active
features and no others. The optimizer is *lazy*: a feature that takes no part in a step keeps its weights and moments,
where dense Adam would go on moving it by old momentum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

DECODER_SEED, ENCODER_SEED, ENCODER_OFFSET = 40503, 69069, 12345
"""Of the hash that rounds moments in 16 bits: the step times the seed, plus the place; the offset is encoders'."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Active (position, feature) pairs of one layer, sorted by position, then feature."""

    position: Int[Tensor, " pair"]
    index: Int[Tensor, " pair"]
    starts: Int[Tensor, " bound"]
    """The pairs of position p are starts[p]..starts[p + 1]."""
    n_features: int

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of_counts(cls, count: Int[Tensor, " pos"], index: Int[Tensor, " pair"], n_features: int) -> Pairs:
        """From the number of pairs at every position."""
        position = torch.arange(len(count), device=count.device).repeat_interleave(count, output_size=len(index))
        starts = torch.cat([count.new_zeros(1), count.cumsum(0)])
        return cls(position=position, index=index, starts=starts, n_features=n_features)

    @classmethod
    def sorted(cls, position: Int[Tensor, " pair"], index: Int[Tensor, " pair"], n_pos: int, n_features: int) -> Pairs:
        """From pairs in order."""
        return cls.of_counts(torch.bincount(position, minlength=n_pos), index, n_features)

    def taken(self, keep: Bool[Tensor, " pair"]) -> Pairs:
        """Some of the pairs, by a mask."""
        return Pairs.sorted(self.position[keep], self.index[keep], self.n_pos, self.n_features)

    @property
    def n_pos(self) -> int:
        """Positions of the batch, those without a pair too."""
        return len(self.starts) - 1

    @cached_property
    def counts(self) -> Int[Tensor, " feature"]:
        """At how many positions every feature is active."""
        return torch.bincount(self.index, minlength=self.n_features)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Weights of features with their moments."""

    weight: Float[Tensor, "feature width"]
    mean: Float[Tensor, "moment width"]
    square: Float[Tensor, "moment width"]

    @classmethod
    def of(cls, weight: Float[Tensor, "feature width"], moments: torch.dtype) -> Rows:
        """With moments of zero."""
        return cls(weight=weight, mean=weight.new_zeros(weight.shape, dtype=moments),
                   square=weight.new_zeros(weight.shape, dtype=moments))  # fmt: skip

    def alone(self) -> Rows:
        """The weights without moments."""
        return Rows(weight=self.weight, mean=self.weight[:0], square=self.weight[:0])

    def forget(self, ids: Int[Tensor, " n"]) -> None:
        """Set the moments of some rows to zero."""
        self.mean[ids] = 0.0
        self.square[ids] = 0.0


@dataclass(frozen=True, kw_only=True)
class Features:
    """The trained features of one layer. All tensors are changed in place."""

    encoder: Rows
    bias: Rows
    decoder: Rows
    """[feature, written layers times d_model], in rising order of layers."""
    log_threshold: Rows | None
    norm: Float[Tensor, " feature"]
    """Of the decoder, kept up to date by every step."""
    quiet: Float[Tensor, " feature"]
    """Positions since the feature last fired."""

    @property
    def rows(self) -> dict[str, Rows]:
        """What the optimizer moves, by name."""
        found = {"encoder": self.encoder, "bias": self.bias, "decoder": self.decoder}
        return found if self.log_threshold is None else found | {"log_threshold": self.log_threshold}

    @property
    def threshold(self) -> Float[Tensor, " feature"] | None:
        """JumpReLU's thresholds."""
        return None if self.log_threshold is None else self.log_threshold.weight[:, 0].exp()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the loss knows of one layer's pairs before gradients of the outputs arrive."""

    activation: Float[Tensor, " pair"]
    gate: Float[Tensor, " pair"]
    """Derivative of the activation by the pre-activation: 1 where the feature is on."""
    extra: Float[Tensor, " pair"]
    """Derivative of the penalty by the activation."""
    shrink: Float[Tensor, " feature"]
    """Derivative of the penalties by the decoder's norm, over the norm: times the decoder it is their gradient."""
    drift: Float[Tensor, " feature"]
    """Derivative of the pre-activation loss by the pre-activation at a position where the feature is off."""
    penalty: Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class Adam:
    """One step of Adam (Kingma and Ba 2015)."""

    rate: float
    step: int
    """From 1."""
    decay: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-8

    @property
    def numbers(self) -> tuple[float, ...]:
        """Rate over the mean's bias correction, decays, one minus them, root of the square's correction, epsilon."""
        b1, b2 = self.decay
        correction = (1 - b2**self.step) ** -0.5
        return self.rate / (1 - b1**self.step), b1, b2, 1 - b1, 1 - b2, correction, self.epsilon

    def apply(self, weight: Tensor, mean: Tensor, square: Tensor, gradient: Tensor) -> None:
        """Move all of the weights."""
        rate, b1, b2, c1, c2, correction, eps = self.numbers
        mean.mul_(b1).add_(gradient, alpha=c1)
        square.mul_(b2).addcmul_(gradient, gradient, value=c2)
        weight.addcdiv_(mean, square.sqrt().mul_(correction).add_(eps), value=-rate)

    def apply_rows(self, rows: Rows, ids: Int[Tensor, " n"], gradient: Float[Tensor, "n width"]) -> None:
        """Move some rows."""
        weight, mean, square = (t[ids].to(gradient.dtype) for t in (rows.weight, rows.mean, rows.square))
        self.apply(weight, mean, square, gradient)
        rows.weight[ids] = weight
        rows.mean[ids] = mean.to(rows.mean.dtype)
        rows.square[ids] = square.to(rows.square.dtype)
