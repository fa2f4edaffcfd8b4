"""`clew train`: dictionaries from a model and text, measured on text that they have not seen."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.tables import aside, table
from clew.cli.train_estimate import estimated
from clew.cli.training_display import board, interrupts, size
from clew.errors import ClewError, InputError
from clew.progress import Progress
from clew.runs.plan import (
    NAME,
    TOKENS,
    Plan,
    load_subject,
    planned,
    positions_wanted,
    resumed,
    rows_of,
    rows_to_train_on,
    small_world,
    write_run,
)
from clew.training.config import DictionaryConfig
from clew.training.corpus_config import CorpusConfig

if TYPE_CHECKING:
    from clew.dictionary import Dictionary
    from clew.runs.fidelity import Fidelity
    from clew.subject import Subject
    from clew.training.corpus import Documents

__all__ = ["load_subject", "print_evaluation", "small_world", "train"]

CHECK_POSITIONS = 2048  # positions of held-out text measured while training
FIRST_CHECK = 100  # steps until the first of these measurements, or a tenth of a short run
Folder = Annotated[
    Path | None, typer.Argument(help="Where checkpoints, metrics and the dictionary go; left out, under runs/.")
]


@with_settings(DictionaryConfig, CorpusConfig)
def train(
    folder: Folder = None,
    kit: Annotated[
        str | None,
        typer.Option(help="Train on this kit's model: a bundled kit by name, or a folder; left out, minnow."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model folder or hub id, in place of a kit.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Settings scaled to the model's size: tiny, small, medium or large; left out, small."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML or JSON file of settings, over the preset.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Measure twenty steps, say what the run would take, and stop.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep the model's activations on disk; asks before it writes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Begin with the weights of this dictionary (a folder or hub id), or run."),
    ] = None,
    layer_weights: Annotated[
        str | None,
        typer.Option(help="How much each layer's error counts beside the others', such as 1,1,4."),
    ] = None,
    check_every: Annotated[
        int, typer.Option(help="Steps between two measurements on held-out text; 0 for none.")
    ] = 500,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Train a dictionary on a model, and measure it on text that it has not seen.

    Example: `clew train runs/clt --kit minnow --preset small`

    Ctrl-C saves a checkpoint; `clew train runs/clt --resume` goes on from it.
    """
    from clew.training.trainer import check_layer_weights

    if check_every < 0:
        raise InputError(f"--check-every is {check_every}: give a number of steps, or 0 for none")
    own = {"kit": kit, "model": model, "preset": preset, "cache": cache or None}
    given = {name: value for name, value in (own | {"start": start, "layer_weights": layer_weights}).items() if value}
    if resume:
        plan, folder = resumed(folder, config, given | settings)
    else:
        plan = planned(given, config, settings)
    subject = load_subject(plan.model)
    check_layer_weights(plan.layer_weights, subject.n_layers)
    if estimate:
        return estimated(subject, plan, folder or Path("runs"), as_json)
    folder = folder or Path("runs") / f"{Path(plan.model).name}-{plan.config.kind}"
    with aside(as_json):
        found = _trained(subject, plan, folder, resume, yes, check_every)
    if as_json:
        told = {"folder": str(folder), "dictionary": str(folder / "dictionary"), "evaluation": found.to_json()}
        print(json.dumps(told, indent=1))


def _trained(subject: Subject, plan: Plan, folder: Path, resume: bool, yes: bool, check_every: int) -> Fidelity:
    """Train to the end, and measure what came out; leaves with code 130 when Ctrl-C was pressed."""
    from clew.training.checkpoint import NAME as CHECKPOINT

    going_on = resume and (folder / CHECKPOINT).exists()
    first = None if plan.start is None else _first(plan.start, subject, plan, going_on)
    held_out, seen = _begun(subject, plan, folder, resume, yes)
    step = _run(subject, seen, held_out, plan, folder, going_on, check_every, first)
    if step < plan.config.steps:
        print(f"stopped at step {step} of {plan.config.steps}; go on with: clew train {folder} --resume")
        raise typer.Exit(130)
    return _finish(subject, held_out, folder)


# What is to be done


def _first(start: str, subject: Subject, plan: Plan, going_on: bool) -> Dictionary | None:
    """The dictionary that a run begins with; a run that goes on has its weights already, and only tells of it."""
    from clew.dictionary import Dictionary
    from clew.training.checkpoint import NAME as CHECKPOINT
    from clew.training.warm_start import check_start, stopped

    try:
        if (Path(start) / CHECKPOINT).is_file() and not (Path(start) / "dictionary").is_dir():
            first = stopped(Path(start), subject)
        else:
            place = Path(start) / "dictionary"
            first = Dictionary.load(place if place.is_dir() else start)
        check_start(plan.config, first, subject.n_layers, subject.d_model)
    except ClewError as error:
        if not going_on:
            raise
        print(f"the run goes on without what it began with, and its dictionary will not tell of it: {error}")
        return None
    return first


# Text


def _begun(subject: Subject, plan: Plan, folder: Path, resume: bool, yes: bool) -> tuple[Documents, Documents]:
    """Held-out rows and rows to train on; once nothing stands in its way, the folder says that a run has begun."""
    from clew.training.corpus import save_tokens, split_held_out

    if resume:
        held_out, seen = rows_of(folder, subject, plan)
        return held_out, _cached(subject, seen, plan, folder, yes) if plan.cache else seen
    if (folder / NAME).exists():
        raise InputError(f"{folder} holds a run already: go on with it with --resume, or give another folder")
    documents = rows_to_train_on(subject, plan, positions_wanted(plan))
    held_out, seen = split_held_out(documents, plan.corpus.held_out)
    if plan.cache:
        seen = _cached(subject, seen, plan, folder, yes)
    save_tokens(folder / TOKENS, documents, subject)
    write_run(folder, plan)
    return held_out, seen


def _cached(subject: Subject, seen: Documents, plan: Plan, folder: Path, yes: bool) -> Documents:
    """The same rows with their activations on disk, which are written unless they are there."""
    from clew.training.cache import build_cache, cache_bytes, open_cache

    where = folder / "activations"
    read_site, write_site = plan.config.sites()
    sites = {"read_site": read_site, "write_site": write_site}
    if not (where / "cache.json").exists():
        _ask(where, int(seen.counts.sum()), cache_bytes(subject, seen), yes)
    try:
        with bar("activations", of=len(seen)) as progress:
            for report in build_cache(subject, seen, where, **sites):
                progress(report)
    except KeyboardInterrupt:
        print(f"stopped while writing {where}; the same command goes on")
        raise typer.Exit(130) from None
    return open_cache(subject, seen, where, **sites)


def _ask(where: Path, positions: int, needed: int, yes: bool) -> None:
    """Leave unless a cache of so many bytes may be written; FileError when the disk has no room for it."""
    from clew import files
    from clew.training.cache import check_room

    check_room(where, needed)
    free = size(files.free_bytes(where))
    print(f"the activations of {positions:,} positions take {size(needed)} in {where}; {free} are free")
    if not yes and not sys.stdin.isatty():
        raise InputError("nobody is here to be asked: give --yes to write the cache")
    if not yes and not typer.confirm("write them?"):
        raise typer.Exit(1)


# Training


def _run(
    subject: Subject,
    seen: Documents,
    held_out: Documents,
    plan: Plan,
    folder: Path,
    going_on: bool,
    check_every: int,
    first: Dictionary | None,
) -> int:
    """Train to the end or to Ctrl-C; returns the step that was reached."""
    from clew.runs.fidelity import measure_fidelity
    from clew.runs.training_metrics import Metrics
    from clew.training.trainer import CHECKPOINT_EVERY, train_dictionary

    config = plan.config
    probe = held_out.slice(0, int((held_out.counts.cumsum(0) < CHECK_POSITIONS).sum()) + 1)
    early = max(1, min(FIRST_CHECK, config.steps // 10))
    began, metrics, measured, at, step = time.monotonic(), Metrics(), None, 0, 0
    with interrupts() as stop, board(config.batch) as show:
        options: dict[str, Any] = {
            "resume": going_on,
            "start": first,
            "layer_weights": plan.layer_weights,
            "buffer": plan.corpus.buffer,
            "report_every": max(1, min(25, config.steps // 20)),
            "stop": stop,
        }
        for report in train_dictionary(subject, seen, config, folder, **options):
            if not metrics.rows and going_on:
                metrics = Metrics.load(folder / "metrics.parquet", until=report.step - 1)
            last = report.step == config.steps
            due = check_every and (step < early <= report.step or _passed(step, report.step, check_every) or last)
            kept, step = _passed(step, report.step, CHECKPOINT_EVERY), report.step
            if due:
                measured, at = measure_fidelity(subject, report.snapshot(), probe), step
            seconds = time.monotonic() - began
            metrics.add(report, batch=config.batch, seconds=seconds, held_out=measured if due else None)
            show(report, measured, at)
            if due or kept or last or stop():
                metrics.save(folder / "metrics.parquet")
    _draw(folder, metrics)
    return step or config.steps  # a finished run has nothing left to report


def _passed(before: int, now: int, every: int) -> bool:
    """Whether a multiple lies behind a step that did not lie behind an earlier one."""
    return before // every < now // every


def _draw(folder: Path, metrics: Any) -> None:
    from clew import files

    if metrics.rows:
        files.write_figure(folder / "metrics.png", metrics.figure())


def _finish(subject: Subject, held_out: Documents, folder: Path) -> Fidelity:
    from clew.dictionary import Dictionary
    from clew.runs.fidelity import measure_fidelity

    with bar("measuring", of=len(held_out)) as progress:
        found = measure_fidelity(
            subject,
            Dictionary.load(folder / "dictionary"),
            held_out,
            progress=lambda done, of: progress(Progress(what="measuring", done=done, of=of, unit="documents")),
        )
    print_evaluation(found)
    print(f"the dictionary is in {folder / 'dictionary'}, what was measured on the way in {folder / 'metrics.parquet'}")
    print(f"beside its nulls: clew eval {folder}")
    return found


def print_evaluation(evaluation: Fidelity) -> None:
    """Print how good a Dictionary is on text that it was not trained on."""
    console = Console(highlight=False)
    shown = table("layer", ">relative error", ">active", ">never fired", title="On unseen text")
    rows = zip(evaluation.layers, evaluation.nmse, evaluation.l0, evaluation.dead, strict=True)
    for layer, error, active, dead in rows:
        shown.add_row(f"L{layer}", f"{error:.4f}", f"{active:.2f}", f"{dead:.1%}")
    console.print(shown, "")
    console.print(
        f"all MLPs replaced: KL {evaluation.kl:.4f} nats, agreement {evaluation.agreement:.4f}, "
        f"{evaluation.agreement_sure:.4f} where the model is sure ({evaluation.sure:.0%} of {evaluation.positions:,}), "
        f"loss recovered {evaluation.replaced.loss_recovered:.4f}"
    )
