"""How an atlas of many features grows: a part of `make bench-harvest`.

An atlas is generated, with as many features as asked, through the tables and the writer that a harvest uses; said are
the process' memory, the file and how long a card takes to open.

    python benchmarks/harvest_size.py 590000
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from clew.features.atlas import Atlas
from clew.features.config import HarvestConfig
from clew.features.tables import LOGIT_BINS, Relations, Strongest
from clew.harvest import gather as reading
from clew.harvest.counting import LayerActivations
from clew.harvest.feature_tables import FeatureTables, HarvestOrigin
from clew.harvest.write_atlas import write_atlas
from clew.training.corpus import Documents

VOCABULARY, LENGTH, LAYERS = 50_000, 128, 26  # of a generated corpus and dictionary
FIRINGS = 40  # of a generated feature


class Words:
    """What the writer asks of a model."""

    name = "generated"

    def token_strings(self, ids: list[int]) -> tuple[str, ...]:
        return tuple(f" word{i}" for i in ids)


def generated(n_features: int) -> tuple[FeatureTables, Documents]:
    """Features that fire at random places with activations of many sizes, some two positions in a row."""
    rng = np.random.default_rng(0)
    a_layer = -(-n_features // LAYERS)
    n_documents = max(200, n_features // 60)
    tokens = rng.zipf(1.2, n_documents * LENGTH) % VOCABULARY
    documents = Documents(
        tokens=torch.from_numpy(tokens.astype(np.int32)),
        starts=torch.arange(n_documents + 1) * LENGTH,
        counted=torch.ones(len(tokens), dtype=torch.bool),
    )
    origin = HarvestOrigin(
        dictionary="0" * 64, corpus=documents.mark, n_features=a_layer * LAYERS, n_documents=n_documents,
        config=HarvestConfig(rules=False),
    )  # fmt: skip
    tables = FeatureTables.empty(origin)
    corpus_pass = reading._CorpusPass(
        subject=None, dictionary=None, documents=documents, tables=tables,  # type: ignore[arg-type]
        offsets={layer: layer * a_layer for layer in range(LAYERS)}, tokens=documents.tokens.numpy(),
        starts=documents.starts.numpy(), sampled=reading._threshold(origin.config.pairs, n_documents * LENGTH),
        pooled=reading._threshold(origin.config.pool, n_documents * LENGTH), threads=None,  # type: ignore[arg-type]
    )  # fmt: skip
    active = max(1, round(n_features * FIRINGS / (n_documents * LENGTH * LAYERS)))
    for first in range(0, n_documents, 16):
        rows = torch.arange(first, min(n_documents, first + 16))
        positions = corpus_pass._positions(rows, torch.ones(len(rows), LENGTH, dtype=torch.bool))
        layers = {layer: drawn(rng, len(positions.document), a_layer, active) for layer in range(LAYERS)}
        for layer, activations in layers.items():
            corpus_pass._count(layer, activations, positions)
        corpus_pass._sample(layers, positions)
        tables.add_range(first, int(rows[-1]) + 1)
    return tables, documents


def drawn(rng: np.random.Generator, n: int, features: int, active: int) -> LayerActivations:
    """Some features at every position, now and then those of the position before."""
    index = rng.integers(0, features, (n, active))
    again = rng.random(n) < 0.3
    index[1:][again[1:]] = index[:-1][again[1:]]
    index.sort(axis=1)
    value = torch.from_numpy(np.exp(rng.normal(1, 1, n * active)).astype(np.float32))
    return LayerActivations(
        starts=np.arange(n + 1) * active,
        feature=index.reshape(-1),
        value=value.numpy(),
        bits=value.view(torch.int32).numpy(),
        half=value.half().view(torch.int16).numpy().view(np.uint16),
    )


def random_relations(n: int, config: HarvestConfig) -> Relations:
    rng = np.random.default_rng(1)

    def some(count: int, of: int) -> Strongest:
        value = -np.sort(-rng.random((n, count), dtype=np.float32), axis=1)
        return Strongest(feature=rng.integers(0, of, (n, count), dtype=np.int32), value=value)

    ends = np.sort(rng.normal(size=(n, 2)).astype(np.float32), axis=1)
    logits = rng.poisson(VOCABULARY / LOGIT_BINS * np.hanning(LOGIT_BINS + 2)[1:-1] * 2, (n, LOGIT_BINS))
    relatives = [some(config.related, n) for _ in range(4)]
    return Relations(
        promoted=some(config.promoted, VOCABULARY), suppressed=some(config.promoted, VOCABULARY), logit_range=ends,
        logits=logits.astype(np.int32), nearest_decoder=relatives[0], nearest_encoder=relatives[1],
        inputs=relatives[2], outputs=relatives[3],
    )  # fmt: skip


def size(n_features: int) -> None:
    """Print what an atlas of so many features takes."""
    begun, before = time.perf_counter(), resident()
    tables, documents = generated(n_features)
    n_bytes = sum(array.nbytes for array in tables._arrays().values())
    observed, at_most = time.perf_counter() - begun, resident()
    layers = [(layer, tables.origin.n_features // LAYERS) for layer in range(LAYERS)]
    with tempfile.TemporaryDirectory() as folder:
        begun, path = time.perf_counter(), Path(folder) / "a.sqlite"
        relations = random_relations(tables.origin.n_features, tables.origin.config)
        for _ in write_atlas(path, tables, relations, documents, Words(), layers):  # type: ignore[arg-type]
            pass
        written = time.perf_counter() - begun
        print(
            f"  {tables.origin.n_features:,} features, {int(tables.counts.fired.sum()):,} activations on "
            f"{tables.positions:,} positions\n"
            f"    tables {n_bytes / 1e9:.2f} GB, {n_bytes / tables.origin.n_features:,.0f} bytes a feature; resident "
            f"at most {before:.2f} GB before, {at_most:.2f} while observing, {resident():.2f} while writing\n"
            f"    observed in {observed:.0f} s, written in {written:.0f} s, {path.stat().st_size / 1e6:,.0f} MB"
        )
        del tables, relations
        (clock, slowest), (busy, busiest) = cards(path, 500)
        print(f"    a card opens in {clock:.2f} ms ({busy:.2f} CPU); the slowest of 500: {slowest:.2f} ({busiest:.2f})")


def cards(path: Path, count: int) -> list[tuple[float, float]]:
    """Median and largest milliseconds of opening a card, by the clock and of this thread."""
    taken = []
    with Atlas.load(path) as atlas:
        for number in random.Random(0).sample(range(len(atlas)), count):
            begun, busy = time.perf_counter(), time.thread_time()
            atlas[atlas.feature(number)]
            taken.append((time.perf_counter() - begun, time.thread_time() - busy))
    return [(1e3 * statistics.median(side), 1e3 * max(side)) for side in zip(*taken, strict=True)]


def resident() -> float:
    """Gigabytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=int)
    size(parser.parse_args().features)
