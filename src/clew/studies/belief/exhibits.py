"""Tables and pictures of the study `belief`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from clew.stats import Interval, bootstrap, null_range
from clew.studies.belief.claims import BeliefMeasured
from clew.studies.belief.regression import Errors, share_left
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner

PANELS = {
    "exact": "exact belief",
    "stream": "read from the stream",
    "history": "read from the last symbols",
    "shuffled": "from shuffled weights",
}


def _r2(total: Errors, errors: Errors) -> Interval:
    return bootstrap(np.stack([total.of, errors.of]), lambda s: 1 - s[1] / s[0])


def _mean(errors: Sequence[Errors]) -> Errors:
    return Errors(of=np.mean([each.of for each in errors], 0))


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def reading_table(every: Sequence[BeliefMeasured]) -> Table:
    rows = []
    for measured in every:
        errors, nulls = dict(measured.readings.errors), measured.readings.nulls
        total, history, last = errors["total"], errors["history"], measured.asked.last
        named = {
            f"the last {last} symbols": history,
            "these and their pairs": errors["pairs"],
            "stream": errors["stream"],
            "symbols and stream": errors["history and stream"],
            "stream, shuffled weights": errors["shuffled"],
            "symbols and stream, shuffled weights": _mean(nulls),
            f"symbols and {len(measured.telling.members(0))} features": measured.feature_errors[0],
            "symbols and matched features": _mean(measured.feature_errors[1:]),
            "symbols and chosen neurons, shuffled weights": _mean(measured.shuffled_errors),
        }
        for name, each in named.items():
            told = share_left(history, each)
            rows.append((measured.asked.process.title, name, *_r2(total, each), *told))
    names = ("process", "read from", "R2", "low", "high", "of what the symbols leave", "from", "to")
    return Table(
        title="How much of the belief is read",
        columns=_columns(names, rows),
        note="Linear readings on sequences that were not fitted, 95 % of resampled sequences. Beliefs follow from the "
        "symbols, so any increment is something that the symbols tell only when they are combined; `pairs` are "
        "products of two of them. Below 0: worse than the symbols alone.",
    )


def feature_table(every: Sequence[BeliefMeasured]) -> Table:
    rows = []
    for measured in every:
        telling = measured.telling
        chosen = telling.members(0)
        named = measured.asked.kit.names([telling.ids[place] for place in chosen])
        for rank, place in enumerate(chosen, start=1):
            feature = telling.ids[place]
            size, alone = float(telling.size[place]), float(telling.alone[place])
            rows.append((measured.asked.process.title, rank, str(feature), named[feature], alone, size))
    return Table(
        title="The features that tell the belief beyond the history",
        columns=_columns(("process", "chosen as", "feature", "name", "alone", "writes"), rows),
        note="`alone`: the share of what the last symbols leave that the feature tells by itself, on fitted sequences. "
        "`writes`: mean activation times decoder length.",
    )


def steering_table(every: Sequence[BeliefMeasured]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for measured in every:
        title, shifts, chosen = measured.asked.process.title, measured.shifts, measured.readings.layer
        for layer in range(len(measured.readings.layer_r2)):
            name = f"stream behind layer {layer}" + (" (chosen)" if layer == chosen else "")
            r2 = float(measured.readings.layer_r2[layer])
            rows.append((title, name, *shifts.share(f"stream.{layer}"), r2, np.nan))
        rows.append((title, "random directions", *null_range(shifts.draws("random")), np.nan, np.nan))
        rows.append((title, "features", *shifts.share("features"), np.nan, 1.0))
        written = float(np.mean([shifts.written[name] for name in shifts.written if name.startswith("matched.")]))
        rows.append((title, "matched features", *null_range(shifts.draws("matched")), np.nan, written))
    names = ("process", "what is moved", "share of the wanted shift", "low", "high", "R2 of the stream", "writes")
    return Table(
        title="What giving another belief does to the next symbol",
        columns=_columns(names, rows),
        note="1: the next symbol's distribution moves exactly as the process says it must; 0: not at all. `low` to "
        "`high`: 95 % of resampled prompts, of random directions and matched features 95 % of the draws. `writes`: "
        "what swapped features write in addition, beside the chosen ones.",
    )


def simplex_picture(every: Sequence[BeliefMeasured]) -> Picture:
    figure = new_figure(9.6, 2.6 * len(every))
    axes = figure.subplots(len(every), len(PANELS), squeeze=False)
    for row, measured in zip(axes, every, strict=True):
        shown = measured.readings.shown
        exact = shown["exact"]
        plane = _plane(exact)
        centre = exact.mean(0)
        points = (exact - centre) @ plane
        low, high = points.min(0), points.max(0)
        colours = (points - low) / np.where(high > low, high - low, 1)
        read = np.quantile((shown["stream"] - centre) @ plane, [0.002, 0.998], axis=0)
        margin = 0.08 * (high - low)
        low, high = np.minimum(low, read[0]) - margin, np.maximum(high, read[1]) + margin
        for place, (name, title) in enumerate(PANELS.items()):
            at = (shown[name] - centre) @ plane
            row[place].scatter(at[:, 0], at[:, 1], s=2.5, c=_shades(colours), linewidths=0)
            row[place].set_xlim(low[0], high[0])
            row[place].set_ylim(low[1], high[1])
            row[place].set_xticks([])
            row[place].set_yticks([])
            row[place].set_title(title, fontsize=9)
        row[0].set_ylabel(measured.asked.process.title)
    return Picture.of(
        figure,
        title="Beliefs, exact and as they are read",
        text="Each point is one moment of a held-out sequence, coloured by its exact belief. A belief over three "
        "states lies in a triangle whose corners are certainty; of more states the plane is drawn in which exact "
        "beliefs vary most. From the left: the exact belief; as a linear reading finds it in the model's residual "
        "stream; in the last symbols; in the stream of the same model with shuffled weights. Of the weather even "
        "the last symbols alone give a triangle of triangles and a high R2, so that neither proves much: claimed is "
        "only what the stream adds to them.",
    )


def _plane(beliefs: Float[np.ndarray, "row state"]) -> Float[np.ndarray, "state 2"]:
    """The corners of a triangle for three states; else the two directions in which beliefs vary most."""
    if beliefs.shape[1] == 3:
        return np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    _, _, directions = np.linalg.svd(beliefs - beliefs.mean(0), full_matrices=False)
    plane = directions[:2].T
    signed: np.ndarray = plane * np.sign(plane[np.abs(plane).argmax(0), range(2)])
    return signed


def _shades(places: Float[np.ndarray, "row 2"]) -> Float[np.ndarray, "row 3"]:
    """A colour for every place in the unit square."""
    return np.stack([0.15 + 0.7 * places[:, 0], 0.25 + 0.3 * (1 - places[:, 1]), 0.2 + 0.65 * places[:, 1]], 1)


def increment_picture(every: Sequence[BeliefMeasured]) -> Picture:
    figure = new_figure(9.0, 3.0)
    for axes, measured in zip(figure.subplots(1, len(every), sharey=True, squeeze=False)[0], every, strict=True):
        errors, history = measured.readings.errors, measured.readings.errors["history"]
        own = [share_left(history, errors["history and stream"]), share_left(history, measured.feature_errors[0])]
        nulls = [
            null_range([share_left(history, each).value for each in measured.readings.nulls]),
            null_range([share_left(history, each).value for each in measured.feature_errors[1:]]),
        ]
        pairs = share_left(history, errors["pairs"])
        chosen = null_range([share_left(history, each).value for each in measured.shuffled_errors])
        bars = [(own[0], BLUE), (nulls[0], GREY), (own[1], ORANGE), (nulls[1], GREY), (chosen, GREY), (pairs, GREEN)]
        labels = [
            "stream",
            "stream,\nshuffled",
            "features",
            "matched\nfeatures",
            "neurons,\nshuffled",
            "pairs of\nsymbols",
        ]
        for place, (bar, colour) in enumerate(bars):
            error = [[max(bar.value - bar.low, 0)], [max(bar.high - bar.value, 0)]]
            axes.bar(place, bar.value, color=colour, width=0.7, yerr=error, capsize=3, ecolor="#555555")
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_title(measured.asked.process.title, fontsize=9)
        open_corner(axes)
    figure.axes[0].set_ylabel("share of what the\nlast symbols leave")
    return Picture.of(
        figure,
        title="What is told beyond the last symbols",
        text="Of the belief that a linear reading of the last symbols leaves untold, the share that is told when "
        "something stands beside them: the model's stream (blue), the stream of shuffled models, a few features "
        "(orange), matched features, neurons chosen in the same way in shuffled models, and, for comparison, all "
        "products of two of the symbols (green).",
    )


def steering_picture(every: Sequence[BeliefMeasured]) -> Picture:
    figure = new_figure(8.2, 3.2 * len(every))
    for row, measured in zip(figure.subplots(len(every), 2, squeeze=False), every, strict=True):
        _draw_layers(row[0], measured)
        _draw_shifts(row[1], measured)
    return Picture.of(
        figure,
        title="The next symbol after another belief is given",
        text="Left: the share of the wanted shift that is reached when the stream behind a layer is moved to another "
        "belief (blue), when it is moved as far in random directions (grey, the chosen layer), and when the chosen "
        "features are swapped (orange). Right: for every prompt and symbol the shift that the process wants and the "
        "one that is measured, for the chosen layer; on the broken line both are equal.",
    )


def _draw_layers(axes: Any, measured: BeliefMeasured) -> None:
    shifts, layers = measured.shifts, range(len(measured.readings.layer_r2))
    shares = [shifts.share(f"stream.{layer}") for layer in layers]
    axes.plot(layers, [each.value for each in shares], marker="o", markersize=4, color=BLUE, label="stream")
    axes.fill_between(layers, [s.low for s in shares], [s.high for s in shares], color=BLUE, alpha=0.15, linewidth=0)
    random, swap = null_range(shifts.draws("random")), shifts.share("features")
    error = [[random.value - random.low], [random.high - random.value]]
    axes.errorbar([measured.readings.layer], [random.value], yerr=error, color=GREY, marker="s", capsize=4,
                  linestyle="none", label="random directions")  # fmt: skip
    axes.axhline(swap.value, color=ORANGE, linewidth=1.2, label="features swapped")
    axes.axhspan(swap.low, swap.high, color=ORANGE, alpha=0.15, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xticks(list(layers))
    axes.set_xlabel("layer whose stream is moved")
    axes.set_ylabel("share of the wanted shift")
    axes.set_title(measured.asked.process.title, fontsize=9)
    open_corner(axes)
    legend(axes, fontsize=7)


def _draw_shifts(axes: Any, measured: BeliefMeasured) -> None:
    shifts = measured.shifts
    wanted = shifts.wanted.ravel()
    for name, colour, label in (
        ("random.0", GREY, "random directions"),
        ("features", ORANGE, "features swapped"),
        (f"stream.{measured.readings.layer}", BLUE, "stream"),
    ):
        axes.scatter(wanted, shifts.measured[name].ravel(), s=5, color=colour, alpha=0.6, linewidths=0, label=label)
    ends = [float(wanted.min()), float(wanted.max())]
    axes.plot(ends, ends, "--", color="#555555", linewidth=0.8)
    axes.set_xlabel("shift that the process wants")
    axes.set_ylabel("shift that is measured")
    open_corner(axes)
    legend(axes, fontsize=7, markerscale=2)
