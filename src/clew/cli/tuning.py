"""`clew tune`: a finished run goes on, on what its dictionary is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clew.cli.common import bar
from clew.cli.options import with_settings
from clew.cli.runs import load_subject, read_run, rows_of
from clew.cli.training import print_evaluation
from clew.errors import FileError


@with_settings("clew.training.config:FineTuneConfig")
def tune(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    **settings: Any,
) -> None:
    """Fine-tune a finished run's dictionary on predicting what the model predicts, all MLPs replaced at once.

    Example: `clew tune runs/clt --steps 400`

    The new dictionary goes to the run's folder as `tuned`; the run and its own dictionary stay as they are.
    """
    from clew.dictionary import Dictionary
    from clew.training.config import FineTuneConfig
    from clew.training.evaluation import evaluate
    from clew.training.finetune import fine_tune

    config = FineTuneConfig(**settings)
    plan = read_run(folder)
    if not (folder / "dictionary").is_dir():
        raise FileError(f"{folder} has no dictionary yet: finish the run with clew train {folder} --resume")
    subject = load_subject(plan.model)
    held_out, seen = rows_of(folder, subject, plan)
    with bar("fine-tuning", of=config.steps) as progress:
        for report in fine_tune(subject, seen, config, folder):
            progress(report.step, report.steps)
    for name in ("dictionary", "tuned"):
        print(f"{folder / name}")
        print_evaluation(evaluate(subject, Dictionary.load(folder / name), held_out))
