"""`clew organism`: the small world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from clew.cli.kits import JsonOption, bar, table

if TYPE_CHECKING:
    from clew.organism.exam import ExamReport


def show(
    count: Annotated[int, typer.Option(help="Statements to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
) -> None:
    """Draw statements of the small world.

    Example: `clew organism show --count 5`
    """
    import random

    from clew.organism.world import World

    world, rng = World(seed=seed), random.Random(seed)
    for _ in range(count):
        statement = world.draw(rng)
        print(f"{statement.domain:9}{statement.family:14}{statement.text}")


def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model go.")],
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; left out, as many as the bundled model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world and the weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's last checkpoint.")] = True,
) -> None:
    """Train the small world's model from nothing; stop it at any time, it resumes.

    Example: `clew organism train runs/minnow`
    """
    from clew.organism.training import TrainingConfig, train

    config = TrainingConfig(seed=seed) if steps is None else TrainingConfig(seed=seed, steps=steps)
    with bar("training", of=config.steps) as progress:
        for report in train(config, folder, resume=resume):
            progress(report.step, report.steps)
            print(
                f"step {report.step}/{report.steps}  loss {report.loss:.4f}  {report.tokens_per_second:,.0f} tokens/s"
            )
    print(f"the model is in {folder / 'model'}; examine it with: clew organism exam {folder / 'model'}")


def exam(
    model: Annotated[str, typer.Argument(help="A model folder, or a bundled kit's name.")] = "minnow",
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Examine a model of the small world: each family's score beside chance, its loss beside the law's entropy.

    Example: `clew organism exam`
    """
    from clew import kit
    from clew.organism.exam import exam_folder
    from clew.organism.world import World

    folder = kit.BUNDLED / model / "model" if model in kit.bundled() else Path(model)
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
