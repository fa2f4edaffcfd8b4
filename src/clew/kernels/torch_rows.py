"""Kernels of training that touch rows of active features only: the plain torch path, on any device.

`clew.kernels.compiled` has the same functions for the CPU, `clew.kernels.select` chooses between them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from clew.kernels.decode import above as above_cut
from clew.kernels.decode import largest
from clew.kernels.types import Adam, Features, Pairs, Terms

PART = 1 << 24  # elements of gathered rows held at once


def top(pre: Float[Tensor, "pos feature"], k: int) -> Pairs:
    """The k largest positive values of every row; the lowest index first where they are equal."""
    positive = pre.relu()
    position, index = (largest(positive, k) & (positive > 0)).nonzero(as_tuple=True)
    return Pairs.sorted(position, index, *pre.shape)


def narrows() -> bool:
    """Whether 16 bits are worth a first choice of the k largest; see `clew.kernels.compiled`."""
    return False


def fuses() -> bool:
    """Whether features are found without all of a layer's pre-activations; see `clew.kernels.triton_rows`."""
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
    terms: Terms,
    slope: Float[Tensor, "pos width"],
    x: Float[Tensor, "pos d_model"],
    layer: Features,
    adam: Adam,
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Gradients of one layer's features, and the optimizer's step on the rows and norms of those concerned.

    `slope` is the gradient of the outputs. With d_value = decoder . slope + extra and d_pre = gate * (d_value - drift):

        d decoder = sum over pairs of activation * slope    + shrink * decoder
        d encoder = sum over pairs of d_pre * x             + drift * (sum of all x)
        d bias    = sum over pairs of d_pre                 + drift * positions

    Returns d_value and d_pre. A feature without pairs, shrink or drift is not touched.
    """
    shrink, drift, decoder, norm = terms.shrink, terms.drift, layer.decoder, layer.norm
    ids = ((pairs.counts > 0) | (shrink != 0) | (drift != 0)).nonzero().flatten()
    order = pairs.index.argsort(stable=True)
    bounds = torch.cat([pairs.counts.new_zeros(1), pairs.counts.cumsum(0)])
    d_value, d_pre, total = torch.empty_like(terms.activation), torch.empty_like(terms.activation), x.sum(0)
    for some in ids.split(max(1, PART // decoder.weight.shape[1])) if len(ids) else ():
        part = order[int(bounds[some[0]]) : int(bounds[some[-1] + 1])]
        index, position, starts = pairs.index[part], pairs.position[part], bounds[some] - bounds[some[0]]
        d_value[part] = _dots(decoder.weight, index, slope, position) + terms.extra[part]
        d_pre[part] = terms.gate[part] * (d_value[part] - drift[index])
        d_decoder = (
            _weighted(slope, position, starts, terms.activation[part]) + shrink[some, None] * decoder.weight[some]
        )
        d_encoder = _weighted(x, position, starts, d_pre[part]) + drift[some, None] * total
        adam.apply_rows(decoder, some, d_decoder)
        adam.apply_rows(layer.encoder, some, d_encoder)
        d_bias = torch.zeros_like(norm).index_add_(0, index, d_pre[part])[some] + drift[some] * len(x)
        adam.apply_rows(layer.bias, some, d_bias[:, None])
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
