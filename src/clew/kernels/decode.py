"""Reading and choosing active features: sparse kernels, and the dense references that tests compare them with.

A position has few active features, so the sparse kernel reads their decoder rows and nothing else: each row once, for
all the layers it writes to. Rows stored in 16 bits are converted after they are gathered.
"""

from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK = 1 << 24  # elements of gathered rows held at once where rows must be converted


def decode_dense(
    activations: Float[Tensor, "pos feature"], decoder: Float[Tensor, "feature out_layer d_model"]
) -> Float[Tensor, "out_layer pos d_model"]:
    """Sum activation times decoder over all features: the reference."""
    return torch.einsum("pf,fod->opd", activations, decoder.to(activations))


def decode_sparse(
    position: Int[Tensor, " active"],
    index: Int[Tensor, " active"],
    activation: Float[Tensor, " active"],
    decoder: Float[Tensor, "feature out_layer d_model"],
    n_pos: int,
) -> Float[Tensor, "out_layer pos d_model"]:
    """The same sum over active features only; `position` must be sorted. Computed in the activations' dtype."""
    _, n_written, d_model = decoder.shape
    if activation.is_cuda and not (activation.requires_grad or decoder.requires_grad) and find_spec("triton"):
        from clew.kernels.triton_decode import decode_rows

        out = decode_rows(position, index, activation, decoder.flatten(1), n_pos)
    elif decoder.dtype == activation.dtype and decoder.is_contiguous():
        starts = torch.searchsorted(position, torch.arange(n_pos, device=position.device))
        out = embedding_bag(index, decoder.flatten(1), starts, mode="sum", per_sample_weights=activation)
    else:
        out = activation.new_zeros(n_pos, n_written * d_model)
        size = max(1, BLOCK // (n_written * d_model))
        for start in range(0, len(index), size):
            part = slice(start, start + size)
            rows = decoder.index_select(0, index[part]).flatten(1).to(activation)  # else a view would be copied whole
            out.index_add_(0, position[part], rows * activation[part, None])
    return out.view(n_pos, n_written, d_model).transpose(0, 1)


def above(
    pre: Float[Tensor, "pos feature"], cut: Float[Tensor, " feature"]
) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"]]:
    """Position and index of every pre-activation above its feature's cut, sorted by position, then index."""
    if pre.device.type != "cpu":
        return (pre > cut).nonzero(as_tuple=True)  # type: ignore[return-value]
    flat = torch.from_numpy(np.flatnonzero(pre.detach().numpy() > cut.detach().numpy()))  # several times torch's speed
    return flat // pre.shape[1], flat % pre.shape[1]


def largest(values: Float[Tensor, "*batch feature"], k: int) -> Bool[Tensor, "*batch feature"]:
    """Mark exactly the k largest values along the last axis (all, if there are fewer); ties go to the lowest index."""
    if k >= values.shape[-1]:
        return torch.ones_like(values, dtype=torch.bool)
    cut = values.topk(k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    larger, tied = values > cut, values == cut
    room = k - larger.sum(-1, keepdim=True)
    return larger | (tied & (tied.cumsum(-1) <= room))
