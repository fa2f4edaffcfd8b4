"""Catalogue a Dictionary: one pass of a corpus through model and encoder, and what every feature did on it.

1. Documents go through the model in chunks of a fixed number, rows of like length together, so that an activation has
   the same bits whatever part of the corpus is seen, and whenever.
2. Every layer's active features are tallied as they come (`observe`); nothing is decoded, no activation is kept.
   Layers have rows of their own, and are tallied at once by as many threads as torch uses.
3. A tally is saved every so often. A harvest that was stopped goes on from there; parts made by several workers are
   added up. The catalogue is the same to the bit.
4. What follows from the weights alone (tokens promoted, relatives) is computed at the end, in blocks.

Positions that count are those of training: a special token at the beginning is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import ActiveFeatures
from clew.errors import InputError
from clew.features.config import HarvestConfig
from clew.features.tables import BOUNDS
from clew.harvest.counting import At, Seen, mark_positions, observe
from clew.harvest.feature_tables import Harvested, Tally, check_part
from clew.progress import Progress
from clew.settings import accepts
from clew.subject.subject import Subject
from clew.training.activations import parts_of
from clew.training.corpus import Documents

CHUNK = 256  # documents that are batched among themselves
EVERY = 1 << 18  # positions after which the tally is saved
LARGEST = 65504.0  # of float16, in which activations around a position are kept


@dataclass(frozen=True, kw_only=True)
class HarvestProgress(Progress):
    """How far a stage of a harvest has come: tokens while text is read, features afterwards."""

    unit: str = "features"
    tokens_per_second: float = 0.0
    """Since this process began, over positions that count; 0 where no text is read."""


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """Which documents of a corpus go into a part of a harvest, and how the work on it goes on."""

    config: HarvestConfig | None = None
    """What is kept of every feature; the defaults if left out."""
    start: int = 0
    """The first document, a multiple of CHUNK."""
    stop: int | None = None
    """The document after the last one: a multiple of CHUNK, or the number of documents, which is the default."""
    resume: bool = False
    """Go on from what the file holds."""
    every: int = EVERY
    """Positions after which the file is written."""


def features_before(dictionary: Dictionary) -> dict[int, int]:
    """The number of the first feature of every layer, when features are numbered through."""
    layers = sorted(dictionary.layers)
    sizes = [dictionary.d_features(layer) for layer in layers]
    return dict(zip(layers, accumulate([0, *sizes[:-1]]), strict=True))


def harvested(dictionary: Dictionary, documents: Documents, config: HarvestConfig) -> Harvested:
    """What tallies of this dictionary on these documents say of themselves."""
    return Harvested(
        dictionary=dictionary.fingerprint,
        corpus=documents.mark,
        n_features=sum(dictionary.d_features(layer) for layer in dictionary.layers),
        n_documents=len(documents),
        config=config,
    )


def part_of(documents: Documents, number: int, of: int) -> tuple[int, int]:
    """The documents [start, stop) of one of so many parts, counted from 1, that are about alike in documents.

    InputError when there is no such part, or it would be empty.
    """
    chunks = -(-len(documents) // CHUNK)
    if not 1 <= number <= of:
        raise InputError(f"there is no part {number} of {of}: parts are 1 to {of}")
    if of > chunks:
        raise InputError(f"{len(documents)} documents make at most {chunks} parts of {CHUNK}, not {of}")
    first, last = (n * chunks // of for n in (number - 1, number))
    return first * CHUNK, min(last * CHUNK, len(documents))


@accepts(PartSettings)
def gather(
    subject: Subject, dictionary: Dictionary, documents: Documents, part: Path | str, settings: PartSettings
) -> Iterator[HarvestProgress]:
    """Tally documents [start, stop) into a file.

    InputError at NaN and when the documents are no part of the corpus, MismatchError when the dictionary does not fit,
    or the file is of another dictionary, corpus or settings; FileError when it is no part of a harvest.
    """
    dictionary.check_fits(subject)
    start, stop = settings.start, len(documents) if settings.stop is None else settings.stop
    if start % CHUNK or not 0 <= start < stop <= len(documents) or (stop % CHUNK and stop != len(documents)):
        raise InputError(f"documents {start} to {stop} are no part of {len(documents)} cut at multiples of {CHUNK}")
    of = harvested(dictionary, documents, settings.config or HarvestConfig())
    files.clear_temporaries(part)
    if Path(part).exists():
        check_part(part)
    if settings.resume and Path(part).exists():
        tally = Tally.load(part)
        of.check(tally.of, str(part))
    else:
        tally = Tally.empty(of)
    wanted = int(documents.counts[start:stop].sum())
    begun, before, saved = time.monotonic(), tally.positions, tally.positions
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as threads:
        reader = _Reader.of(subject, dictionary, documents, tally, threads)
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            if any(a <= first and last <= b for a, b in tally.ranges):
                continue
            reader.read(first, last)
            if tally.positions - saved >= settings.every and last < stop:
                tally.save(part)
                saved = tally.positions
            rate = (tally.positions - before) / max(time.monotonic() - begun, 1e-9)
            try:
                yield HarvestProgress(
                    what="reading", done=tally.positions, of=wanted, unit="tokens", tokens_per_second=rate
                )
            except GeneratorExit:  # whoever asks for no more wants to go on later
                tally.save(part)
                raise
    tally.save(part)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Puts documents through the model and tallies what fires."""

    subject: Subject
    dictionary: Dictionary
    documents: Documents
    tally: Tally
    offsets: dict[int, int]
    tokens: np.ndarray
    starts: np.ndarray
    sampled: np.uint64
    """Positions whose hash lies below are sampled for what fires together."""
    pooled: np.uint64
    threads: Executor

    @classmethod
    def of(
        cls, subject: Subject, dictionary: Dictionary, documents: Documents, tally: Tally, threads: Executor
    ) -> _Reader:
        total, config = int(documents.counts.sum()), tally.of.config
        return cls(
            subject=subject,
            dictionary=dictionary,
            documents=documents,
            tally=tally,
            offsets=features_before(dictionary),
            tokens=documents.tokens.int().numpy(),
            starts=documents.starts.long().numpy(),
            sampled=_threshold(config.pairs, total),
            pooled=_threshold(config.pool, total),
            threads=threads,
        )

    @torch.no_grad()
    def read(self, first: int, last: int) -> None:
        """Some documents, all or none of which are in the tally afterwards."""
        site = self.dictionary.read_site
        for rows in parts_of(self.documents, torch.arange(first, last)):
            ids, counted = self.documents.padded(rows)
            at = self._at(rows, counted)
            if not len(at.document):
                continue
            held = self.subject.capture(ids, [site])
            counted = counted.to(self.subject.device)
            seen = {}
            for layer in self.offsets:
                active = self.dictionary.encode(layer, held[site, layer][counted])
                seen[layer] = _seen(active, len(at.document))
            tallied = [self.threads.submit(self._observe, layer, own, at) for layer, own in seen.items()]
            self._sample(seen, at)
            for each in tallied:
                each.result()
        self.tally.saw(first, last)

    def _at(self, rows: Tensor, counted: Tensor) -> At:
        row, position = (a.numpy().astype(np.int32) for a in counted.nonzero(as_tuple=True))
        n, config = len(row), self.tally.of.config
        at = At(
            document=rows.numpy().astype(np.int32)[row],
            position=position,
            place=np.zeros(n, np.int8),
            at_end=np.zeros(n, np.bool_),
            window=np.zeros(n, np.uint64),
            draw=np.zeros(n, np.uint64),
        )
        mark_positions(self.tokens, self.starts, config.before, config.after, np.array(BOUNDS), at)
        return at

    def _observe(self, layer: int, seen: Seen, at: At) -> None:
        tally = self.tally
        observe(seen, at, self.offsets[layer], tally.of.config.before, tally.counts, tally.top, tally.bands)

    def _sample(self, seen: dict[int, Seen], at: At) -> None:
        tally = self.tally
        tally.everything[: len(BOUNDS)] += np.bincount(at.place, minlength=len(BOUNDS))
        tally.everything[-2:] += (int(at.at_end.sum()), len(np.unique(at.document)))
        if (drawn := (at.draw <= self.sampled).nonzero()[0]).size:
            tally.samples.append(self._fired_at(seen, at, drawn))
        if (drawn := (at.draw <= self.pooled).nonzero()[0]).size:
            tally.pool.append(self._fired_near(seen, at, drawn))

    def _fired_at(self, seen: dict[int, Seen], at: At, drawn: np.ndarray) -> dict[str, np.ndarray]:
        rank, feature = [], []  # of every firing: which of the drawn positions it is at, and the feature
        for layer, offset in self.offsets.items():
            own = seen[layer]
            counts = own.starts[drawn + 1] - own.starts[drawn]
            where = np.repeat(own.starts[drawn] - counts.cumsum() + counts, counts) + np.arange(counts.sum())
            on = own.value[where] > 0
            rank.append(np.repeat(np.arange(len(drawn)), counts)[on])
            feature.append(offset + own.feature[where][on])
        ranks = np.concatenate(rank)
        order = np.argsort(ranks, kind="stable")
        return {
            "document": at.document[drawn],
            "position": at.position[drawn],
            "count": np.bincount(ranks, minlength=len(drawn)).astype(np.int32),
            "feature": np.concatenate(feature)[order].astype(np.int32),
        }

    def _fired_near(self, seen: dict[int, Seen], at: At, drawn: np.ndarray) -> dict[str, np.ndarray]:
        fired = np.zeros((len(drawn), self.tally.of.n_features), np.bool_)
        config = self.tally.of.config
        for row, i in zip(fired, drawn.tolist(), strict=True):
            ahead = np.where(
                at.document == at.document[i], at.position - at.position[i], at.position.max() + config.width
            )
            first, last = ((ahead >= -config.before) & (ahead <= config.after)).nonzero()[0][[0, -1]].tolist()
            row[np.concatenate(self._fired(seen, first, last + 1))] = True
        kept = {name: getattr(at, name)[drawn] for name in ("document", "position", "window", "draw")}
        return kept | {"fired": np.packbits(fired, axis=1)}

    def _fired(self, seen: dict[int, Seen], begin: int, end: int) -> list[np.ndarray]:
        """Numbers of the features that fire at some positions, layer by layer."""
        found = []
        for layer, offset in self.offsets.items():
            own = seen[layer]
            part = slice(own.starts[begin], own.starts[end])
            found.append(offset + own.feature[part][own.value[part] > 0])
        return found


def _threshold(wanted: int, total: int) -> np.uint64:
    """The hash below which about so many of all positions lie."""
    return np.uint64(min(2**64 - 1, wanted * 2**64 // max(total, 1)))


def _seen(active: ActiveFeatures, n: int) -> Seen:
    value = active.activation.float().cpu()
    counts = torch.bincount(active.position.cpu(), minlength=n)
    return Seen(
        starts=np.concatenate([[0], counts.cumsum(0).numpy()]),
        feature=active.index.cpu().numpy(),
        value=value.numpy(),
        bits=value.view(torch.int32).numpy(),
        half=value.clamp(0, LARGEST).half().view(torch.int16).numpy().view(np.uint16),
    )
