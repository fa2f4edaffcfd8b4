"""Training of a dictionary, from the activations of a model to a folder that `Dictionary.load` reads.

1. The first buffer fixes a centre and a scale for what every layer reads and writes. Training happens in those units,
   in which every layer's output counts the same; the result is folded back into the saved weights.
2. A step takes one batch: dense pre-activations, the active features, sparse decoding, the relative squared error
   summed over layers, Adam with a learning rate that rises, stays and falls to zero. k starts `anneal` times larger.
3. Features that have not fired for long are given the positions that are explained worst, until late in the run.
4. A resumed run takes the same steps as one that was never stopped.
5. At the end BatchTopK gets its fixed threshold, fitted so that fresh batches keep k features a layer on average.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from clew.dictionary.sparse import above, chosen, decode_dense, decode_sparse
from clew.errors import InputError
from clew.subject.subject import Subject
from clew.training.activations import Batch, Documents, stream
from clew.training.objective import (
    BANDWIDTH,
    Active,
    auxiliary_loss,
    batch_topk,
    jump,
    sparsity_penalty,
)
from clew.training.run import (
    READ_SITE,
    WRITE_SITE,
    DictionaryConfig,
    Run,
    finished,
    restore_checkpoint,
    save_checkpoint,
)

DENSE = 0.1  # share of active features from which a dense product is faster
DEAD_AFTER = 300_000  # positions without firing
REVIVE_EVERY = 25  # steps
REVIVE_UNTIL = 0.7  # of all steps, so that what is new can still learn
REVIVE_AT_ONCE = 64  # features of a layer
AUXILIARY_WEIGHT = 1 / 32
BUFFER = 32768  # positions whose activations are shuffled together
FIT_BATCHES = 16
REPORT_EVERY = 25
CHECKPOINT_EVERY = 500


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """How training stands."""

    step: int
    steps: int
    loss: float
    nmse: tuple[float, ...]
    """Squared error relative to the output's variance, by layer, on the last batch."""
    l0: tuple[float, ...]
    """Active features a position, by layer, on the last batch."""
    dead: float
    """Share of features that have not fired in the last 300,000 positions."""
    tokens_per_second: float


@torch.no_grad()
def activate(run: Run, inputs: Float[Tensor, "layer pos d_model"], n_kept: int) -> tuple[list[Tensor], list[Active]]:
    """Dense pre-activations of every layer, and which features take part in the step."""
    w, layers = run.weights, range(run.n_layers)
    dtype = getattr(torch, run.config.precision)
    pre = [linear(inputs[i].to(dtype), w[f"encoder.{i}"].to(dtype)).float().add_(w[f"bias.{i}"]) for i in layers]
    match run.config.nonlinearity:
        case "batchtopk":
            active, last = batch_topk(pre, [n.clamp_min(1e-6) for n in run.norms()], n_kept, run.guess)
            run.guess = 0.8 * last
        case "jumprelu":
            active = [above(pre[i], w[f"log_threshold.{i}"].exp() - BANDWIDTH / 2) for i in layers]
        case "relu":
            active = [above(pre[i], torch.zeros_like(w[f"bias.{i}"])) for i in layers]
    return pre, active


def activation(run: Run, layer: int, x: Tensor, pre: Tensor, active: Active) -> Tensor:
    """Activations of the features that take part, with gradients."""
    w, (position, index) = run.weights, active
    value = chosen(x, w[f"encoder.{layer}"], w[f"bias.{layer}"], pre, position, index)
    if run.config.nonlinearity == "jumprelu":
        return jump(value, w[f"log_threshold.{layer}"].exp()[index])
    return value


def decode(decoder: Float[Tensor, "feature written"], active: Active, value: Tensor, n_pos: int) -> Tensor:
    """[pos, written]: sparse, or dense while most features are active; equal but for rounding."""
    position, index = active
    if len(index) < DENSE * n_pos * len(decoder):
        return decode_sparse(position, index, value, decoder[:, None], n_pos)[0]
    dense = value.new_zeros(n_pos, len(decoder)).index_put((position, index), value)
    return decode_dense(dense, decoder[:, None])[0]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One batch through a run."""

    total: Float[Tensor, ""]
    nmse: Float[Tensor, " layer"]
    l0: Float[Tensor, " layer"]
    missing: tuple[Float[Tensor, "pos d_model"], ...]
    """What the reconstruction of every layer lacks."""


def loss_of(run: Run, batch: Batch, k: float, price: float) -> Losses:
    """The loss of a batch, its squared errors and counts; notes which features fired."""
    n_layers, n_pos, d = batch.inputs.shape
    pre, active = activate(run, batch.inputs, round(k * n_layers * n_pos))
    w, out, penalty, counts = run.weights, [], torch.zeros(()), torch.zeros(n_layers)
    for i in range(n_layers):
        base = w[f"decoder_bias.{i}"].expand(n_pos, d)
        out.append(base + linear(batch.inputs[i], w[f"skip.{i}"]) if run.config.skip else base)
    values = []
    for i in range(n_layers):
        value = activation(run, i, batch.inputs[i], pre[i], active[i])
        values.append(value.detach())
        parts = decode(w[f"decoder.{i}"], active[i], value, n_pos).view(n_pos, -1, d)
        for slot, layer in enumerate(run.written(i)):
            out[layer] = out[layer] + parts[:, slot]
        if price:
            norm = w[f"decoder.{i}"].norm(dim=1)[active[i][1]]
            penalty = penalty + sparsity_penalty(value, norm, run.config.nonlinearity)
    missing = [batch.outputs[i] - out[i] for i in range(n_layers)]
    errors = torch.stack([m.square().mean() for m in missing])
    dead = run.quiet > DEAD_AFTER
    extra = torch.zeros(())
    for i in range(n_layers):
        if dead[i].any():
            residual = torch.cat([missing[j] for j in run.written(i)], 1)
            rows = (w[f"encoder.{i}"], w[f"bias.{i}"], w[f"decoder.{i}"])
            extra = extra + auxiliary_loss(batch.inputs[i], residual, *rows, dead[i]) * errors[i].detach()
        fired = active[i][1][values[i] > 0]
        counts[i] = len(fired) / n_pos
        run.quiet[i] += n_pos
        run.quiet[i, fired] = 0
    total = errors.sum() + price * penalty / n_pos + AUXILIARY_WEIGHT * extra
    return Losses(total=total, nmse=errors.detach(), l0=counts, missing=tuple(m.detach() for m in missing))


@torch.no_grad()
def revive(run: Run, batch: Batch, missing: tuple[Tensor, ...]) -> None:
    """Give dead features the positions explained worst: encoder along the input, decoder along what is missing.

    Positions are drawn in proportion to their squared error, so that rare text which no feature knows yet comes first.
    Every layer is given the same worst positions, so each new decoder takes on a part only: whole ones would add up to
    several times what is missing, make those positions worse, and be drawn again.
    """
    generator = torch.Generator().manual_seed((run.config.seed << 32) + run.step)
    for i in range(run.n_layers):
        ids = (run.quiet[i] > DEAD_AFTER).nonzero().flatten()[:REVIVE_AT_ONCE]
        if not len(ids):
            continue
        residual = torch.cat([missing[layer] for layer in run.written(i)], 1)
        at = torch.multinomial(residual.square().sum(1), len(ids), generator=generator)
        x = batch.inputs[i][at]
        size = x.norm(dim=1, keepdim=True).clamp_min(1e-6)
        fresh = {"encoder": x / size, "bias": -0.5 * size[:, 0], "decoder": residual[at] / (size * run.n_layers)}
        for name, rows in fresh.items():
            weight = run.weights[f"{name}.{i}"]
            weight[ids] = rows
            for moment in ("exp_avg", "exp_avg_sq"):
                if weight in run.adam.state:
                    run.adam.state[weight][moment][ids] = 0.0
        run.quiet[i, ids] = 0


def train_dictionary(
    subject: Subject, documents: Documents, config: DictionaryConfig, folder: Path | str, *, resume: bool = False
) -> Iterator[TrainingReport]:
    """Train, reporting on the way, and write `folder/dictionary`; `folder/checkpoint.safetensors` lets it be resumed.

    InputError when activations or the loss become NaN (the last checkpoint stays), MismatchError when the checkpoint
    belongs to another run.
    """
    folder = Path(folder)
    run = Run(subject.n_layers, subject.d_model, config)
    if resume:
        restore_checkpoint(run, folder / "checkpoint.safetensors", subject)
    batches = _batches(subject, documents, config, run.step)
    if not run.scales:
        run.fit_scales(_joined(islice(_batches(subject, documents, config, 0), max(1, BUFFER // config.batch))))
    began, since = time.perf_counter(), run.step
    for batch in islice(batches, config.steps - run.step):
        report = _step(run, run.normalised(batch))
        if run.step % CHECKPOINT_EVERY == 0:
            save_checkpoint(run, folder / "checkpoint.safetensors", subject)
        if run.step % REPORT_EVERY == 0 or run.step == config.steps:
            rate = (run.step - since) * config.batch / (time.perf_counter() - began)
            yield TrainingReport(step=run.step, steps=config.steps, tokens_per_second=rate, **report)
    thresholds = None
    if config.nonlinearity == "batchtopk":
        fresh = islice(_batches(subject, documents, config, run.step), FIT_BATCHES)
        thresholds = fit_threshold(run, (run.normalised(batch) for batch in fresh))
    finished(run, subject, thresholds).save(folder / "dictionary")


def _batches(subject: Subject, documents: Documents, config: DictionaryConfig, start: int) -> Iterator[Batch]:
    size = {"batch": config.batch, "buffer": BUFFER, "seed": config.seed, "start": start}
    return stream(subject, documents, read_site=READ_SITE, write_site=WRITE_SITE, **size)


def _joined(batches: Iterator[Batch]) -> Batch:
    every = list(batches)
    return Batch(inputs=torch.cat([b.inputs for b in every], 1), outputs=torch.cat([b.outputs for b in every], 1))


def _step(run: Run, batch: Batch) -> dict:
    config, progress = run.config, run.step / run.config.steps
    k = config.k * config.anneal ** max(0.0, 1 - 2 * progress)
    price = 0.0 if config.nonlinearity == "batchtopk" else config.sparsity * min(1.0, 2 * progress)
    warm = min(1.0, (run.step + 1) / min(200, max(1, config.steps // 10)))
    for group in run.adam.param_groups:
        group["lr"] = config.learning_rate * warm * min(1.0, 2 * (1 - progress))
    losses = loss_of(run, batch, k, price)
    loss = losses.total
    if not torch.isfinite(loss):
        raise InputError(f"the loss became {float(loss)} at step {run.step}: lower the learning rate and resume")
    loss.backward()
    run.adam.step()
    run.adam.zero_grad()
    if run.step % REVIVE_EVERY == 0 and progress < REVIVE_UNTIL:
        revive(run, batch, losses.missing)
    run.step += 1
    dead = float((run.quiet > DEAD_AFTER).float().mean())
    return {
        "loss": float(loss.detach()),
        "nmse": tuple(losses.nmse.tolist()),
        "l0": tuple(losses.l0.tolist()),
        "dead": dead,
    }


@torch.no_grad()
def fit_threshold(run: Run, batches: Iterator[Batch]) -> float:
    """The value that activation times decoder norm must exceed, so that k * layers features a position are kept."""
    total, kept = 0, []
    for batch in batches:
        n = batch.inputs.shape[1]
        room = 2 * run.config.k * run.n_layers * n  # keeps more than the wanted share, so that batches may differ
        pre, active = activate(run, batch.inputs, room)
        kept.append(torch.cat([p[at] * norm[at[1]] for p, at, norm in zip(pre, active, run.norms(), strict=True)]))
        total += n
    values = torch.cat(kept)
    wanted = min(run.config.k * run.n_layers * total, len(values) - 1)
    return float(values.kthvalue(len(values) - wanted).values)
