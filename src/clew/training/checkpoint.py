"""A run's checkpoint: one file, written atomically, from which the same steps go on.

It says what its run began with (`RunOrigin`): the model's weights, the text, the settings. A run that goes on with
others would end as a mixture of two and say so nowhere, hence each is compared and refused by name. A reader always
finds the last complete checkpoint.

Where features are parted among ranks, each rank writes its own into a file beside it, a shard, whose name has the step.
The one file is written last and names them; shards of earlier steps go then. Any number of ranks reads either: each
takes the rows that it holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training.config import DictionaryConfig
from clew.training.documents import Documents
from clew.training.run_state import RunState
from clew.training.split import ByFeatures

ENVELOPE = files.Envelope(
    format="clew.training",
    schema=5,  # 5: weights and text; raised too when the same state would take other steps
    oldest=4,
    what="checkpoint",
    again="begin the run anew, in another folder",
    keys=("schema", "version"),
)
NAME = "checkpoint.safetensors"
SHARDS = "checkpoint-*-of-*.safetensors"
SCALES = ("input_centre", "input_scale", "output_centre", "output_scale", "layer_weight")
SHOWN = 12  # characters of a hash in a message


@dataclass(frozen=True, kw_only=True)
class RunOrigin:
    """What a run began with, and must go on with."""

    model: str
    """The model's name, which alone is compared where its weights are not known."""
    weights: str | None
    """SHA-256 of the model's weights; None in checkpoints of schema 4."""
    text: str | None
    """SHA-256 of the rows that are trained on; None in checkpoints of schema 4, and where rows are not at hand."""
    buffer: int
    config: DictionaryConfig

    @classmethod
    def of(cls, subject: Subject, documents: Documents | None, config: DictionaryConfig, buffer: int) -> RunOrigin:
        """The origin of a run; reads all of the model's weights."""
        text = None if documents is None else documents.mark
        return cls(model=subject.name, weights=subject.weights_hash(), text=text, buffer=buffer, config=config)

    @classmethod
    def read(cls, path: Path, note: Mapping[str, str]) -> RunOrigin:
        """What a checkpoint says of its run; FileError when it is none, damaged, or of a schema that is not read."""
        try:
            facts: dict[str, Any] = json.loads(note.get("run", "null"))
        except json.JSONDecodeError as error:
            raise FileError(f"{path} does not say whose checkpoint it is: it is damaged") from error
        ENVELOPE.check(facts, path)
        known = {name: facts.pop(name, None) for name in (*ENVELOPE.keys, "model", "weights", "text", "buffer")}
        try:
            config = DictionaryConfig.of(facts)
        except (InputError, TypeError, ValueError) as error:
            raise FileError(f"{path} does not say the settings of its run ({error}): it is damaged") from error
        origin = {name: known[name] for name in ("model", "weights", "text", "buffer")}
        if not isinstance(origin["model"], str) or not isinstance(origin["buffer"], int):
            raise FileError(f"{path} does not say the model and the buffer of its run: it is damaged")
        return cls(config=config, **origin)

    def facts(self) -> str:
        """The origin as a checkpoint keeps it, in JSON."""
        facts = ENVELOPE.head(model=self.model, weights=self.weights, text=self.text, buffer=self.buffer)
        return json.dumps(facts | asdict(self.config), sort_keys=True)

    def shown(self) -> dict[str, object]:
        """The origin as messages name it."""
        hashes = {"model weights": self.weights, "text": self.text}
        return {name: (mark or "unknown")[:SHOWN] for name, mark in hashes.items()} | {
            "buffer": self.buffer, **asdict(self.config)
        }  # fmt: skip

    def check(self, now: RunOrigin, path: Path) -> None:
        """MismatchError, saying what has changed, unless a run of this origin may go on with `now`."""
        if self.weights is None and self.model != now.model:
            raise MismatchError(f"{path} belongs to another run, on {self.model}, not on {now.model}")
        if self.weights is not None and self.weights != now.weights:
            raise MismatchError(
                f"{path} is of a run on {self.model} with weights {self.weights[:SHOWN]} (sha256), but those of "
                f"{now.model} are {(now.weights or '')[:SHOWN]}: the weights have changed since the run began; go on "
                "with those of then, or begin a run in another folder"
            )
        if self.text is not None and now.text is not None and self.text != now.text:
            raise MismatchError(
                f"{path} is of a run on other text ({self.text[:SHOWN]}, now {now.text[:SHOWN]}, sha256): go on with "
                "the text of then, or begin a run in another folder"
            )
        before, after = ({"buffer": origin.buffer} | asdict(origin.config) for origin in (self, now))
        changed = [f"{name} {before[name]}, not {after[name]}" for name in before if before[name] != after[name]]
        if changed:
            raise MismatchError(f"{path} belongs to another run, with {'; '.join(changed)}: resume with its settings")


def save_checkpoint(run: RunState, folder: Path, origin: RunOrigin) -> None:
    """Write weights, moments and counters, on the first rank; FileError when it cannot, the last checkpoint kept."""
    ranks, state = run.split.ranks, dict(_state(run))
    shards = []
    if isinstance(run.split, ByFeatures):
        shards = [f"checkpoint-{run.step}-{rank + 1}-of-{ranks.size}.safetensors" for rank in range(ranks.size)]
        own = {name: tensor for name, tensor in state.items() if _of_features(name)}
        state = {name: tensor for name, tensor in state.items() if name not in own}
        files.save_tensors(folder / shards[ranks.rank], own, {"step": str(run.step)})
        ranks.total(0)  # all of them are there
    if ranks.first:
        tensors = state | {f"scale.{name}": tensor for name, tensor in run.scales.items()}
        note = {"run": origin.facts(), "step": str(run.step), "cut": repr(run.cut), "grown": str(run.grown)}
        files.save_tensors(folder / NAME, tensors, note | ({"shards": json.dumps(shards)} if shards else {}))
        for path in folder.glob(SHARDS):
            if path.name not in shards:
                path.unlink()


def restore_checkpoint(run: RunState, folder: Path, origin: RunOrigin) -> None:
    """Load a checkpoint into the run, which is to go on as `origin` says.

    MismatchError when the checkpoint's run began with something else, FileError when it is damaged or none.
    """
    path = folder / NAME
    files.clear_temporaries(path)
    note = files.load_note(path)
    RunOrigin.read(path, note).check(origin, path)
    shards = _shards(path, note)
    for name, tensor in _state(run):  # one at a time: what is mapped counts as memory
        if _of_features(name):
            _read_rows(shards or [path], name, tensor, run)
        else:
            tensor.copy_(_stored(path, name, tensor))
    shapes = {name: (run.n_layers, run.d_model) if name.endswith("centre") else (run.n_layers,) for name in SCALES}
    for name, shape in shapes.items():
        run.scales[name] = _stored(path, f"scale.{name}", torch.empty(shape)).clone().to(run.device)
    try:
        run.step, run.cut, run.grown = int(note["step"]), float(note["cut"]), note.get("grown") == "True"
    except (KeyError, ValueError) as error:
        raise FileError(f"{path} does not say its step ({error}): it is damaged") from error


def _of_features(name: str) -> bool:
    """Whether a tensor of a run's state has a row for each feature of a layer, as `3.decoder.mean` has."""
    return name.partition(".")[0].isdigit()


def _shards(path: Path, note: Mapping[str, str]) -> list[Path]:
    """The files that hold a checkpoint's features where they are parted; FileError when one is missing or another's."""
    try:
        shards = [path.with_name(str(name)) for name in json.loads(note.get("shards", "[]"))]
    except (json.JSONDecodeError, TypeError) as error:
        raise FileError(f"{path} does not say its shards: it is damaged") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise FileError(f"{path} is one of {len(shards) + 1} files, of which {', '.join(missing)} cannot be found")
    for shard in shards:
        if files.load_note(shard).get("step") != note.get("step"):
            raise FileError(f"{shard} is not of step {note.get('step')}, as {path} is: it is another checkpoint's")
    return shards


def _read_rows(paths: list[Path], name: str, tensor: Tensor, run: RunState) -> None:
    """Fill a tensor with the rows of this rank's features, which may lie in several files."""
    width = run.widths[int(name.partition(".")[0])]
    part = run.split.features(width)
    first, stop = part.start or 0, width if part.stop is None else part.stop
    for number, path in enumerate(paths):
        begin, end = (n * width // len(paths) for n in (number, number + 1))
        low, high = max(begin, first), min(end, stop)
        if low < high:
            stored = _stored(path, name, tensor[:1].expand(end - begin, *tensor.shape[1:]))
            tensor[low - first : high - first] = stored[low - begin : high - begin]


def _stored(path: Path, name: str, like: Tensor) -> Tensor:
    """One tensor of a checkpoint; FileError when it is missing or of another shape or dtype."""
    tensor = files.load_tensors(path, [name])[name]
    if tensor.shape != like.shape or tensor.dtype != like.dtype:
        raise FileError(
            f"{path} is damaged: {name} is {tensor.dtype} {list(tensor.shape)}, not {like.dtype} {list(like.shape)}"
        )
    return tensor


def open_run(folder: Path, subject: Subject, documents: Documents | None = None) -> tuple[RunState, RunOrigin]:
    """The run whose checkpoint a folder holds, and its origin.

    MismatchError when it was made on another model, or on other rows than those given; FileError when it is no
    checkpoint that can be read.
    """
    path = folder / NAME
    origin = RunOrigin.read(path, files.load_note(path))
    run = RunState(subject.n_layers, subject.d_model, origin.config, device=subject.device)
    now = RunOrigin.of(subject, documents, origin.config, origin.buffer)
    restore_checkpoint(run, folder, now)
    return run, now


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
