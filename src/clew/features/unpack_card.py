"""How a card is read out of its block: slices of what belongs to one feature, put together with texts of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clew.features.card import Band, Card, Context, Histogram, Places, Related, TokenWeight
from clew.features.packing import GROUP, highest_octaves
from clew.features.tables import BANDS, BOUNDS, LOGIT_BINS, LOW, STEPS

if TYPE_CHECKING:
    from clew.features.atlas import Atlas

_FIXED = {"places": len(BOUNDS), "bands_n": BANDS, "logit_range": 2, "logits": LOGIT_BINS}
_RAGGED = {"log_n": "log", "linear_n": "linear"}


class Row:
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
