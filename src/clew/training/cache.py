"""Activations on disk: the model is run once over a corpus, and what every layer reads and writes is kept in 16 bits.

An option for text that is trained on many times, or by several runs. Rows are stored in shards in the corpus' order,
each shard one file written atomically; a position's inputs and outputs of all layers are adjacent, so that a row is one
read. Existing shards are kept, so that an interrupted build continues. Rounding to float16 adds about
1e-7 to the relative squared error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.progress import Progress
from clew.subject.subject import Subject
from clew.training.activations import collect, parts_of
from clew.training.documents import Batch, Documents

ENVELOPE = files.Envelope(
    format="clew.activations", schema=2, oldest=2, what="activations"
)  # 2: the mark of all weights
SHARD_BYTES = 256 << 20
SPARE = 1 << 30  # bytes that must stay free on the disk


def cache_bytes(subject: Subject, documents: Documents) -> int:
    """Bytes that the activations of these rows take on disk."""
    return int(documents.counts.sum()) * bytes_a_position(subject)


def bytes_a_position(subject: Subject) -> int:
    """Bytes of one position: every layer's input and output in 16 bits."""
    return subject.n_layers * subject.d_model * 2 * 2


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder of shards that holds the activations of some rows."""

    folder: Path
    starts: Int[Tensor, " bound"]
    """Where every row begins among the counted positions."""
    shards: Int[Tensor, " edge"]
    """The first row of every shard, and the number of rows."""
    read_site: str
    write_site: str
    opened: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def read(self, rows: Int[Tensor, " n"], read_site: str, write_site: str) -> Batch:
        """The activations of some rows at every position that counts, in float32; MismatchError at other sites."""
        if (read_site, write_site) != (self.read_site, self.write_site):
            raise MismatchError(f"{self.folder} holds {self.read_site} and {self.write_site}, not {read_site}")
        parts = []
        for row in rows.tolist():
            shard = int(torch.searchsorted(self.shards, row, right=True)) - 1
            begin = int(self.starts[self.shards[shard]])
            parts.append(self._mapped(shard)[int(self.starts[row]) - begin : int(self.starts[row + 1]) - begin])
        both = torch.cat(parts).float().permute(1, 2, 0, 3)
        return Batch(inputs=both[0].contiguous(), outputs=both[1].contiguous())

    def _mapped(self, shard: int) -> Tensor:
        if shard not in self.opened:
            self.opened[shard] = files.load_tensors(_path(self.folder, shard))["activations"]
        return self.opened[shard]


def build_cache(
    subject: Subject, documents: Documents, folder: Path | str, *, read_site: str, write_site: str
) -> Iterator[Progress]:
    """Write the shards that are missing; yields a report after each.

    FileError when the disk has no room, MismatchError when the folder holds another model's or corpus' activations,
    InputError when an activation is not finite or too large for 16 bits.
    """
    folder = Path(folder)
    head = _head(subject, documents, read_site, write_site)
    if (folder / "cache.json").exists() and files.read_json(folder / "cache.json") != head:
        raise MismatchError(f"{folder} holds the activations of another model or text: give another folder")
    shards = _shards(subject, documents).tolist()
    counts = _counts(documents, torch.tensor(shards))
    missing = [i for i, n in enumerate(counts) if not _is_whole(_path(folder, i), n, subject)]
    check_room(folder, cache_bytes(subject, documents) * len(missing) // max(1, len(shards) - 1))
    files.write_json(folder / "cache.json", head)
    for i in missing:
        rows = torch.arange(shards[i], shards[i + 1])
        where = f" in batch {i}, rows {shards[i]} to {shards[i + 1] - 1} of the text"
        batch = collect(subject, documents, rows, read_site, write_site, where)
        files.save_tensors(_path(folder, i), {"activations": _halved(documents, rows, batch)})
        yield Progress(what="activations", done=shards[i + 1], of=len(documents), unit="rows")


def open_cache(
    subject: Subject, documents: Documents, folder: Path | str, *, read_site: str, write_site: str
) -> Documents:
    """The same rows with their activations read from a folder that `build_cache` has finished.

    MismatchError when it holds another model's or text's activations, FileError when a shard is missing.
    """
    folder = Path(folder)
    if files.read_json(folder / "cache.json") != _head(subject, documents, read_site, write_site):
        raise MismatchError(f"{folder} holds the activations of another model or text: give another folder")
    shards = _shards(subject, documents)
    for i, n in enumerate(_counts(documents, shards)):
        if not _is_whole(_path(folder, i), n, subject):
            raise FileError(f"{folder} lacks {_path(folder, i).name}, or it is not whole: finish building the cache")
    starts = torch.cat([documents.counts.new_zeros(1), documents.counts.cumsum(0)])
    cache = Cache(folder=folder, starts=starts, shards=shards, read_site=read_site, write_site=write_site)
    return replace(documents, cache=cache)


def _path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.safetensors"


def _head(subject: Subject, documents: Documents, read_site: str, write_site: str) -> dict[str, object]:
    """What must agree between a cache and its use."""
    return ENVELOPE.head(
        model=[subject.n_layers, subject.d_model, subject.weights_hash()],
        text=documents.mark,
        sites=[read_site, write_site],
    )


def _shards(subject: Subject, documents: Documents) -> Int[Tensor, " bound"]:
    """The first row of every shard, and the number of rows."""
    room = max(1, SHARD_BYTES // bytes_a_position(subject))
    number = (documents.counts.cumsum(0) - documents.counts) // room
    first = torch.nonzero(number.diff(prepend=number.new_tensor([-1])))[:, 0]
    return torch.cat([first, first.new_tensor([len(documents)])])


def _counts(documents: Documents, shards: Int[Tensor, " bound"]) -> list[int]:
    """The positions of every shard."""
    ends = torch.cat([documents.counts.new_zeros(1), documents.counts.cumsum(0)])
    return ends[shards].diff().tolist()


def _is_whole(path: Path, positions: int, subject: Subject) -> bool:
    """Whether a shard is there with all of its positions; its size alone is read."""
    if not path.is_file():
        return False
    try:
        tensors = files.load_tensors(path)
    except FileError:
        return False
    shape = (positions, 2, subject.n_layers, subject.d_model)
    return "activations" in tensors and tensors["activations"].shape == shape


def check_room(folder: Path, needed: int) -> None:
    """FileError when a disk has no room for so many bytes and some to spare."""
    free = files.free_bytes(folder)
    if needed + SPARE > free:
        raise FileError(
            f"the activations need {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free there: "
            "train without a cache, or on less text"
        )


def _halved(documents: Documents, rows: Int[Tensor, " n"], batch: Batch) -> Tensor:
    """Inputs and outputs of some rows in their own order, `pos side layer d_model`, in float16."""
    both = torch.stack([batch.inputs, batch.outputs]).permute(2, 0, 1, 3)
    largest = both.abs().amax((0, 1, 3))
    if float(largest.max()) > torch.finfo(torch.float16).max:
        layer = int(largest.argmax())
        raise InputError(
            f"activations of layer {layer} reach {float(largest.max()):.3g}, more than 16 bits hold: "
            "train without a cache"
        )
    order = torch.cat(list(parts_of(documents, rows)))  # the order in which they were collected
    pieces = both.half().split(documents.counts[order].tolist())
    return torch.cat([pieces[i] for i in order.argsort().tolist()])
