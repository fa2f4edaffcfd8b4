"""`clew train --estimate`: what a run would take, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from clew.cli.common import bar, table
from clew.cli.live import duration, size
from clew.cli.runs import Plan, small_world
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.subject import Subject
    from clew.training.config import DictionaryConfig
    from clew.training.estimate import Estimate


def estimated(subject: Subject, plan: Plan) -> None:
    from clew import files
    from clew.training.activations import check_fills
    from clew.training.corpus import open_corpus
    from clew.training.estimate import estimate

    config, corpus = plan.config, plan.corpus
    documents = open_corpus(
        subject, corpus, positions=2 * max(corpus.buffer, config.batch), seed=config.seed, world=small_world
    )
    check_fills(subject, documents, corpus.buffer)
    with bar("measuring twenty steps"):
        found = estimate(subject, documents, config, buffer=corpus.buffer)
    _print_estimate(found, subject, plan, files.free_bytes(Path()))


def _counted(config: DictionaryConfig) -> str:
    """`2,048`, or `4,096 + 2,048`."""
    widths = (config.features,) if isinstance(config.features, int) else config.features
    return " + ".join(f"{n:,}" for n in widths)


def _print_estimate(found: Estimate, subject: Subject, plan: Plan, free: int) -> None:
    from clew.training.cache import bytes_a_position

    config = plan.config
    positions = config.steps * config.batch
    print(
        f"{config.kind} of {subject.name}: {subject.n_layers} layers of {_counted(config)} features, "
        f"{found.parameters / 1e6:,.1f} million parameters, {positions:,} positions"
    )
    if found.tokens_per_second is None or found.hours is None:
        raise InputError(
            f"weights and moments alone take {size(found.state_bytes)}, {size(found.available_bytes)} of memory are "
            "free: take fewer features, a smaller --reach, or --precision lean"
        )
    shown = table("", ">", "")
    shown.add_row("memory", size(found.memory_bytes), f"measured; {size(found.available_bytes)} were free")
    cached = positions * bytes_a_position(subject) if plan.cache else 0
    what = "two checkpoints, dictionary, tokens" + (", activations" if cached else "")
    shown.add_row("disk", size(found.disk_bytes + cached), f"{what}; {size(free)} are free")
    rate = f"{config.steps:,} steps of {config.batch:,} positions at {found.tokens_per_second:,.0f} tokens/s"
    shown.add_row(
        "time", f"{found.hours:.2f} hours", f"{rate}, measured over 20 steps ({duration(found.hours * 3600)})"
    )
    Console(highlight=False).print(shown)
