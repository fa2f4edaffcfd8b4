"""Labels and cards as files to share: labels as JSONL, cards as one Parquet table.

The first line of a label file names its format, schema and dictionary. Every other line is one label:

    {"feature": "L3/1207", "text": "capitals", "kind": "person", "author": "Ann", "method": "", "note": "",
     "date": "2025-01-31T12:00:00.000000+00:00", "current": true, "scores": []}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import ClewError, FileError, InputError, MismatchError
from clew.features.card import Card
from clew.features.label import TESTS, Label, Score
from clew.ids import FeatureId
from clew.labels.store import LabelStore

ENVELOPE = files.Envelope(format="clew.labels", schema=1, what="labels")
TABLE = files.Envelope(format="clew.features", schema=1, what="features")
_NAMED = 5  # broken lines that a message names


@dataclass(frozen=True)
class Imported:
    """The outcome of an import: how many labels were read, known ones included, and why lines were left out."""

    labels: int
    broken: tuple[tuple[int, str], ...]
    """Line numbers, from 1, with reasons."""


def export_labels(
    store: LabelStore, path: Path | str, *, dictionary: str, history: bool = False, replace: bool = False
) -> int:
    """Write the labels of a Dictionary as JSONL, with `history` also the old ones; returns how many.

    `dictionary` is its fingerprint. FileError when the file exists, unless it is an export and `replace` is set.
    """
    if Path(path).exists():
        if not _is_export(path):
            raise FileError(f"{path} is there already and is no export of labels: it is left as it is")
        if not replace:
            raise FileError(f"{path} is an export of labels already: give another name, or --replace")
    head = ENVELOPE.head(dictionary=dictionary)
    lines = [
        json.dumps(head),
        *(json.dumps(as_json(label), ensure_ascii=False) for label in store.all(history=history)),
    ]
    files.write_text(path, "\n".join(lines) + "\n")
    return len(lines) - 1


def import_labels(
    store: LabelStore,
    path: Path | str,
    *,
    dictionary: str,
    keep_rest: bool = False,
    exists: Callable[[FeatureId], bool] | None = None,
) -> Imported:
    """Add the labels of a JSONL file to a store; labels that it has are left as they are.

    If a line is broken nothing is added and a FileError names the lines; with `keep_rest` they are left out instead.
    `exists` tells whether the Dictionary has a feature. MismatchError when the file belongs to another dictionary.
    """
    lines = list(_read(path, dictionary, exists))
    broken = tuple((number, reason) for number, reason in lines if isinstance(reason, str))
    if broken and not keep_rest:
        named = "; ".join(f"line {number}: {reason}" for number, reason in broken[:_NAMED])
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise FileError(f"{path} has {len(broken)} broken lines, and nothing was added ({named}{more})")
    labels = [label for _, label in lines if isinstance(label, Label)]
    store.add(labels)
    return Imported(len(labels), broken)


def as_json(label: Label) -> dict[str, Any]:
    """A label as an object of JSON."""
    names = ("text", "kind", "author", "method", "note", "date")
    texts = {"feature": str(label.feature), **{name: getattr(label, name) for name in names}}
    return texts | {"current": label.current, "scores": [asdict(score) for score in label.scores]}


def _read(
    path: Path | str, dictionary: str, exists: Callable[[FeatureId], bool] | None
) -> Iterator[tuple[int, Label | str]]:
    """Every line's number with its label, or with what is wrong with it."""
    number = 0
    for number, line in enumerate(files.byte_lines(path), 1):
        if number == 1:
            _check_head(path, line, dictionary)
        elif line.strip():
            try:
                label = from_json(json.loads(line.decode()))
                if exists is not None and not exists(label.feature):
                    raise InputError(f"the dictionary has no feature {label.feature}")
                yield number, label
            except ClewError as error:
                yield number, str(error)
            except UnicodeDecodeError as error:
                yield number, f"not UTF-8 (byte {error.start + 1})"
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON ({error})"
    if number == 0:
        raise FileError(f"{path} is empty")


def from_json(value: Any) -> Label:
    """The label that an object of JSON describes; InputError when it describes none."""
    if not isinstance(value, Mapping):
        raise InputError("not an object")
    texts = {name: value.get(name, "") for name in ("feature", "text", "kind", "author", "method", "note", "date")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f"its {name} is not a text")
    feature = FeatureId.parse(texts.pop("feature"))
    if max(feature.layer, feature.index) >= 1 << 62:
        raise InputError(f"{feature} is beyond every dictionary")
    scores = value.get("scores", [])
    if not isinstance(scores, list):
        raise InputError("its scores are not a list")
    current = value.get("current", True)
    if not isinstance(current, bool):
        raise InputError("its current is neither true nor false")
    return Label(feature=feature, scores=tuple(map(_score, scores)), current=current, **texts)


def _score(value: Any) -> Score:
    try:
        shares = {name: float(value[name]) for name in ("value", "low", "high")}
        null = None if value["null"] is None else float(value["null"])
        return Score(
            test=str(value["test"]), judge=str(value["judge"]), null=null, contexts=int(value["contexts"]), **shares
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a score is damaged ({error})") from error


def _head(line: bytes | str) -> dict[str, Any] | None:
    """The head in the first line of an export; None when it is another file."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return head if ENVELOPE.matches(head) else None


def _is_export(path: Path | str) -> bool:
    try:
        return _head(next(iter(files.lines(path)), "")) is not None
    except FileError:
        return False


def _check_head(path: Path | str, line: bytes, dictionary: str) -> None:
    head = _head(line)
    if head is None:
        raise FileError(f"{path} is no file of labels: its first line does not say {ENVELOPE.format!r}")
    ENVELOPE.check(head, path)
    if head.get("dictionary") != dictionary:
        theirs = str(head.get("dictionary"))[:12]
        raise MismatchError(f"{path} labels another dictionary ({theirs}) than this one ({dictionary[:12]})")


# --- one table ------------------------------------------------------------------------------------------------------


def write_parquet(path: Path | str, cards: Iterable[Card], labels: Mapping[FeatureId, Label]) -> int:
    """One row a feature: how often it fires, what it promotes, its label and scores; returns how many rows.

    InputError when there are no cards.
    """
    columns: dict[str, list[Any]] = {}
    for card in cards:
        for name, value in _row(card, labels.get(card.feature)).items():
            columns.setdefault(name, []).append(value)
    if not columns:
        raise InputError(f"there is no feature to write to {path}")
    files.write_table(path, columns, TABLE.note())
    return len(columns["layer"])


def _row(card: Card, label: Label | None) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": card.feature.layer, "feature": card.feature.index}
    row |= {"fired": card.fired, "density": card.density, "document_density": card.document_density}
    row |= {"max_activation": card.max_activation, "mean_activation": card.mean_activation}
    row |= {"promoted": [weight.token for weight in card.promoted]}
    row |= {"suppressed": [weight.token for weight in card.suppressed]}
    row |= {"top_text": "".join(card.top[0].shown) if card.top else ""}
    row |= {name: getattr(label, name, None) for name in ("text", "kind", "author", "method", "date")}
    row["label"] = row.pop("text")
    for test in TESTS:
        score = label.score(test) if label else None
        row |= {f"{test}_{name}": getattr(score, name, None) for name in ("value", "low", "high", "null", "judge")}
    return row
