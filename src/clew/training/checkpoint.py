"""A run's checkpoint: one file, written atomically, from which the same steps go on.

It names the run it belongs to. A reader always finds the last complete checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from clew import files
from clew.errors import FileError, MismatchError
from clew.subject.subject import Subject
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState

ENVELOPE = files.Envelope(format="clew.training", schema=4, oldest=4, what="checkpoint", keys=("schema", "version"))
NAME = "checkpoint.safetensors"
FACTS = ("schema", "version", "model", "buffer")
SCALES = ("input_centre", "input_scale", "output_centre", "output_scale", "layer_weight")


def save_checkpoint(run: RunState, folder: Path, subject: Subject, buffer: int) -> None:
    """Write weights, moments and counters; FileError when they cannot be written, the last checkpoint kept."""
    tensors = dict(_state(run)) | {f"scale.{name}": tensor for name, tensor in run.scales.items()}
    note = {"run": _run_facts(run, subject, buffer), "step": str(run.step), "cut": repr(run.cut)}
    note["grown"] = str(run.grown)
    files.save_tensors(folder / NAME, tensors, note)


def restore_checkpoint(run: RunState, folder: Path, subject: Subject, buffer: int) -> None:
    """Load a checkpoint into the run; MismatchError when it belongs to another run, FileError when it is not whole."""
    path = folder / NAME
    files.clear_temporaries(path)
    note = files.load_note(path)
    if note.get("run") != _run_facts(run, subject, buffer):
        raise MismatchError(f"{path} belongs to another run ({note.get('run', 'unknown')}): resume with its settings")
    for name, tensor in _state(run):  # one at a time: what is mapped counts as memory
        tensor.copy_(files.load_tensors(path, [name])[name])
    scales = files.load_tensors(path, [f"scale.{name}" for name in SCALES])
    run.scales = {name.removeprefix("scale."): tensor.clone().to(run.device) for name, tensor in scales.items()}
    run.step, run.cut, run.grown = int(note["step"]), float(note["cut"]), note.get("grown") == "True"


def open_run(folder: Path, subject: Subject) -> tuple[RunState, int]:
    """The run whose checkpoint a folder holds, and its buffer.

    MismatchError when it was made on another model, FileError when it is no checkpoint of this version.
    """
    facts = json.loads(files.load_note(folder / NAME).get("run", "{}"))
    if not ENVELOPE.matches(facts) or facts.get("version") != ENVELOPE.schema:
        raise FileError(f"{folder / NAME} is no checkpoint of this version of the trainer")
    config = DictionaryConfig.of({name: value for name, value in facts.items() if name not in FACTS})
    run = RunState(subject.n_layers, subject.d_model, config, device=subject.device)
    restore_checkpoint(run, folder, subject, facts["buffer"])
    return run, facts["buffer"]


def _run_facts(run: RunState, subject: Subject, buffer: int) -> str:
    """What must agree between a checkpoint and the run that restores it, as JSON."""
    facts = ENVELOPE.head(model=subject.name, buffer=buffer)
    return json.dumps(facts | asdict(run.config), sort_keys=True)


def _state(run: RunState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that training changes in place, by name."""
    parameters = {"decoder_bias": run.decoder_bias, "skip": run.skip}
    for i, layer in enumerate(run.layers):
        parameters |= {f"{i}.{name}": rows for name, rows in layer.rows.items()}
        yield f"{i}.norm", layer.norm
        yield f"{i}.quiet", layer.quiet
    for name, rows in parameters.items():
        yield f"{name}.weight", rows.weight
        yield f"{name}.mean", rows.mean
        yield f"{name}.square", rows.square
