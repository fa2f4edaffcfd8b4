"""What a dictionary is trained on: which features are active, how gradients reach them, what is added to the error.

Pre-activations are computed densely, without a graph. Everything after them touches active features only:

1. *BatchTopK* keeps the k * layers * n largest of a batch of n positions, over all layers together: a layer that needs
   more gets more. Compared are activation times decoder norm: what a feature adds to its outputs (Bussmann et al.
   2024).
2. *JumpReLU* keeps what lies above a learned threshold. The threshold's gradient is a straight-through estimate: a
   rectangle of width `BANDWIDTH` around the step stands for its derivative (Rajamanoharan et al. 2024). The penalty is
   the sum of tanh(SHARPNESS * activation * decoder norm) (Ameisen et al. 2025).
3. *ReLU* pays activation times decoder norm.
4. Features that have not fired for long are given the residual to explain (Gao et al. 2024): the auxiliary loss.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import linear

from clew.dictionary.nonlinearity import largest
from clew.dictionary.sparse import above

BANDWIDTH = 0.1
SHARPNESS = 4.0
FIRST_THRESHOLD = 0.03
AUXILIARY_K = 32
AUXILIARY_SHARE = 1 / 4  # of a batch's positions

Active = tuple[Int[Tensor, " active"], Int[Tensor, " active"]]  # position, index


def batch_topk(
    pre: list[Float[Tensor, "pos feature"]], norms: list[Float[Tensor, " feature"]], n_kept: int, guess: float
) -> tuple[list[Active], float]:
    """The n_kept features of the batch with the largest positive activation times norm, by layer, and the last value.

    `guess` is a value likely to be below the last one kept; it saves time and never changes the result.
    """
    guess = max(guess, 0.0)
    while True:
        found = [above(p, guess / n) for p, n in zip(pre, norms, strict=True)]
        if guess == 0.0 or sum(len(position) for position, _ in found) >= n_kept:
            break
        guess = 0.0
    values = [p[at] * n[at[1]] for p, n, at in zip(pre, norms, found, strict=True)]
    joined = torch.cat(values)
    kept = largest(joined, n_kept)
    last = float(joined[kept].min()) if len(joined) else 0.0
    parts = kept.split([len(v) for v in values])
    return [(position[k], index[k]) for (position, index), k in zip(found, parts, strict=True)], last


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < BANDWIDTH / 2
        return grads[0] * (pre > threshold), -grads[0] * threshold / BANDWIDTH * near


def jump(pre: Float[Tensor, " active"], threshold: Float[Tensor, " active"]) -> Float[Tensor, " active"]:
    """JumpReLU, straight-through for the threshold; values down to half a bandwidth below it must be included."""
    return _Jump.apply(pre, threshold)


def sparsity_penalty(
    activation: Float[Tensor, " active"], norm: Float[Tensor, " active"], nonlinearity: str
) -> Float[Tensor, ""]:
    """What active features cost, summed: a soft count for JumpReLU, their size for ReLU, nothing for BatchTopK."""
    match nonlinearity:
        case "jumprelu":
            return (SHARPNESS * activation * norm).tanh().sum()
        case "relu":
            return (activation * norm).sum()
        case _:
            return activation.new_zeros(())


def auxiliary_loss(
    x: Float[Tensor, "pos d_model"],
    residual: Float[Tensor, "pos written"],
    encoder: Float[Tensor, "feature d_model"],
    bias: Float[Tensor, " feature"],
    decoder: Float[Tensor, "feature written"],
    dead: Bool[Tensor, " feature"],
) -> Float[Tensor, ""]:
    """Mean squared error of the dead features' best few as an explanation of the residual, relative to the residual."""
    n = max(1, int(len(x) * AUXILIARY_SHARE))
    ids = dead.nonzero().flatten()
    x, residual = x[:n], residual[:n].detach()
    pre = linear(x, encoder[ids], bias[ids]).relu()
    activations = pre * largest(pre, AUXILIARY_K)
    error = (activations @ decoder[ids] - residual).square().sum()
    return error / residual.square().sum().clamp_min(1e-12)
