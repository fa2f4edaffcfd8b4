"""Where text for training comes from: one frozen value, whose docstrings are the help texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clew.errors import InputError
from clew.settings import one_of, option

Bos = Literal["row", "document", "never"]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Where text comes from, and how it becomes rows and batches."""

    text: str = "world"
    """A text, .jsonl, .json, .csv, .tsv, .parquet or token file; a dataset's folder or hub id; samples (the model's
    own); world (the small world's corpus)."""
    field: str = "text"
    """Where JSON, CSV, Parquet and datasets keep a document, as text or as token ids."""
    split: str = "train"
    """The part of a dataset that is read."""
    cut: Literal["line", "paragraph", "file"] = "line"
    """What is one document in a text file; paragraphs are parted by empty lines."""
    openings: str = ""
    """Of samples: a file of beginnings, one a line, each a text or a chat's messages as a JSON list."""
    bos: Bos = "row"
    """Where a BOS goes if the tokenizer has one: before every row, as in a traced prompt, before a document's first
    row, or nowhere. Token ids are taken as they are."""
    context: int = 0
    """Longest row in tokens; 0 is the model's context."""
    held_out: int = 32768
    """Positions at the beginning that are kept for measuring; at most a tenth of the corpus."""
    buffer: int = 32768
    """Positions whose activations are shuffled together, in a temporary file where they take more than 1.1 GB."""

    def __post_init__(self) -> None:
        if self.context < 0 or self.held_out < 1 or self.buffer < 1:
            raise InputError("context must not be below 0, held_out and buffer not below 1")

    def reading(self, trained: int = 0) -> int:
        """Positions to read, so that some are held out, the buffer is filled, and so many are there to train on."""
        return max(trained + self.buffer + self.held_out, 10 * self.held_out)


@dataclass(frozen=True, kw_only=True)
class BosChoice:
    """How rows begin, said as in the verbs that read one prompt."""

    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin rows as `--bos` says; off is the same as `--bos never`."""


def with_bos(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a corpus in which `bos` says what `add_bos` does; InputError where they contradict each other."""
    settings = dict(settings)
    add_bos, bos = settings.pop("add_bos", None), settings.get("bos")
    if add_bos is False:
        one_of(bos=bos if bos != "never" else None, no_bos=True)
        return settings | {"bos": "never"}
    if bos == "never":
        one_of(bos=bos, add_bos=add_bos)
    return settings
