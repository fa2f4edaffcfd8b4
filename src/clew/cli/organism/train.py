"""`clew organism train`: the small world's model, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.cli.progress_bar import bar
from clew.organism import training
from clew.organism.training import TrainingConfig
from clew.progress import Progress


def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model go.")],
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; left out, as many as the bundled model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world and the weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's last checkpoint.")] = True,
) -> None:
    """Train the small world's model from nothing; stop it at any time, it resumes.

    Example: `clew organism train runs/minnow`
    """
    config = TrainingConfig(seed=seed) if steps is None else TrainingConfig(seed=seed, steps=steps)
    with bar("training", of=config.steps) as report:
        for step in training.train(config, folder, resume=resume):
            report(Progress(what="training", done=step.step, of=step.steps))
            print(f"step {step.step}/{step.steps}  loss {step.loss:.4f}  {step.tokens_per_second:,.0f} tokens/s")
    print(f"the model is in {folder / 'model'}; examine it with: clew organism exam {folder / 'model'}")
