"""Contexts of an atlas: the tokens around positions of the corpus, which an atlas stores once for all cards.

Documents are read in blocks, and texts of tokens by id; both stay in memory once read, because neighbouring cards show
the same documents and all cards the same tokens.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from clew import files
from clew.errors import FileError
from clew.features.config import HarvestConfig
from clew.features.packing import POOL, TEXTS, unpack

_BLOCKS_IN_MEMORY = 1024  # blocks of documents, of some kilobytes each


def blob(path: Path, opened: sqlite3.Connection, query: str, *values: int) -> bytes:
    """The content of one row of an atlas; FileError when there is none."""
    with files.database_errors(path):
        row = opened.execute(query, values).fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise FileError(f"{path} is a damaged atlas: a row is missing")
    return row[0]


@dataclass(frozen=True)
class ContextTexts:
    """The tokens of contexts, read from an open atlas. FileError where the file is damaged."""

    path: Path
    opened: sqlite3.Connection
    config: HarvestConfig
    names: Callable[[Iterable[int]], Sequence[str]] | None = None
    """Names of tokens, in place of those that the file has."""

    @cached_property
    def pool(self) -> dict[str, np.ndarray]:
        """The contexts in which features may be silent: document and position."""
        return unpack(POOL, blob(self.path, self.opened, "SELECT content FROM pool"), f"{self.path}, pool,")

    def windows(self, places: list[tuple[int, int]]) -> list[tuple[int, list[int]]]:
        """For pairs of document and position: the index of the position in the tokens around it, and these tokens."""
        windows = []
        for document, position in places:
            first = self._first_documents[bisect_right(self._first_documents, document) - 1]
            starts, tokens = self._documents(first)
            begin, end = int(starts[document - first]), int(starts[document - first + 1])
            low = max(begin, begin + position - self.config.before)
            ids = tokens[low : min(end, begin + position + self.config.after + 1)]
            windows.append((begin + position - low, ids.tolist()))
        return windows

    def texts(self, tokens: set[int]) -> dict[int, str]:
        """The texts of tokens, by id; tokens that the atlas lacks are left out."""
        if self.names is not None:
            wanted = sorted(tokens - self._texts.keys())
            self._texts.update(zip(wanted, self.names(wanted), strict=True))
        elif new := tokens - self._texts.keys():
            ids = ",".join(str(int(token)) for token in new)
            with files.database_errors(self.path):
                query = f"SELECT id, text FROM tokens WHERE id IN ({ids})"
                self._texts.update(self.opened.execute(query).fetchall())
        return {token: self._texts[token] for token in tokens if token in self._texts}

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    @cached_property
    def _first_documents(self) -> list[int]:
        """The first document of every block."""
        with files.database_errors(self.path):
            return [first for (first,) in self.opened.execute("SELECT first FROM texts ORDER BY first")]

    @cached_property
    def _documents(self) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
        """Reads the block that begins with a document: where each document begins, and the tokens, -1 if not stored."""

        def read(first: int) -> tuple[np.ndarray, np.ndarray]:
            content = blob(self.path, self.opened, "SELECT content FROM texts WHERE first = ?", first)
            block = unpack(TEXTS, content, f"{self.path}, texts,")
            starts = np.append(0, block["length"].cumsum(dtype=np.int64))
            tokens = np.full(starts[-1], -1, np.int32)
            tokens[np.unpackbits(block["kept"], count=starts[-1]).astype(bool)] = block["token"]
            return starts, tokens

        return lru_cache(maxsize=_BLOCKS_IN_MEMORY)(read)
