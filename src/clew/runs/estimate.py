"""What a run will take, before it starts: memory, disk and hours.

1. Weights, moments and the buffer are counted from the configuration; when they alone exceed the free memory, nothing
   is measured.
2. Otherwise twenty steps are taken, with the whole schedule pressed into them, so that early steps, which keep more
   features active, weigh as they will. A buffer is filled and timed by itself: it is paid once every few steps, or,
   with activations on disk, once for each of their positions.
3. Memory is the peak of this process during these steps.
4. Disk is what the run's files take at most: two checkpoints (the last one is kept until the next is whole), the
   dictionary, the tokens, and activations where they are kept.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

from clew import files
from clew.errors import FileError
from clew.runs.plan import Plan, positions_wanted, rows_to_train_on
from clew.subject.subject import Subject
from clew.training.activations import buffer_bytes, buffer_positions, stream
from clew.training.cache import bytes_a_position
from clew.training.config import DictionaryConfig
from clew.training.documents import Documents, split_held_out
from clew.training.trainer import train_dictionary

STEPS = 20
WARM = 4  # steps before the clock starts
TIMED = STEPS - WARM


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

    @property
    def fits(self) -> bool:
        """Whether memory was enough to measure."""
        return self.hours is not None


def parameters_of(subject: Subject, config: DictionaryConfig) -> int:
    """Weights of a dictionary before it is trained."""
    d, n_layers = subject.d_model, subject.n_layers
    count = n_layers * d
    for layer, n in enumerate(config.widths(n_layers)):
        count += n * (d + 1 + len(config.written(layer, n_layers)) * d)
    return count + (n_layers * d * d if config.skip else 0)


def text_bytes(subject: Subject, documents: Documents, *, positions: int, cached: int) -> int:
    """Bytes on disk of the tokens of so many positions of a text that begins with documents, and of activations."""
    tokens = 4 * len(documents.tokens) + 16 * len(documents)
    return tokens * positions // int(documents.counts.sum()) + cached * bytes_a_position(subject)


def estimate_run(subject: Subject, plan: Plan) -> RunEstimate:
    """What the run of a plan will take; InputError when its text does not fill a buffer."""
    config, corpus = plan.config, plan.corpus
    wanted = positions_wanted(plan)
    # All text is read when its activations are cached, since their size must be known; otherwise enough to measure.
    read_all = plan.cache and corpus.text != "samples"
    asked = wanted if read_all else min(wanted, corpus.reading(max(corpus.buffer, config.batch)))
    documents = rows_to_train_on(subject, plan, asked)
    available = int(documents.counts.sum())
    _, training = split_held_out(documents, corpus.held_out)
    positions = available if available < asked else wanted
    cached = plan.cache * (positions - available + int(training.counts.sum()))
    text = text_bytes(subject, documents, positions=positions, cached=cached)
    return estimate(subject, training, config, buffer=corpus.buffer, text=text, cached=cached)


def estimate(
    subject: Subject, documents: Documents, config: DictionaryConfig, *, buffer: int, text: int = 0, cached: int = 0
) -> RunEstimate:
    """Measure a short run in a folder of its own; the documents must fill a buffer.

    `text` is their bytes on disk, `cached` the positions whose activations are written before the first step.
    """
    parameters = parameters_of(subject, config)
    state = parameters * (8 if config.precision == "lean" else 12)
    free = available_memory()
    facts: dict[str, Any] = {
        "parameters": parameters,
        "state_bytes": state,
        "available_bytes": free,
        "disk_bytes": 2 * state + 4 * parameters + text,
    }
    needed = state + buffer_bytes(subject, max(config.batch, buffer_positions(subject, buffer)))
    facts["disk_bytes"] += 0 if buffer_positions(subject, buffer) else buffer_bytes(subject, buffer)
    if needed > free:
        return RunEstimate(memory_bytes=needed, tokens_per_second=None, hours=None, **facts)
    step, fill = _seconds(subject, documents, config, buffer)
    if not cached:
        step += fill * config.batch
    hours = (config.steps * step + cached * fill) / 3600
    return RunEstimate(memory_bytes=resident_peak(), tokens_per_second=config.batch / step, hours=hours, **facts)


def _seconds(subject: Subject, documents: Documents, config: DictionaryConfig, buffer: int) -> tuple[float, float]:
    """Seconds of a step without the model, and seconds of one position in the model."""
    read_site, write_site = config.sites()
    sizes = {"batch": config.batch, "buffer": buffer, "seed": config.seed}
    size = min(max(config.batch, buffer), int(documents.counts.sum()))
    began = time.perf_counter()
    next(stream(subject, documents, read_site=read_site, write_site=write_site, **sizes))
    fill = (time.perf_counter() - began) / size
    ticks = []
    with tempfile.TemporaryDirectory() as folder:
        short = replace(config, steps=STEPS + 1)
        run = train_dictionary(subject, documents, short, folder, buffer=buffer, report_every=1)
        for _ in itertools.islice(run, STEPS):
            ticks.append(time.perf_counter())
        run.close()  # type: ignore[attr-defined]
    filled = (STEPS - 1) * config.batch // size - (WARM - 1) * config.batch // size  # buffers while the clock ran
    timed = ticks[-1] - ticks[WARM - 1]
    return max(timed - filled * size * fill, 0.1 * timed) / TIMED, fill


def available_memory() -> int:
    """Bytes of memory that can be had without swapping; all of the machine's where the system does not say."""
    import os

    try:
        for line in files.read_text("/proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except FileError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def resident_peak() -> int:
    """The peak of this process' resident memory, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
