"""Snapshots of a model in training: weights alone, beside the folder of the finished model that says what they are of.

run/model/                             Hugging Face layout
run/snapshots/step-000256.safetensors  the same parameters after 256 steps
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clew import files
from clew.errors import FileError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "snapshots"
_NAME = re.compile(r"step-(\d+)\.safetensors")


@dataclass(frozen=True)
class Snapshot:
    """One file of weights, the step that it was taken at, and the finished model's folder."""

    path: Path
    step: int
    model: Path

    @property
    def name(self) -> str:
        """What its Subject is called."""
        return f"{self.model.parent.name} at step {self.step}"


def steps_of(run: Path | str) -> list[int]:
    """The steps at which a training run kept its weights, rising; none where it kept nothing."""
    names = (_NAME.fullmatch(path.name) for path in (Path(run) / FOLDER).glob("*.safetensors"))
    return sorted(int(match[1]) for match in names if match)


def snapshot_of(source: Path | str, step: int | None) -> Snapshot | None:
    """The snapshot that a file is, or that a run's folder has at a step; None for any other source.

    FileError for a step that the run did not keep, and where the finished model is not beside it.
    """
    path = Path(source)
    match = _NAME.fullmatch(path.name)
    if step is None:
        if not (match and path.is_file() and path.parent.name == FOLDER):
            return None
        found = Snapshot(path, int(match[1]), path.parent.parent / "model")
    else:
        steps = steps_of(path)
        if step not in steps:
            kept = ", ".join(map(str, steps)) or "none"
            raise FileError(f"{path} has no snapshot at step {step}; it has {kept}")
        found = Snapshot(path / FOLDER / f"step-{step:06d}.safetensors", step, path / "model")
    if not found.model.is_dir():
        raise FileError(f"{found.path} holds weights alone, and {found.model} is not there: train to the end first")
    return found


@torch.no_grad()
def put_weights(model: PreTrainedModel, snapshot: Snapshot) -> None:
    """Give a model the weights of a snapshot; FileError where it does not hold exactly the model's parameters."""
    weights, parameters = files.load_tensors(snapshot.path), dict(model.named_parameters())
    if wrong := sorted(set(weights) ^ set(parameters)):
        raise FileError(f"{snapshot.path} is not of the model beside it: {wrong[0]} is in one of them alone")
    for name, parameter in parameters.items():
        if weights[name].shape != parameter.shape:
            raise FileError(
                f"{snapshot.path} is not of the model beside it: {name} has shape {tuple(weights[name].shape)}, not "
                f"{tuple(parameter.shape)}"
            )
        parameter.copy_(weights[name])
