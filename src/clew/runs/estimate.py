"""What a run will take, before it starts: memory, disk, hours, and how often it reads its text.

1. Weights, moments and the buffer are counted from the configuration; when they alone exceed the free memory, nothing
   is measured.
2. Otherwise the model is timed on some rows, until a few seconds have passed, and so are single steps on what these
   gave. A step costs more while k is large, at the beginning; its cost is taken to be linear in k. A dictionary of more
   weights than `WHOLE` is timed with two smaller numbers of features and a smaller batch: the cost is taken to be
   linear in these too.
3. Memory is the peak of this process during these steps, and what a smaller dictionary and buffer did without.
4. Disk is what the run's files take at most: two checkpoints (the last one is kept until the next is whole), the
   dictionary, the tokens, and activations where they are kept.
5. The text is read until a buffer is filled; the size of what follows is told from its characters.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from clew.memory import free_memory, resident_peak
from clew.runs.cost import MEAN_K, DevicePlan, Shape, least_devices, plan_on
from clew.runs.devices import DeviceKind
from clew.runs.plan import Plan, positions_wanted, rows_to_train_on
from clew.runs.sources import small_world
from clew.runs.train import readings
from clew.subject.subject import Subject
from clew.training.activations import Batch, buffer_bytes, collect, fits_in_memory
from clew.training.cache import bytes_a_position
from clew.training.config import DictionaryConfig
from clew.training.corpus import Document, documents_of, encode_documents
from clew.training.documents import Documents, split_held_out
from clew.training.run_state import RunState
from clew.training.samples import read_openings, sample_documents
from clew.training.trainer import ANNEAL, advance

WHOLE = 64 << 20  # weights up to which a dictionary is timed as it is
PART = 256 << 20  # weights of what is timed in place of a larger one, which is half as wide at most
SECONDS = 4.0  # that the model is timed
SAMPLE = 512  # positions that it is timed on first; as many again until the time is over
STEP_SECONDS = 1.5  # that steps of one kind are timed, if more than one fits
PART_BATCH = 1024  # positions of a step of a dictionary that is not timed as it is
COUNTED = 200_000  # characters from which the number of positions a character is taken


@dataclass(frozen=True, kw_only=True)
class RunEstimate:
    """What a run will take; `hours` and `tokens_per_second` are None when it does not fit the memory."""

    parameters: int
    state_bytes: int
    """Weights and moments."""
    memory_bytes: int
    """Measured, or the state's and the buffer's when they do not fit."""
    available_bytes: int
    disk_bytes: int
    """Of all that the run writes, at most."""
    tokens_per_second: float | None
    hours: float | None
    positions: int
    """Of the text that is trained on, about; as many as are trained on where there is no end of them."""
    readings: float
    """How many times the training reads them."""
    measured_share: float
    """Of the features, with how many steps were timed; what the others take is extrapolated."""

    @property
    def fits(self) -> bool:
        """Whether memory was enough to measure."""
        return self.hours is not None


def text_bytes(subject: Subject, documents: Documents, *, positions: int, cached: int) -> int:
    """Bytes on disk of the tokens of so many positions of a text that begins with documents, and of activations."""
    tokens = 4 * len(documents.tokens) + 16 * len(documents)
    return tokens * positions // int(documents.counts.sum()) + cached * bytes_a_position(subject)


def estimate_run(subject: Subject, plan: Plan) -> RunEstimate:
    """What the run of a plan will take; InputError when its text does not fill a buffer."""
    config, corpus = plan.config, plan.corpus
    wanted = positions_wanted(plan)
    if corpus.text == "samples" and not Path(corpus.text).exists():
        return _estimate_samples(subject, plan, wanted)
    # All text is read when its activations are cached, since their size must be known; otherwise enough to measure.
    asked = wanted if plan.cache else min(wanted, corpus.reading(max(corpus.buffer, config.batch)))
    documents = rows_to_train_on(subject, plan, asked)
    available = int(documents.counts.sum())
    _, training = split_held_out(documents, corpus.held_out)
    positions = available if available < asked or asked == wanted else _positions_of(subject, plan, available, wanted)
    trained = positions - available + int(training.counts.sum())
    text = text_bytes(subject, documents, positions=positions, cached=plan.cache * trained)
    return estimate(
        subject, training, config, buffer=corpus.buffer, text=text, cached=plan.cache * trained, positions=trained
    )


def estimate_on(subject: Subject, plan: Plan, count: int, kind: DeviceKind) -> DevicePlan:
    """What the run of a plan would take on devices that need not be here; by arithmetic, so nothing is measured."""
    config, corpus = plan.config, plan.corpus
    model = sum(parameter.numel() for parameter in subject.model.parameters())
    shape = Shape.of(config, subject.n_layers, subject.d_model, model)
    told = plan_on(shape, kind, count, buffer=corpus.buffer, cached=plan.cache)
    positions = positions_wanted(plan)
    kept = positions * (4 + plan.cache * bytes_a_position(subject))
    advice = "take fewer features, a smaller --reach, or --precision lean"
    if not told.fits and (least := least_devices(shape, kind, buffer=corpus.buffer)) is not None and least > count:
        advice = f"{least} of them hold it; or {advice}"
    return replace(told, disk_bytes=2 * shape.state + 4 * shape.parameters + kept, advice=advice)


def _positions_of(subject: Subject, plan: Plan, available: int, wanted: int) -> int:
    """Positions that the run will find in its text, at most those wanted, told from the text's characters."""
    config = plan.corpus
    if Path(config.text).suffix == ".safetensors":  # tokens, all of which were read
        return available
    documents = documents_of(config, wanted, small_world)
    sample: list[Document] = []
    characters = 0
    for document in documents:
        sample.append(document)
        characters += len(document)
        if characters >= COUNTED:
            break
    rows = encode_documents(subject, sample, bos=config.bos, context=config.context)
    rate = int(rows.counts.sum()) / max(characters, 1)
    for document in documents:
        characters += len(document)
        if characters * rate >= wanted:
            return wanted
    return max(available, int(characters * rate))


def _estimate_samples(subject: Subject, plan: Plan, wanted: int) -> RunEstimate:
    """The estimate where the model writes the text itself: it is timed on a few rows, and measured on random ones."""
    config, corpus = plan.config, plan.corpus
    length = min(corpus.context or subject.context_length, subject.context_length)
    began = time.perf_counter()
    openings = read_openings(subject, corpus.openings) if corpus.openings else ()
    few = min(length, 8 + max(map(len, openings), default=0))
    short = list(islice(sample_documents(subject, seed=config.seed, length=few, openings=openings), 64))
    written = wanted * (time.perf_counter() - began) / max(1, sum(map(len, short)))
    draw = torch.Generator().manual_seed(config.seed)
    count = max(2, 16 * SAMPLE // max(1, length - 1))
    rows = torch.randint(len(subject.unembedding), (count, length), generator=draw)
    documents = encode_documents(subject, list(rows), context=corpus.context)
    text = text_bytes(subject, documents, positions=wanted, cached=plan.cache * wanted)
    result = estimate(
        subject, documents, config, buffer=corpus.buffer, text=text, cached=plan.cache * wanted, positions=wanted
    )
    return result if result.hours is None else replace(result, hours=result.hours + written / 3600)


def estimate(
    subject: Subject,
    documents: Documents,
    config: DictionaryConfig,
    *,
    buffer: int,
    text: int = 0,
    cached: int = 0,
    positions: int | None = None,
) -> RunEstimate:
    """Time the model and single steps.

    `text` is the text's bytes on disk, `positions` how many it has to train on if the documents are not all of it,
    `cached` those whose activations are written before the first step.
    """
    shape = _shape(subject, config)
    parameters, state = shape.parameters, shape.state
    free = free_memory(subject.device)
    trained = int(documents.counts.sum()) if positions is None else positions
    measured = _measured_config(subject, config)
    facts: dict[str, Any] = {
        "parameters": parameters,
        "state_bytes": state,
        "available_bytes": free,
        "disk_bytes": 2 * state + 4 * parameters + text,
        "positions": trained,
        "readings": readings(config, trained),
        "measured_share": _n_features(subject, measured) / _n_features(subject, config),
    }
    is_in_memory = fits_in_memory(subject, buffer)
    in_memory = buffer_bytes(subject, max(config.batch, buffer) if is_in_memory else config.batch)
    facts["disk_bytes"] += 0 if is_in_memory else buffer_bytes(subject, buffer)
    if state + in_memory > free:
        return RunEstimate(memory_bytes=state + in_memory, tokens_per_second=None, hours=None, **facts)
    sample, position = _timed_model(subject, documents, config)
    step = _step_seconds(subject, sample, config, measured)
    left_out = state - _shape(subject, measured).state
    left_out += max(0, in_memory - buffer_bytes(subject, sample.inputs.shape[1]))
    if not cached:
        step += position * config.batch
    hours = (config.steps * step + cached * position) / 3600
    memory = _peak(subject.device) + left_out
    return RunEstimate(memory_bytes=memory, tokens_per_second=config.batch / step, hours=hours, **facts)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else resident_peak()


def _now(device: torch.device) -> float:
    """Seconds on the clock when all that a GPU was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _shape(subject: Subject, config: DictionaryConfig) -> Shape:
    return Shape.of(config, subject.n_layers, subject.d_model)


def _n_features(subject: Subject, config: DictionaryConfig) -> int:
    return sum(config.widths(subject.n_layers))


def _narrowed(subject: Subject, config: DictionaryConfig, share: float) -> DictionaryConfig:
    """The configuration with a share of the features, but no fewer a layer than k."""
    widths = tuple(max(config.k, round(share * n)) for n in config.widths(subject.n_layers))
    return replace(config, features=widths)


def _measured_config(subject: Subject, config: DictionaryConfig) -> DictionaryConfig:
    """The largest dictionary that is timed in place of the run's."""
    parameters = _shape(subject, config).parameters
    if parameters <= WHOLE:
        return config
    return replace(_narrowed(subject, config, min(0.5, PART / parameters)), batch=min(config.batch, PART_BATCH))


def _timed_model(subject: Subject, documents: Documents, config: DictionaryConfig) -> tuple[Batch, float]:
    """Activations of some rows, and the seconds that a position takes in the model; a first run is not timed."""
    read_site, write_site = config.sites()
    ends = documents.counts.cumsum(0)
    collect(subject, documents, torch.arange(1), read_site, write_site)
    wanted = SAMPLE
    while True:
        rows = torch.arange(int((ends < wanted).sum()) + 1)[: len(documents)]
        began = _now(subject.device)
        batch = collect(subject, documents, rows, read_site, write_site)
        seconds = _now(subject.device) - began
        if 3 * seconds > SECONDS or len(rows) == len(documents) or wanted >= 16 * config.batch:
            return batch, seconds / max(1, batch.inputs.shape[1])
        wanted *= 2


def _step_seconds(subject: Subject, sample: Batch, config: DictionaryConfig, measured: DictionaryConfig) -> float:
    """Seconds of a mean step without the model."""
    ready = _ready(subject, sample, measured)
    if measured == config:
        return _mean(_fastest(*ready, 0), _fastest(*ready, config.steps - 1))
    half = _narrowed(subject, measured, 0.5)
    less = _fastest(*_ready(subject, sample, half), config.steps - 1)
    last = _fastest(*ready, config.steps - 1, warm=False)
    first = _fastest(*ready, 0, warm=False)
    wider = _n_features(subject, config) - _n_features(subject, measured)
    slope = (last - less) / max(1, _n_features(subject, measured) - _n_features(subject, half))
    return (_mean(first, last) + max(0.0, slope) * wider) * config.batch / measured.batch


def _mean(first: float, last: float) -> float:
    """Seconds of a run's mean step, from those of its first one and its last."""
    return last + max(0.0, first - last) * (MEAN_K - 1) / (ANNEAL - 1)


def _ready(subject: Subject, sample: Batch, config: DictionaryConfig) -> tuple[RunState, Batch]:
    """A run before its first step, and a batch of positions drawn from a sample."""
    run = RunState(subject.n_layers, subject.d_model, config, device=subject.device)
    draw = torch.Generator().manual_seed(config.seed)
    drawn = torch.randint(sample.inputs.shape[1], (config.batch,), generator=draw).to(subject.device)
    run.fit_scales([sample])
    return run, run.normalised(Batch(inputs=sample.inputs[:, drawn], outputs=sample.outputs[:, drawn]))


def _fastest(run: RunState, batch: Batch, step: int, *, warm: bool = True) -> float:
    """Seconds of a step of the schedule, the fastest that the time allows; the first is left out, to warm up."""
    best, began = math.inf, time.perf_counter()
    for repeat in range(8):
        run.step = step
        start = _now(run.device)
        advance(run, batch)
        if repeat or not warm:
            best = min(best, _now(run.device) - start)
            if time.perf_counter() - began > STEP_SECONDS:
                break
    return best
