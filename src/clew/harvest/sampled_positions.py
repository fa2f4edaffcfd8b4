"""What is made of positions drawn by hash: which features fire together, and contexts in which one is silent."""

from __future__ import annotations

import numpy as np

from clew.features.tables import Strongest
from clew.harvest.counting import mix
from clew.harvest.feature_tables import Tally
from clew.kernels.numba_loops import exact

LEAST = 5  # positions at which two features must fire together before that is said of them


def together(tally: Tally, count: int) -> Strongest:
    """Features that fire at the same positions more often than by chance, by pointwise mutual information in nats.

    It is counted on the sampled positions; pairs seen at fewer than LEAST of them are left out.
    """
    drawn = tally.joined("samples")
    starts = np.concatenate([[0], drawn["count"].cumsum(dtype=np.int64)])
    feature = drawn["feature"]
    n = tally.of.n_features
    found = Strongest(feature=np.full((n, count), -1, np.int32), value=np.zeros((n, count), np.float32))
    at = np.repeat(np.arange(len(drawn["count"])), drawn["count"])[np.argsort(feature, kind="stable")]
    bounds = np.concatenate([[0], np.bincount(feature, minlength=n).cumsum()])
    if count:
        _together(starts, feature, at, bounds, found.feature, found.value)
    return found


@exact
def _together(
    starts: np.ndarray, feature: np.ndarray, at: np.ndarray, bounds: np.ndarray, best: np.ndarray, value: np.ndarray
) -> None:
    n, count = best.shape
    joint, touched = np.zeros(n, np.int32), np.zeros(n, np.int32)
    for f in range(n):
        own, m = bounds[f + 1] - bounds[f], 0
        if own < LEAST:
            continue
        for p in at[bounds[f] : bounds[f + 1]]:
            for g in feature[starts[p] : starts[p + 1]]:
                if joint[g] == 0:
                    touched[m] = g
                    m += 1
                joint[g] += 1
        for g in touched[:m]:
            seen = joint[g]
            joint[g] = 0
            if g == f or seen < LEAST:
                continue
            theirs = bounds[g + 1] - bounds[g]
            pmi = np.float32(np.log(np.float64(seen) * (starts.shape[0] - 1) / (np.float64(own) * theirs)))
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


def silent(tally: Tally, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The pool in order of hash, no two windows of the same tokens, and for every feature places in it, or -1.

    A feature fires nowhere in the windows that it is given.
    """
    drawn = tally.joined("pool")
    order = np.lexsort((drawn["position"], drawn["document"], drawn["draw"]))
    _, first = np.unique(drawn["window"][order], return_index=True)
    pool = {name: array[order][np.sort(first)] for name, array in drawn.items()}
    chosen = np.full((tally.of.n_features, count), -1, np.int32)
    if count:
        _silent(pool["fired"], pool["draw"], chosen)
    return pool, chosen


@exact
def _silent(fired: np.ndarray, draw: np.ndarray, chosen: np.ndarray) -> None:
    n, count = chosen.shape
    keys = np.zeros(count, np.uint64)
    for f in range(n):
        held = 0
        for p in range(draw.shape[0]):
            if fired[p, f >> 3] >> (7 - (f & 7)) & 1:
                continue
            key = mix(draw[p] ^ (np.uint64(f) * np.uint64(0xD1B54A32D192ED03)))
            s = held
            while s > 0 and key < keys[s - 1]:
                s -= 1
            if s >= count:
                continue
            held = min(held + 1, count)
            for t in range(held - 1, s, -1):
                keys[t], chosen[f, t] = keys[t - 1], chosen[f, t - 1]
            keys[s], chosen[f, s] = key, p
