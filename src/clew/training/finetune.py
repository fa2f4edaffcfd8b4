"""Fine-tuning of a trained dictionary on what it is for: to stand in for every MLP at once.

Reconstruction is learned on the real stream, where every layer reads what real layers have left. In the replacement
model errors add up from layer to layer. So a finished run goes on for some steps, each with two batches:

1. One of activations, as before: it keeps the reconstruction where it is.
2. One of documents, on which all MLPs are replaced, features computed on the replaced stream, with the thresholds that
   the dictionary will have. The loss is the divergence of the prediction from the real model's, in nats; its gradient
   goes back through the whole model. A layer's features are moved as soon as the backward pass has reached them, so
   that here too gradients of the whole dictionary are never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import linear

from clew.errors import InputError
from clew.kernels.types import Adam
from clew.subject.subject import Subject
from clew.training.activations import Batch, Documents, stream
from clew.training.checkpoint import open_run
from clew.training.config import FineTuneConfig
from clew.training.objective import Terms, terms
from clew.training.run_state import Run
from clew.training.selection import Active, candidate
from clew.training.step import backward, take_step
from clew.training.trainer import FIT_BATCHES, conclude, fit_threshold

__all__ = ["FineTuneConfig", "FineTuneReport", "fine_tune"]


@dataclass(frozen=True, kw_only=True)
class FineTuneReport:
    """How fine-tuning stands."""

    step: int
    steps: int
    kl: float
    """Divergence on the last documents, in nats a position."""
    nmse: tuple[float, ...]
    """Squared error relative to the output's variance, by layer, on the last batch of activations."""


def fine_tune(
    subject: Subject, documents: Documents, config: FineTuneConfig, folder: Path | str
) -> Iterator[FineTuneReport]:
    """Go on with the finished run in a folder, and write `folder/tuned` at the end, which says how it was tuned.

    The run's checkpoint and its own dictionary stay as they are. InputError for an SAE, or when `folder/tuned` exists,
    FileError when there is no checkpoint.
    """
    tuned = Path(folder) / "tuned"
    if tuned.exists():
        raise InputError(f"{tuned} exists already: give it another name first")
    run, buffer = open_run(Path(folder), subject)
    if run.config.kind == "sae":
        raise InputError("an SAE does not stand in for MLPs: there is nothing to fine-tune on")
    read_site, write_site = run.config.sites()
    size = {"batch": run.config.batch, "buffer": buffer, "seed": run.config.seed, "start": run.step}
    batches = (
        run.normalised(batch)
        for batch in stream(subject, documents, read_site=read_site, write_site=write_site, **size)
    )
    n_rows = max(1, round(config.positions * len(documents) / float(documents.counts.sum())))
    cut = 0.0
    for step in range(config.steps):
        rate = config.learning_rate * (1 - step / config.steps)
        outcome = take_step(run, next(batches), float(run.config.k), run.config.sparsity, rate, 10**18)
        if step % config.refit_every == 0:
            cut = _cut(run, batches)
        draw = torch.Generator().manual_seed((run.config.seed << 32) + step)
        rows = torch.randint(len(documents), (n_rows,), generator=draw)
        kl = divergence_step(run, subject, documents, rows, cut, config.weight, Adam(rate=rate, step=run.step))
        yield FineTuneReport(step=step + 1, steps=config.steps, kl=kl, nmse=outcome.nmse)
    made = conclude(run, subject, batches)
    replace(made, provenance={**made.provenance, "fine_tuning": asdict(config)}).save(tuned)


def _cut(run: Run, batches: Iterator[Batch]) -> float:
    """BatchTopK's threshold as it is fitted at the end."""
    return fit_threshold(run, islice(batches, FIT_BATCHES)) if run.config.nonlinearity == "batchtopk" else 0.0


def divergence_step(
    run: Run,
    subject: Subject,
    documents: Documents,
    rows: Int[Tensor, " n"],
    cut: float,
    weight: float,
    adam: Adam,
) -> float:
    """Move the run's weights along the gradient of weight times the divergence on some rows; returns the divergence."""
    ids, counted = documents.padded(rows)
    plain = {"decoder_bias": run.decoder_bias, "skip": run.skip}
    leaves = {name: part.weight.detach().clone().requires_grad_() for name, part in plain.items()}
    with frozen(subject):
        with torch.no_grad():
            real = subject.unembed(subject.run(ids).final[counted]).float().log_softmax(-1)
        final = replaced(run, subject, ids, documents.first[rows] > 0, cut, leaves, adam, weight)
        new = subject.unembed(final[counted]).float().log_softmax(-1)
        loss = (real.exp() * (real - new)).sum() / len(real)
        if not torch.isfinite(loss):
            raise InputError(f"the divergence became {float(loss)}: lower the learning rate")
        loss.backward()
    for name, part in plain.items():
        gradient = leaves[name].grad
        if gradient is not None:
            adam.apply(part.weight, part.mean, part.square, weight * gradient)
    return float(loss.detach())


class _Layer(torch.autograd.Function):
    """What one layer's features write, [pos, written]; its backward pass moves them.

    `leaf` is any tensor that wants a gradient: without one there would be no backward pass for the first layer.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, leaf: Tensor, run: Run, i: int, cut: float, adam: Adam, weight: float) -> Tensor:
        active = candidate(run, i, x, float(run.config.k), cut)
        own = run.layers[i]
        on = terms(run.config.nonlinearity, active.pairs, active.value, own.norm, own.threshold, None, 0.0)
        out = x.new_zeros(len(x), own.decoder.weight.shape[1])
        run.kernels.decode(active.pairs, on.activation, own.decoder.weight, out)
        ctx.save_for_backward(x)
        ctx.rest = run, i, adam, weight, active, on
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (run, i, adam, weight, active, on) = ctx.saved_tensors, ctx.rest
        slope, dx = gradients[0].contiguous(), torch.zeros_like(x)
        pull(run, i, slope, active, on, dx)
        backward(run, i, x, slope * weight, active, on, adam)
        return dx, None, None, None, None, None, None


def pull(run: Run, i: int, slope: Tensor, active: Active, on: Terms, dx: Float[Tensor, "pos d_model"]) -> None:
    """Add to dx the gradient that reaches a layer's inputs through its active features."""
    own, pairs = run.layers[i], active.pairs
    d_value = run.kernels.preactivations(pairs, slope, own.decoder.weight, torch.zeros_like(own.norm))
    run.kernels.decode(pairs, on.gate * d_value, own.encoder.weight, dx)


def replaced(
    run: Run,
    subject: Subject,
    ids: Int[Tensor, "batch pos"],
    left_out: Bool[Tensor, " batch"],
    cut: float,
    leaves: dict[str, Tensor],
    adam: Adam,
    weight: float,
) -> Float[Tensor, "batch pos d_model"]:
    """The final stream with every MLP replaced by the run's features, ready for a backward pass that moves them."""
    read_site, write_site = run.config.sites()
    n_pos, d, s = ids.numel(), run.d_model, run.scales
    keep = torch.zeros((*ids.shape, 1), dtype=torch.bool)
    keep[:, 0, 0] = left_out
    inside = (~keep).flatten()  # features at a position that stays real must not be moved
    written: dict[int, Tensor] = {}

    def stand_in(layer: int, real: Tensor, seen: Any) -> Tensor:
        x = (seen(read_site, layer).reshape(n_pos, d).float() - s["input_centre"][layer]) / s["input_scale"][layer]
        parts = _Layer.apply(x[inside], leaves["decoder_bias"], run, layer, cut, adam, weight)
        for slot, out in enumerate(run.written(layer)):
            part = parts[:, slot * d : (slot + 1) * d]
            written[out] = written[out] + part if out in written else part
        made = written.pop(layer) + leaves["decoder_bias"][layer]
        if run.config.skip:
            made = made + linear(x[inside], leaves["skip"].view(-1, d, d)[layer])
        made = made * s["output_scale"][layer] + s["output_centre"][layer]
        whole = real.reshape(n_pos, d).masked_scatter(inside[:, None], made.to(real.dtype))
        return whole.view_as(real)

    sites: Any = {(write_site, layer): partial(stand_in, layer) for layer in range(run.n_layers)}
    reads: Any = [(read_site, layer) for layer in range(run.n_layers)]
    return subject.run(ids, change=sites, reads=reads).final


@contextmanager
def frozen(subject: Subject) -> Iterator[None]:
    """The model's own weights take no gradient."""
    moving = [p for p in subject.model.parameters() if p.requires_grad]
    try:
        for parameter in moving:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
