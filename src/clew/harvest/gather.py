"""Count what every feature of a Dictionary does: one pass of a corpus through model and encoder.

1. Documents go through the model in chunks of a fixed number, rows of like length together, so that an activation has
   the same bits whatever part of the corpus is read, and in whatever order.
2. Every layer's active features are counted at once (`counting`); nothing is decoded, no activation is stored. Layers
   have rows of their own, so that as many threads as torch uses count them side by side.
3. The tables are saved every so often. A harvest that was stopped goes on from there; parts by several workers are
   added up. The sum is the same to the bit.
4. What follows from the weights alone (tokens promoted, relatives) is computed at the end, in blocks (`relations`).

Positions that count are those of training: special tokens and first positions that are attention sinks are left out.
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
from clew.harvest.counting import LayerActivations, Positions, count_activations, mark_positions
from clew.harvest.feature_tables import FeatureTables, HarvestOrigin, check_part
from clew.progress import Progress
from clew.settings import accepts
from clew.subject.subject import Subject
from clew.training.activations import parts_of
from clew.training.corpus import Documents

CHUNK = 256  # documents that are batched among themselves
EVERY = 1 << 18  # positions after which the tables are saved
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
    """The number of the first feature of every layer; features are numbered through all layers."""
    layers = sorted(dictionary.layers)
    sizes = [dictionary.d_features(layer) for layer in layers]
    return dict(zip(layers, accumulate([0, *sizes[:-1]]), strict=True))


def origin_of(dictionary: Dictionary, documents: Documents, config: HarvestConfig) -> HarvestOrigin:
    """The origin of tables of this dictionary on these documents."""
    return HarvestOrigin(
        dictionary=dictionary.fingerprint,
        corpus=documents.mark,
        n_features=sum(dictionary.d_features(layer) for layer in dictionary.layers),
        n_documents=len(documents),
        config=config,
    )


def part_of(documents: Documents, number: int, of: int) -> tuple[int, int]:
    """The documents [start, stop) of one of `of` parts of about equal size; parts are numbered from 1.

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
    """Count the features on documents [start, stop) into a file.

    InputError at NaN and when the documents are no part of the corpus, MismatchError when the dictionary does not fit,
    or the file is of another dictionary, corpus or settings; FileError when it is no part of a harvest, and
    while another process works on it.
    """
    dictionary.check_fits(subject)
    start, stop = settings.start, len(documents) if settings.stop is None else settings.stop
    if start % CHUNK or not 0 <= start < stop <= len(documents) or (stop % CHUNK and stop != len(documents)):
        raise InputError(f"documents {start} to {stop} are no part of {len(documents)} cut at multiples of {CHUNK}")
    origin = origin_of(dictionary, documents, settings.config or HarvestConfig())
    files.clear_temporaries(part)
    if Path(part).exists():
        check_part(part)
    if settings.resume and Path(part).exists():
        tables = FeatureTables.load(part)
        origin.check(tables.origin, str(part))
    else:
        tables = FeatureTables.empty(origin)
    n_positions = int(documents.counts[start:stop].sum())
    started, before, saved = time.monotonic(), tables.positions, tables.positions
    workers = ThreadPoolExecutor(max_workers=torch.get_num_threads())
    with files.lock_file(part, "a harvest"), workers as threads:
        corpus_pass = _CorpusPass.of(subject, dictionary, documents, tables, threads)
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            if any(begin <= first and last <= end for begin, end in tables.ranges):
                continue
            corpus_pass.read(first, last)
            if tables.positions - saved >= settings.every and last < stop:
                tables.save(part)
                saved = tables.positions
            rate = (tables.positions - before) / max(time.monotonic() - started, 1e-9)
            try:
                yield HarvestProgress(
                    what="reading", done=tables.positions, of=n_positions, unit="tokens", tokens_per_second=rate
                )
            except GeneratorExit:  # the caller stops the harvest; it can go on later from what was counted
                tables.save(part)
                raise
    tables.save(part)


@dataclass(frozen=True, kw_only=True)
class _CorpusPass:
    """Puts documents through the model and counts the features that fire."""

    subject: Subject
    dictionary: Dictionary
    documents: Documents
    tables: FeatureTables
    offsets: dict[int, int]
    """The number of every layer's first feature."""
    tokens: np.ndarray
    starts: np.ndarray
    sampled: np.uint64
    """Positions whose hash lies below are sampled for features that fire together."""
    pooled: np.uint64
    """Positions whose hash lies below are in the pool of silent contexts."""
    threads: Executor

    @classmethod
    def of(
        cls, subject: Subject, dictionary: Dictionary, documents: Documents, tables: FeatureTables, threads: Executor
    ) -> _CorpusPass:
        total, config = int(documents.counts.sum()), tables.origin.config
        return cls(
            subject=subject,
            dictionary=dictionary,
            documents=documents,
            tables=tables,
            offsets=features_before(dictionary),
            tokens=documents.tokens.int().numpy(),
            starts=documents.starts.long().numpy(),
            sampled=_threshold(config.pairs, total),
            pooled=_threshold(config.pool, total),
            threads=threads,
        )

    @torch.no_grad()
    def read(self, first: int, last: int) -> None:
        """Count some documents, all or none of which are in the tables afterwards."""
        site = self.dictionary.read_site
        for rows in parts_of(self.documents, torch.arange(first, last)):
            ids, counted = self.documents.padded(rows)
            positions = self._positions(rows, counted)
            if not len(positions.document):
                continue
            captured = self.subject.capture(ids, [site])
            counted = counted.to(self.subject.device)
            layers = {}
            for layer in self.offsets:
                active = self.dictionary.encode(layer, captured[site, layer][counted])
                layers[layer] = _layer_activations(active, len(positions.document))
            counting = [self.threads.submit(self._count, layer, active, positions) for layer, active in layers.items()]
            self._sample(layers, positions)
            for future in counting:
                future.result()
        self.tables.add_range(first, last)

    def _positions(self, rows: Tensor, counted: Tensor) -> Positions:
        row, position = (a.numpy().astype(np.int32) for a in counted.nonzero(as_tuple=True))
        n, config = len(row), self.tables.origin.config
        positions = Positions(
            document=rows.numpy().astype(np.int32)[row],
            position=position,
            place=np.zeros(n, np.int8),
            at_end=np.zeros(n, np.bool_),
            window=np.zeros(n, np.uint64),
            draw=np.zeros(n, np.uint64),
        )
        mark_positions(self.tokens, self.starts, config.before, config.after, np.array(BOUNDS), positions)
        return positions

    def _count(self, layer: int, active: LayerActivations, positions: Positions) -> None:
        tables, offset = self.tables, self.offsets[layer]
        before = tables.origin.config.before
        count_activations(active, positions, offset, before, tables.counts, tables.top, tables.bands)

    def _sample(self, layers: dict[int, LayerActivations], positions: Positions) -> None:
        tables = self.tables
        tables.everything[: len(BOUNDS)] += np.bincount(positions.place, minlength=len(BOUNDS))
        tables.everything[-2:] += (int(positions.at_end.sum()), len(np.unique(positions.document)))
        if (drawn := (positions.draw <= self.sampled).nonzero()[0]).size:
            tables.samples.append(self._fired_at(layers, positions, drawn))
        if (drawn := (positions.draw <= self.pooled).nonzero()[0]).size:
            tables.pool.append(self._fired_near(layers, positions, drawn))

    def _fired_at(
        self, layers: dict[int, LayerActivations], positions: Positions, drawn: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The features that fire at each of some positions."""
        rank, feature = [], []  # of every firing: which of the drawn positions it is at, and the feature
        for layer, offset in self.offsets.items():
            active = layers[layer]
            counts = active.starts[drawn + 1] - active.starts[drawn]
            entries = np.repeat(active.starts[drawn] - counts.cumsum() + counts, counts) + np.arange(counts.sum())
            fires = active.value[entries] > 0
            rank.append(np.repeat(np.arange(len(drawn)), counts)[fires])
            feature.append(offset + active.feature[entries][fires])
        ranks = np.concatenate(rank)
        order = np.argsort(ranks, kind="stable")
        return {
            "document": positions.document[drawn],
            "position": positions.position[drawn],
            "count": np.bincount(ranks, minlength=len(drawn)).astype(np.int32),
            "feature": np.concatenate(feature)[order].astype(np.int32),
        }

    def _fired_near(
        self, layers: dict[int, LayerActivations], positions: Positions, drawn: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The features that fire anywhere in the context of each of some positions, in bits."""
        fired = np.zeros((len(drawn), self.tables.origin.n_features), np.bool_)
        config = self.tables.origin.config
        for row, i in zip(fired, drawn.tolist(), strict=True):
            same_document = positions.document == positions.document[i]
            distance = positions.position - positions.position[i]
            ahead = np.where(same_document, distance, positions.position.max() + config.width)
            first, last = ((ahead >= -config.before) & (ahead <= config.after)).nonzero()[0][[0, -1]].tolist()
            row[np.concatenate(self._fired(layers, first, last + 1))] = True
        columns = {name: getattr(positions, name)[drawn] for name in ("document", "position", "window", "draw")}
        return columns | {"fired": np.packbits(fired, axis=1)}

    def _fired(self, layers: dict[int, LayerActivations], begin: int, end: int) -> list[np.ndarray]:
        """Numbers of the features that fire at positions [begin, end), layer by layer."""
        features = []
        for layer, offset in self.offsets.items():
            active = layers[layer]
            entries = slice(active.starts[begin], active.starts[end])
            features.append(offset + active.feature[entries][active.value[entries] > 0])
        return features


def _threshold(count: int, total: int) -> np.uint64:
    """The hash below which about `count` of all positions lie."""
    return np.uint64(min(2**64 - 1, count * 2**64 // max(total, 1)))


def _layer_activations(active: ActiveFeatures, n: int) -> LayerActivations:
    value = active.activation.float().cpu()
    counts = torch.bincount(active.position.cpu(), minlength=n)
    return LayerActivations(
        starts=np.concatenate([[0], counts.cumsum(0).numpy()]),
        feature=active.index.cpu().numpy(),
        value=value.numpy(),
        bits=value.view(torch.int32).numpy(),
        half=value.clamp(0, LARGEST).half().view(torch.int16).numpy().view(np.uint16),
    )
