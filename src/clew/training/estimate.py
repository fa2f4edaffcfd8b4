"""What a run will take, before it starts: memory, disk and hours.

1. Weights and moments are counted from the configuration; when they alone exceed the memory that is free, that is the
   answer.
2. Otherwise twenty steps are taken, with the whole schedule pressed into them, so that early steps, which keep more
   features active, weigh as they will. A buffer is filled and timed by itself: it is paid once every few steps.
3. Memory is what this process held at most during these steps.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, replace

from clew import files
from clew.errors import FileError
from clew.subject.subject import Subject
from clew.training.activations import buffer_positions, stream
from clew.training.config import DictionaryConfig
from clew.training.corpus import Documents
from clew.training.trainer import train_dictionary

STEPS = 20
WARM = 3  # steps before the clock starts


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take; `hours` and `tokens_per_second` are None when it does not fit the memory."""

    parameters: int
    state_bytes: int
    """Weights and moments."""
    memory_bytes: int
    """Measured, or the state's alone when it does not fit."""
    available_bytes: int
    disk_bytes: int
    """Two checkpoints (the last one is kept until the next is whole), the dictionary and the tokens."""
    tokens_per_second: float | None
    hours: float | None

    @property
    def fits(self) -> bool:
        """Whether memory was enough to measure."""
        return self.hours is not None


def parameters_of(subject: Subject, config: DictionaryConfig) -> int:
    """Weights of a dictionary before it is trained."""
    d, n_layers = subject.d_model, subject.n_layers
    own = n_layers * d
    for layer, n in enumerate(config.widths(n_layers)):
        own += n * (d + 1 + len(config.written(layer, n_layers)) * d)
    return own + (n_layers * d * d if config.skip else 0)


def estimate(subject: Subject, documents: Documents, config: DictionaryConfig, *, buffer: int) -> Estimate:
    """Measure a short run in a folder of its own; the documents must fill a buffer."""
    parameters = parameters_of(subject, config)
    state = parameters * (8 if config.precision == "lean" else 12)
    free = available_memory()
    disk = 2 * state + 4 * parameters + 4 * config.steps * config.batch
    if state > free:
        return Estimate(
            parameters=parameters,
            state_bytes=state,
            memory_bytes=state,
            available_bytes=free,
            disk_bytes=disk,
            tokens_per_second=None,
            hours=None,
        )
    seconds = _seconds_a_step(subject, documents, config, buffer)
    return Estimate(
        parameters=parameters,
        state_bytes=state,
        memory_bytes=resident_peak(),
        available_bytes=free,
        disk_bytes=disk,
        tokens_per_second=config.batch / seconds,
        hours=config.steps * seconds / 3600,
    )


def _seconds_a_step(subject: Subject, documents: Documents, config: DictionaryConfig, buffer: int) -> float:
    read_site, write_site = config.sites()
    sizes = {"batch": config.batch, "buffer": buffer, "seed": config.seed}
    began = time.perf_counter()
    next(stream(subject, documents, read_site=read_site, write_site=write_site, **sizes))
    fill = (time.perf_counter() - began) * config.batch / max(config.batch, buffer_positions(subject, buffer))
    ticks = []
    with tempfile.TemporaryDirectory() as folder:
        short = replace(config, steps=STEPS + 1)
        run = train_dictionary(subject, documents, short, folder, buffer=buffer, report_every=1)
        for _ in itertools.islice(run, STEPS):
            ticks.append(time.perf_counter())
        run.close()  # type: ignore[attr-defined]
    return (ticks[-1] - ticks[WARM]) / (len(ticks) - 1 - WARM) + fill


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
    """The most bytes of memory that this process has held."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
