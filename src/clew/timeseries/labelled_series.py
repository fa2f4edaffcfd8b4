"""Series with labels: aeon's bundled sets by name, `.ts` files, CSV.

The sets of aeon are read from its folder; the library itself is not imported, which takes seconds.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clew import files
from clew.errors import FileError, InputError
from clew.extras import missing
from clew.timeseries.series import Gaps, Unequal, as_series

BUNDLED = (
    "ACSF1", "ArrowHead", "BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels", "OSULeaf",
    "PickupGestureWiimoteZ",
)  # fmt: skip
"""The sets that come with aeon, training and test part each."""
_LABEL_NAMES = ("label", "class", "target", "y")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSeries:
    """Series of (case, channel, time), and a label a case."""

    name: str
    values: Float[np.ndarray, "case channel time"]
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        n, channels, times = self.values.shape
        classes = len(set(self.labels))
        return f"LabelledSeries({self.name!r}, {n:,} cases, {channels} channels, {times:,} times, {classes} classes)"

    @property
    def classes(self) -> tuple[str, ...]:
        """Every label, sorted."""
        return tuple(sorted(set(self.labels)))


def load_series(
    source: str | Path, *, part: str = "train", gaps: Gaps = "refuse", unequal: Unequal = "pad"
) -> LabelledSeries:
    """Read a bundled set by its name ("GunPoint"), a `.ts` file, or a CSV.

    `part` is "train" or "test" of a bundled set. A CSV has a case a row: a column named label, class, target or y
    (or else the first) holds labels, the others the times of one channel; with columns named case, time and label it
    is a long table whose other columns are channels. FileError when it cannot be read, InputError for an unknown name.
    """
    text = str(source)
    if text in BUNDLED:
        return _bundled(text, part, gaps, unequal)
    path = Path(source)
    ending = files.ending(path)
    if ending not in (".ts", ".csv") or not path.exists():
        if ending in (".ts", ".csv"):
            raise FileError(f"cannot read {path}: there is no such file")
        raise InputError(f"{text!r} is no data set: give a .ts or .csv file, or one of {', '.join(BUNDLED)}")
    cases, labels = _ts_cases(path) if ending == ".ts" else _csv_cases(path)
    return LabelledSeries(name=path.name, values=as_series(cases, gaps=gaps, unequal=unequal), labels=tuple(labels))


def load_pair(
    source: str | Path, train: str | Path | None = None, *, gaps: Gaps = "refuse", unequal: Unequal = "pad"
) -> tuple[LabelledSeries, LabelledSeries]:
    """Training and test cases of one length: both parts of a bundled set, else `train` and the file.

    Without `train` a file is both. Cases of the shorter part go on with their last value. InputError when the two have
    different numbers of channels.
    """
    if str(source) in BUNDLED and train is None:
        first, second = (load_series(source, part=part, gaps=gaps, unequal=unequal) for part in ("train", "test"))
    else:
        second = load_series(source, part="test", gaps=gaps, unequal=unequal)
        first = second if train is None else load_series(train, gaps=gaps, unequal=unequal)
    if first.values.shape[1] != second.values.shape[1]:
        raise InputError(
            f"{first.name} has {first.values.shape[1]} channels, {second.name} {second.values.shape[1]}: give the same"
        )
    times = max(part.values.shape[2] for part in (first, second))
    return _long(first, times), _long(second, times)


def _long(part: LabelledSeries, times: int) -> LabelledSeries:
    more = times - part.values.shape[2]
    return replace(part, values=np.pad(part.values, ((0, 0), (0, 0), (0, more)), mode="edge")) if more else part


def _bundled(name: str, part: str, gaps: Gaps, unequal: Unequal) -> LabelledSeries:
    if part not in ("train", "test"):
        raise InputError(f"part={part!r} is not known: give 'train' or 'test'")
    package = find_spec("aeon")
    if package is None or not package.submodule_search_locations:
        raise missing("timeseries", f"the data set {name}")
    folder = Path(next(iter(package.submodule_search_locations))) / "datasets" / "data" / name
    cases, labels = _ts_cases(folder / f"{name}_{part.upper()}.ts")
    return LabelledSeries(name=name, values=as_series(cases, gaps=gaps, unequal=unequal), labels=tuple(labels))


def _ts_cases(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Cases and labels of a `.ts` file: `channel:channel:label` a line, numbers between commas, `?` for a gap."""
    cases, labels, inside = [], [], False
    for number, line in enumerate(files.lines(path), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not inside:
            if text.lower().startswith("@timestamps") and "true" in text.lower():
                raise FileError(f"{path} has timestamps, which are not read: write values alone")
            inside = text.lower().startswith("@data")
            continue
        *channels, label = text.split(":")
        if not channels:
            raise FileError(f"line {number} of {path} has no label behind a colon")
        try:
            rows = [[_cell(part) for part in channel.split(",")] for channel in channels]
            cases.append(np.asarray(rows, dtype=float))
        except ValueError:
            raise FileError(f"line {number} of {path} is no case: channels of equal length, numbers or ?") from None
        labels.append(label.strip())
    if not cases:
        raise FileError(f"{path} has no cases behind @data")
    return cases, labels


def _cell(text: str) -> float:
    text = text.strip()
    return math.nan if text in ("", "?") or text.lower() == "nan" else float(text)


def _csv_cases(path: Path) -> tuple[list[np.ndarray], list[str]]:
    rows = list(files.table_rows(path, ","))
    if not rows:
        raise FileError(f"{path} has no rows below the line of names")
    names = [name for name in rows[0] if name]
    lower = {name.strip().lower(): name for name in names}
    label = next((lower[name] for name in _LABEL_NAMES if name in lower), names[0])
    try:
        if "case" in lower and "time" in lower:
            return _long_cases(rows, lower["case"], lower["time"], label)
        columns = [name for name in names if name != label]
        cases = [_trimmed(np.array([[_cell(str(row[name] or "")) for name in columns]])) for row in rows]
    except ValueError as error:
        place = re.sub(r"\s+", " ", str(error))
        raise FileError(f"{path} holds a cell that is no number ({place}); labels are in column {label!r}") from None
    return cases, [str(row[label]) for row in rows]


def _long_cases(rows: list[dict[str, Any]], case: str, time: str, label: str) -> tuple[list[np.ndarray], list[str]]:
    channels = [name for name in rows[0] if name and name not in (case, time, label)]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(str(row[case]), []).append(row)
    cases, labels = [], []
    for group in grouped.values():
        ordered = sorted(group, key=lambda row: float(row[time]))
        cases.append(np.array([[_cell(str(row[name] or "")) for row in ordered] for name in channels]))
        labels.append(str(group[0][label]))
    return cases, labels


def _trimmed(case: np.ndarray) -> np.ndarray:
    """A case without the empty cells at its end, which fill rows of a table up to the longest."""
    known = np.flatnonzero(~np.isnan(case).all(0))
    return case[:, : known[-1] + 1] if len(known) else case
