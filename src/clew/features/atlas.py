"""An Atlas: what a harvest found of every feature of a Dictionary, a card each, read from one file that never changes.

atlas = Atlas.load("atlas.sqlite")
card = atlas["L3/1207"]
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.features.atlas_file import MARK, SCHEMA, SUMMARY_TOKENS
from clew.features.card import Band, Card, Context, Histogram, Places, Related, TokenWeight
from clew.features.observe import BANDS, BOUNDS, LOW, STEPS
from clew.features.packing import CARDS, GROUP, POOL, SUMMARY, TEXTS, highest_octaves, unpack
from clew.features.relations import LOGIT_BINS
from clew.features.tally import HarvestConfig
from clew.ids import FeatureId

_FIXED = {"places": len(BOUNDS), "bands_n": BANDS, "logit_range": 2, "logits": LOGIT_BINS}
_RAGGED = {"log_n": "log", "linear_n": "linear"}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A row for every feature of an atlas, in the atlas' order: what can be searched without opening a card."""

    layer: np.ndarray
    index: np.ndarray
    density: np.ndarray
    max_activation: np.ndarray
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
    everything: tuple[int, ...]
    opened: sqlite3.Connection

    @classmethod
    def load(cls, path: Path | str) -> Atlas:
        """FileError when the file is missing, truncated, foreign or of a newer schema."""
        path = Path(path)
        opened = files.read_database(path, what="an atlas", mark=MARK, schema=SCHEMA)
        try:
            with files.database_errors(path):
                meta = {key: json.loads(value) for key, value in opened.execute("SELECT key, value FROM meta")}
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
                everything=tuple(about["everything"]),
                opened=opened,
            )
        except (KeyError, TypeError, ValueError) as error:
            opened.close()
            raise FileError(f"{path} is a damaged atlas ({error})") from error
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Give the file back; no card can be read afterwards."""
        self.opened.close()

    def __enter__(self) -> Atlas:
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
        block = self._blob("SELECT content FROM cards WHERE block = ?", number // GROUP)
        try:
            return _Row(self, unpack(CARDS, block, f"{self.path}, card of {feature},"), number).card()
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise FileError(
                f"{self.path} is a damaged atlas: the card of {feature} cannot be read ({error})"
            ) from error

    @cached_property
    def summary(self) -> Summary:
        """The columns that searches look through, read once."""
        columns = unpack(SUMMARY, self._blob("SELECT content FROM summary"), f"{self.path}, summary,")
        return Summary(
            layer=np.repeat([layer for layer, _ in self.layers], [n for _, n in self.layers]),
            index=np.concatenate([np.arange(n) for _, n in self.layers]),
            density=columns["fired"] / max(1, self.positions),
            max_activation=columns["most"],
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
        blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        found = []
        for document, position in places:
            first = self._text_blocks[bisect_right(self._text_blocks, document) - 1]
            if first not in blocks:
                blob = self._blob("SELECT content FROM texts WHERE first = ?", first)
                block = unpack(TEXTS, blob, f"{self.path}, texts,")
                starts = np.append(0, block["length"].cumsum(dtype=np.int64))
                tokens = np.full(starts[-1], -1, np.int64)
                tokens[np.unpackbits(block["kept"], count=starts[-1]).astype(bool)] = block["token"]
                blocks[first] = starts, tokens
            starts, tokens = blocks[first]
            begin, end = int(starts[document - first]), int(starts[document - first + 1])
            low = max(begin, begin + position - self.config.before)
            ids = tokens[low : min(end, begin + position + self.config.after + 1)]
            found.append((begin + position - low, ids.tolist()))
        return found

    def texts(self, tokens: set[int]) -> dict[int, str]:
        """Texts of tokens."""
        marks = ",".join(str(int(token)) for token in tokens)
        with files.database_errors(self.path):
            return dict(self.opened.execute(f"SELECT id, text FROM tokens WHERE id IN ({marks})"))


class _Row:
    """One feature of an unpacked block."""

    def __init__(self, atlas: Atlas, block: dict[str, np.ndarray], number: int) -> None:
        self.atlas, self.block, self.number = atlas, block, number
        self.at, self.n = number % GROUP, len(block["fired"])

    def one(self, name: str) -> Any:
        """A field's numbers for this feature, when all features have as many."""
        return self.block[name].reshape(self.n, -1)[self.at].tolist()

    def some(self, name: str, counts: str) -> list[int]:
        """A field's numbers for this feature, when their count is in another field."""
        ends = self.block[counts].cumsum(dtype=np.int64)
        return self.block[name][ends[self.at] - self.block[counts][self.at] : ends[self.at]].tolist()

    def card(self) -> Card:
        atlas, b = self.atlas, self.block
        (fired,), (at_end,), everything = self.one("fired"), self.one("at_end"), atlas.everything
        positions = max(1, atlas.positions)
        contexts = self.contexts()
        shown = {t for found in contexts for each in found for t in each[2]}
        texts = atlas.texts(shown | {t for name in ("promoted", "suppressed") for t in self.one(name) if t >= 0})
        made = [tuple(_context(each, texts) for each in found) for found in contexts]
        n_top = int(b["top_n"][self.at])
        log, linear, logits = self.histograms()
        return Card(
            feature=atlas.feature(self.number),
            positions=atlas.positions,
            documents=atlas.documents,
            fired=fired,
            fired_documents=self.one("documents")[0],
            max_activation=self.one("most")[0],
            mean_activation=self.one("mean")[0],
            log_histogram=log,
            linear_histogram=linear,
            places=Places(
                bounds=BOUNDS,
                fired=tuple(n / max(1, fired) for n in self.one("places")),
                everything=tuple(n / positions for n in everything[: len(BOUNDS)]),
                at_last=at_end / max(1, fired),
                everything_at_last=everything[-2] / positions,
            ),
            top=made[0][:n_top],
            bands=self.bands(made[0][n_top:]),
            silent=made[1],
            promoted=self.tokens("promoted", texts),
            suppressed=self.tokens("suppressed", texts),
            logits=logits,
            nearest_decoder=self.related("nearest_decoder"),
            nearest_encoder=self.related("nearest_encoder"),
            together=self.related("together"),
            inputs=self.related("inputs"),
            outputs=self.related("outputs"),
        )

    def contexts(self) -> tuple[list[Any], list[Any]]:
        """Document, position, tokens, where the position is in them, activations: where it fires, and in silence."""
        b, atlas, config = self.block, self.atlas, self.atlas.config
        counts = b["top_n"].astype(np.int64) + b["bands_n"].reshape(self.n, BANDS).sum(1)
        own = slice(int(counts[: self.at].sum()), int(counts[: self.at + 1].sum()))
        mask = np.unpackbits(b["mask"].reshape(-1, -(-config.width // 8)), axis=1, count=config.width).astype(bool)
        near = np.zeros((own.stop - own.start, config.width))
        begin = int(mask[: own.start].sum())
        near[mask[own]] = b["around"].view(np.float16)[begin : begin + int(mask[own].sum())]
        places = list(zip(b["document"][own].tolist(), b["position"][own].tolist(), strict=True))
        chosen = [i for i in self.one("silent") if i >= 0] if config.silent else []
        silent = [(int(atlas._pool["document"][i]), int(atlas._pool["position"][i])) for i in chosen]
        windows = atlas.windows(places + silent)
        found = []
        for i, (place, (at, ids)) in enumerate(zip(places + silent, windows, strict=True)):
            skip = config.before - at
            values = near[i, skip : skip + len(ids)].tolist() if i < len(places) else [0.0] * len(ids)
            found.append((place, at, ids, values))
        return found[: len(places)], found[len(places) :]

    def bands(self, contexts: tuple[Context, ...]) -> tuple[Band, ...]:
        counts, first = self.some("log", "log_n"), int(self.block["log_first"][self.at])
        octave = int(highest_octaves(self.block["scale"][self.at : self.at + 1])[0])
        made, begin = [], 0
        for i, n in enumerate(self.one("bands_n")):
            steps = range((octave - i) * STEPS - first, (octave - i + 1) * STEPS - first)
            fired = sum(counts[s] for s in steps if 0 <= s < len(counts))
            if fired:
                low = octave - i + LOW
                own = contexts[begin : begin + n]
                made.append(Band(low=2.0**low, high=2.0 ** (low + 1), fired=fired, contexts=own))
            begin += n
        return tuple(made)

    def histograms(self) -> tuple[Histogram, Histogram, Histogram]:
        """Of activations in bins of equal ratio and of equal width, of weights on tokens."""
        log, first = self.some("log", "log_n"), int(self.block["log_first"][self.at])
        linear, width = self.some("linear", "linear_n"), 2.0 ** int(self.block["scale"][self.at])
        low, high = self.one("logit_range")
        logits = self.one("logits")
        return (
            Histogram(edges=tuple(2.0 ** (LOW + (first + i) / STEPS) for i in range(len(log) + 1)), counts=tuple(log)),
            Histogram(edges=tuple(width * i for i in range(len(linear) + 1)), counts=tuple(linear)),
            Histogram(
                edges=tuple(low + (high - low) * i / len(logits) for i in range(len(logits) + 1)), counts=tuple(logits)
            ),
        )

    def tokens(self, name: str, texts: dict[int, str]) -> tuple[TokenWeight, ...]:
        both = zip(self.one(name), self.one(f"{name}_value"), strict=True)
        return tuple(TokenWeight(token_id=t, token=texts[t], weight=w) for t, w in both if t >= 0)

    def related(self, name: str) -> tuple[Related, ...]:
        if not self.block[name].size:
            return ()
        both = zip(self.one(name), self.one(f"{name}_value"), strict=True)
        return tuple(Related(feature=self.atlas.feature(n), value=value) for n, value in both if n >= 0)


def _context(found: tuple[tuple[int, int], int, list[int], list[float]], texts: dict[int, str]) -> Context:
    (document, position), at, ids, values = found
    return Context(
        document=document,
        position=position,
        at=at,
        token_ids=tuple(ids),
        tokens=tuple(texts[t] for t in ids),
        activations=tuple(values),
    )
