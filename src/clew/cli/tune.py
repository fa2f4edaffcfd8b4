"""`clew tune`: a finished run continues on the predictions of the replacement model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.prompts import lines_of
from clew.cli.tables import aside
from clew.cli.train import print_fidelity
from clew.cli.training_display import interrupts
from clew.errors import InputError
from clew.runs.train import finished_run, measure_run
from clew.runs.tune import begin_tuning
from clew.training import finetune
from clew.training.config import FineTuneConfig
from clew.training.corpus import encode_documents


@with_settings(FineTuneConfig)
def tune(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run, or with --start a new one.")],
    start: Annotated[
        str | None, typer.Option(help="Begin the folder with a kit's dictionary, or any other, in place of a run's.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model of --start, where that is no kit.")] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="With --start: add a linear connection, zero at first, to each layer.")
    ] = False,
    prompts: Annotated[
        Path | None, typer.Option(help="With --effects: prompts, one a line, whose next token is aimed at.")
    ] = None,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Fine-tune a finished run's dictionary on predicting what the model predicts, all MLPs replaced at once.

    With `--responses` also on answering as the model does when a feature is ablated; with `--effects` on what features
    do to a prediction, all of them at once: what a graph's effects predict.

    Example: `clew tune runs/clt --steps 400`, or `clew tune runs/new --start minnow --weight 0 --responses 0.1`

    The new dictionary goes to the run's folder as `tuned`; the run and its own dictionary stay as they are. Ctrl-C
    and SIGTERM stop without writing anything.
    """
    config = FineTuneConfig(**settings)
    if start is None and (model is not None or skip):
        raise InputError("--model and --skip say how a folder begins with --start: name a dictionary there")
    if prompts is not None and not config.effects:
        raise InputError("--prompts are what --effects is trained on: give its weight, such as --effects 0.006")
    lines = None if prompts is None else lines_of(prompts)
    if start is not None:
        begin_tuning(folder, start, model=model, steps=config.steps, skip=skip)
    run = finished_run(folder)
    with aside(as_json):
        rows = None if lines is None else encode_documents(run.subject, lines)
        _tune(finetune.fine_tune(run.subject, run.documents, config, folder, rows))
        measured = {}
        for name in ("dictionary", "tuned"):
            print(f"{folder / name}")
            measured[name] = measure_run(run, name)
            print_fidelity(measured[name])
        print(f"beside its nulls: clew eval {folder / 'tuned'}")
    if as_json:
        each_measured = [
            {"dictionary": str(folder / name), "evaluation": each.to_json()} for name, each in measured.items()
        ]
        print(json.dumps(each_measured, indent=1))


def _tune(reports: Iterator[finetune.FineTuneReport]) -> None:
    """Tune to the end; leaves, and nothing is written, with code 130 at Ctrl-C and with 143 at SIGTERM."""
    with interrupts() as stop, bar("fine-tuning") as show:
        for report in reports:
            progress = report.progress
            show(progress)
            if stop() and progress.done < progress.of:
                print(f"stopped at step {progress.done} of {progress.of}; nothing is written, the run stays as it was")
                raise typer.Exit(stop.code)
