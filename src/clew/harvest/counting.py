"""How a harvest counts every activation, in loops that numba compiles.

The result does not depend on the order of the documents, nor on how they are split among workers:

1. Counts are integers. The sum of activations is a number of whole units and one of units of 2^-40.
2. A feature's slots hold the contexts that come first by a key: the activation, largest first, or a hash of feature,
   document and position. Equal keys go by document, then position. Of contexts with the same tokens only the first is
   kept. A context that was replaced can come back only with an earlier key, so that one pass is exact.
3. Bands are octaves of activation. The eight below a feature's largest activation have slots. When that grows, the
   lowest bands are emptied; they would never have been filled had the largest activation been known from the start.
4. The linear histogram has 64 bins of width 2^e, as narrow as the largest activation allows: when that grows, e rises
   and pairs of bins are added up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clew.features import tables
from clew.features.tables import BANDS, LOW, OCTAVES, STEPS, WIDTH, FeatureCounts, Slots
from clew.kernels.numba_loops import exact

BINS = 64  # of the linear histogram
NEVER = -1000  # the scale of a feature that never fired
UNITS = 40  # binary digits of the sum of activations behind the point
UNKNOWN = np.uint64(0xFFFFFFFFFFFFFFFF)
octave_of = exact(tables.octave_of)
_QUARTERS = np.array([np.float32(2.0 ** (q / 4)).view(np.int32) & 0x7FFFFF for q in (1, 2, 3)])


class LayerActivations(NamedTuple):
    """The active features of one layer at some positions, in the order of the positions."""

    starts: np.ndarray
    """Where every position's activations begin."""
    feature: np.ndarray
    value: np.ndarray
    bits: np.ndarray
    """The bits of `value`, as integers."""
    half: np.ndarray
    """The bits of `value` as float16."""


class Positions(NamedTuple):
    """Positions of documents, those of a document behind one another, and what is around them."""

    document: np.ndarray
    position: np.ndarray
    place: np.ndarray
    """The bin of BOUNDS in which the position lies."""
    at_end: np.ndarray
    """Whether it is the document's last."""
    window: np.ndarray
    """A hash of the tokens around."""
    draw: np.ndarray
    """A hash of document and position, evenly spread."""


@exact
def mix(x: np.uint64) -> np.uint64:
    """A bijection of 64 bits whose outputs look drawn at random (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@exact
def of_pair(a: np.uint64, b: np.uint64) -> np.uint64:
    """A hash of two numbers."""
    return mix(mix(a + np.uint64(0x9E3779B97F4A7C15)) ^ (b * np.uint64(0xD1B54A32D192ED03)))


@exact
def mark_positions(
    tokens: np.ndarray, starts: np.ndarray, before: int, after: int, bounds: np.ndarray, positions: Positions
) -> None:
    """Compute place, at_end, window and draw of positions whose document and position are set."""
    for i in range(positions.document.shape[0]):
        begin, end = starts[positions.document[i]], starts[positions.document[i] + 1]
        token = begin + positions.position[i]
        first = max(begin, token - before)
        h = np.uint64(token - first)
        for t in range(first, min(end, token + after + 1)):
            h = mix(h ^ (np.uint64(tokens[t]) + np.uint64(0x9E3779B97F4A7C15)))
        positions.window[i] = h
        positions.draw[i] = of_pair(np.uint64(positions.document[i]), np.uint64(positions.position[i]))
        positions.at_end[i] = token + 1 == end
        place = 0
        while place + 1 < bounds.shape[0] and bounds[place + 1] <= positions.position[i]:
            place += 1
        positions.place[i] = place


@exact
def _comes_first(key: np.uint64, document: int, position: int, slots: Slots, row: int, s: int) -> bool:
    if key != slots.key[row, s]:
        return key < slots.key[row, s]
    if document != slots.document[row, s]:
        return document < slots.document[row, s]
    return position < slots.position[row, s]


@exact
def offer(slots: Slots, row: int, key: np.uint64, document: int, position: int, window: np.uint64) -> int:
    """Put a context into a row if it is among the first; its slot, or -1. The caller fills in `around`."""
    n, chosen, last = slots.key.shape[1], -1, 0
    for s in range(n):
        if slots.document[row, s] < 0:
            chosen = s  # empty slots are at the end
            break
        if slots.window[row, s] == window:
            if not _comes_first(key, document, position, slots, row, s):
                return -1
            chosen = s
            break
        if not _comes_first(slots.key[row, s], slots.document[row, s], slots.position[row, s], slots, row, last):
            last = s
    if chosen < 0:
        if not _comes_first(key, document, position, slots, row, last):
            return -1
        chosen = last
    slots.key[row, chosen] = key
    slots.document[row, chosen] = document
    slots.position[row, chosen] = position
    slots.window[row, chosen] = window
    if slots.document[row, n - 1] >= 0:
        limit = np.uint64(0)
        for s in range(n):
            limit = max(limit, slots.key[row, s])
        slots.limit[row] = limit
    return chosen


@exact
def _look_around(
    active: LayerActivations, positions: Positions, i: int, feature: int, before: int, around: np.ndarray
) -> None:
    """The activations of one feature at the positions around the i-th, in its document; 0 where one does not count."""
    document, n = positions.document[i], positions.document.shape[0]
    for d in range(around.shape[0]):
        around[d] = 0
        wanted = positions.position[i] + d - before
        j = min(max(i + d - before, 0), n - 1)  # nearer to i where positions between do not count
        while j > i and (positions.document[j] != document or positions.position[j] > wanted):
            j -= 1
        while j < i and (positions.document[j] != document or positions.position[j] < wanted):
            j += 1
        if positions.position[j] != wanted:
            continue
        low, high = active.starts[j], active.starts[j + 1]
        while low < high:
            middle = (low + high) // 2
            if active.feature[middle] < feature:
                low = middle + 1
            else:
                high = middle
        if low < active.starts[j + 1] and active.feature[low] == feature:
            around[d] = active.half[low]


@exact
def _widen(counts: FeatureCounts, f: int, exponent: int) -> None:
    """Make room in the linear histogram for a value with this binary exponent."""
    steps = exponent - WIDTH - counts.scale[f]
    if counts.scale[f] != NEVER and steps > 0:
        row = counts.linear[f]
        for b in range(1, BINS):
            number, to = row[b], b >> min(steps, 32)
            row[b] = 0
            row[to] += number
    if counts.scale[f] == NEVER or steps > 0:
        counts.scale[f] = exponent - WIDTH


@exact
def _raise_bands(bands: Slots, f: int, old: int, new: int) -> None:
    """Empty the rows of octaves that fall below the bands; the row of an octave is its number modulo 8."""
    for octave in range(max(old + 1, new - BANDS + 1), new + 1):
        row = f * BANDS + octave % BANDS
        bands.document[row] = -1
        bands.limit[row] = UNKNOWN


@exact
def _count(counts: FeatureCounts, f: int, value: float, bits: int, positions: Positions, i: int) -> None:
    """Count one activation of a feature at the i-th position."""
    exponent, mantissa = (bits >> 23) - 127, bits & 0x7FFFFF
    counts.fired[f] += 1
    whole = np.int64(np.floor(value))
    rest = counts.rest[f] + np.int64(np.rint((np.float64(value) - whole) * np.float64(1 << UNITS)))
    counts.whole[f] += whole + (rest >> UNITS)
    counts.rest[f] = rest & ((1 << UNITS) - 1)
    if counts.last[f] != positions.document[i]:
        counts.last[f] = positions.document[i]
        counts.documents[f] += 1
    counts.most[f] = max(counts.most[f], value)
    quarter = 0
    for q in range(STEPS - 1):
        quarter += mantissa >= _QUARTERS[q]
    step = (exponent - LOW) * STEPS + quarter
    counts.log[f, min(max(step, 0), OCTAVES * STEPS - 1)] += 1
    counts.linear[f, (mantissa | 0x800000) >> min(23 - exponent + counts.scale[f], 62)] += 1
    counts.places[f, positions.place[i]] += 1
    counts.at_end[f] += positions.at_end[i]


@exact
def count_activations(
    active: LayerActivations,
    positions: Positions,
    offset: int,
    before: int,
    counts: FeatureCounts,
    top: Slots,
    bands: Slots,
) -> None:
    """Count the activations of one layer, whose features are numbered from `offset`, and offer their contexts."""
    for i in range(positions.document.shape[0]):
        document, position, window = positions.document[i], positions.position[i], positions.window[i]
        for j in range(active.starts[i], active.starts[i + 1]):
            value, bits = active.value[j], active.bits[j]
            if not value > 0:
                continue
            f = offset + active.feature[j]
            exponent = (bits >> 23) - 127
            old = counts.scale[f]
            octave = octave_of(exponent)
            if exponent - WIDTH > old:
                _widen(counts, f, exponent)
                if old != NEVER:
                    _raise_bands(bands, f, octave_of(old + WIDTH), octave)
            _count(counts, f, value, bits, positions, i)
            key = np.uint64(0xFFFFFFFF) - np.uint64(bits)
            if key <= top.limit[f]:
                slot = offer(top, f, key, document, position, window)
                if slot >= 0:
                    _look_around(active, positions, i, active.feature[j], before, top.around[f, slot])
            if octave > octave_of(counts.scale[f] + WIDTH) - BANDS:
                row = f * BANDS + octave % BANDS
                key = mix(positions.draw[i] ^ (np.uint64(f) * np.uint64(0x9E3779B97F4A7C15)))
                if key <= bands.limit[row]:
                    slot = offer(bands, row, key, document, position, window)
                    if slot >= 0:
                        _look_around(active, positions, i, active.feature[j], before, bands.around[row, slot])


@exact
def _merge_row(into: Slots, row: int, other: Slots, theirs: int) -> None:
    for s in range(other.key.shape[1]):
        if other.document[theirs, s] >= 0:
            slot = offer(
                into, row, other.key[theirs, s], other.document[theirs, s], other.position[theirs, s],
                other.window[theirs, s],
            )  # fmt: skip
            if slot >= 0:
                into.around[row, slot] = other.around[theirs, s]


@exact
def merge(
    counts: FeatureCounts, top: Slots, bands: Slots, their_counts: FeatureCounts, their_top: Slots, their_bands: Slots
) -> None:
    """Add the counts and contexts of other documents."""
    for f in range(counts.fired.shape[0]):
        theirs = their_counts.scale[f]
        if theirs == NEVER:
            continue
        ours = counts.scale[f]
        highest = octave_of(max(ours, theirs) + WIDTH)
        if ours != NEVER and theirs > ours:
            _raise_bands(bands, f, octave_of(ours + WIDTH), highest)
        if theirs > ours:
            _widen(counts, f, theirs + WIDTH)
        for b in range(BINS):
            counts.linear[f, b >> min(counts.scale[f] - theirs, 32)] += their_counts.linear[f, b]
        _add(counts, their_counts, f)
        _merge_row(top, f, their_top, f)
        for octave in range(octave_of(theirs + WIDTH) - BANDS + 1, octave_of(theirs + WIDTH) + 1):
            if octave > highest - BANDS:
                row = f * BANDS + octave % BANDS
                _merge_row(bands, row, their_bands, row)


@exact
def _add(counts: FeatureCounts, theirs: FeatureCounts, f: int) -> None:
    counts.fired[f] += theirs.fired[f]
    rest = counts.rest[f] + theirs.rest[f]
    counts.whole[f] += theirs.whole[f] + (rest >> UNITS)
    counts.rest[f] = rest & ((1 << UNITS) - 1)
    counts.documents[f] += theirs.documents[f]
    counts.most[f] = max(counts.most[f], theirs.most[f])
    for b in range(counts.log.shape[1]):
        counts.log[f, b] += theirs.log[f, b]
    for b in range(counts.places.shape[1]):
        counts.places[f, b] += theirs.places[f, b]
    counts.at_end[f] += theirs.at_end[f]


@exact
def settle(slots: Slots) -> None:
    """Sort every row, the first context first."""
    for row in range(slots.key.shape[0]):
        n = 0
        while n < slots.key.shape[1] and slots.document[row, n] >= 0:
            n += 1
        for end in range(1, n):
            s = end
            while s > 0 and _comes_first(
                slots.key[row, s], slots.document[row, s], slots.position[row, s], slots, row, s - 1
            ):
                _swap(slots, row, s)
                s -= 1


@exact
def _swap(slots: Slots, row: int, s: int) -> None:
    """Swap a slot and the one before it."""
    slots.key[row, s - 1], slots.key[row, s] = slots.key[row, s], slots.key[row, s - 1]
    slots.document[row, s - 1], slots.document[row, s] = slots.document[row, s], slots.document[row, s - 1]
    slots.position[row, s - 1], slots.position[row, s] = slots.position[row, s], slots.position[row, s - 1]
    slots.window[row, s - 1], slots.window[row, s] = slots.window[row, s], slots.window[row, s - 1]
    for d in range(slots.around.shape[2]):
        swapped = slots.around[row, s, d]
        slots.around[row, s, d] = slots.around[row, s - 1, d]
        slots.around[row, s - 1, d] = swapped
