"""Segments: groups of neighbouring points that a perturbation treats as one.

1. uniform: so many pieces of equal length.
2. changes: pieces between change points of all channels together, the exact minimum of squared error around the means
   of every piece (optimal partitioning by dynamic programming, Jackson et al. 2005).
3. shapelets: windows whose distance to cases tells classes apart best (Ye and Keogh 2009), and the pieces between them.

Every channel of a piece is a segment of its own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clew.errors import InputError

KINDS = ("points", "uniform", "changes", "shapelets")
_COUNT = 10
_SHAPELETS = 3

Labels = Int[np.ndarray, "case channel time"]


def segment_labels(
    X: Float[np.ndarray, "case channel time"],
    segments: str | int | np.ndarray | None,
    *,
    reference: np.ndarray | None = None,
    reference_classes: np.ndarray | None = None,
) -> Labels:
    """The number of the segment of every point, 0 onwards in every case.

    `segments` is None or "points", a count of uniform pieces, "uniform:12", "changes:8", "shapelets:20" (their length),
    or an array (channel, time) or (case, channel, time) of numbers. Shapelets need reference cases of two classes.
    InputError for another kind, and when a series is shorter than its segments.
    """
    n, channels, times = X.shape
    if isinstance(segments, np.ndarray):
        return _given(segments, X.shape)
    kind, number = _parsed(segments)
    if kind == "points":
        return np.broadcast_to(np.arange(channels * times).reshape(channels, times), X.shape).copy()
    number = number or (_COUNT if kind != "shapelets" else max(3, times // 8))
    if not 1 <= number <= times:
        what = f"shapelets of {number} times" if kind == "shapelets" else f"{number} segments"
        raise InputError(f"segments={segments!r}: a series of {times} times has no room for {what}")
    if kind == "uniform":
        pieces = np.broadcast_to(np.arange(times) * number // times, (n, times))
    elif kind == "changes":
        pieces = np.stack([_between(change_points(case, number), times) for case in X])
    else:
        pieces = _shapelet_pieces(X, number, reference, reference_classes)
    counts = pieces.max(1) + 1
    return pieces[:, None, :] + np.arange(channels)[None, :, None] * counts[:, None, None]


def _given(segments: np.ndarray, shape: tuple[int, ...]) -> Labels:
    if segments.dtype.kind not in "iu" or segments.shape not in (shape, shape[1:]):
        raise InputError(
            f"segments of shape {segments.shape} and {segments.dtype}: give whole numbers of (channel, time) "
            f"{shape[1:]} or (case, channel, time)"
        )
    rows = np.broadcast_to(segments, shape)
    return np.stack([np.unique(row, return_inverse=True)[1].reshape(shape[1:]) for row in rows])


def _parsed(segments: str | int | None) -> tuple[str, int]:
    if segments is None:
        return "points", 0
    text = f"uniform:{segments}" if isinstance(segments, int) or str(segments).isdecimal() else str(segments)
    kind, _, number = text.partition(":")
    if kind not in KINDS or not (number.isdecimal() or not number):
        raise InputError(f"segments={segments!r} is not known: give a count, or one of {', '.join(KINDS)} (changes:8)")
    return kind, int(number or 0)


def _between(starts: list[int], times: int) -> np.ndarray:
    """The number of the piece of every time, pieces beginning at 0 and at each start."""
    marks = np.zeros(times, dtype=int)
    marks[[start for start in starts if 0 < start < times]] = 1
    return np.cumsum(marks)


def change_points(case: Float[np.ndarray, "channel time"], pieces: int) -> list[int]:
    """Where the best piecewise constant fit of so many pieces begins a new piece; fewer for a constant series."""
    standard = (case - case.mean(1, keepdims=True)) / np.where(np.ptp(case, axis=1) > 0, case.std(1), 1.0)[:, None]
    times = case.shape[1]
    sums = np.concatenate([np.zeros((len(case), 1)), standard.cumsum(1)], 1)
    squares = np.concatenate([[0.0], (standard**2).sum(0).cumsum()])
    ends = np.arange(1, times + 1)
    lengths = ends[None, :] - np.arange(times)[:, None]
    means = (sums[:, None, 1:] - sums[:, :-1, None]) ** 2
    cost = np.where(lengths > 0, squares[None, 1:] - squares[:-1, None] - means.sum(0) / np.maximum(lengths, 1), np.inf)
    best, back = cost[0].copy(), [np.zeros(times, dtype=int)]
    for _ in range(1, pieces):
        totals = np.concatenate([[np.inf], best[:-1]])[:, None] + cost  # a last piece that begins at the row
        back.append(totals.argmin(0))
        best = totals.min(0)
    starts, end = [], times
    for choice in reversed(back[1:]):
        start = int(choice[end - 1])
        if start == 0:
            break
        starts.append(start)
        end = start
    return sorted(starts)


def _shapelet_pieces(
    X: np.ndarray, length: int, reference: np.ndarray | None, classes: np.ndarray | None
) -> Int[np.ndarray, "case time"]:
    """Where the most telling shapelets of the reference fit best in every case, and the pieces between them."""
    if reference is None or classes is None or len(set(classes.tolist())) < 2:
        raise InputError("segments='shapelets' needs reference cases that the model puts into two classes: reference=")
    found = shapelets(reference, classes, length)
    times, pieces = X.shape[2], []
    for case in X:
        starts: list[int] = []
        for channel, window in found:
            place = int(window_distances(case[channel][None], window)[0].argmin())
            if all(abs(place - other) >= length for other in starts):
                starts.append(place)
        edges = sorted({edge for start in starts for edge in (start, start + length)})
        pieces.append(_between(edges, times))
    return np.stack(pieces)


def shapelets(
    X: Float[np.ndarray, "case channel time"], classes: Int[np.ndarray, " case"], length: int, most: int = _SHAPELETS
) -> list[tuple[int, np.ndarray]]:
    """The windows whose least distance to the cases tells one class from the others best, as (channel, values).

    Candidates are windows of up to six cases a class, at every quarter of their length; the score is the area under the
    ROC curve of the distances, whichever way they go. The best come first, at most one for each place of a case.
    """
    scored = []
    for label in np.unique(classes):
        for case in np.flatnonzero(classes == label)[:6]:
            for channel in range(X.shape[1]):
                for start in range(0, X.shape[2] - length + 1, max(1, length // 4)):
                    window = X[case, channel, start : start + length]
                    near = window_distances(X[:, channel], window).min(1)
                    scored.append((_separation(near, classes == label), -start, channel, window))
    scored.sort(key=lambda row: row[:3], reverse=True)
    kept: list[tuple[int, int, np.ndarray]] = []
    for _, minus_start, channel, window in scored:
        if all(channel != other or abs(minus_start + start) >= length for other, start, _ in kept):
            kept.append((channel, -minus_start, window))
        if len(kept) == most:
            break
    return [(channel, window) for channel, _, window in kept]


def window_distances(
    rows: Float[np.ndarray, "case time"], window: Float[np.ndarray, " length"]
) -> Float[np.ndarray, "case start"]:
    """The mean squared difference of a window and every place of every row."""
    views = np.lib.stride_tricks.sliding_window_view(rows, len(window), axis=1)
    return ((views - window) ** 2).mean(2)


def _separation(distances: np.ndarray, inside: np.ndarray) -> float:
    """The area under the ROC curve of small distances for a class, ties counted half."""
    near, far = distances[inside], distances[~inside]
    return float((near[:, None] < far).mean() + 0.5 * (near[:, None] == far).mean())
