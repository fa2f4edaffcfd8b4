"""How an atlas keeps numbers: arrays behind one another, their bytes sorted by weight, compressed.

A blob holds the arrays of a list of fields. Of every array come its size (four bytes), then the lowest byte of all its
numbers, then the next, so that leading zeros and like exponents lie together; all of it is compressed with zlib.

A block of cards holds 32 features in a row, each field for all of them: numbers of a fixed count a feature lie behind
one another, the others have a field of counts beside them. Contexts are those of `top`, then of the bands from the
strongest octave down, feature by feature: document, position, a bit for every token around that fires (`mask`), and
the activations of these alone (`around`, float16). Token ids of contexts are in blocks of texts, once however many
cards show them: lengths of the documents, a bit for every token that is kept, and the ids of those.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clew import files
from clew.errors import FileError
from clew.features.tables import BANDS, OCTAVES, STEPS, WIDTH, Counts, Relations, Slots, Strongest, octave_of

ENVELOPE = files.Envelope(
    format="clew.atlas", schema=2, oldest=2, what="an atlas", mark=b"ClAt", again="harvest it anew"
)
GROUP = 32  # features in a block of cards
RULES = 512  # and in a block of labels by rule
SUMMARY_TOKENS = 5
RELATIONS = ("nearest_decoder", "nearest_encoder", "together", "inputs", "outputs")
CARDS: dict[str, str] = {
    "fired": "u4",
    "documents": "u4",
    "most": "f4",
    "mean": "f8",
    "at_end": "u4",
    "places": "u4",
    "log_first": "u1",
    "log_n": "u1",
    "log": "u4",
    "scale": "i2",
    "linear_n": "u1",
    "linear": "u4",
    "top_n": "u1",
    "bands_n": "u1",
    "document": "u4",
    "position": "u4",
    "mask": "u1",
    "around": "u2",
    "silent": "i4",
    "promoted": "i4",
    "promoted_value": "f2",
    "suppressed": "i4",
    "suppressed_value": "f2",
    "logit_range": "f4",
    "logits": "u4",
} | {f"{name}{end}": kind for name in RELATIONS for end, kind in (("", "i4"), ("_value", "f2"))}
TEXTS = {"length": "u4", "kept": "u1", "token": "u4"}
POOL = {"document": "u4", "position": "u4"}
SUMMARY = {"fired": "u4", "most": "f4", "mean": "f4", "promoted": "i4"}


@dataclass(frozen=True)
class Packer:
    """Packs blobs, and keeps a hash of what was in them, which no compression changes."""

    digest: Any = field(default_factory=hashlib.sha256)

    def pack(self, fields: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
        """The arrays of these fields, compressed."""
        parts = []
        for name, kind in fields.items():
            plain = np.ascontiguousarray(arrays[name], dtype="<" + kind).reshape(-1)
            planes = plain.view(np.uint8).reshape(len(plain), plain.itemsize).T
            parts += [len(plain).to_bytes(4, "little"), planes.tobytes()]
        return self._pressed(b"".join(parts))

    def pack_json(self, value: Any) -> bytes:
        """A value as JSON has it, compressed."""
        return self._pressed(json.dumps(value, ensure_ascii=False).encode())

    def _pressed(self, raw: bytes) -> bytes:
        self.digest.update(raw)
        return zlib.compress(raw, 9)


def unpack_json(blob: bytes | memoryview, where: str, digest: Any = None) -> Any:
    """The value of a blob of JSON; FileError, naming where it comes from, when it is damaged."""
    raw = _plain(blob, where, digest)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise FileError(f"{where} is damaged ({error})") from error


def unpack(
    fields: Mapping[str, str], blob: bytes | memoryview, where: str, digest: Any = None
) -> dict[str, np.ndarray]:
    """The arrays of a blob, flat; FileError, naming where it comes from, when it is damaged."""
    raw = _plain(blob, where, digest)
    found, begin = {}, 0
    for name, kind in fields.items():
        n, size = int.from_bytes(raw[begin : begin + 4], "little"), int(kind[1])
        begin += 4
        if begin + n * size > len(raw):
            raise FileError(f"{where} is damaged: {name} is not whole")
        planes = np.frombuffer(raw, np.uint8, n * size, begin).reshape(size, n)
        found[name] = np.ascontiguousarray(planes.T).view("<" + kind).reshape(n)
        begin += n * size
    return found


def _plain(blob: bytes | memoryview, where: str, digest: Any) -> bytes:
    try:
        raw = zlib.decompress(blob)
    except zlib.error as error:
        raise FileError(f"{where} is damaged ({error})") from error
    if digest is not None:
        digest.update(raw)
    return raw


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that an atlas holds of features, a row each."""

    counts: Counts
    top: Slots
    """In order."""
    bands: Slots
    """In order."""
    relations: Relations
    together: Strongest
    silent: np.ndarray

    def means(self) -> np.ndarray:
        """Of activations at which features fire."""
        return (self.counts.whole + self.counts.rest / 2.0**40) / np.maximum(self.counts.fired, 1)

    def block(self, begin: int, end: int) -> dict[str, np.ndarray]:
        """The fields of CARDS for some features in a row."""
        counts, own = self.counts, slice(begin, end)
        made = {
            "fired": counts.fired[own],
            "documents": counts.documents[own],
            "most": counts.most[own],
            "mean": self.means()[own],
            "at_end": counts.at_end[own],
            "places": counts.places[own],
            "scale": counts.scale[own],
            "silent": self.silent[own],
            "logit_range": self.relations.logit_range[own],
            "logits": self.relations.logits[own],
        }
        made |= _trimmed(counts.log[own], counts.linear[own]) | self._contexts(begin, end)
        for name in ("promoted", "suppressed", *RELATIONS):
            strongest: Strongest = self.together if name == "together" else getattr(self.relations, name)
            made |= {name: strongest.feature[own], f"{name}_value": strongest.value[own]}
        return made

    def _contexts(self, begin: int, end: int) -> dict[str, np.ndarray]:
        rows, counts, documents, positions, around = band_rows(self.counts.scale[begin:end]), [], [], [], []
        for i, f in enumerate(range(begin, end)):
            bands = np.where(rows[i] < 0, 0, rows[i]) + f * BANDS
            held = (self.bands.document[bands] >= 0) & (rows[i] >= 0)[:, None]
            first = self.top.document[f] >= 0
            counts.append((first.sum(), held.sum(1)))
            documents += [self.top.document[f][first], self.bands.document[bands][held]]
            positions += [self.top.position[f][first], self.bands.position[bands][held]]
            around += [self.top.around[f][first], self.bands.around[bands][held]]
        near = np.concatenate(around)
        return {
            "top_n": np.array([n for n, _ in counts]),
            "bands_n": np.array([n for _, n in counts]),
            "document": np.concatenate(documents),
            "position": np.concatenate(positions),
            "mask": np.packbits(near != 0, axis=1),
            "around": near[near != 0],
        }


def highest_octaves(scale: np.ndarray) -> np.ndarray:
    """The octave of every feature's largest activation, counted from the log histogram's first."""
    return np.array([octave_of(int(e) + WIDTH) for e in scale], np.int64)


def band_rows(scale: np.ndarray) -> np.ndarray:
    """For every feature the rows of its bands from the strongest octave down, -1 below the log histogram."""
    octaves = highest_octaves(scale)[:, None] - np.arange(BANDS)
    return np.where(octaves < 0, -1, octaves % BANDS)


def _trimmed(log: np.ndarray, linear: np.ndarray) -> dict[str, np.ndarray]:
    """Histograms without the empty bins at their ends; the linear one begins at 0."""
    first = (log > 0).argmax(1)
    n = np.where(log.any(1), OCTAVES * STEPS - (log > 0)[:, ::-1].argmax(1) - first, 0)
    linear_n = np.where(linear.any(1), linear.shape[1] - (linear > 0)[:, ::-1].argmax(1), 0)
    bins = np.arange(log.shape[1])
    return {
        "log_first": first,
        "log_n": n,
        "log": log[(bins >= first[:, None]) & (bins < (first + n)[:, None])],
        "linear_n": linear_n,
        "linear": linear[np.arange(linear.shape[1]) < linear_n[:, None]],
    }
