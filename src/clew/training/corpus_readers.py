"""The documents of a text file, JSON, a table, Parquet or a dataset, one by one, in their order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError, InputError
from clew.extras import needed_module
from clew.training.corpus_config import CorpusConfig

PIECE = 1 << 20  # characters after which a file that is one document is cut, at a line's end


_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
MASK = "attention_mask"  # what datasets call the column that says where a row is padding
_ONLY_FOR = {
    "field": (("table", "dataset"), "JSON, CSV, Parquet and datasets"),
    "split": (("dataset",), "datasets"),
    "cut": (("text",), "text files"),
    "openings": (("samples",), "samples"),
}


def check_used(settings: Mapping[str, Any]) -> None:
    """InputError when settings that a person chose say something that their text has no use for."""
    text = str(settings.get("text", CorpusConfig.text))
    kind = _kind(text)
    for name, (kinds, which) in _ONLY_FOR.items():
        if (
            kind is not None
            and kind not in kinds
            and settings.get(name, vars(CorpusConfig)[name]) != vars(CorpusConfig)[name]
        ):
            raise InputError(f"--{name} is for {which}, and --text {text} is none of them ({name}): leave it out")


def _kind(text: str) -> str | None:
    """What a text is: a dataset, a table, text, tokens or a source by name; None for what is not there."""
    path = Path(text)
    if path.is_dir():
        return "dataset"
    if path.is_file():
        return {".safetensors": "tokens"}.get(files.ending(path), "table" if files.ending(path) in _TABLES else "text")
    return text if text in ("samples", "world") else "dataset" if _is_hub_id(text) else None


def _is_hub_id(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", text) is not None and not Path(text).suffix


def read_documents(config: CorpusConfig) -> Iterator[str | list[int]]:
    """The documents of a file or dataset in their order; FileError when there is none, InputError for a wrong field."""
    path = Path(config.text)
    if path.is_dir():
        return _values(_dataset(config), config)
    if path.is_file():
        match files.ending(path):
            case ".jsonl" | ".ndjson":
                return _values(files.json_lines(path), config)
            case ".json":
                return _values(_json(config.text), config)
            case ".csv" | ".tsv":
                return _values(files.table_rows(path, "," if files.ending(path) == ".csv" else "\t"), config)
            case ".parquet":
                return _values(files.parquet_rows(path, [config.field], optional=[MASK]), config)
            case _:
                return _pieces(path, config.cut)
    if _is_hub_id(config.text):
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
    for row in files.json_lines(path) if rows is None else rows:
        yield from row if isinstance(row, list) else [row]  # a file with the whole list in one line


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
    return _unmasked(row[config.field], row.get(MASK))


def _unmasked(value: Any, mask: Any) -> Any:
    """Token ids without the padding that a mask of the same row hides; anything else as it is."""
    if isinstance(value, list) and isinstance(mask, list) and len(mask) == len(value):
        return [token for token, shown in zip(value, mask, strict=True) if shown]
    return value


def _checked(values: Iterable[Any], config: CorpusConfig) -> Iterator[str | list[int]]:
    """Texts or lists of token ids; rows without a value are skipped. FileError for a text with half a character."""
    for number, value in enumerate(values, 1):
        if isinstance(value, str) and (half := files.half_character(value)) is not None:
            raise FileError(
                f"document {number} of {config.text} holds half a character ({half}): mend it or leave it out"
            )
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(i, int) for i in value)):
            yield value
        elif value is not None:
            raise InputError(f"field {config.field!r} of {config.text} holds neither text nor token ids")
