"""Selection of the active (position, feature) pairs of a batch.

Almost all arithmetic of a step is the encoder's dense product, whose only use is to find the few pairs that are active.
`precision` and the machine choose one of three ways:

1. `bfloat16`, on a machine that multiplies 16-bit numbers fast: the product in 16 bits picks; what is picked is
   computed again in float32.
2. `float32`, TopK, on such a machine: the product in 16 bits leaves out what cannot be among the k largest, whatever
   its rounding did. The rest, a few times k, is computed in float32, and picks.
3. Otherwise the product in float32.

Rounding to 8 bits moves a number by at most 1/256 of itself, so a pre-activation x . w + b by at most
(2/256 + 1/256^2) |x| |w| + |b| / 256 (Cauchy and Schwarz), and the rounded result by 1/256 of itself once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.kernels.capability import fast_in_16_bits
from clew.kernels.types import Pairs
from clew.training.objective import candidates, window
from clew.training.run_state import RunState

UNIT_16 = 2.0**-8  # the most that rounding to 16 bits changes a number by, of itself
UNEVEN = 3.0  # times the median: an encoder's norm from which the bound is too wide to be of use
SUMMED = 2.0**-12  # what float32 loses in a sum of a few thousand products, amply
SLACK = 0.9  # of the last batch's smallest kept score: what the next one's candidates must exceed
FIRST_SLACK, GUESS_POSITIONS = 0.95, 32  # of what a few positions keep
SMALLEST_GUESS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Active:
    """Pairs of one layer that take part in a step, and their pre-activations."""

    pairs: Pairs
    value: Float[Tensor, " pair"]


def selecting(
    run: RunState, layer: int, x: Float[Tensor, "pos d_model"], dtype: torch.dtype | None = None
) -> Float[Tensor, "pos feature"]:
    """Dense pre-activations of one layer, by default in the precision that selects; the next call overwrites them."""
    x, encoder = factors(run, layer, x, dtype)
    pre = run.buffer("pre", (len(x), len(encoder)), x.dtype)
    return torch.addmm(run.layers[layer].bias.weight[:, 0].to(x.dtype), x, encoder.T, out=pre)


def factors(
    run: RunState, layer: int, x: Float[Tensor, "pos d_model"], dtype: torch.dtype | None = None
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "feature d_model"]]:
    """What a layer reads and its encoders, by default in the precision that selects; the next call overwrites them."""
    if dtype is None:
        short = run.config.precision != "float32" and fast_in_16_bits(x.device.type)
        dtype = torch.bfloat16 if short else x.dtype
    encoder = run.layers[layer].encoder.weight
    if encoder.dtype != dtype:
        encoder = run.buffer("encoder", encoder.shape, dtype).copy_(encoder)
    return x.to(dtype), encoder


def activate(run: RunState, inputs: Float[Tensor, "layer pos d_model"], k: float) -> list[Active]:
    """The pairs of every layer that take part; `k` a position and layer, for TopK and BatchTopK.

    BatchTopK's are picked from those above a guess, lowered until there are enough: all positive ones of all layers
    would be as much memory as the dense activations.
    """
    n_pos = inputs.shape[1]
    own = inputs[:, run.split.positions(n_pos)]
    if run.config.nonlinearity != "batchtopk":
        layers = _candidates(run, own, k, 0.0)
        if run.config.nonlinearity == "topk":
            layers = strongest(run, layers, round(k))
        return _shared(run, layers)
    n_kept = round(k * run.n_layers * n_pos)
    guess = SLACK * run.cut or _first_guess(run, inputs, k)
    layers = _candidates(run, own, k, guess)
    while guess > 0 and run.split.ranks.total(sum(int((a.value > 0).sum()) for a in layers)) < n_kept:
        guess = SLACK * min(guess, _first_guess(run, inputs, k)) if guess > SMALLEST_GUESS else 0.0
        layers = _candidates(run, own, k, guess)
    layers = _shared(run, layers)
    keep, run.cut = run.split.kept(_scores(run, layers), n_kept)
    return [Active(pairs=a.pairs.taken(m), value=a.value[m]) for a, m in zip(layers, keep, strict=True)]


def _candidates(run: RunState, inputs: Float[Tensor, "layer pos d_model"], k: float, guess: float) -> list[Active]:
    return [candidate(run, i, inputs[i], k, guess) for i in range(run.n_layers)]


def strongest(run: RunState, layers: list[Active], k: int) -> list[Active]:
    """Of the k largest of this rank's features those that are among the k largest of all."""
    return [Active(pairs=p, value=v) for p, v in run.split.strongest([(a.pairs, a.value) for a in layers], k)]


def _shared(run: RunState, layers: list[Active]) -> list[Active]:
    """The pairs that all ranks have, from those that this one has picked."""
    return [Active(pairs=pairs, value=value) for pairs, value in run.split.whole([(a.pairs, a.value) for a in layers])]


def _first_guess(run: RunState, inputs: Float[Tensor, "layer pos d_model"], k: float) -> float:
    """What BatchTopK would keep of a few positions of a batch, with some slack."""
    few = inputs[:, :: max(1, inputs.shape[1] // GUESS_POSITIONS)]
    layers = _candidates(run, few, k, 0.0)
    return FIRST_SLACK * run.split.kept(_scores(run, layers), round(k * run.n_layers * few.shape[1]))[1]


def _scores(run: RunState, layers: list[Active]) -> list[tuple[Pairs, Tensor]]:
    """Every layer's pairs with what BatchTopK compares."""
    return [(a.pairs, a.value * run.weight(i)[a.pairs.index]) for i, a in enumerate(layers)]


def candidate(run: RunState, i: int, x: Float[Tensor, "pos d_model"], k: float, guess: float) -> Active:
    """The pairs of one layer that may take part: of BatchTopK those whose activation times weight is above a guess."""
    features, cut, kind = run.layers[i], None, run.config.nonlinearity
    most = min(round(k), len(features.norm))
    if kind == "topk" and run.config.precision == "float32" and x.dtype == torch.float32 and run.kernels.narrows():
        strongest = narrowed(run, i, x, most)
        if strongest is not None:
            return strongest
    if kind == "batchtopk":
        cut = guess / run.weight(i).clamp_min(1e-6)
    elif features.threshold is not None:
        cut = features.threshold - window(features.threshold)
    bias = features.bias.weight[:, 0]
    if run.kernels.fuses():
        inputs, encoder = factors(run, i, x)
        cut = torch.zeros_like(bias) if cut is None and kind != "topk" else cut
        pairs, value = run.kernels.encode(inputs, encoder, bias, most, cut)
        dtype = inputs.dtype
    else:
        pre = selecting(run, i, x)
        pairs, dtype = candidates(run.kernels, kind, pre, most, cut), pre.dtype
        value = pre[pairs.position, pairs.index] if dtype == x.dtype else pre
    if dtype != x.dtype:
        value = run.kernels.preactivations(pairs, x, features.encoder.weight, bias)
    return Active(pairs=pairs, value=value)


def narrowed(run: RunState, i: int, x: Float[Tensor, "pos d_model"], k: int) -> Active | None:
    """The k largest of every position, found among what a product in 16 bits leaves.

    None where it leaves too many, as it would where some encoders are much larger than the rest.
    """
    features, u = run.layers[i], UNIT_16
    encoder, bias = features.encoder.weight, features.bias.weight[:, 0]
    width = encoder.norm(dim=1)
    widest = width.max()
    if widest > UNEVEN * width.median():
        return None
    off = ((2 + u) * u + SUMMED) * x.norm(dim=1) * widest + u * bias.abs().max()
    few = run.kernels.shortlist(selecting(run, i, x, torch.bfloat16), k, off, u)
    if few is None:
        return None
    pairs, value = run.kernels.strongest(few, run.kernels.preactivations(few, x, encoder, bias), k)
    return Active(pairs=pairs, value=value)
