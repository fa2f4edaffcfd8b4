"""Kernels of training that touch rows of active features only: the plain torch path, on any device.

`clew.kernels.compiled` has the same functions for the CPU. Weights and moments are kept feature by feature, one row
each, so that a step reads and writes the rows of active features and no others. The optimizer is *lazy*: a feature that
takes no part in a step keeps weights and moments as they are, where dense Adam would go on moving it by old momentum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from clew.dictionary.nonlinearity import largest
from clew.kernels.decode import above as above_cut

PART = 1 << 24  # elements of gathered rows held at once


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


def top(pre: Float[Tensor, "pos feature"], k: int) -> Pairs:
    """The k largest positive values of every row; the lowest index first where they are equal."""
    positive = pre.relu()
    position, index = (largest(positive, k) & (positive > 0)).nonzero(as_tuple=True)
    return Pairs.sorted(position, index, *pre.shape)


def narrows() -> bool:
    """Whether 16 bits are worth a first choice of the k largest; see `clew.kernels.compiled`."""
    return False


def above(pre: Float[Tensor, "pos feature"], cut: Float[Tensor, " feature"]) -> Pairs:
    """Every value above its feature's cut, which must not be negative."""
    position, index = above_cut(pre.float(), cut.to(pre.dtype).float()) if pre.dtype == torch.bfloat16 else above_cut(
        pre, cut
    )  # fmt: skip
    return Pairs.sorted(position, index, *pre.shape)


def preactivations(
    pairs: Pairs,
    x: Float[Tensor, "pos d_model"],
    encoder: Float[Tensor, "feature d_model"],
    bias: Float[Tensor, " feature"],
) -> Float[Tensor, " pair"]:
    """x . encoder + bias of every pair."""
    return _dots(encoder, pairs.index, x, pairs.position) + bias[pairs.index]


def decode(
    pairs: Pairs,
    value: Float[Tensor, " pair"],
    rows: Float[Tensor, "feature width"],
    out: Float[Tensor, "pos width"],
) -> None:
    """Add value times row to out."""
    out += _weighted(rows, pairs.index, pairs.starts[:-1], value)


def update(
    pairs: Pairs,
    activation: Float[Tensor, " pair"],
    slope: Float[Tensor, "pos width"],
    extra: Float[Tensor, " pair"],
    gate: Float[Tensor, " pair"],
    shrink: Float[Tensor, " feature"],
    drift: Float[Tensor, " feature"],
    x: Float[Tensor, "pos d_model"],
    decoder: Rows,
    encoder: Rows,
    bias: Rows,
    norm: Float[Tensor, " feature"],
    adam: Adam,
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Gradients of one layer's features, and the optimizer's step on the rows and norms of those concerned.

    `slope` is the gradient of the outputs. With d_value = decoder . slope + extra and d_pre = gate * (d_value - drift):

        d decoder = sum over pairs of activation * slope    + shrink * decoder
        d encoder = sum over pairs of d_pre * x             + drift * (sum of all x)
        d bias    = sum over pairs of d_pre                 + drift * positions

    Returns d_value and d_pre. A feature without pairs, shrink or drift is not touched.
    """
    ids = ((pairs.counts > 0) | (shrink != 0) | (drift != 0)).nonzero().flatten()
    order = pairs.index.argsort(stable=True)
    bounds = torch.cat([pairs.counts.new_zeros(1), pairs.counts.cumsum(0)])
    d_value, d_pre, total = torch.empty_like(activation), torch.empty_like(activation), x.sum(0)
    for some in ids.split(max(1, PART // decoder.weight.shape[1])) if len(ids) else ():
        own = order[int(bounds[some[0]]) : int(bounds[some[-1] + 1])]
        position, starts = pairs.position[own], bounds[some] - bounds[some[0]]
        d_value[own] = _dots(decoder.weight, pairs.index[own], slope, position) + extra[own]
        d_pre[own] = gate[own] * (d_value[own] - drift[pairs.index[own]])
        d_decoder = _weighted(slope, position, starts, activation[own]) + shrink[some, None] * decoder.weight[some]
        d_encoder = _weighted(x, position, starts, d_pre[own]) + drift[some, None] * total
        adam.apply_rows(decoder, some, d_decoder)
        adam.apply_rows(encoder, some, d_encoder)
        d_bias = torch.zeros_like(norm).index_add_(0, pairs.index[own], d_pre[own])[some] + drift[some] * len(x)
        adam.apply_rows(bias, some, d_bias[:, None])
        norm[some] = decoder.weight[some].norm(dim=1)
    return d_value, d_pre


def _dots(rows: Tensor, index: Tensor, others: Tensor, position: Tensor) -> Tensor:
    size = max(1, PART // rows.shape[1])
    parts = zip(index.split(size), position.split(size), strict=True)
    return torch.cat([torch.einsum("nc,nc->n", rows[i], others[p]) for i, p in parts])


def _weighted(rows: Tensor, index: Tensor, starts: Tensor, value: Tensor) -> Tensor:
    if not len(index):
        return rows.new_zeros(len(starts), rows.shape[1])
    return embedding_bag(index, rows, starts, mode="sum", per_sample_weights=value)


def kernels_for(device: torch.device | str, *, compiled: bool | None = None) -> ModuleType:
    """The compiled kernels on a CPU where numba is installed, the plain ones elsewhere; or as said."""
    import clew.kernels.rows as plain

    if compiled is None:
        compiled = torch.device(device).type == "cpu" and find_spec("numba") is not None
    if not compiled:
        return plain
    from clew.kernels import compiled as fast

    return fast
