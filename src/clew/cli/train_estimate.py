"""`clew train --estimate`: what a run would take, before anything is written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clew import files
from clew.cli.kits import DeviceOption
from clew.cli.progress_bar import bar
from clew.cli.tables import table
from clew.cli.training_display import duration, reread, size
from clew.errors import InputError
from clew.kernels.present import present_device
from clew.runs.devices import devices_of
from clew.runs.estimate import RunEstimate, estimate_on, estimate_run
from clew.runs.plan import Plan
from clew.subject.subject import Subject
from clew.training.config import DictionaryConfig


@dataclass(frozen=True, kw_only=True)
class TrainingDevices:
    """Where a run is computed, and for which devices it is estimated."""

    on: Annotated[
        str | None,
        typer.Option(help="With --estimate: tell it by arithmetic for these devices, such as 8xH100 or 2xA100."),
    ] = None
    device: DeviceOption = "cpu"

    def check(self, estimate: bool) -> None:
        """InputError for devices that are not there, or named where no estimate is wanted."""
        present_device(self.device)
        if self.on is not None:
            devices_of(self.on)
        if self.on is not None and not estimate:
            raise InputError(
                "--on names devices to estimate for: give --estimate too, or --device to train on one here"
            )


def print_estimate(subject: Subject, plan: Plan, folder: Path, as_json: bool, on: str | None = None) -> None:
    """Print what a run would take here, or on the devices named; InputError when they have not so much."""
    if on is not None:
        return _print_on(subject, plan, on, as_json)
    with bar("measuring"):
        estimate = estimate_run(subject, plan)
    if as_json:
        print(json.dumps(asdict(estimate), indent=1))
    else:
        _print(estimate, subject, plan, files.free_bytes(folder))
    _check(estimate, files.free_bytes(folder))


def _print_on(subject: Subject, plan: Plan, on: str, as_json: bool) -> None:
    """The same by arithmetic."""
    count, kind = devices_of(on)
    told = estimate_on(subject, plan, count, kind)
    if as_json:
        print(json.dumps(asdict(told) | {"fits": told.fits}, indent=1))
    elif told.fits:
        shown, config = table("", ">", ""), plan.config
        print(
            f"{config.kind} of {subject.name} on {count} x {kind.name}, by arithmetic: "
            f"{told.parameters / 1e6:,.1f} million parameters, {config.steps * config.batch:,} positions"
        )
        parted = f", divided by {told.split}" if count > 1 else ""
        shown.add_row("memory", size(told.memory_bytes), f"each, of {size(told.device_bytes)}{parted}")
        shown.add_row(
            "disk", size(told.disk_bytes), "two checkpoints, dictionary, tokens" + ", activations" * plan.cache
        )
        most = ", ".join(f"{name} {share:.0%}" for name, share in told.shares.items() if share >= 0.01)
        shown.add_row("time", duration(told.hours * 3600), f"{told.tokens_per_second:,.0f} tokens/s; {most}")
        shown.add_row("price", f"${told.price:,.2f}", f"at ${kind.price:g} an hour and device, roughly")
        Console(highlight=False).print(shown)
    if not told.fits:
        raise InputError(
            f"each of {count} x {kind.name} has {size(told.device_bytes)} of memory, and the run takes "
            f"{size(told.memory_bytes)} on each: {told.advice}"
        )


def _check(estimate: RunEstimate, free: int) -> None:
    """InputError when memory or disk do not hold the run."""
    if not estimate.fits:
        raise InputError(
            f"weights, moments and buffer alone take {size(estimate.memory_bytes)}, "
            f"{size(estimate.available_bytes)} of memory are free: take fewer features, a smaller --reach or --buffer, "
            "or --precision lean"
        )
    if estimate.disk_bytes > free:
        raise InputError(
            f"the run writes {size(estimate.disk_bytes)}, {size(free)} are free on the disk: take fewer features, or "
            "train without a cache"
        )


def _counted(config: DictionaryConfig) -> str:
    """`2,048`, or `4,096 + 2,048`."""
    widths = (config.features,) if isinstance(config.features, int) else config.features
    return " + ".join(f"{n:,}" for n in widths)


def _print(estimate: RunEstimate, subject: Subject, plan: Plan, free: int) -> None:
    config = plan.config
    print(
        f"{config.kind} of {subject.name}: {subject.n_layers} layers of {_counted(config)} features, "
        f"{estimate.parameters / 1e6:,.1f} million parameters, {config.steps * config.batch:,} positions"
    )
    if words := reread(config, estimate.positions):
        print(words)
    shown = table("", ">", "")
    if estimate.tokens_per_second is not None and estimate.hours is not None:
        how = "measured" if estimate.measured_share == 1 else "measured in part"
        shown.add_row("memory", size(estimate.memory_bytes), f"{how}; {size(estimate.available_bytes)} were free")
    what = "two checkpoints, dictionary, tokens" + (", activations" if plan.cache else "")
    shown.add_row("disk", size(estimate.disk_bytes), f"{what}; {size(free)} are free")
    if estimate.tokens_per_second is not None and estimate.hours is not None:
        rate = f"{config.steps:,} steps of {config.batch:,} positions at {estimate.tokens_per_second:,.0f} tokens/s"
        share = estimate.measured_share
        how = "" if share == 1 else f" with {share:.0%} of the features, the rest extrapolated"
        measured = f"{rate}, told from a few steps{how} ({duration(estimate.hours * 3600)})"
        shown.add_row("time", f"{estimate.hours:.2f} hours", measured)
    Console(highlight=False).print(shown)
