"""How an atlas stores numbers: arrays behind one another, their bytes sorted by significance, compressed.

A blob holds the arrays of a list of fields. Of every array come its size (four bytes), then the lowest byte of all its
numbers, then the next, so that leading zeros and equal exponents stand together; all of it is compressed with zlib.

A block of cards holds 32 features in a row, field by field. A field with a fixed count of numbers a feature stands
alone, the others have a field of counts beside them. Contexts are those of `top`, then of the bands from the strongest
octave down, feature by feature: document, position, a bit for every token around at which the feature fires (`mask`),
and the activations at these tokens (`around`, float16). Token ids of contexts are in blocks of texts, once however many
cards show them: lengths of the documents, a bit for every token that is stored, and the ids of those.
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
from clew.features.label import Label, Score
from clew.features.tables import BANDS, OCTAVES, STEPS, WIDTH, FeatureCounts, Relations, Slots, Strongest, octave_of

ENVELOPE = files.Envelope(
    format="clew.atlas", schema=3, oldest=2, what="an atlas", mark=b"ClAt", again="harvest it anew"
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
    """Packs blobs, and hashes their contents before compression, which differs between versions of zlib."""

    digest: Any = field(default_factory=hashlib.sha256)

    def pack(self, fields: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
        """The arrays of these fields, compressed."""
        parts = []
        for name, kind in fields.items():
            numbers = np.ascontiguousarray(arrays[name], dtype="<" + kind).reshape(-1)
            planes = numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize).T
            parts += [len(numbers).to_bytes(4, "little"), planes.tobytes()]
        return self._compressed(b"".join(parts))

    def pack_json(self, value: Any) -> bytes:
        """A value as JSON, compressed."""
        return self._compressed(json.dumps(value, ensure_ascii=False).encode())

    def _compressed(self, raw: bytes) -> bytes:
        self.digest.update(raw)
        return zlib.compress(raw, 9)


def rule_row(label: Label) -> list[Any]:
    """What an atlas keeps of a label by rule: text, evidence, and the scores by their tests."""
    scores = [
        [s.test, s.judge, *(None if n is None else round(n, 3) for n in (s.value, s.low, s.high, s.null)), s.contexts]
        for s in label.scores
    ]
    return [label.text, label.note, scores]


def rule_scores(row: list[Any]) -> tuple[Score, ...]:
    """The scores of such a row; an atlas of schema 2 has none."""
    names = ("test", "judge", "value", "low", "high", "null", "contexts")
    return tuple(Score(**dict(zip(names, values, strict=True))) for values in (row[2] if len(row) > 2 else ()))


def unpack_json(blob: bytes | memoryview, where: str, digest: Any = None) -> Any:
    """The value of a blob of JSON; FileError, naming where it comes from, when it is damaged."""
    raw = _decompressed(blob, where, digest)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise FileError(f"{where} is damaged ({error})") from error


def unpack(
    fields: Mapping[str, str], blob: bytes | memoryview, where: str, digest: Any = None
) -> dict[str, np.ndarray]:
    """The arrays of a blob, flat; FileError, naming where it comes from, when it is damaged."""
    raw = _decompressed(blob, where, digest)
    arrays, begin = {}, 0
    for name, kind in fields.items():
        n, size = int.from_bytes(raw[begin : begin + 4], "little"), int(kind[1])
        begin += 4
        if begin + n * size > len(raw):
            raise FileError(f"{where} is damaged: {name} is not whole")
        planes = np.frombuffer(raw, np.uint8, n * size, begin).reshape(size, n)
        arrays[name] = np.ascontiguousarray(planes.T).view("<" + kind).reshape(n)
        begin += n * size
    return arrays


def _decompressed(blob: bytes | memoryview, where: str, digest: Any) -> bytes:
    try:
        raw = zlib.decompress(blob)
    except zlib.error as error:
        raise FileError(f"{where} is damaged ({error})") from error
    if digest is not None:
        digest.update(raw)
    return raw


@dataclass(frozen=True, kw_only=True)
class AtlasTables:
    """Everything that an atlas stores of features, a row each."""

    counts: FeatureCounts
    top: Slots
    """Sorted."""
    bands: Slots
    """Sorted."""
    relations: Relations
    together: Strongest
    silent: np.ndarray
    """Rows of the pool."""

    def means(self) -> np.ndarray:
        """Mean activations over the positions at which features fire."""
        return (self.counts.whole + self.counts.rest / 2.0**40) / np.maximum(self.counts.fired, 1)

    def block(self, begin: int, end: int) -> dict[str, np.ndarray]:
        """The fields of CARDS for some features in a row."""
        counts, rows = self.counts, slice(begin, end)
        arrays = {
            "fired": counts.fired[rows],
            "documents": counts.documents[rows],
            "most": counts.most[rows],
            "mean": self.means()[rows],
            "at_end": counts.at_end[rows],
            "places": counts.places[rows],
            "scale": counts.scale[rows],
            "silent": self.silent[rows],
            "logit_range": self.relations.logit_range[rows],
            "logits": self.relations.logits[rows],
        }
        arrays |= _trimmed(counts.log[rows], counts.linear[rows]) | self._contexts(begin, end)
        for name in ("promoted", "suppressed", *RELATIONS):
            strongest: Strongest = self.together if name == "together" else getattr(self.relations, name)
            arrays |= {name: strongest.feature[rows], f"{name}_value": strongest.value[rows]}
        return arrays

    def _contexts(self, begin: int, end: int) -> dict[str, np.ndarray]:
        rows, counts, documents, positions, around = band_rows(self.counts.scale[begin:end]), [], [], [], []
        for i, f in enumerate(range(begin, end)):
            bands = np.where(rows[i] < 0, 0, rows[i]) + f * BANDS
            in_bands = (self.bands.document[bands] >= 0) & (rows[i] >= 0)[:, None]
            in_top = self.top.document[f] >= 0
            counts.append((in_top.sum(), in_bands.sum(1)))
            documents += [self.top.document[f][in_top], self.bands.document[bands][in_bands]]
            positions += [self.top.position[f][in_top], self.bands.position[bands][in_bands]]
            around += [self.top.around[f][in_top], self.bands.around[bands][in_bands]]
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
