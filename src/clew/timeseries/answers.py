"""What an explanation is: an `Attribution` of a model's output to its input, or a `Counterfactual`.

Both are values for a batch of cases, say how they came about, and go to JSON and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from clew import files
from clew.displays import Displayed, brief
from clew.errors import FileError, InputError

_LEAST = 0.1  # of the largest value: what belongs to a run
UNCHANGED = 1e-6  # of a channel's range: a point that moved by less did not change
ATTRIBUTION = files.Envelope(format="clew.series.attribution", schema=1, what="attribution of series")
COUNTERFACTUAL = files.Envelope(format="clew.series.counterfactual", schema=1, what="counterfactual of series")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answer(Displayed):
    """What both kinds of answer have: the cases, the method, how it came about."""

    method: str
    classes: tuple[str, ...]
    """The model's own classes, or outputs."""
    target: tuple[str, ...]
    """The class or output that is asked about, a case."""
    seed: int
    notes: tuple[str, ...] = ()
    """What a reader must know: constant channels, a class that the model never predicts, what could not be done."""
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def _json_value(self, envelope: files.Envelope) -> dict[str, Any]:
        values = {part.name: _plain(getattr(self, part.name)) for part in fields(self)}
        return envelope.head(**values)

    @classmethod
    def _json_fields(cls, value: dict[str, Any], envelope: files.Envelope, path: Path | str) -> dict[str, Any]:
        envelope.check(value, path)
        try:
            return {part.name: _restored(part.type, value[part.name]) for part in fields(cls)}
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path} is damaged: {error!r} of its fields cannot be read") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution(_Answer):
    """How much every point of every case speaks for (+) or against (-) the target, in the stated units."""

    values: Float[np.ndarray, "case channel time"] = field(repr=False)
    series: Float[np.ndarray, "case channel time"] = field(repr=False)
    scores: Float[np.ndarray, " case"] = field(repr=False)
    """The model's output for the target."""
    predicted: tuple[str, ...] = field(repr=False)
    """What the model says of every case."""
    units: str
    """What a value counts, such as "probability" or "share of the mask"."""
    signed: bool
    """False where a method only says how much, not which way."""
    baseline: str
    segments: str
    residual: Float[np.ndarray, " case"] | None = field(default=None, repr=False)
    """What the values' sum misses of the output less that at the baseline; None for methods that promise no sum."""
    deleted: Float[np.ndarray, " case"] | None = field(default=None, repr=False)
    """The output when the tenth of points that speaks most for the target goes to the baseline."""
    deleted_null: Float[np.ndarray, " case"] | None = field(default=None, repr=False)
    """The same with that pattern of points moved to random times and channels, mean of draws."""

    def __repr__(self) -> str:
        n, channels, times = self.values.shape
        return (
            f"Attribution({brief(self.method)}, {n:,} cases x {channels} channels x {times:,} times, to "
            f"{_some(self.target)} in {self.units}, seed {self.seed})"
        )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, case: int) -> Attribution:
        """One case, as an answer of one."""
        return _one_case(self, case)

    def runs(self, case: int = 0) -> list[tuple[int, int, int, float]]:
        """Runs of points of one sign, none below a tenth of the case's largest: channel, first and last time, sum.

        The largest sum comes first.
        """
        rows, least = [], _LEAST * np.abs(self.values[case]).max()
        for channel, values in enumerate(self.values[case]):
            row = np.where(np.abs(values) >= least, values, 0.0)
            edges = np.flatnonzero(np.diff(np.sign(row))) + 1
            for part in np.split(np.arange(len(row)), edges):
                rows.append((channel, int(part[0]), int(part[-1]), float(row[part].sum())))
        return sorted((row for row in rows if row[3]), key=lambda row: -abs(row[3]))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return self._json_value(ATTRIBUTION)

    def save(self, path: Path | str) -> None:
        """Write it as JSON; FileError when that cannot be done."""
        files.write_json(path, self.to_json())

    @classmethod
    def from_json(cls, value: dict[str, Any], path: Path | str = "the value") -> Attribution:
        """From what `to_json` gives; FileError for anything else."""
        return cls(**cls._json_fields(value, ATTRIBUTION, path))

    @classmethod
    def load(cls, path: Path | str) -> Attribution:
        """Read what `save` wrote; FileError when it is missing, damaged or foreign."""
        return cls.from_json(files.read_json(path), path)


@dataclass(frozen=True, kw_only=True, eq=False)
class Counterfactual(_Answer):
    """A series close to every case that the model answers otherwise, and beside it the nearest unlike neighbour."""

    original: Float[np.ndarray, "case channel time"] = field(repr=False)
    series: Float[np.ndarray, "case channel time"] = field(repr=False)
    """The changed series; the best attempt where it is not valid."""
    origin: tuple[str, ...] = field(repr=False)
    """What the model says of the original."""
    probabilities: Float[np.ndarray, "case class"] = field(repr=False)
    """What it says of the changed series."""
    neighbour: Float[np.ndarray, "case channel time"] = field(repr=False)
    """The nearest reference case that the model puts into the target class."""
    neighbour_valid: Bool[np.ndarray, " case"] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"Counterfactual({brief(self.method)}, {len(self):,} cases, valid {self.valid.mean():.2f}, L1 "
            f"{np.median(self.distance()):.3g}, changed {np.median(self.changed.mean((1, 2))):.2f}, seed {self.seed})"
        )

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, case: int) -> Counterfactual:
        """One case, as an answer of one."""
        return _one_case(self, case)

    @property
    def valid(self) -> Bool[np.ndarray, " case"]:
        """Whether the model itself puts the changed series into the target class."""
        wanted = [self.classes.index(label) for label in self.target]
        return self.probabilities.argmax(1) == np.array(wanted)

    @property
    def changed(self) -> Bool[np.ndarray, "case channel time"]:
        """Which points differ from the original, by more than a millionth of their channel's range."""
        return _moved(self.original, self.series)

    def distance(self, order: int = 1, *, neighbour: bool = False) -> Float[np.ndarray, " case"]:
        """The L1 (or L2) distance from the original, in units of the series; with `neighbour` that of the null."""
        difference = (self.neighbour if neighbour else self.series) - self.original
        return np.linalg.norm(difference.reshape(len(difference), -1), ord=order, axis=1)

    def changes(self, case: int = 0) -> list[tuple[int, int, int]]:
        """The runs of changed points of a case: channel, first time, last time."""
        runs = []
        for channel, row in enumerate(self.changed[case]):
            edges = np.diff(np.concatenate([[0], row.astype(int), [0]]))
            starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
            runs += [(channel, int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
        return runs

    def summary(self) -> dict[str, dict[str, float]]:
        """Validity, mean L1 and L2 distance, share of points changed: of the method, and of the nearest neighbour."""
        moved = _moved(self.original, self.neighbour)
        return {
            self.method: _row(self.valid, self.distance(1), self.distance(2), self.changed),
            "nearest unlike neighbour": _row(
                self.neighbour_valid, self.distance(1, neighbour=True), self.distance(2, neighbour=True), moved
            ),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values; `summary` is among them."""
        return self._json_value(COUNTERFACTUAL) | {"valid": self.valid.tolist(), "summary": self.summary()}

    def save(self, path: Path | str) -> None:
        """Write it as JSON; FileError when that cannot be done."""
        files.write_json(path, self.to_json())

    @classmethod
    def from_json(cls, value: dict[str, Any], path: Path | str = "the value") -> Counterfactual:
        """From what `to_json` gives; FileError for anything else."""
        return cls(**cls._json_fields(value, COUNTERFACTUAL, path))

    @classmethod
    def load(cls, path: Path | str) -> Counterfactual:
        """Read what `save` wrote; FileError when it is missing, damaged or foreign."""
        return cls.from_json(files.read_json(path), path)


def load_answer(path: Path | str) -> Attribution | Counterfactual:
    """Read an attribution or a counterfactual; FileError for anything else."""
    value = files.read_json(path)
    return (Counterfactual if COUNTERFACTUAL.matches(value) else Attribution).from_json(value, path)


def _row(valid: np.ndarray, first: np.ndarray, second: np.ndarray, changed: np.ndarray) -> dict[str, float]:
    numbers = {"valid": valid.mean(), "L1": first.mean(), "L2": second.mean(), "changed": changed.mean()}
    return {name: float(number) for name, number in numbers.items()}


def _moved(original: np.ndarray, series: np.ndarray) -> np.ndarray:
    scale = np.maximum(np.ptp(original, axis=2, keepdims=True), np.abs(original).max(2, keepdims=True))
    return np.abs(series - original) > UNCHANGED * np.where(scale > 0, scale, 1.0)


def _one_case(answer: Any, case: int) -> Any:
    """An answer for one case: arrays and tuples that have an entry a case are cut."""
    n = len(answer)
    if not -n <= case < n:
        raise InputError(f"case {case} is not there: there are {n}")
    case %= n
    cut: dict[str, Any] = {"target": answer.target[case : case + 1]}
    for part in fields(answer):
        value = getattr(answer, part.name)
        if isinstance(value, np.ndarray):
            cut[part.name] = value[case : case + 1]
    for name in ("predicted", "origin"):
        if hasattr(answer, name):
            cut[name] = getattr(answer, name)[case : case + 1]
    return replace(answer, **cut)


def _some(labels: tuple[str, ...]) -> str:
    names = sorted(set(labels))
    return ", ".join(map(brief, names[:3])) + ("" if len(names) < 4 else f" and {len(names) - 3} more")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _restored(annotation: Any, value: Any) -> Any:
    """A field's value from JSON, by its annotation."""
    text = str(annotation)
    if value is None or not ("ndarray" in text or text.startswith("tuple")):
        return value
    if text.startswith("tuple"):
        return tuple(value)
    array = np.asarray(value, dtype=bool if text.startswith("Bool") else float)
    if not np.isfinite(array).all():
        raise ValueError("a number")
    return array
