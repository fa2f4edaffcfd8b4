"""`clew organism train`: the small world's model, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.cli.progress_bar import bar
from clew.cli.training_display import interrupts
from clew.organism import training
from clew.organism.training import TrainingConfig
from clew.progress import Progress


def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model go.")],
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; left out, as many as the bundled model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world and the weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's last checkpoint.")] = True,
) -> None:
    """Train the small world's model from nothing; Ctrl-C and SIGTERM save a checkpoint, and it resumes from there.

    Example: `clew organism train runs/minnow`
    """
    config = TrainingConfig(seed=seed) if steps is None else TrainingConfig(seed=seed, steps=steps)
    reached = config.steps
    with interrupts() as stop, bar("training", of=config.steps) as report:
        for step in training.train(config, folder, resume=resume, stop=stop):
            reached = step.step
            report(Progress(what="training", done=reached, of=step.steps))
            print(f"step {reached}/{step.steps}  loss {step.loss:.4f}  {step.tokens_per_second:,.0f} tokens/s")
    if stop() and reached < config.steps:
        print(f"stopped at step {reached} of {config.steps}; the same command goes on")
        raise typer.Exit(stop.code)
    print(f"the model is in {folder / 'model'}; examine it with: clew organism exam {folder / 'model'}")
