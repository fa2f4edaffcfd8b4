"""Training of a dictionary: from the activations of a model to a folder that `Dictionary.load` reads.

1. The first buffer fixes a centre and a scale for what every layer reads and writes. Training happens in those units,
   in which every layer's output counts the same; the result is folded back into the saved weights.
2. A step takes one batch (`clew.training.step`): the relative squared error summed over layers, and what active
   features pay, which rises in a straight line over the first half. The learning rate rises, stays and falls to zero.
   k starts `ANNEAL` times larger and falls to k over the first half. A run that begins with a finished dictionary takes
   a tenth in place of half: its features are alive.
3. Features that have not fired for long are reinitialised on the positions explained worst, until late in the run.
4. A resumed run takes the same steps as one that was never stopped.
5. At the end BatchTopK gets its fixed threshold, fitted so that fresh batches keep k features a layer on average, and
   features that hardly ever fire are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.progress import Progress
from clew.settings import accepts
from clew.subject.subject import Subject
from clew.training.activations import Batch, Documents, stream_among
from clew.training.checkpoint import NAME, RunOrigin, restore_checkpoint, save_checkpoint
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState, finished, whole_run
from clew.training.selection import activate, candidate
from clew.training.split import WHOLE, ByFeatures, Split
from clew.training.step import StepLosses, plain_terms, take_step
from clew.training.warm_start import begin_with

ANNEAL = 4.0
GROWING, GROWN = 0.5, 0.1  # shares of all steps until price and k reach their final values
DEAD_AFTER = 300_000  # positions without firing
REVIVE_EVERY = 25  # steps
REVIVE_UNTIL = 0.7  # of all steps, so that revived features can still learn
REVIVE_AT_ONCE = 64  # features of a layer
SMALLEST_SHARE = 0.01  # of a revived decoder that is always kept, so that it can learn
BUFFER = 32768  # positions whose activations are shuffled together
FIT_BATCHES = 16
COUNT_BATCHES = 48
FIRED_AT_LEAST = 2  # times on these batches, or a feature is not saved
REPORT_EVERY = 25
CHECKPOINT_EVERY = 500

__all__ = ["NAME", "DictionaryConfig", "TrainingOptions", "TrainingReport", "train_dictionary"]


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The state of training after a step."""

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
    snapshot: Callable[[], Dictionary] = field(repr=False, compare=False)
    """The Dictionary of this step; to be called before the next one is taken.

    All ranks call it, or none; where features are parted, those after the first one get one of their own features."""

    @property
    def progress(self) -> Progress:
        """How far training is."""
        note = f"{self.tokens_per_second:,.0f} tokens/s"
        return Progress(what="training", done=self.step, of=self.steps, note=note)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a training run begins, reports and stops."""

    resume: bool = False
    """Continue from the folder's checkpoint."""
    start: Dictionary | None = None
    """Begin with the weights of a finished dictionary in place of random ones."""
    layer_weights: Sequence[float] | None = None
    """How much each layer's squared error counts beside the others'; a resumed run keeps its own."""
    buffer: int = BUFFER
    """Positions whose activations are shuffled together."""
    split: Split = WHOLE
    """How ranks share the work; all of them train, with the same settings, and the first one writes."""
    report_every: int = REPORT_EVERY
    """Steps between two reports."""
    stop: Callable[[], bool] | None = None
    """Called after every step; when it returns True, a checkpoint is saved and training ends without a dictionary."""


@accepts(TrainingOptions)
def train_dictionary(
    subject: Subject,
    documents: Documents,
    config: DictionaryConfig,
    folder: Path | str,
    settings: TrainingOptions,
) -> Iterator[TrainingReport]:
    """Train, reporting on the way, and write `folder/dictionary`; `folder/checkpoint.safetensors` lets it be resumed.

    InputError when activations or the loss become NaN (the last checkpoint stays) or the layer weights do not fit,
    MismatchError when the checkpoint is of other weights, text or settings, or ranks differ in them, RankError when one
    is gone.
    """
    check_layer_weights(settings.layer_weights, subject.n_layers)
    check_parts(config, subject.n_layers, settings.split)
    folder, start, stop, ranks = Path(folder), settings.start, settings.stop, settings.split.ranks
    run = RunState(subject.n_layers, subject.d_model, config, device=subject.device, split=settings.split)
    origin = RunOrigin.of(subject, documents, config, settings.buffer)
    if settings.resume:
        restore_checkpoint(run, folder, origin)
    ranks.check_same(origin.shown() | {"step": run.step})
    if not run.scales:
        _begin(run, subject, documents, settings)
    began, since = time.perf_counter(), run.step
    batches = islice(_batches(subject, documents, run, settings.buffer), config.steps - run.step)
    for batch in map(run.normalised, batches):
        losses = advance(run, batch)
        stopped = stop is not None and ranks.total(int(stop())) > 0
        if run.step % CHECKPOINT_EVERY == 0 or stopped:
            save_checkpoint(run, folder, origin)
        if run.step % settings.report_every == 0 or run.step == config.steps or stopped:
            rate = (run.step - since) * config.batch / (time.perf_counter() - began)
            yield _report(run, subject, losses, rate)
        if stopped:
            return
    if run.step % CHECKPOINT_EVERY:
        save_checkpoint(run, folder, origin)
    del batches  # and the buffer that they were drawn from
    run.forget_moments()
    fresh = _batches(subject, documents, run, settings.buffer)
    dictionary = conclude(run, subject, map(run.normalised, fresh))
    if start is not None:
        first = {"start": {"fingerprint": start.fingerprint, **start.provenance}}
        dictionary = replace(dictionary, provenance={**dictionary.provenance, **first})
    if ranks.first:
        dictionary.save(folder / "dictionary")


def begin_run(
    subject: Subject, documents: Documents, config: DictionaryConfig, folder: Path, settings: TrainingOptions
) -> None:
    """Write the checkpoint of a run that begins with a finished dictionary and took no step yet, to be fine-tuned."""
    check_layer_weights(settings.layer_weights, subject.n_layers)
    run = RunState(subject.n_layers, subject.d_model, config, device=subject.device)
    _begin(run, subject, documents, settings)
    save_checkpoint(run, folder, RunOrigin.of(subject, documents, config, settings.buffer))


def _begin(run: RunState, subject: Subject, documents: Documents, settings: TrainingOptions) -> None:
    """Fit the units of training, and take over the weights that the run is to begin with."""
    n_batches = max(1, settings.buffer // run.config.batch)
    first = islice(_batches(subject, documents, run, settings.buffer), n_batches)
    run.fit_scales(first, settings.layer_weights)
    if settings.start is not None:
        begin_with(run, settings.start)


def check_layer_weights(weights: Sequence[float] | None, n_layers: int) -> None:
    """InputError unless there is one weight above zero for every layer."""
    if weights is None:
        return
    if len(weights) != n_layers:
        raise InputError(f"{len(weights)} layer weights are given, but the model has {n_layers} layers")
    if not all(0 < weight < float("inf") for weight in weights):
        raise InputError(f"layer weights must all be above 0: {', '.join(f'{weight:g}' for weight in weights)}")


def check_parts(config: DictionaryConfig, n_layers: int, split: Split) -> None:
    """InputError when a batch has no position for every rank, or a layer no feature."""
    size, least = split.ranks.size, min(config.widths(n_layers))
    if isinstance(split, ByFeatures) and least < size:
        raise InputError(f"a layer has {least} features, but there are {size} ranks: start fewer of them")
    if config.batch < size:
        raise InputError(f"a batch has {config.batch} positions, but there are {size} ranks: start fewer of them")


def _batches(subject: Subject, documents: Documents, run: RunState, buffer: int) -> Iterator[Batch]:
    """The batches of a run from its next step on."""
    size = {"batch": run.config.batch, "buffer": buffer, "seed": run.config.seed, "start": run.step}
    return stream_among(run.split.ranks, subject, documents, run.config.sites(), **size)


def _report(run: RunState, subject: Subject, losses: StepLosses, rate: float) -> TrainingReport:
    return TrainingReport(
        step=run.step,
        steps=run.config.steps,
        loss=losses.loss,
        nmse=losses.nmse,
        l0=losses.l0,
        dead=run.quiet_longer_than(DEAD_AFTER),
        tokens_per_second=rate,
        snapshot=lambda: finished(whole_run(run), subject, run.cut),
    )


def advance(run: RunState, batch: Batch) -> StepLosses:
    """Take the next step of a run, with the scheduled budget, price and learning rate."""
    config, progress = run.config, run.step / run.config.steps
    ramp = min(1.0, progress / (GROWN if run.grown else GROWING))
    k = config.k * ANNEAL ** (1 - ramp)
    price = config.sparsity * ramp
    warm = min(1.0, (run.step + 1) / min(200, max(1, config.steps // 10)))
    rate = config.learning_rate * warm * min(1.0, 2 * (1 - progress))
    due = run.step % REVIVE_EVERY == 0 and progress < REVIVE_UNTIL
    losses = take_step(run, batch, k, price, rate, DEAD_AFTER)
    if due:
        revive(run, batch, losses.slope * (-0.5 * batch.inputs[0].numel()))
    return losses


def revive(run: RunState, batch: Batch, missing: Float[Tensor, "pos written"]) -> None:
    """Reinitialise dead features on the positions explained worst: encoder along the input, decoder along the residual.

    Positions are drawn in proportion to their squared error, so that rare text which no feature explains comes first.
    Many of them are alike, and all layers draw from them: full decoders would add up to several times the residual
    `missing`, make those positions worse, and be drawn again. So all are shrunk by the factor that minimises the
    batch's error.
    """
    generator = torch.Generator().manual_seed((run.config.seed << 32) + run.step)
    added, revived = torch.zeros_like(missing), []
    for i, features in enumerate(run.layers):
        dead = (features.quiet > DEAD_AFTER).nonzero().flatten()
        ids, before, n_dead = run.split.lowest(dead, REVIVE_AT_ONCE)
        if not n_dead:
            continue
        residual = missing[:, run.columns(i)]
        chances = residual.square().sum(1).cpu()  # drawn on the CPU, where the generator is
        drawn = torch.multinomial(chances, n_dead, generator=generator)
        positions = drawn[before : before + len(ids)].to(residual.device)
        x = batch.inputs[i][positions]
        size = x.norm(dim=1, keepdim=True).clamp_min(1e-6)
        fresh = {"encoder": x / size, "bias": -0.5 * size, "decoder": residual[positions] / (size * run.n_layers)}
        active = linear(batch.inputs[i], fresh["encoder"], fresh["bias"][:, 0]).relu()
        added[:, run.columns(i)] += active @ fresh["decoder"]
        for name, rows in fresh.items():
            features.rows[name].weight[ids] = rows
            features.rows[name].forget(ids)
        features.quiet[ids] = 0
        revived.append((features, ids))
    added = run.split.total(added)
    share = float((added * missing).sum() / added.square().sum().clamp_min(1e-12))
    for features, ids in revived:
        features.decoder.weight[ids] *= min(1.0, max(SMALLEST_SHARE, share))
        features.norm[ids] = features.decoder.weight[ids].norm(dim=1)


def conclude(run: RunState, subject: Subject, batches: Iterator[Batch]) -> Dictionary:
    """The Dictionary of a finished run; the first of `batches`, in the units of training, fit its threshold.

    Features that hardly fire on the following ones are left out, except for one a layer: they cost time and explain
    nothing. All ranks call it, and the first one gets the whole.
    """
    cut = fit_threshold(run, islice(batches, FIT_BATCHES)) if run.config.nonlinearity == "batchtopk" else 0.0
    fired = [torch.zeros(len(features.norm), dtype=torch.long, device=run.device) for features in run.layers]
    for batch in islice(batches, COUNT_BATCHES):
        own = batch.inputs[:, run.split.positions(batch.inputs.shape[1])]
        for i, features in enumerate(run.layers):
            a = candidate(run, i, own[i], float(run.config.k), cut)
            on = plain_terms(run, i, a).gate > 0
            fired[i] += torch.bincount(a.pairs.index[on], minlength=len(features.norm))
    fired = [run.split.rows(run.split.counts(counts)) for counts in fired]
    run = whole_run(run)
    if not run.split.ranks.first:
        return finished(run, subject, cut)
    best = [torch.arange(len(counts), device=run.device) == counts.argmax() for counts in fired]
    keep = [(counts >= FIRED_AT_LEAST) | most for counts, most in zip(fired, best, strict=True)]
    return finished(run, subject, cut, keep)


def fit_threshold(run: RunState, batches: Iterator[Batch]) -> float:
    """The value that activation times weight must exceed, so that k * layers features a position are kept."""
    scores: list[Tensor] = []
    n_positions = 0
    for batch in batches:
        active = activate(run, batch.inputs, 2.0 * run.config.k)  # more than the wanted share: batches may differ
        scores += [a.value * run.weight(i)[a.pairs.index] for i, a in enumerate(active)]
        n_positions += batch.inputs.shape[1]
    joined = run.split.rows(torch.cat(scores))
    n_kept = min(run.config.k * run.n_layers * n_positions, len(joined) - 1)
    return float(joined.kthvalue(len(joined) - n_kept).values)
