"""Fine-tuning of a trained dictionary in the replacement model, where it stands in for every MLP at once.

Reconstruction is learned on the real stream, where every layer reads what real layers have left. In the replacement
model errors add up from layer to layer. So a finished run continues for some steps, each with up to four batches:

1. One of activations, as before, which keeps the reconstruction error from rising.
2. One of documents, on which all MLPs are replaced, features computed on the replaced stream, with the thresholds that
   the dictionary will have. The loss is the divergence of the prediction from the real model's, in nats; its gradient
   goes back through the whole model. A layer's features are updated as soon as the backward pass has reached them, so
   that gradients of the whole dictionary are never in memory together.
3. Where asked for, one of documents in which features are ablated, for what the dictionary answers to that
   (`clew.training.responses`).
4. Where asked for, one of documents or prompts, for what features do to a prediction (`clew.training.effects`).
"""

from __future__ import annotations

import math
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

from clew import files
from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.kernels.types import Adam
from clew.progress import Progress
from clew.subject.subject import Subject
from clew.training.activations import Batch, Documents, stream
from clew.training.checkpoint import open_run
from clew.training.config import FineTuneConfig
from clew.training.effects import EffectSteps
from clew.training.objective import Terms
from clew.training.responses import Responses
from clew.training.run_state import RunState
from clew.training.selection import Active, candidate
from clew.training.step import backward, plain_terms, take_step
from clew.training.trainer import FIT_BATCHES, conclude, fit_threshold

__all__ = ["FineTuneConfig", "FineTuneReport", "fine_tune"]

WARM = 50  # steps in which the learning rate rises


@dataclass(frozen=True, kw_only=True)
class FineTuneReport:
    """The state of fine-tuning after a step."""

    step: int
    steps: int
    kl: float
    """Divergence on the last documents, in nats a position; NaN where it is left out."""
    responses: float
    """Response error on the last ablations, relative; NaN where it is left out."""
    effects: float
    """Effect error on the last rows, relative; NaN where it is left out."""
    nmse: tuple[float, ...]
    """Squared error relative to the output's variance, by layer, on the last batch of activations."""

    @property
    def progress(self) -> Progress:
        """How far fine-tuning is."""
        losses = {
            f"divergence {self.kl:.4f} nats": self.kl,
            f"response error {self.responses:.3f}": self.responses,
            f"effect error {self.effects:.3f}": self.effects,
        }
        note = ", ".join(text for text, value in losses.items() if not math.isnan(value))
        return Progress(what="fine-tuning", done=self.step, of=self.steps, note=note)


def fine_tune(
    subject: Subject,
    documents: Documents,
    config: FineTuneConfig,
    folder: Path | str,
    prompts: Documents | None = None,
) -> Iterator[FineTuneReport]:
    """Continue the finished run in a folder and write `folder/tuned`, whose provenance has the configuration.

    Effects are trained on at the end of prompts where there are any, else anywhere in the documents.
    The run's checkpoint and dictionary stay as they are. InputError for an SAE, or when `folder/tuned` exists,
    FileError when there is no checkpoint or another process works in the folder,
    MismatchError when the model's weights or the text have changed since.
    """
    with files.lock_folder(folder, "fine-tuning"):
        yield from _fine_tune(subject, documents, config, Path(folder), prompts)


def _fine_tune(
    subject: Subject, documents: Documents, config: FineTuneConfig, folder: Path, prompts: Documents | None
) -> Iterator[FineTuneReport]:
    tuned = folder / "tuned"
    if files.recover(tuned).exists():
        raise InputError(f"{tuned} exists already: give it another name first")
    run, origin = open_run(folder, subject, documents)
    if run.config.kind == "sae":
        raise InputError("an SAE does not stand in for MLPs: there is nothing to fine-tune on")
    _check(run, config)
    read_site, write_site = run.config.sites()
    size = {"batch": run.config.batch, "buffer": origin.buffer, "seed": run.config.seed, "start": run.step}
    batches = (
        run.normalised(batch)
        for batch in stream(subject, documents, read_site=read_site, write_site=write_site, **size)
    )
    n_rows = max(1, round(config.positions * len(documents) / float(documents.counts.sum())))
    responses = Responses(run, subject, documents, config)
    effects = EffectSteps(run, subject, documents, prompts, config)
    before = Dictionary.load(folder / "dictionary")
    cut, kl = 0.0, math.nan
    for step in range(config.steps):
        warm = min(1.0, (run.step + 1) / WARM)  # a run that took no step has no moments yet
        rate = config.learning_rate * warm * (1 - step / config.steps)
        losses = take_step(run, next(batches), float(run.config.k), run.config.sparsity, rate, 10**18)
        if step % config.refit_every == 0:
            cut = _cut(run, batches)
        adam = Adam(rate=rate, step=run.step)
        if config.weight:
            draw = torch.Generator().manual_seed((run.config.seed << 32) + step)
            rows = torch.randint(len(documents), (n_rows,), generator=draw)
            kl = divergence_step(run, subject, documents, rows, cut, config.weight, adam)
        error = responses.step(cut, adam) if config.responses else math.nan
        effect = effects.step(cut, adam) if config.effects else math.nan
        yield FineTuneReport(
            step=step + 1, steps=config.steps, kl=kl, responses=error, effects=effect, nmse=losses.nmse
        )
    dictionary = conclude(run, subject, batches)
    facts = {"fine_tuning": asdict(config), "start": {"fingerprint": before.fingerprint, **before.provenance}}
    replace(dictionary, provenance={**dictionary.provenance, **facts}).save(tuned)


def _check(run: RunState, config: FineTuneConfig) -> None:
    if config.responses and run.n_layers == 1:
        raise InputError("the model has one layer, and none behind it to answer: leave --responses out")
    if config.effects and run.n_layers == 1:
        raise InputError("the model has one layer, whose effects are what it writes: leave --effects out")
    if config.from_layer >= run.n_layers:
        raise InputError(f"from_layer is {config.from_layer}, but the model has layers 0 to {run.n_layers - 1}")


def _cut(run: RunState, batches: Iterator[Batch]) -> float:
    """BatchTopK's threshold, fitted as for the finished dictionary; 0 for the others."""
    return fit_threshold(run, islice(batches, FIT_BATCHES)) if run.config.nonlinearity == "batchtopk" else 0.0


def divergence_step(
    run: RunState,
    subject: Subject,
    documents: Documents,
    rows: Int[Tensor, " n"],
    cut: float,
    weight: float,
    adam: Adam,
) -> float:
    """Move the run's weights along the gradient of weight times the divergence on some rows; returns the divergence.

    InputError when the divergence is NaN or infinite.
    """
    ids, counted = (tensor.to(subject.device) for tensor in documents.padded(rows))
    dense = {"decoder_bias": run.decoder_bias, "skip": run.skip}
    leaves = {name: part.weight.detach().clone().requires_grad_() for name, part in dense.items()}
    with frozen(subject):
        with torch.no_grad():
            real = subject.unembed(subject.run(ids).final[counted]).float().log_softmax(-1)
        final = replaced(run, subject, ids, documents.left_out(rows), cut, leaves, adam, weight)
        new = subject.unembed(final[counted]).float().log_softmax(-1)
        loss = (real.exp() * (real - new)).sum() / len(real)
        if not torch.isfinite(loss):
            raise InputError(f"the divergence became {float(loss)}: lower the learning rate")
        loss.backward()
    for name, part in dense.items():
        gradient = leaves[name].grad
        if gradient is not None:
            adam.apply(part.weight, part.mean, part.square, weight * gradient)
    return float(loss.detach())


class _Layer(torch.autograd.Function):
    """What one layer's features write, [pos, written]; the backward pass updates their weights.

    `leaf` is any tensor that requires a gradient: without it autograd would skip the first layer's backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, leaf: Tensor, run: RunState, i: int, cut: float, adam: Adam, weight: float
    ) -> Tensor:
        active = candidate(run, i, x, float(run.config.k), cut)
        features = run.layers[i]
        on = plain_terms(run, i, active)
        out = x.new_zeros(len(x), features.decoder.weight.shape[1])
        run.kernels.decode(active.pairs, on.activation, features.decoder.weight, out)
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


def pull(run: RunState, i: int, slope: Tensor, active: Active, on: Terms, dx: Float[Tensor, "pos d_model"]) -> None:
    """Add to dx the gradient that reaches a layer's inputs through its active features."""
    features, pairs = run.layers[i], active.pairs
    d_value = run.kernels.preactivations(pairs, slope, features.decoder.weight, torch.zeros_like(features.norm))
    run.kernels.decode(pairs, on.gate * d_value, features.encoder.weight, dx)


def replaced(
    run: RunState,
    subject: Subject,
    ids: Int[Tensor, "batch pos"],
    left_out: Bool[Tensor, "batch pos"],
    cut: float,
    leaves: dict[str, Tensor],
    adam: Adam,
    weight: float,
) -> Float[Tensor, "batch pos d_model"]:
    """The final stream with every MLP replaced by the run's features, ready for a backward pass that moves them."""
    read_site, write_site = run.config.sites()
    n_pos, d, s = ids.numel(), run.d_model, run.scales
    inside = (~left_out).flatten().to(subject.device)  # features at a position that stays real must not be moved
    written: dict[int, Tensor] = {}

    def stand_in(layer: int, real: Tensor, seen: Any) -> Tensor:
        x = run.input_of(layer, seen(read_site, layer).reshape(n_pos, d))
        parts = _Layer.apply(x[inside], leaves["decoder_bias"], run, layer, cut, adam, weight)
        for slot, out in enumerate(run.written(layer)):
            part = parts[:, slot * d : (slot + 1) * d]
            written[out] = written[out] + part if out in written else part
        output = written.pop(layer) + leaves["decoder_bias"][layer]
        if run.config.skip:
            output = output + linear(x[inside], leaves["skip"].view(-1, d, d)[layer])
        output = output * s["output_scale"][layer] + s["output_centre"][layer]
        return real.reshape(n_pos, d).masked_scatter(inside[:, None], output.to(real.dtype)).view_as(real)

    sites: Any = {(write_site, layer): partial(stand_in, layer) for layer in range(run.n_layers)}
    reads: Any = [(read_site, layer) for layer in range(run.n_layers)]
    return subject.run(ids, change=sites, reads=reads).final


@contextmanager
def frozen(subject: Subject) -> Iterator[None]:
    """Within the block the model's weights require no gradient."""
    moving = [p for p in subject.model.parameters() if p.requires_grad]
    try:
        for parameter in moving:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
