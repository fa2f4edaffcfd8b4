"""An Atlas: a card for every feature of a Dictionary, read from one file that never changes.

atlas = Atlas.load("atlas.sqlite")
card = atlas["L3/1207"]
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from clew.features.contexts import ContextTexts, blob
from clew.features.label import OLD_RULE_METHOD, RULE_AUTHOR, RULE_METHOD, Label
from clew.features.packing import (
    CARDS,
    ENVELOPE,
    GROUP,
    POOL,
    RULES,
    SUMMARY,
    SUMMARY_TOKENS,
    TEXTS,
    rule_scores,
    unpack,
    unpack_json,
)
from clew.features.unpack_card import CardReader, CorpusCounts
from clew.ids import FeatureId

A = TypeVar("A", bound="Atlas")


@dataclass(frozen=True, kw_only=True)
class SummaryTable:
    """Columns with a row for every feature, in the order of the atlas: they can be searched without reading a card."""

    layer: np.ndarray
    index: np.ndarray
    density: np.ndarray
    max_activation: np.ndarray
    mean_activation: np.ndarray
    """Over the positions at which a feature fires."""
    promoted: np.ndarray
    """The five output tokens that the feature promotes most, `[feature, rank]`."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Cards by feature: `atlas["L3/1207"]`, or with a FeatureId. Iterating gives the features, layer by layer."""

    path: Path
    dictionary: str
    """Fingerprint of the dictionary."""
    corpus: str
    """A hash of the documents."""
    model: str
    layers: tuple[tuple[int, int], ...]
    """Every layer that the dictionary reads, with its number of features."""
    config: HarvestConfig
    content: str
    """A hash of all that the file says, whatever its bytes."""
    provenance: dict[str, Any]
    date: str
    """When it was written."""
    counts: CorpusCounts
    opened: sqlite3.Connection
    names: Callable[[Iterable[int]], Sequence[str]] | None = None
    """Names of tokens, in place of those in the file: a kit's own tokenizer, whatever the atlas was written with."""
    shared: bool = False
    """A kit reads the same connection: `close` leaves it open."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self.path)!r}: {len(self):,} features of {self.model}, {len(self.layers)} "
            f"layers, on {self.positions:,} positions of {self.documents:,} documents)"
        )

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
        """From an open file and its metadata; KeyError, TypeError or ValueError when these are not whole."""
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
            counts=CorpusCounts.of(about["everything"]),
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
        wanted = FeatureId.parse(feature) if isinstance(feature, str) else feature
        for (layer, n), begin in zip(self.layers, self._bounds, strict=False):
            if layer == wanted.layer:
                if wanted.index < n:
                    return begin + wanted.index
                raise InputError(f"there is no feature {wanted}: layer {layer} has L{layer}/0 to L{layer}/{n - 1}")
        layers = ", ".join(str(layer) for layer, _ in self.layers)
        raise InputError(f"there is no feature {wanted}: the atlas has layers {layers}")

    def feature(self, number: int) -> FeatureId:
        """The feature at a place in the order."""
        i = bisect_right(self._bounds, number) - 1
        return FeatureId(self.layers[i][0], number - self._bounds[i])

    def __getitem__(self, feature: FeatureId | str) -> Card:
        """A feature's card; InputError when there is no such feature, FileError when its block is damaged."""
        number = self.number(feature)
        return self._card(self._block(number // GROUP), number)

    def cards(self, numbers: Iterable[int] | None = None) -> Iterator[Card]:
        """The cards at some places in the order, or all; a block that neighbours share is read once."""
        block, block_number = dict[str, np.ndarray](), -1
        for number in range(len(self)) if numbers is None else numbers:
            if number // GROUP != block_number:
                block_number = number // GROUP
                block = self._block(block_number)
            yield self._card(block, number)

    def _block(self, number: int) -> dict[str, np.ndarray]:
        content = self._blob("SELECT content FROM cards WHERE block = ?", number)
        return unpack(CARDS, content, f"{self.path}, block {number} of cards,")

    def _card(self, block: dict[str, np.ndarray], number: int) -> Card:
        reader = CardReader(
            block=block, number=number, corpus=self.counts, texts=self._contexts, feature_of=self.feature
        )
        try:
            return reader.card()
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise FileError(
                f"{self.path} is a damaged atlas: the card of {self.feature(number)} cannot be read ({error})"
            ) from error

    def rules(self, features: Iterable[FeatureId] | None = None) -> dict[FeatureId, Label]:
        """The labels by rule of some features, or of all, with their scores; `unclear` where no rule holds."""
        numbers = range(len(self)) if features is None else sorted({self.number(feature) for feature in features})
        labels, blocks = {}, dict[int, Any]()
        for number in numbers:
            if (block := number // RULES) not in blocks:
                content = self._blob("SELECT content FROM rules WHERE block = ?", block)
                blocks[block] = unpack_json(content, f"{self.path}, labels by rule,")
            row, feature = blocks[block][number % RULES], self.feature(number)
            labels[feature] = Label(
                feature=feature,
                text=row[0],
                note=row[1],
                kind="heuristic",
                author=RULE_AUTHOR,
                method=RULE_METHOD if len(row) > 2 else OLD_RULE_METHOD,
                date=self.date,
                scores=rule_scores(row),
            )
        return labels

    @cached_property
    def features_by_rule(self) -> dict[str, list[FeatureId]]:
        """Every clear text of a label by rule, with the features that have it; read once."""
        features: dict[str, list[FeatureId]] = {}
        for feature, label in self.rules().items():
            if label.clear:
                features.setdefault(label.text, []).append(feature)
        return features

    @cached_property
    def summary(self) -> SummaryTable:
        """The columns that searches look through, read once."""
        columns = unpack(SUMMARY, self._blob("SELECT content FROM summary"), f"{self.path}, summary,")
        return SummaryTable(
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
        return self.counts.positions

    @property
    def documents(self) -> int:
        """Documents of the corpus with a position that counts."""
        return self.counts.documents

    def means(self) -> dict[int, np.ndarray]:
        """Every feature's mean activation over all positions of the corpus, by layer."""
        means = (self.summary.mean_activation * self.summary.density).astype(np.float32)
        return {layer: means[self.summary.layer == layer] for layer, _ in self.layers}

    def levels(self) -> dict[str, dict[int, np.ndarray]]:
        """Every feature's largest activation and density, by layer, as `search.queries.firing` takes them."""
        summary, columns = self.summary, {"largest": self.summary.max_activation, "density": self.summary.density}
        return {
            name: {layer: column[summary.layer == layer] for layer, _ in self.layers}
            for name, column in columns.items()
        }

    def check_whole(self) -> None:
        """Read the whole file; FileError when it is not what the harvest wrote."""
        try:
            matches = self._digest() == self.content
        except (TypeError, ValueError) as error:
            raise FileError(f"{self.path} is a damaged atlas ({error})") from error
        if not matches:
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

    # Parts of the file

    def _blob(self, query: str, *values: int) -> bytes:
        return blob(self.path, self.opened, query, *values)

    @cached_property
    def _contexts(self) -> ContextTexts:
        return ContextTexts(self.path, self.opened, self.config, self.names)

    @cached_property
    def cache(self) -> dict[Any, Any]:
        """What searches keep in memory from one to the next."""
        return {}
