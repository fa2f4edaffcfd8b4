"""`clew train`: dictionaries from a model and text, measured on text that they have not seen."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clew import files
from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.ranks import joined_ranks
from clew.cli.tables import aside, table
from clew.cli.train_estimate import TrainingDevices, print_estimate
from clew.cli.training_display import board, interrupts, reread, size
from clew.dictionary.origin import why_not
from clew.errors import InputError
from clew.kit import load_subject
from clew.progress import Progress
from clew.runs.fidelity import Fidelity
from clew.runs.options import RunOptions
from clew.runs.plan import Plan, planned, resumed
from clew.runs.train import RunReport, TrainingRun, check_interval, hold_folder, measure_run, open_run, train_run
from clew.subject.subject import Subject
from clew.training.cache import check_room
from clew.training.config import DictionaryConfig
from clew.training.corpus_config import BosChoice, CorpusConfig
from clew.training.split import Split, split_among
from clew.training.trainer import check_layer_weights

__all__ = ["print_fidelity", "train"]

OPTIONS = ("kit", "model", "preset", "cache", "start")  # fields of RunOptions that make the plan
TERMINATED = 143  # as after SIGTERM
Folder = Annotated[
    Path | None, typer.Argument(help="Where checkpoints, metrics and the dictionary go; left out, under runs/.")
]


@with_settings(RunOptions, DictionaryConfig, CorpusConfig, BosChoice)
def train(
    folder: Folder = None,
    config: Annotated[Path | None, typer.Option(help="A YAML or JSON file of settings, over the preset.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Time a few steps, say what the run would take, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    layer_weights: Annotated[
        str | None,
        typer.Option(help="How much each layer's error counts beside the others', such as 1,1,4."),
    ] = None,
    as_json: JsonOption = False,
    *,
    devices: TrainingDevices,
    **settings: Any,
) -> None:
    """Train a dictionary on a model, and measure it on text that it has not seen.

    Example: `clew train runs/clt --kit minnow --preset small`

    Ctrl-C and SIGTERM save a checkpoint; `clew train runs/clt --resume` goes on from it.
    """
    check_every = settings.pop("check_every", RunOptions.check_every)
    check_interval(check_every)
    devices.check(estimate)
    way = settings.pop("shard", RunOptions.shard)
    options = {name: settings.pop(name, None) for name in OPTIONS} | {"layer_weights": layer_weights}
    options = {name: value for name, value in options.items() if value}
    with joined_ranks() as ranks:
        if resume:
            plan, folder = resumed(folder, config, options | settings)
        else:
            plan = planned(options, config, settings)
        subject = load_subject(plan.model, device=devices.device)
        check_layer_weights(plan.layer_weights, subject.n_layers)
        if estimate:
            at = folder or Path("runs")
            return print_estimate(subject, plan, at, as_json, devices.on) if ranks.first else None
        folder = folder or Path("runs") / f"{Path(plan.model).name}-{plan.config.kind}"
        with aside(as_json), hold_folder(folder, ranks):
            run = _opened(subject, plan, folder, resume, yes, split_among(ranks, way))
            _train(run, check_every)
            fidelity = _measured(run) if ranks.first else None
    if as_json and fidelity is not None:
        summary = {"folder": str(folder), "dictionary": str(folder / "dictionary"), "readings": run.readings}
        print(json.dumps(summary | {"evaluation": fidelity.to_json()}, indent=1))


def _opened(subject: Subject, plan: Plan, folder: Path, resume: bool, yes: bool, split: Split) -> TrainingRun:
    """The run, ready to train; leaves with code 130 when Ctrl-C was pressed while its activations were written."""
    if not split.ranks.first:
        return open_run(subject, plan, folder, resume=resume, split=split)
    writing = False

    def allow(where: Path, positions: int, n_bytes: int) -> None:
        _ask(where, positions, n_bytes, yes)

    with bar("activations") as show:

        def report(progress: Progress) -> None:
            nonlocal writing
            writing = True
            show(progress)

        try:
            run = open_run(subject, plan, folder, resume=resume, allow=allow, report=report, split=split)
        except KeyboardInterrupt:
            if not writing:
                raise
            print(f"stopped while writing {folder / 'activations'}; the same command goes on")
            raise typer.Exit(130) from None
    if run.start is not None and (reason := why_not(run.start.provenance, subject)):
        line = f"{run.start.name or 'the dictionary'} that the run begins with was made for another model ({reason})"
        print(line, file=sys.stderr)
    if run.lost_start is not None:
        print(f"the run goes on without what it began with, and its dictionary will not tell of it: {run.lost_start}")
    return run


def _ask(where: Path, positions: int, n_bytes: int, yes: bool) -> None:
    """Leave unless a cache of so many bytes may be written; FileError when the disk has no room for it."""
    check_room(where, n_bytes)
    free = size(files.free_bytes(where))
    print(f"the activations of {positions:,} positions take {size(n_bytes)} in {where}; {free} are free")
    if not yes and not sys.stdin.isatty():
        raise InputError("nobody is here to be asked: give --yes to write the cache")
    if not yes and not typer.confirm("write them?"):
        raise typer.Exit(1)


def _train(run: TrainingRun, check_every: int) -> None:
    """Train to the end; leaves with code 130 when Ctrl-C was pressed, with 143 at SIGTERM."""
    config = run.plan.config
    step = config.steps  # a finished run has nothing left to report
    first = run.split.ranks.first
    if first and (words := reread(run.plan.config, run.positions)):
        print(words)
    with interrupts() as stop, board(config.batch) if first else nullcontext(_show_nothing) as show:
        for report in train_run(run, check_every=check_every, stop=stop):
            show(report)
            step = report.training.step
    if step < config.steps:
        if first:
            print(f"stopped at step {step} of {config.steps}; go on with: clew train {run.folder} --resume")
        raise typer.Exit(stop.code or TERMINATED)  # another rank's signal stops all of them
    if first and stop():
        print(f"stopped after the last step: the dictionary is in {run.folder / 'dictionary'}, measured by clew eval")
        raise typer.Exit(stop.code)


def _show_nothing(report: RunReport) -> None:
    """What ranks after the first one show."""


def _measured(run: TrainingRun) -> Fidelity:
    with bar("measuring", of=len(run.held_out)) as show:
        fidelity = measure_run(run, report=show)
    print_fidelity(fidelity)
    folder = run.folder
    print(f"the dictionary is in {folder / 'dictionary'}, what was measured on the way in {folder / 'metrics.parquet'}")
    print(f"beside its nulls: clew eval {folder}")
    return fidelity


def print_fidelity(fidelity: Fidelity) -> None:
    """Print how good a Dictionary is on text that it was not trained on."""
    console = Console(highlight=False)
    shown = table("layer", ">relative error", ">active", ">never fired", title="On unseen text")
    rows = zip(fidelity.layers, fidelity.nmse, fidelity.l0, fidelity.dead, strict=True)
    for layer, error, active, dead in rows:
        shown.add_row(f"L{layer}", f"{error:.4f}", f"{active:.2f}", f"{dead:.1%}")
    console.print(shown, "")
    console.print(
        f"all MLPs replaced: KL {fidelity.kl:.4f} nats, agreement {fidelity.agreement:.4f}, "
        f"{fidelity.agreement_sure:.4f} where the model is sure ({fidelity.sure:.0%} of {fidelity.positions:,}), "
        f"loss recovered {fidelity.replaced.loss_recovered:.4f}"
    )
