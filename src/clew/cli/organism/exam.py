"""`clew organism exam`: how much of the small world a model knows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clew.cli.kits import on_few_threads, open_kit
from clew.cli.options import JsonOption
from clew.cli.progress_bar import bar
from clew.cli.tables import table
from clew.errors import InputError
from clew.kit import BUNDLED, bundled
from clew.organism.exam import ExamReport, exam_folder
from clew.organism.world import World
from clew.studies.circuit_exam import PROMPTS, CircuitExam, examine_circuits


def exam(
    model: Annotated[str, typer.Argument(help="A model folder, or a bundled kit's name.")] = "minnow",
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
    circuits: Annotated[
        bool,
        typer.Option("--circuits", help="Examine a kit's circuits instead: do groups stand for what the world knows?"),
    ] = False,
    count: Annotated[int, typer.Option(help="Of --circuits: how many listed prompts.")] = PROMPTS,
    as_json: JsonOption = False,
) -> None:
    """Examine a model of the small world: each family's score beside chance, its loss beside the law's entropy.

    Example: `clew organism exam`
    """
    if circuits:
        _examine_circuits(model, count, as_json=as_json)
        return
    if count != PROMPTS:
        raise InputError("--count says how many prompts' circuits are examined: give --circuits too")
    folder = BUNDLED / model / "model" if model in bundled() else Path(model)
    report = exam_folder(folder, World(seed=seed))
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        _print_exam(report)
    if not report.passed:
        raise typer.Exit(1)


def _examine_circuits(name: str, count: int, *, as_json: bool) -> None:
    kit = open_kit(name)
    on_few_threads(kit)
    with bar("examining circuits") as report:
        found = examine_circuits(kit, count, report)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False, indent=1))
    else:
        _print_circuits(found)
    if not found.passed:
        raise typer.Exit(1)


def _print_circuits(found: CircuitExam) -> None:
    """Print how well groups tell variables, beside shuffled labels."""
    console = Console(highlight=False)
    title = "How well the best group of a circuit tells a variable's value: balanced accuracy"
    shown = table("family", "variable", ">prompts", ">held out", ">shuffled", ">templates", "", title=title)
    for row in found.rows:
        verdict = "" if row.passed is None else "ok" if row.passed else "MISSED"
        other = "" if math.isnan(row.other_templates) else f"{row.other_templates:.2f}"
        numbers = (str(row.prompts), f"{row.accuracy.value:.2f}", f"{row.null:.2f}", other)
        shown.add_row(row.family, row.variable, *numbers, verdict)
    console.print(shown, "")
    console.print(
        "held out: on sentences that neither the group nor its threshold was chosen on; shuffled: the same with "
        "shuffled labels; templates: chosen on half of the templates, scored on the others",
        style="dim",
    )
    console.print(f"{'all bars reached' if found.passed else 'bars missed'} in {found.seconds:.0f} s")


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
