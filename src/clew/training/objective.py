"""The training loss of one layer's features: which are active, the sparsity penalty, and the gradients.

Everything here works on active (position, feature) pairs of one layer, with gradients written out by hand; the dense
loss in the tests gives the same by automatic differentiation. With a = activation, n = decoder norm:

1. *TopK* keeps the k largest pre-activations of every position (Gao et al. 2024). *BatchTopK* keeps the k * layers *
   positions largest of a batch, over all layers together: a layer that needs more gets more (Bussmann et al. 2024).
   Compared is a * n over the root of the number of layers written to: by a * n alone the first layers of a CLT, which
   write to many, take the budget of the last, whose features fall silent.
2. *JumpReLU* keeps what lies above a learned threshold. The threshold's gradient is a straight-through estimate: a
   rectangle around the step, `BANDWIDTH` wide, stands for its derivative (Rajamanoharan et al. 2024); below twice that
   it is narrower, so that it never reaches values below zero. The penalty is tanh(SHARPNESS * a * n) a feature, and the
   pre-activation loss PULL * relu(threshold - pre-activation) * n draws silent features back (Ameisen et al. 2025).
   Its gradient is exact although only active pairs are visited: the sum over all positions, which is a product with
   one vector, less that over active ones.
3. *ReLU* pays a * n.
"""

from __future__ import annotations

from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from clew.kernels.decode import largest
from clew.kernels.types import Pairs, Terms
from clew.training.config import Activation

__all__ = ["Terms", "candidates", "kept", "terms", "threshold_gradient", "window"]

BANDWIDTH = 0.1
SHARPNESS = 4.0
FIRST_THRESHOLD = 0.03
PULL = 1e-3  # of the price of an active feature


def window(threshold: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Half the width of the rectangle around a threshold."""
    return threshold.clamp_max(BANDWIDTH / 2)


def kept(scores: list[Tensor], n_kept: int) -> tuple[list[Tensor], float]:
    """Which of all layers' positive scores are among the n_kept largest, by layer, and the smallest of those."""
    joined = torch.cat(scores)
    keep = largest(joined, n_kept) & (joined > 0)
    last = float(joined[keep].min()) if keep.any() else 0.0
    return list(keep.split([len(s) for s in scores])), last


def candidates(
    kernels: ModuleType, nonlinearity: Activation, pre: Tensor, k: int, cut: Float[Tensor, " feature"] | None
) -> Pairs:
    """The pairs of one layer that may be active: of TopK the k largest, else all above a cut."""
    if nonlinearity == "topk":
        return kernels.top(pre, k)
    return kernels.above(pre, pre.new_zeros(pre.shape[1]) if cut is None else cut)


def terms(
    nonlinearity: Activation,
    pairs: Pairs,
    value: Float[Tensor, " pair"],
    norm: Float[Tensor, " feature"],
    threshold: Float[Tensor, " feature"] | None,
    total: Float[Tensor, " feature"] | None,
    price: float,
) -> Terms:
    """Activations and their penalties, at `price` an active feature and position.

    `total` is the sum of every feature's pre-activation over all positions; JumpReLU alone needs it and a threshold.
    """
    index, n_pos = pairs.index, pairs.n_pos
    gate = value > 0 if threshold is None else value > threshold[index]
    activation, zero = value * gate, torch.zeros_like(norm)
    extra, shrink, drift, penalty = torch.zeros_like(value), zero, zero, value.new_zeros(())
    if price > 0 and nonlinearity in ("relu", "jumprelu"):
        size, share = norm[index], price / n_pos
        if nonlinearity == "relu":
            slope, penalty = torch.full_like(value, share), share * (activation * size).sum()
        else:
            soft = (SHARPNESS * activation * size).tanh()
            slope, penalty = share * SHARPNESS * (1 - soft.square()), share * soft.sum()
        extra = slope * size
        by_norm = zero.index_add(0, index, slope * activation)
        if threshold is not None and total is not None:
            on = zero.index_add(0, index, gate.to(zero))
            short = threshold * (n_pos - on) - (total - zero.index_add(0, index, activation))
            by_norm = by_norm + PULL * share * short
            drift = -PULL * share * norm
            penalty = penalty + PULL * share * (short * norm).sum()
        shrink = by_norm / norm.clamp_min(1e-12)
    return Terms(activation=activation, gate=gate.to(value), extra=extra, shrink=shrink, drift=drift, penalty=penalty)


def threshold_gradient(
    pairs: Pairs, value: Float[Tensor, " pair"], d_value: Float[Tensor, " pair"], threshold: Float[Tensor, " feature"],
    drift: Float[Tensor, " feature"],
) -> Float[Tensor, " feature"]:  # fmt: skip
    """Of the logarithm of JumpReLU's thresholds; d_value is the gradient of the activations."""
    cut = threshold[pairs.index]
    near = (value - cut).abs() < window(cut)
    straight = torch.where(near, -d_value * cut / (2 * window(cut)), torch.zeros_like(value))
    off = pairs.n_pos - torch.zeros_like(threshold).index_add(0, pairs.index, (value > cut).to(threshold))
    return threshold * (torch.zeros_like(threshold).index_add(0, pairs.index, straight) - drift * off)
