"""What follows from positions drawn by hash: features that fire together, and contexts without a feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clew.features.tables import Relations, Strongest
from clew.harvest.counting import mix
from clew.harvest.feature_tables import FeatureTables
from clew.kernels.numba_loops import exact
from clew.training.corpus import Documents

LEAST = 5  # positions at which two features must fire together: of fewer, the PMI is chance


def together(tables: FeatureTables, count: int) -> Strongest:
    """Features that fire at the same positions more often than by chance, by pointwise mutual information in nats.

    Estimated on the sampled positions; pairs that fire together at fewer than LEAST of them are left out.
    """
    drawn = tables.joined("samples")
    starts = np.concatenate([[0], drawn["count"].cumsum(dtype=np.int64)])
    feature = drawn["feature"]
    n = tables.origin.n_features
    strongest = Strongest(feature=np.full((n, count), -1, np.int32), value=np.zeros((n, count), np.float32))
    position = np.repeat(np.arange(len(drawn["count"])), drawn["count"])[np.argsort(feature, kind="stable")]
    bounds = np.concatenate([[0], np.bincount(feature, minlength=n).cumsum()])
    if count:
        _together(starts, feature, position, bounds, strongest.feature, strongest.value)
    return strongest


@exact
def _together(
    starts: np.ndarray,
    feature: np.ndarray,
    position: np.ndarray,
    bounds: np.ndarray,
    best: np.ndarray,
    value: np.ndarray,
) -> None:
    """Fill in `best` and `value`, a row a feature.

    `feature` holds what fires at each position from its entry of `starts` on; `position` holds where each feature
    fires, from its entry of `bounds` on.
    """
    n, count = best.shape
    joint, touched = np.zeros(n, np.int32), np.zeros(n, np.int32)
    for f in range(n):
        fired, m = bounds[f + 1] - bounds[f], 0
        if fired < LEAST:
            continue
        for p in position[bounds[f] : bounds[f + 1]]:
            for g in feature[starts[p] : starts[p + 1]]:
                if joint[g] == 0:
                    touched[m] = g
                    m += 1
                joint[g] += 1
        for g in touched[:m]:
            both = joint[g]
            joint[g] = 0
            if g == f or both < LEAST:
                continue
            other_fired = bounds[g + 1] - bounds[g]
            pmi = np.float32(np.log(np.float64(both) * (starts.shape[0] - 1) / (np.float64(fired) * other_fired)))
            if pmi <= 0:
                continue
            s = count
            while s > 0 and (
                best[f, s - 1] < 0 or pmi > value[f, s - 1] or (pmi == value[f, s - 1] and g < best[f, s - 1])
            ):
                s -= 1
                if s + 1 < count:
                    best[f, s + 1], value[f, s + 1] = best[f, s], value[f, s]
            if s < count:
                best[f, s], value[f, s] = g, pmi


@dataclass(frozen=True, kw_only=True)
class Lookalikes:
    """What makes a context hard to tell from those in which a feature fires, for every feature a row."""

    tokens: np.ndarray
    """Ids of the tokens at which it fires strongest, or -1."""
    siblings: np.ndarray
    """Numbers of the features with the nearest encoders, or -1."""


def lookalikes(tables: FeatureTables, documents: Documents, relations: Relations) -> Lookalikes:
    """From the strongest contexts, and the features whose encoders are nearest."""
    starts, tokens = documents.starts.numpy(), documents.tokens.numpy()
    places = starts[np.maximum(tables.top.document, 0)] + np.maximum(tables.top.position, 0)
    return Lookalikes(
        tokens=np.where(tables.top.document < 0, -1, tokens[places]).astype(np.int64),
        siblings=relations.nearest_encoder.feature.astype(np.int64),
    )


def silent(
    tables: FeatureTables, count: int, documents: Documents, hard: Lookalikes
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The pool in order of hash, no two contexts of the same tokens, and for every feature rows of it, or -1.

    A feature fires nowhere in its contexts. A third of them, drawn first, are any text; a third hold at their position
    a token at which it fires elsewhere; in a third, features with a similar encoder fire. Where there are too few of
    these, the rest is any text.
    """
    drawn = tables.joined("pool")
    order = np.lexsort((drawn["position"], drawn["document"], drawn["draw"]))
    _, first = np.unique(drawn["window"][order], return_index=True)
    pool = {name: array[order][np.sort(first)] for name, array in drawn.items()}
    chosen = np.full((tables.origin.n_features, count), -1, np.int32)
    if count:
        starts, tokens = documents.starts.numpy(), documents.tokens.numpy()
        token = tokens[starts[pool["document"]] + pool["position"]].astype(np.int64)
        _silent(pool["fired"], pool["draw"], token, hard.tokens, hard.siblings, chosen)
    return pool, chosen


@exact
def _silent(
    fired: np.ndarray,
    draw: np.ndarray,
    token: np.ndarray,
    tokens: np.ndarray,
    siblings: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """Fill in rows of the pool where a feature does not fire, kind by kind, by a hash of row and feature."""
    n, count = chosen.shape
    keys, taken = np.zeros(count, np.uint64), np.zeros(draw.shape[0], np.bool_)
    for f in range(n):
        taken[:] = False
        begin = 0
        for kind in range(4):
            end = count if kind == 3 else min(count, begin + (count + 2) // 3)
            filled = begin
            for p in range(draw.shape[0]):
                if taken[p] or fired[p, f >> 3] >> (7 - (f & 7)) & 1:
                    continue
                wanted = kind == 0 or kind == 3
                if kind == 1:
                    for t in tokens[f]:
                        wanted = wanted or t == token[p]
                elif kind == 2:
                    for g in siblings[f]:
                        wanted = wanted or (g >= 0 and fired[p, g >> 3] >> (7 - (g & 7)) & 1 == 1)
                if not wanted:
                    continue
                key = mix(draw[p] ^ (np.uint64(f) * np.uint64(0xD1B54A32D192ED03)))
                s = filled
                while s > begin and key < keys[s - 1]:
                    s -= 1
                if s >= end:
                    continue
                filled = min(filled + 1, end)
                for t in range(filled - 1, s, -1):
                    keys[t], chosen[f, t] = keys[t - 1], chosen[f, t - 1]
                keys[s], chosen[f, s] = key, p
            for s in range(begin, filled):
                taken[chosen[f, s]] = True
            begin = filled
