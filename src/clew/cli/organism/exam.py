"""`clew organism exam`: how much of the small world a model knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clew.cli.options import JsonOption
from clew.cli.tables import table
from clew.kit import BUNDLED, bundled
from clew.organism.exam import ExamReport, exam_folder
from clew.organism.world import World


def exam(
    model: Annotated[str, typer.Argument(help="A model folder, or a bundled kit's name.")] = "minnow",
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Examine a model of the small world: each family's score beside chance, its loss beside the law's entropy.

    Example: `clew organism exam`
    """
    folder = BUNDLED / model / "model" if model in bundled() else Path(model)
    report = exam_folder(folder, World(seed=seed))
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        _print_exam(report)
    if not report.passed:
        raise typer.Exit(1)


def _print_exam(report: ExamReport) -> None:
    """Print an exam: scores beside chance, loss beside entropy."""
    console = Console(highlight=False)
    shown = table("family", "split", "measure", ">score", ">chance", ">questions", ">bar", "", title="Exam")
    for row in report.rows:
        verdict = "" if row.passed is None else "ok" if row.passed else "MISSED"
        bar = "" if row.bar is None else f"{row.bar:.2f}"
        shown.add_row(
            row.name, row.split, row.measure, f"{row.score:.4f}", f"{row.chance:.4f}", str(row.n), bar, verdict
        )
    console.print(shown, "")
    losses = table(
        "family", ">loss", ">entropy", ">difference", ">statements", title="Nats a statement, beside the law's own"
    )
    for loss in report.losses:
        losses.add_row(
            loss.family, f"{loss.loss:.3f}", f"{loss.entropy:.3f}", f"{loss.loss - loss.entropy:+.3f}", str(loss.n)
        )
    console.print(losses, "")
    console.print(f"{'all bars reached' if report.passed else 'bars missed'} in {report.seconds:.0f} s")
