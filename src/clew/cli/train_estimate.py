"""`clew train --estimate`: what a run would take, before anything is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from clew.cli.progress_bar import bar
from clew.cli.tables import table
from clew.cli.training_display import duration, size
from clew.errors import InputError
from clew.runs.plan import Plan, positions_wanted, rows_to_train_on

if TYPE_CHECKING:
    from clew.runs.estimate import Estimate
    from clew.subject import Subject
    from clew.training.config import DictionaryConfig


def estimated(subject: Subject, plan: Plan, folder: Path, as_json: bool) -> None:
    """Print what a run would take; InputError when the machine has not so much."""
    from clew import files
    from clew.runs.estimate import estimate, text_bytes
    from clew.training.corpus import split_held_out

    config, corpus = plan.config, plan.corpus
    wanted = positions_wanted(plan)
    counts = plan.cache and corpus.text != "samples"  # what is cached must be known, not only how it begins
    asked = wanted if counts else min(wanted, corpus.reading(max(corpus.buffer, config.batch)))
    documents = rows_to_train_on(subject, plan, asked)
    there = int(documents.counts.sum())
    _, seen = split_held_out(documents, corpus.held_out)
    positions = there if there < asked else wanted
    cached = plan.cache * (positions - there + int(seen.counts.sum()))
    text = text_bytes(subject, documents, positions=positions, cached=cached)
    with bar("measuring twenty steps"):
        found = estimate(subject, seen, config, buffer=corpus.buffer, text=text, cached=cached)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        _print(found, subject, plan, files.free_bytes(folder))
    _check(found, files.free_bytes(folder))


def _check(found: Estimate, free: int) -> None:
    """InputError when memory or disk do not hold the run."""
    if not found.fits:
        raise InputError(
            f"weights, moments and buffer alone take {size(found.memory_bytes)}, {size(found.available_bytes)} of "
            "memory are free: take fewer features, a smaller --reach or --buffer, or --precision lean"
        )
    if found.disk_bytes > free:
        raise InputError(
            f"the run writes {size(found.disk_bytes)}, {size(free)} are free on the disk: take fewer features, or "
            "train without a cache"
        )


def _counted(config: DictionaryConfig) -> str:
    """`2,048`, or `4,096 + 2,048`."""
    widths = (config.features,) if isinstance(config.features, int) else config.features
    return " + ".join(f"{n:,}" for n in widths)


def _print(found: Estimate, subject: Subject, plan: Plan, free: int) -> None:
    from clew.runs.estimate import TIMED

    config = plan.config
    print(
        f"{config.kind} of {subject.name}: {subject.n_layers} layers of {_counted(config)} features, "
        f"{found.parameters / 1e6:,.1f} million parameters, {config.steps * config.batch:,} positions"
    )
    shown = table("", ">", "")
    if found.tokens_per_second is not None and found.hours is not None:
        shown.add_row("memory", size(found.memory_bytes), f"measured; {size(found.available_bytes)} were free")
    what = "two checkpoints, dictionary, tokens" + (", activations" if plan.cache else "")
    shown.add_row("disk", size(found.disk_bytes), f"{what}; {size(free)} are free")
    if found.tokens_per_second is not None and found.hours is not None:
        rate = f"{config.steps:,} steps of {config.batch:,} positions at {found.tokens_per_second:,.0f} tokens/s"
        told = f"{rate}, measured over the last {TIMED} of 20 steps ({duration(found.hours * 3600)})"
        shown.add_row("time", f"{found.hours:.2f} hours", told)
    Console(highlight=False).print(shown)
