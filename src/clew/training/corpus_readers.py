"""The documents of a text file, JSON, a table, Parquet or a dataset, one by one, in their order."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError, InputError
from clew.extras import needed_module
from clew.training.corpus_config import CorpusConfig

PIECE = 1 << 20  # characters after which a file that is one document is cut, at a line's end


def read_documents(config: CorpusConfig) -> Iterator[str | list[int]]:
    """The documents of a file or dataset in their order; FileError when there is none, InputError for a wrong field."""
    path = Path(config.text)
    if path.is_dir():
        return _values(_dataset(config), config)
    if path.is_file():
        match path.suffix:
            case ".jsonl" | ".ndjson":
                return _values(_json_lines(config.text), config)
            case ".json":
                return _values(_json(config.text), config)
            case ".csv" | ".tsv":
                return _values(_table(config.text, "," if path.suffix == ".csv" else "\t"), config)
            case ".parquet":
                return _checked(files.parquet_column(path, config.field), config)
            case _:
                return _pieces(path, config.cut)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", config.text) and not path.suffix:
        return _values(_dataset(config), config)
    raise FileError(f"no text at {config.text}: give a file, a dataset's folder or hub id, samples, or world")


def _pieces(path: Path, cut: str) -> Iterator[str | list[int]]:
    """The documents of a plain text file."""
    lines: list[str] = []
    size = 0
    for line in files.lines(path):
        ends = cut == "line" or (cut == "paragraph" and not line.strip()) or size > PIECE
        if ends and lines:
            yield "\n".join(lines)
            lines, size = [], 0
        if line.strip() or cut == "file":
            lines.append(line)
            size += len(line)
    if any(line.strip() for line in lines):
        yield "\n".join(lines)


def _json_lines(path: str) -> Iterator[Any]:
    for number, line in enumerate(files.lines(path), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileError(f"line {number} of {path} is not JSON") from error


def _json(path: str) -> Iterator[Any]:
    """The rows of one JSON list, or of a file whose lines are JSON; FileError when it is neither."""
    try:
        json.loads(next((line for line in files.lines(path) if line.strip()), ""))
        by_line = True
    except (ValueError, RecursionError):
        by_line = False
    rows = None if by_line else files.read_json(path)
    if rows is not None and not isinstance(rows, list):
        raise FileError(f"{path} holds no list of documents: write one, or one JSON object a line")
    for row in _json_lines(path) if rows is None else rows:
        yield from row if isinstance(row, list) else [row]  # a file with the whole list in one line


def _table(path: str, delimiter: str) -> Iterator[Any]:
    """The rows of a table with a line of names; FileError when it is none."""
    try:
        yield from csv.DictReader(
            (f"{line}\n" for line in files.lines(path)), restkey="", delimiter=delimiter, strict=True
        )
    except csv.Error as error:
        raise FileError(f"{path} cannot be read as a table ({error})") from error


def _dataset(config: CorpusConfig) -> Iterator[Any]:
    """The rows of a dataset saved in a folder, of a folder of data files, or streamed from the hub."""
    datasets = needed_module("datasets", "datasets", f"reading the dataset {config.text}")
    path = Path(config.text)
    saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    try:
        if saved:
            rows = datasets.load_from_disk(config.text)
            if isinstance(rows, datasets.DatasetDict):
                if config.split not in rows:
                    raise InputError(f"{path} has no split {config.split!r}: there are {', '.join(rows)}")
                rows = rows[config.split]
        else:
            rows = datasets.load_dataset(config.text, split=config.split, streaming=True)
        yield from rows
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError(f"cannot read the dataset {config.text}: {why}") from error


def _values(rows: Iterable[Any], config: CorpusConfig) -> Iterator[str | list[int]]:
    return _checked((_field(row, config) for row in rows), config)


def _field(row: Any, config: CorpusConfig) -> Any:
    if not isinstance(row, dict) or config.field not in row:
        present = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{config.text} has no field {config.field!r}: there is {present}")
    return _unmasked(row[config.field], row.get("attention_mask"))


def _unmasked(value: Any, mask: Any) -> Any:
    """Token ids without the padding that a mask of the same row hides; anything else as it is."""
    if isinstance(value, list) and isinstance(mask, list) and len(mask) == len(value):
        return [token for token, shown in zip(value, mask, strict=True) if shown]
    return value


def _checked(values: Iterable[Any], config: CorpusConfig) -> Iterator[str | list[int]]:
    """Texts or lists of token ids; rows without a value are skipped."""
    for value in values:
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(i, int) for i in value)):
            yield value
        elif value is not None:
            raise InputError(f"field {config.field!r} of {config.text} holds neither text nor token ids")
