"""One step of training, forward and backward, a layer at a time.

1. For every layer: dense pre-activations, the pairs that may take part, their values in full precision. The dense
   matrix of a layer is dropped before the next one is computed.
2. The active pairs' decoder rows are read once, for all the layers they write to, and added to the outputs.
3. For every layer: gradients of its pairs and the optimizer's step on the rows of its active features, in one pass.
   Gradients of a whole layer are never in memory.
4. Dead features of TopK and BatchTopK explain what is missing: the same pass over their rows (Gao et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from clew.errors import InputError
from clew.kernels.types import Adam, Pairs
from clew.training.activations import Batch
from clew.training.objective import Terms, terms, threshold_gradient
from clew.training.run_state import RunState
from clew.training.selection import Active, activate, strongest

AUXILIARY_K = 32
AUXILIARY_SHARE = 1 / 4  # of a batch's positions
AUXILIARY_WEIGHT = 1 / 32
MOST_LOSS = 1e6  # a layer; the mean alone has 1, and a run this far from it does not recover


@dataclass(frozen=True, kw_only=True)
class StepLosses:
    """The losses of one step."""

    loss: float
    nmse: tuple[float, ...]
    l0: tuple[float, ...]
    slope: Float[Tensor, "pos written"]
    """Gradient of the squared error by the outputs, layers side by side: -2 / (pos * d_model) of what is missing.

    The next step writes over it."""


def reconstruct(
    run: RunState, inputs: Float[Tensor, "layer pos d_model"], active: list[Active], on: list[Terms]
) -> Tensor:
    """Outputs [pos, layers times d_model]: biases, skips and what active features write; the next call overwrites."""
    out = run.buffer("out", (inputs.shape[1], run.n_layers * run.d_model), inputs.dtype)
    part = run.split.positions(len(out))
    own = out[part]
    own.copy_(run.decoder_bias.weight.flatten().expand_as(own)) if run.split.begins else own.zero_()
    for i, (a, t) in enumerate(zip(active, on, strict=True)):
        if run.config.skip and run.split.begins:
            own[:, i * run.d_model : (i + 1) * run.d_model] += linear(inputs[i, part], run.skip_of(i))
        pairs, activation = run.split.own(a.pairs, t.activation)
        run.kernels.decode(pairs, activation, run.layers[i].decoder.weight, own[:, run.columns(i)])
    return run.split.written(out)


def take_step(run: RunState, batch: Batch, k: float, price: float, rate: float, dead_after: int) -> StepLosses:
    """Train on a batch in the units of training; InputError when the loss diverges, before any weight changes."""
    n_layers, n_pos, d = batch.inputs.shape
    active = activate(run, batch.inputs, k)
    on = [terms_of(run, i, batch.inputs[i], a, price) for i, a in enumerate(active)]
    slope = reconstruct(run, batch.inputs, active, on)
    slope.view(n_pos, n_layers, d).sub_(batch.outputs.transpose(0, 1))  # in place: this is what takes most memory
    sizes = torch.linalg.vector_norm(slope.view(n_pos, n_layers, d), dim=2)
    errors = sizes.double().square().sum(0) / (n_pos * d)
    loss = float(errors.sum() + run.split.total(sum((t.penalty for t in on), start=slope.new_zeros(()))))
    if not loss < MOST_LOSS * n_layers:
        raise InputError(
            f"the loss became {loss:.3g} at step {run.step}: train again, into another folder, at a lower learning rate"
        )
    adam = Adam(rate=rate, step=run.step + 1)
    slope.mul_(2 / (n_pos * d))
    fired = [_fired(a.pairs, t) for a, t in zip(active, on, strict=True)]
    idle = [_idle(run, i, a.pairs, fired[i], dead_after) for i, a in enumerate(active)]
    n_idle = run.split.numbers([len(ids) for ids in idle])
    for i, (a, t) in enumerate(zip(active, on, strict=True)):
        if n_idle[i]:
            _explain(run, i, batch.inputs[i], slope[:, run.columns(i)], idle[i], float(errors[i]), adam)
        backward(run, i, batch.inputs[i], slope[:, run.columns(i)], a, t, adam)
        run.layers[i].quiet.add_(n_pos).masked_fill_(fired[i] > 0, 0.0)
    _backward_plain(run, batch.inputs, slope, adam)
    run.step += 1
    relative = errors / run.scales["layer_weight"].double() if run.scales else errors
    l0 = tuple(n / n_pos for n in run.split.numbers([int(counts.sum()) for counts in fired]))
    return StepLosses(loss=loss, nmse=tuple(relative.tolist()), l0=l0, slope=slope)


def _fired(pairs: Pairs, on: Terms) -> Int[Tensor, " feature"]:
    """At how many positions each feature of a layer is on."""
    off = on.gate == 0
    return torch.bincount(pairs.index[~off], minlength=pairs.n_features) if off.any() else pairs.counts


def _idle(run: RunState, i: int, pairs: Pairs, fired: Tensor, dead_after: int) -> Int[Tensor, " n"]:
    """The dead features of a layer that take no part in this step, where they have something to learn from it."""
    dead = run.layers[i].quiet > dead_after
    if run.config.nonlinearity not in ("topk", "batchtopk") or not dead.any():
        return pairs.index[:0]
    return (dead & (fired == 0) & (pairs.counts == 0)).nonzero().flatten()


def terms_of(run: RunState, i: int, x: Float[Tensor, "pos d_model"], active: Active, price: float) -> Terms:
    """The activations of one layer's pairs, their penalties and the derivatives of those."""
    features, total = run.layers[i], None
    if features.threshold is not None:
        total = features.encoder.weight @ x.sum(0) + len(x) * features.bias.weight[:, 0]
    kind = run.config.nonlinearity
    return terms(kind, active.pairs, active.value, features.norm, features.threshold, total, price)


def plain_terms(run: RunState, i: int, active: Active) -> Terms:
    """The activations of one layer's pairs alone, where no penalty counts."""
    features = run.layers[i]
    return terms(run.config.nonlinearity, active.pairs, active.value, features.norm, features.threshold, None, 0.0)


def backward(run: RunState, i: int, x: Tensor, slope: Tensor, active: Active, on: Terms, adam: Adam) -> Tensor:
    """Update one layer's features from the gradient of what they write; returns that of their pre-activations."""
    features, pairs = run.layers[i], active.pairs
    d_value, d_pre = run.kernels.update(pairs, on, slope, x, features, adam)
    if features.log_threshold is not None and features.threshold is not None:
        gradient = threshold_gradient(pairs, active.value, d_value, features.threshold, on.drift)
        ids = ((pairs.counts > 0) | (on.drift != 0)).nonzero().flatten()
        adam.apply_rows(features.log_threshold, ids, gradient[ids, None])
    return d_pre


def _backward_plain(run: RunState, inputs: Tensor, slope: Tensor, adam: Adam) -> None:
    """Update the decoder biases and skip connections, which are dense."""
    bias = run.decoder_bias
    adam.apply(bias.weight, bias.mean, bias.square, slope.sum(0).view_as(bias.weight))
    if run.config.skip:
        by_layer = slope.view(len(slope), run.n_layers, run.d_model)
        gradient = torch.einsum("plo,lpi->loi", by_layer, inputs).reshape(run.skip.weight.shape)
        adam.apply(run.skip.weight, run.skip.mean, run.skip.square, gradient)


def _explain(run: RunState, i: int, x: Tensor, slope: Tensor, ids: Tensor, error: float, adam: Adam) -> None:
    """Train idle features to explain the residual at some positions: their loss is relative to it, times the error."""
    n = max(1, int(len(x) * AUXILIARY_SHARE))
    residual, x, features = slope[:n] * (-0.5 * x.numel()), x[:n], run.layers[i]
    pairs = Pairs.of_counts(ids.new_zeros(n), ids[:0], len(features.norm))
    if len(ids):
        pre = linear(x, features.encoder.weight[ids], features.bias.weight[ids, 0])
        local = run.kernels.top(pre, min(AUXILIARY_K, len(ids)))
        pairs = replace(local, index=ids[local.index], n_features=len(features.norm))
    value = run.kernels.preactivations(pairs, x, features.encoder.weight, features.bias.weight[:, 0])
    [active] = strongest(run, [Active(pairs=pairs, value=value)], AUXILIARY_K)
    on = terms("topk", active.pairs, active.value, features.norm, None, None, 0.0)
    out = torch.zeros_like(residual)
    run.kernels.decode(active.pairs, on.activation, features.decoder.weight, out)
    out = run.split.total(out)
    weight = 2 * AUXILIARY_WEIGHT * error / float(residual.square().sum().clamp_min(1e-12))
    backward(run, i, x, (out - residual) * weight, active, on, adam)
