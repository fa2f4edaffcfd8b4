"""`clew tune`: a finished run goes on, on what its dictionary is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.tables import aside
from clew.cli.train import print_evaluation
from clew.cli.training_display import interrupts
from clew.errors import FileError
from clew.progress import Progress
from clew.runs.plan import load_subject, read_run, rows_of
from clew.training.config import FineTuneConfig

if TYPE_CHECKING:
    from clew.training.finetune import FineTuneReport


@with_settings(FineTuneConfig)
def tune(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Fine-tune a finished run's dictionary on predicting what the model predicts, all MLPs replaced at once.

    Example: `clew tune runs/clt --steps 400`

    The new dictionary goes to the run's folder as `tuned`; the run and its own dictionary stay as they are. Ctrl-C
    stops without writing anything.
    """
    from clew.dictionary import Dictionary
    from clew.runs.fidelity import measure_fidelity
    from clew.training.finetune import fine_tune

    config = FineTuneConfig(**settings)
    plan = read_run(folder)
    if not (folder / "dictionary").is_dir():
        raise FileError(f"{folder} has no dictionary yet: finish the run with clew train {folder} --resume")
    subject = load_subject(plan.model)
    held_out, seen = rows_of(folder, subject, plan)
    with aside(as_json):
        _tuned(fine_tune(subject, seen, config, folder), config.steps)
        found = {}
        for name in ("dictionary", "tuned"):
            print(f"{folder / name}")
            found[name] = measure_fidelity(subject, Dictionary.load(folder / name), held_out)
            print_evaluation(found[name])
        print(f"beside its nulls: clew eval {folder / 'tuned'}")
    if as_json:
        told = [{"dictionary": str(folder / name), "evaluation": each.to_json()} for name, each in found.items()]
        print(json.dumps(told, indent=1))


def _tuned(reports: Iterator[FineTuneReport], steps: int) -> None:
    """Tune to the end; leaves with code 130, and nothing written, when Ctrl-C was pressed."""
    with interrupts() as stop, bar("fine-tuning", of=steps) as progress:
        for report in reports:
            note = f"divergence {report.kl:.4f} nats"
            progress(Progress(what="fine-tuning", done=report.step, of=report.steps, note=note))
            if stop() and report.step < steps:
                print(f"stopped at step {report.step} of {steps}; nothing is written, the run stays as it was")
                raise typer.Exit(130)
