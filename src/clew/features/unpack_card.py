"""How a card is read out of its block: the slices that belong to one feature, with the texts of their tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from clew.features.card import Band, Card, Context, Histogram, Places, Related, TokenWeight
from clew.features.contexts import ContextTexts
from clew.features.packing import GROUP, highest_octaves
from clew.features.tables import BANDS, BOUNDS, LOW, STEPS
from clew.ids import FeatureId


@dataclass(frozen=True, kw_only=True)
class CorpusCounts:
    """What an atlas counts of its corpus, features aside."""

    by_place: tuple[int, ...]
    """Positions that count, by bin of BOUNDS."""
    at_end: int
    """Of these the last ones of documents."""
    documents: int
    """Documents with a position that counts."""

    @classmethod
    def of(cls, everything: list[int]) -> CorpusCounts:
        """From the list in an atlas; ValueError when it is not whole."""
        if len(everything) != len(BOUNDS) + 2:
            raise ValueError("counts of the corpus are missing")
        *by_place, at_end, documents = everything
        return cls(by_place=tuple(by_place), at_end=at_end, documents=documents)

    @property
    def positions(self) -> int:
        """Positions that count."""
        return sum(self.by_place)


class _Window(NamedTuple):
    """A context before its tokens have texts."""

    document: int
    position: int
    at: int
    token_ids: list[int]
    activations: list[float]

    def context(self, texts: dict[int, str]) -> Context:
        return Context(
            document=self.document,
            position=self.position,
            at=self.at,
            token_ids=tuple(self.token_ids),
            tokens=tuple(texts[token] for token in self.token_ids),
            activations=tuple(self.activations),
        )


@dataclass(frozen=True, kw_only=True)
class CardReader:
    """Reads the card of one feature of an unpacked block."""

    block: dict[str, np.ndarray]
    number: int
    """The feature's place in the order of the atlas."""
    corpus: CorpusCounts
    texts: ContextTexts
    feature_of: Callable[[int], FeatureId]
    """The feature at a place in the order."""

    @cached_property
    def index(self) -> int:
        """The feature's place in the block."""
        return self.number % GROUP

    def row(self, name: str) -> Any:
        """A field's numbers for this feature, when all features have as many."""
        return self.block[name].reshape(len(self.block["fired"]), -1)[self.index].tolist()

    def ragged_row(self, name: str, counts: str) -> list[int]:
        """A field's numbers for this feature, when their count is in another field."""
        ends = self.block[counts].cumsum(dtype=np.int64)
        return self.block[name][ends[self.index] - self.block[counts][self.index] : ends[self.index]].tolist()

    def card(self) -> Card:
        """KeyError, IndexError, ValueError or TypeError when the block is damaged."""
        (fired,), (at_end,) = self.row("fired"), self.row("at_end")
        firing, silent = self.windows()
        shown = {token for window in (*firing, *silent) for token in window.token_ids}
        named = {token for name in ("promoted", "suppressed") for token in self.row(name) if token >= 0}
        texts = self.texts.texts(shown | named)
        contexts = tuple(window.context(texts) for window in firing)
        n_top = int(self.block["top_n"][self.index])
        log, linear, logits = self.histograms()
        return Card(
            feature=self.feature_of(self.number),
            positions=self.corpus.positions,
            documents=self.corpus.documents,
            fired=fired,
            fired_documents=self.row("documents")[0],
            max_activation=self.row("most")[0],
            mean_activation=self.row("mean")[0],
            log_histogram=log,
            linear_histogram=linear,
            places=self.places(fired, at_end),
            top=contexts[:n_top],
            bands=self.bands(contexts[n_top:]),
            silent=tuple(window.context(texts) for window in silent),
            promoted=self.tokens("promoted", texts),
            suppressed=self.tokens("suppressed", texts),
            logits=logits,
            nearest_decoder=self.related("nearest_decoder"),
            nearest_encoder=self.related("nearest_encoder"),
            together=self.related("together"),
            inputs=self.related("inputs"),
            outputs=self.related("outputs"),
        )

    def places(self, fired: int, at_end: int) -> Places:
        """Where in documents it fires, beside where all positions are."""
        positions = max(1, self.corpus.positions)
        return Places(
            bounds=BOUNDS,
            fired=tuple(n / max(1, fired) for n in self.row("places")),
            everything=tuple(n / positions for n in self.corpus.by_place),
            at_last=at_end / max(1, fired),
            everything_at_last=self.corpus.at_end / positions,
        )

    def windows(self) -> tuple[list[_Window], list[_Window]]:
        """The contexts in which it fires, those of `top` first, and those in which it is silent."""
        block, config = self.block, self.texts.config
        counts = block["top_n"].astype(np.int64) + block["bands_n"].reshape(-1, BANDS).sum(1)
        rows = slice(int(counts[: self.index].sum()), int(counts[: self.index + 1].sum()))
        mask = np.unpackbits(block["mask"].reshape(-1, -(-config.width // 8)), axis=1, count=config.width).astype(bool)
        activations = np.zeros((rows.stop - rows.start, config.width))
        begin = int(mask[: rows.start].sum())
        activations[mask[rows]] = block["around"].view(np.float16)[begin : begin + int(mask[rows].sum())]
        firing = list(zip(block["document"][rows].tolist(), block["position"][rows].tolist(), strict=True))
        chosen = [i for i in self.row("silent") if i >= 0] if config.silent else []
        silent = [(int(self.texts.pool["document"][i]), int(self.texts.pool["position"][i])) for i in chosen]
        windows = []
        for i, (place, (at, ids)) in enumerate(zip(firing + silent, self.texts.windows(firing + silent), strict=True)):
            skip = config.before - at
            values = activations[i, skip : skip + len(ids)].tolist() if i < len(firing) else [0.0] * len(ids)
            windows.append(_Window(*place, at, ids, values))
        return windows[: len(firing)], windows[len(firing) :]

    def bands(self, contexts: tuple[Context, ...]) -> tuple[Band, ...]:
        """The octaves in which it fires, the strongest first, with the contexts of each."""
        counts, first = self.ragged_row("log", "log_n"), int(self.block["log_first"][self.index])
        octave = int(highest_octaves(self.block["scale"][self.index : self.index + 1])[0])
        bands, begin = [], 0
        for i, n in enumerate(self.row("bands_n")):
            steps = range((octave - i) * STEPS - first, (octave - i + 1) * STEPS - first)
            fired = sum(counts[step] for step in steps if 0 <= step < len(counts))
            if fired:
                low = octave - i + LOW
                bands.append(
                    Band(low=2.0**low, high=2.0 ** (low + 1), fired=fired, contexts=contexts[begin : begin + n])
                )
            begin += n
        return tuple(bands)

    def histograms(self) -> tuple[Histogram, Histogram, Histogram]:
        """Of activations in bins of equal ratio and of equal width, and of the weights on tokens."""
        log, first = self.ragged_row("log", "log_n"), int(self.block["log_first"][self.index])
        linear, width = self.ragged_row("linear", "linear_n"), 2.0 ** int(self.block["scale"][self.index])
        low, high = self.row("logit_range")
        logits = self.row("logits")
        return (
            Histogram(edges=tuple(2.0 ** (LOW + (first + i) / STEPS) for i in range(len(log) + 1)), counts=tuple(log)),
            Histogram(edges=tuple(width * i for i in range(len(linear) + 1)), counts=tuple(linear)),
            Histogram(
                edges=tuple(low + (high - low) * i / len(logits) for i in range(len(logits) + 1)), counts=tuple(logits)
            ),
        )

    def tokens(self, name: str, texts: dict[int, str]) -> tuple[TokenWeight, ...]:
        """The tokens of a field, with the feature's weight on each."""
        pairs = zip(self.row(name), self.row(f"{name}_value"), strict=True)
        return tuple(TokenWeight(token_id=token, token=texts[token], weight=w) for token, w in pairs if token >= 0)

    def related(self, name: str) -> tuple[Related, ...]:
        """The features of a relation, with the strength of each."""
        if not self.block[name].size:
            return ()
        pairs = zip(self.row(name), self.row(f"{name}_value"), strict=True)
        return tuple(Related(feature=self.feature_of(number), value=value) for number, value in pairs if number >= 0)
