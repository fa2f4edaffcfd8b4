"""Nearest unlike neighbours, and counterfactuals made of them: Native Guide, CoMTE, SETS.

Every case starts from the reference cases that the model itself puts into the target class. Each method returns its
best attempt; whether the model agrees is measured afterwards, and said.

1. Nearest unlike neighbour: the reference case of the target class with the least L1 distance.
2. Native Guide (Delaney et al. 2021): the run of points that matters most for the neighbour's class is copied from it,
   longer and longer until the prediction flips.
3. CoMTE (Ates et al. 2021): whole channels are copied from near cases of the target class, as few as flip the
   prediction, by greedy steps and then by leaving out what is not needed.
4. SETS (Bahri et al. 2022): shapelets of the case's class are taken away, then those of the target class are put where
   they lie in the training cases, one after the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from clew.errors import InputError
from clew.timeseries.activation_maps import cam
from clew.timeseries.question import SeriesQuestion
from clew.timeseries.segments import shapelets, window_distances

_DISTRACTORS = 3  # near cases of the target class that CoMTE tries
_WINDOW = 10  # of Native Guide's occlusion, in shares of a series


def unlike(question: SeriesQuestion, target: int) -> Float[np.ndarray, "case channel time"]:
    """The reference cases of a class, as the model sees them; InputError where it sees none."""
    assert question.reference is not None
    assert question.reference_classes is not None
    cases = question.reference[question.reference_classes == target]
    if not len(cases):
        label = question.model.classes[target]
        raise InputError(
            f"the model puts none of the {len(question.reference):,} reference cases into class {label!r}: give "
            "reference= cases of it, or another target="
        )
    return cases


def _nearest(question: SeriesQuestion, most: int = 1) -> Float[np.ndarray, "rank channel time"]:
    """Reference cases of the target class of one case, the nearest first."""
    cases = unlike(question, int(question.targets[0]))
    distances = np.abs(cases - question.X[0]).sum((1, 2))
    return cases[np.argsort(distances, kind="stable")[:most]]


def nearest_unlike_neighbour(question: SeriesQuestion) -> np.ndarray:
    """The nearest reference case of the target class itself."""
    return np.concatenate([_nearest(q) for q in question.cases("nearest-unlike-neighbour")])


def is_target(question: SeriesQuestion, rows: Float[np.ndarray, "row channel time"]) -> np.ndarray:
    """Which of many series the model puts into the target class of one case."""
    return question.model.predicted(rows) == int(question.targets[0])


def native_guide(question: SeriesQuestion) -> np.ndarray:
    """The shortest copied run that flips the prediction, where the neighbour's class has its weight."""
    return np.stack([_guided(q) for q in question.cases("native-guide")])


def _guided(question: SeriesQuestion) -> Float[np.ndarray, "channel time"]:
    case, guide = question.X[0], _nearest(question)[0]
    times = case.shape[1]
    weight = np.concatenate([[0.0], _weight(question, guide).cumsum()])
    rows = np.repeat(case[None], times, 0)
    for length in range(1, times + 1):
        start = int((weight[length:] - weight[:-length]).argmax())
        rows[length - 1, :, start : start + length] = guide[:, start : start + length]
    flipped = np.flatnonzero(is_target(question, rows))
    return rows[flipped[0]] if len(flipped) else guide


def _weight(question: SeriesQuestion, guide: Float[np.ndarray, "channel time"]) -> Float[np.ndarray, " time"]:
    """How much every time of the neighbour speaks for its class: CAM where the net has one, else occlusion by runs of
    the case."""
    of_guide = replace(question, X=guide[None], baseline=question.X)
    if question.model.module is not None:
        try:
            return cam(of_guide)[0].sum(0)
        except InputError:
            pass
    times = guide.shape[1]
    width = max(1, times // _WINDOW)
    rows = np.repeat(guide[None], times - width + 1, 0)
    for start, row in enumerate(rows):
        row[:, start : start + width] = question.X[0][:, start : start + width]
    losses = question.outputs(guide[None])[0] - question.outputs(rows)
    counts = np.convolve(np.ones(len(losses)), np.ones(width))
    return np.convolve(losses, np.ones(width)) / counts


def comte(question: SeriesQuestion) -> np.ndarray:
    """As few copied channels as flip the prediction, of the distractor that changes the series least."""
    return np.stack([_swapped_channels(q) for q in question.cases("comte")])


def _swapped_channels(question: SeriesQuestion) -> Float[np.ndarray, "channel time"]:
    best: tuple[int, float] | None = None
    guides = _nearest(question, _DISTRACTORS)
    series = guides[0]
    for guide in guides:
        channels = _fewest(question, guide)
        changed = _with_channels(question, guide, channels)
        cost = (len(channels), float(np.abs(changed - question.X[0]).sum()))
        if is_target(question, changed[None])[0] and (best is None or cost < best):
            best, series = cost, changed
    return series


def _fewest(question: SeriesQuestion, guide: np.ndarray) -> list[int]:
    """Channels added by the best next one until the prediction flips, then taken out where it stays flipped."""
    chosen: list[int] = []
    while len(chosen) < len(guide):
        left = [channel for channel in range(len(guide)) if channel not in chosen]
        rows = np.stack([_with_channels(question, guide, [*chosen, channel]) for channel in left])
        chosen.append(left[int(question.outputs(rows).argmax())])
        if is_target(question, _with_channels(question, guide, chosen)[None])[0]:
            break
    for channel in list(chosen):
        rest = [other for other in chosen if other != channel]
        if rest and is_target(question, _with_channels(question, guide, rest)[None])[0]:
            chosen = rest
    return chosen


def _with_channels(question: SeriesQuestion, guide: np.ndarray, channels: list[int]) -> np.ndarray:
    changed = question.X[0].copy()
    changed[channels] = guide[channels]
    return changed


def sets(question: SeriesQuestion) -> np.ndarray:
    """Shapelets of the own class replaced, then those of the target class put in, until the prediction flips."""
    assert question.reference is not None
    assert question.reference_classes is not None
    own = question.model.predicted(question.X)
    series, cache = [], {}
    for number, q in enumerate(question.cases("sets")):
        pair = (int(own[number]), int(q.targets[0]))
        unlike(q, pair[1])
        if pair not in cache:
            cache[pair] = [_placed(q, label, pair[0] + pair[1] - label) for label in pair]
        series.append(_with_shapelets(q, *cache[pair]))
    return np.stack(series)


def _placed(question: SeriesQuestion, label: int, other: int) -> list[tuple[int, int, np.ndarray]]:
    """Shapelets of a class against another: channel, the usual place in its cases, values."""
    assert question.reference is not None
    assert question.reference_classes is not None
    chosen = np.isin(question.reference_classes, (label, other))
    X, classes = question.reference[chosen], question.reference_classes[chosen]
    inside = classes == label
    if not inside.any():
        return []
    length = max(3, X.shape[2] // 6)
    windows = shapelets(X, np.where(inside, label, other), length, most=8)
    placed = []
    for channel, window in windows:
        near = window_distances(X[:, channel], window)
        if near[inside].min(1).mean() <= (near[~inside].min(1).mean() if (~inside).any() else np.inf):
            placed.append((channel, int(np.median(near[inside].argmin(1))), window))
    return placed


def _with_shapelets(question: SeriesQuestion, own: list, other: list) -> Float[np.ndarray, "channel time"]:
    changed, guide = question.X[0].copy(), _nearest(question)[0]
    for channel, _, window in own:  # where the case has it, the neighbour takes its place
        start = int(window_distances(changed[channel][None], window)[0].argmin())
        changed[channel, start : start + len(window)] = guide[channel, start : start + len(window)]
        if is_target(question, changed[None])[0]:
            return changed
    for channel, start, window in other:
        changed[channel, start : start + len(window)] = _at_level(window, changed[channel], start)
        if is_target(question, changed[None])[0]:
            return changed
    return changed


def _at_level(window: np.ndarray, channel: np.ndarray, start: int) -> np.ndarray:
    """A shapelet within the range of the channel that it goes into."""
    low, high = channel.min(), channel.max()
    span = np.ptp(window)
    if span == 0 or high <= low or (window.min() >= low and window.max() <= high):
        return window
    return low + (window - window.min()) / span * (high - low)


def neighbours_of(question: SeriesQuestion) -> tuple[np.ndarray, Int[np.ndarray, " case"]]:
    """The nearest unlike neighbour of every case and what the model says of it, for the row beside every method."""
    series = nearest_unlike_neighbour(question)
    return series, question.model.predicted(series)
