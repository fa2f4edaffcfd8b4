"""What a harvest has counted on some documents: tables of fixed size that can be saved, read back and added up.

Tables of different documents add up to the tables of all of them, to the bit and in any order. They are changed in
place as documents are counted: copies would cost more than the counting.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.features.config import HarvestConfig
from clew.features.tables import BANDS, BOUNDS, OCTAVES, STEPS, FeatureCounts, Slots
from clew.harvest.counting import BINS, NEVER, UNKNOWN, merge

ENVELOPE = files.Envelope(format="clew.harvest", schema=1, what="part of a harvest")
_SIGNED: dict[str, Any] = {"uint16": np.int16, "uint32": np.int32, "uint64": np.int64}


@dataclass(frozen=True, kw_only=True)
class HarvestOrigin:
    """What tables were counted from: it must agree between tables that are added up, and with the atlas' sources."""

    dictionary: str
    """Fingerprint."""
    corpus: str
    """A hash of all documents of the corpus."""
    n_features: int
    n_documents: int
    config: HarvestConfig

    def check(self, other: HarvestOrigin, where: str) -> None:
        """MismatchError when the other is of another dictionary, corpus or settings."""
        if self.dictionary != other.dictionary:
            raise MismatchError(
                f"{where} is of dictionary {other.dictionary[:12]}, not of {self.dictionary[:12]} (sha256)"
            )
        if self.corpus != other.corpus:
            raise MismatchError(f"{where} is of another corpus ({other.corpus[:12]}, not {self.corpus[:12]})")
        if self != other:
            raise MismatchError(f"{where} was harvested with other settings: {other.config}")


@dataclass(frozen=True, kw_only=True)
class FeatureTables:
    """Everything counted so far. `ranges` are the documents: disjoint runs [start, stop), in order."""

    origin: HarvestOrigin
    counts: FeatureCounts
    top: Slots
    bands: Slots
    everything: np.ndarray
    """Positions by bin of places; then those at a document's end, and documents with a position that counts."""
    samples: list[dict[str, np.ndarray]] = field(default_factory=list)
    """Positions drawn by hash, and the features that fire at each: document, position, count, feature."""
    pool: list[dict[str, np.ndarray]] = field(default_factory=list)
    """Positions drawn by hash, and the features that fire near: document, position, window, draw, fired (in bits)."""
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def empty(cls, origin: HarvestOrigin) -> FeatureTables:
        """Tables of no documents."""
        n, config = origin.n_features, origin.config
        return cls(
            origin=origin,
            counts=FeatureCounts(
                fired=np.zeros(n, np.int64),
                whole=np.zeros(n, np.int64),
                rest=np.zeros(n, np.int64),
                documents=np.zeros(n, np.uint32),
                last=np.full(n, -1, np.int32),
                most=np.zeros(n, np.float32),
                scale=np.full(n, NEVER, np.int16),
                log=np.zeros((n, OCTAVES * STEPS), np.uint32),
                linear=np.zeros((n, BINS), np.uint32),
                places=np.zeros((n, len(BOUNDS)), np.uint32),
                at_end=np.zeros(n, np.uint32),
            ),
            top=_slots(n, config.contexts, config.width),
            bands=_slots(n * BANDS, config.a_band, config.width),
            everything=np.zeros(len(BOUNDS) + 2, np.int64),
        )

    @property
    def positions(self) -> int:
        """Positions counted."""
        return int(self.everything[: len(BOUNDS)].sum())

    @property
    def documents(self) -> int:
        """Documents counted that have a position that counts."""
        return int(self.everything[-1])

    @property
    def complete(self) -> bool:
        """Whether every document of the corpus was counted."""
        return self.ranges == [(0, self.origin.n_documents)]

    def joined(self, name: str) -> dict[str, np.ndarray]:
        """The parts of `samples` or `pool`, concatenated in their order."""
        parts: Sequence[dict[str, np.ndarray]] = getattr(self, name)
        blank = dict(_BLANK[name])
        if name == "pool":
            blank["fired"] = np.zeros((0, -(-self.origin.n_features // 8)), np.uint8)
        return {key: np.concatenate([empty, *(part[key] for part in parts)]) for key, empty in blank.items()}

    def add_range(self, start: int, stop: int) -> None:
        """Note that documents were counted; InputError when some of them had been."""
        for first, end in self.ranges:
            if start < end and first < stop:
                raise InputError(f"documents {max(first, start)} to {min(end, stop) - 1} are in both parts")
        joined: list[tuple[int, int]] = []
        for first, end in sorted([*self.ranges, (start, stop)]):
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((first, end))
        self.ranges[:] = joined

    def add(self, other: FeatureTables) -> None:
        """Add the tables of other documents, which stay as they are.

        MismatchError when they are of something else, InputError when some documents are in both.
        """
        self.origin.check(other.origin, "the other part")
        for start, stop in other.ranges:
            self.add_range(start, stop)
        merge(self.counts, self.top, self.bands, other.counts, other.top, other.bands)
        self.everything[:] += other.everything
        self.samples.extend(other.samples)
        self.pool.extend(other.pool)

    # Files

    def save(self, path: Path | str) -> None:
        """Write a part of a harvest, atomically."""
        about = {"ranges": self.ranges, "of": asdict(self.origin)}
        note = ENVELOPE.note(about=json.dumps(about))
        files.save_tensors(path, {name: _tensor(array) for name, array in self._arrays().items()}, note)

    def _arrays(self) -> dict[str, np.ndarray]:
        tables: dict[str, Any] = {"counts": self.counts, "top": self.top, "bands": self.bands}
        arrays = {f"{name}.{key}": array for name, table in tables.items() for key, array in table._asdict().items()}
        for name in ("samples", "pool"):
            arrays |= {f"{name}.{key}": array for key, array in self.joined(name).items()}
        return arrays | {"everything": self.everything}

    @classmethod
    def load(cls, path: Path | str) -> FeatureTables:
        """Read a part; FileError when it is none, truncated or of a newer schema."""
        note = check_part(path)
        ENVELOPE.check_note(note, path)
        about = json.loads(note["about"])
        origin = HarvestOrigin(**(about["of"] | {"config": HarvestConfig(**about["of"]["config"])}))
        tables, tensors = cls.empty(origin), files.load_tensors(path)
        for name, array in tables._arrays().items():
            if not name.startswith(("samples", "pool")):
                array[...] = tensors[name].numpy().view(array.dtype)
        for name, parts in (("samples", tables.samples), ("pool", tables.pool)):
            parts.append({key: _array(tensors[f"{name}.{key}"], a) for key, a in tables.joined(name).items()})
        tables.ranges.extend((start, stop) for start, stop in about["ranges"])
        return tables


_BLANK: dict[str, dict[str, np.ndarray]] = {
    "samples": {
        "document": np.zeros(0, np.int32),
        "position": np.zeros(0, np.int32),
        "count": np.zeros(0, np.int32),
        "feature": np.zeros(0, np.int32),
    },
    "pool": {
        "document": np.zeros(0, np.int32),
        "position": np.zeros(0, np.int32),
        "window": np.zeros(0, np.uint64),
        "draw": np.zeros(0, np.uint64),
    },
}


def check_part(path: Path | str) -> dict[str, str]:
    """The metadata of a part of a harvest; FileError when the file is none."""
    note = files.load_note(path)
    if note.get("format") != "clew.harvest":
        raise FileError(f"{path} is no part of a harvest")
    return note


def merged(parts: Iterable[Path | str]) -> FeatureTables:
    """The sum of parts on disk, read one after the other.

    InputError without parts and when some documents are in two, MismatchError when a part is of something else.
    """
    total: FeatureTables | None = None
    for path in parts:
        part = FeatureTables.load(path)
        if total is None:
            total = part
        else:
            total.origin.check(part.origin, str(path))
            total.add(part)
    if total is None:
        raise InputError("give at least one part of a harvest")
    return total


def _slots(rows: int, n: int, width: int) -> Slots:
    return Slots(
        key=np.zeros((rows, n), np.uint64),
        document=np.full((rows, n), -1, np.int32),
        position=np.zeros((rows, n), np.int32),
        window=np.zeros((rows, n), np.uint64),
        around=np.zeros((rows, n, width), np.uint16),
        limit=np.full(rows, UNKNOWN, np.uint64),
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.view(_SIGNED.get(array.dtype.name, array.dtype)))


def _array(tensor: torch.Tensor, like: np.ndarray) -> np.ndarray:
    return tensor.numpy().view(like.dtype).copy()
