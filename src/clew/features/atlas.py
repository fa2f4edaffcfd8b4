"""An Atlas: what a harvest found of every feature of a Dictionary, a card each, read from one file that never changes.

atlas = Atlas.load("atlas.sqlite")
card = atlas["L3/1207"]
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.features.card import Card
from clew.features.config import HarvestConfig
from clew.features.label import RULE_AUTHOR, RULE_METHOD, Label
from clew.features.packing import (
    CARDS,
    ENVELOPE,
    GROUP,
    POOL,
    RULES,
    SUMMARY,
    SUMMARY_TOKENS,
    TEXTS,
    unpack,
    unpack_json,
)
from clew.features.tables import BOUNDS
from clew.features.unpack_card import Row
from clew.ids import FeatureId

A = TypeVar("A", bound="Atlas")
_BLOCKS_KEPT = 1024  # blocks of texts, of some kilobytes each


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A row for every feature of an atlas, in the atlas' order: what can be searched without opening a card."""

    layer: np.ndarray
    index: np.ndarray
    density: np.ndarray
    max_activation: np.ndarray
    mean_activation: np.ndarray
    """Over the positions at which a feature fires."""
    promoted: np.ndarray
    """The five output tokens promoted most."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Cards by feature: `atlas["L3/1207"]`, or with a FeatureId. Iterating gives the features, layer by layer."""

    path: Path
    dictionary: str
    """Fingerprint of the dictionary."""
    corpus: str
    """Mark of the documents."""
    model: str
    layers: tuple[tuple[int, int], ...]
    """Every layer that is read, and how many features read it."""
    config: HarvestConfig
    content: str
    """A hash of everything it says, whatever its file looks like."""
    provenance: dict[str, Any]
    date: str
    """When it was written."""
    everything: tuple[int, ...]
    opened: sqlite3.Connection
    shared: bool = False
    """A kit reads the same connection: `close` leaves it open."""

    @classmethod
    def load(cls: type[A], path: Path | str) -> A:
        """FileError when the file is missing, truncated, foreign or of another schema."""
        path = Path(path)
        opened = files.read_database(path, ENVELOPE)
        try:
            with files.database_errors(path):
                meta = {key: json.loads(value) for key, value in opened.execute("SELECT key, value FROM meta")}
            return cls.reading(path, opened, meta)
        except (KeyError, TypeError, ValueError) as error:
            opened.close()
            raise FileError(f"{path} is a damaged atlas ({error}): harvest it anew") from error
        except BaseException:
            opened.close()
            raise

    @classmethod
    def reading(cls: type[A], path: Path, opened: sqlite3.Connection, meta: dict[str, Any]) -> A:
        """From an open file; KeyError, TypeError or ValueError when what it says of itself is not whole."""
        about = meta["about"]
        return cls(
            path=path,
            dictionary=about["dictionary"],
            corpus=about["corpus"],
            model=about["model"],
            layers=tuple((layer, n) for layer, n in about["layers"]),
            config=HarvestConfig(**about["config"]),
            content=meta["content"],
            provenance=meta["provenance"],
            date=meta["date"],
            everything=tuple(about["everything"]),
            opened=opened,
        )

    def close(self) -> None:
        """Close the file; no card can be read afterwards. The atlas of a kit stays open: the kit reads it too."""
        if not self.shared:
            self.opened.close()

    def __enter__(self: A) -> A:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def check_fits(self, dictionary: Dictionary) -> None:
        """MismatchError when it is an atlas of another dictionary."""
        if dictionary.fingerprint != self.dictionary:
            raise MismatchError(
                f"{self.path} is an atlas of dictionary {self.dictionary[:12]}, but {dictionary.name!r} is "
                f"{dictionary.fingerprint[:12]} (sha256): harvest it anew"
            )

    # Features

    @cached_property
    def _bounds(self) -> list[int]:
        return list(accumulate((n for _, n in self.layers), initial=0))

    def __len__(self) -> int:
        return self._bounds[-1]

    def __iter__(self) -> Iterator[FeatureId]:
        return (FeatureId(layer, index) for layer, n in self.layers for index in range(n))

    def __contains__(self, feature: object) -> bool:
        try:
            self.number(feature)  # type: ignore[arg-type]
        except InputError:
            return False
        return isinstance(feature, FeatureId | str)

    def number(self, feature: FeatureId | str) -> int:
        """The feature's place in the order; InputError when there is no such feature."""
        own = FeatureId.parse(feature) if isinstance(feature, str) else feature
        for (layer, n), begin in zip(self.layers, self._bounds, strict=False):
            if layer == own.layer:
                if own.index < n:
                    return begin + own.index
                raise InputError(f"there is no feature {own}: layer {layer} has L{layer}/0 to L{layer}/{n - 1}")
        there = ", ".join(str(layer) for layer, _ in self.layers)
        raise InputError(f"there is no feature {own}: the atlas has layers {there}")

    def feature(self, number: int) -> FeatureId:
        """The feature at a place in the order."""
        at = bisect_right(self._bounds, number) - 1
        return FeatureId(self.layers[at][0], number - self._bounds[at])

    def __getitem__(self, feature: FeatureId | str) -> Card:
        """A feature's card; InputError when there is no such feature, FileError when its row is damaged."""
        number = self.number(feature)
        return self._card(self._block(number // GROUP), number)

    def cards(self, numbers: Iterable[int] | None = None) -> Iterator[Card]:
        """The cards at some places in the order, or all; those of neighbours faster than one by one."""
        block, held = dict[str, np.ndarray](), -1
        for number in range(len(self)) if numbers is None else numbers:
            if number // GROUP != held:
                held = number // GROUP
                block = self._block(held)
            yield self._card(block, number)

    def _block(self, number: int) -> dict[str, np.ndarray]:
        blob = self._blob("SELECT content FROM cards WHERE block = ?", number)
        return unpack(CARDS, blob, f"{self.path}, block {number} of cards,")

    def _card(self, block: dict[str, np.ndarray], number: int) -> Card:
        try:
            return Row(self, block, number).card()
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise FileError(
                f"{self.path} is a damaged atlas: the card of {self.feature(number)} cannot be read ({error})"
            ) from error

    def rules(self, features: Iterable[FeatureId] | None = None) -> dict[FeatureId, Label]:
        """What the rules say of some features, or of all; `unclear` where none holds."""
        numbers = range(len(self)) if features is None else sorted({self.number(feature) for feature in features})
        found, blocks = {}, dict[int, Any]()
        for number in numbers:
            if (block := number // RULES) not in blocks:
                blob = self._blob("SELECT content FROM rules WHERE block = ?", block)
                blocks[block] = unpack_json(blob, f"{self.path}, labels by rule,")
            text, note = blocks[block][number % RULES]
            feature = self.feature(number)
            found[feature] = Label(
                feature=feature,
                text=text,
                note=note,
                kind="heuristic",
                author=RULE_AUTHOR,
                method=RULE_METHOD,
                date=self.date,
            )
        return found

    @cached_property
    def said_by_rule(self) -> dict[str, list[FeatureId]]:
        """Every clear label by rule, with the features that have it; read once."""
        found: dict[str, list[FeatureId]] = {}
        for feature, label in self.rules().items():
            if label.clear:
                found.setdefault(label.text, []).append(feature)
        return found

    @cached_property
    def summary(self) -> Summary:
        """The columns that searches look through, read once."""
        columns = unpack(SUMMARY, self._blob("SELECT content FROM summary"), f"{self.path}, summary,")
        return Summary(
            layer=np.repeat([layer for layer, _ in self.layers], [n for _, n in self.layers]),
            index=np.concatenate([np.arange(n) for _, n in self.layers]),
            density=columns["fired"] / max(1, self.positions),
            max_activation=columns["most"],
            mean_activation=columns["mean"],
            promoted=columns["promoted"].reshape(len(self), -1)[:, :SUMMARY_TOKENS],
        )

    @property
    def positions(self) -> int:
        """Positions of the corpus that count."""
        return sum(self.everything[: len(BOUNDS)])

    @property
    def documents(self) -> int:
        """Documents of the corpus with a position that counts."""
        return self.everything[-1]

    def means(self) -> dict[int, np.ndarray]:
        """Every feature's mean activation over all positions of the corpus, by layer."""
        means = (self.summary.mean_activation * self.summary.density).astype(np.float32)
        return {layer: means[self.summary.layer == layer] for layer, _ in self.layers}

    def levels(self) -> dict[str, dict[int, np.ndarray]]:
        """Every feature's largest activation and density, by layer, as `search.firing` takes them."""
        summary, columns = self.summary, {"largest": self.summary.max_activation, "density": self.summary.density}
        return {
            name: {layer: column[summary.layer == layer] for layer, _ in self.layers}
            for name, column in columns.items()
        }

    def check_whole(self) -> None:
        """Read everything; FileError when it is not what the harvest wrote."""
        try:
            whole = self._digest() == self.content
        except (TypeError, ValueError) as error:
            raise FileError(f"{self.path} is a damaged atlas ({error})") from error
        if not whole:
            raise FileError(f"{self.path} is damaged: it does not hold what the harvest wrote")

    def _digest(self) -> str:
        digest = hashlib.sha256()
        with files.database_errors(self.path):
            (about,) = self.opened.execute("SELECT value FROM meta WHERE key = 'about'").fetchone()
            digest.update(json.dumps(json.loads(about), sort_keys=True).encode())
            for table, fields, order in (
                ("cards", CARDS, " ORDER BY block"),
                ("texts", TEXTS, " ORDER BY first"),
                ("pool", POOL, ""),
                ("summary", SUMMARY, ""),
            ):
                for (content,) in self.opened.execute(f"SELECT content FROM {table}{order}"):
                    unpack(fields, memoryview(content), str(self.path), digest)
            rows = self.opened.execute("SELECT id, text FROM tokens ORDER BY id").fetchall()
            digest.update(json.dumps(rows).encode())
            for (content,) in self.opened.execute("SELECT content FROM rules ORDER BY block"):
                unpack_json(memoryview(content), str(self.path), digest)
        return digest.hexdigest()

    # Rows

    def _blob(self, query: str, *values: int) -> bytes:
        with files.database_errors(self.path):
            row = self.opened.execute(query, values).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise FileError(f"{self.path} is a damaged atlas: a row is missing")
        return row[0]

    @cached_property
    def _text_blocks(self) -> list[int]:
        with files.database_errors(self.path):
            return [first for (first,) in self.opened.execute("SELECT first FROM texts ORDER BY first")]

    @cached_property
    def _pool(self) -> dict[str, np.ndarray]:
        return unpack(POOL, self._blob("SELECT content FROM pool"), f"{self.path}, pool,")

    def windows(self, places: list[tuple[int, int]]) -> list[tuple[int, list[int]]]:
        """For positions of documents: where the position is in the tokens around it, and these tokens."""
        found = []
        for document, position in places:
            first = self._text_blocks[bisect_right(self._text_blocks, document) - 1]
            starts, tokens = self._documents(first)
            begin, end = int(starts[document - first]), int(starts[document - first + 1])
            low = max(begin, begin + position - self.config.before)
            ids = tokens[low : min(end, begin + position + self.config.after + 1)]
            found.append((begin + position - low, ids.tolist()))
        return found

    @cached_property
    def _documents(self) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
        """Where documents of a block begin, and their tokens; the blocks asked for last are kept."""

        def read(first: int) -> tuple[np.ndarray, np.ndarray]:
            blob = self._blob("SELECT content FROM texts WHERE first = ?", first)
            block = unpack(TEXTS, blob, f"{self.path}, texts,")
            starts = np.append(0, block["length"].cumsum(dtype=np.int64))
            tokens = np.full(starts[-1], -1, np.int32)
            tokens[np.unpackbits(block["kept"], count=starts[-1]).astype(bool)] = block["token"]
            return starts, tokens

        return lru_cache(maxsize=_BLOCKS_KEPT)(read)

    def texts(self, tokens: set[int]) -> dict[int, str]:
        """Texts of tokens."""
        if new := tokens - self._known_texts.keys():
            marks = ",".join(str(int(token)) for token in new)
            with files.database_errors(self.path):
                query = f"SELECT id, text FROM tokens WHERE id IN ({marks})"
                self._known_texts.update(self.opened.execute(query).fetchall())
        return {token: self._known_texts[token] for token in tokens if token in self._known_texts}

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What searches keep in memory between two of them."""
        return {}

    @cached_property
    def _known_texts(self) -> dict[int, str]:
        return {}
