"""Tables and pictures of the study `arcs`."""

from __future__ import annotations

import numpy as np

from clew.stats import null_range
from clew.studies.arcs.measured import ArcsMeasured
from clew.studies.arcs.spectra import MOVING, SHUFFLED, WALK, WHITE, cosines, overlaps
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, legend, open_corner

MOST_SHOWN = 8
"""Components in the table and the picture."""
_SPECTRUM = (
    *("component", "share", "low", "high", "shuffled", "from", "to"),
    *("white noise, 95 %", "white noise", "moving average", "random walk", "cosine", "cosine, shuffled"),
)


def spectrum_table(measured: ArcsMeasured) -> Table:
    null, count = measured.null, min(MOST_SHOWN, measured.points - 1)
    waves = cosines(measured.points, measured.points - 1)
    overlap = overlaps(null.found.shapes, waves)
    shuffled = np.mean([overlaps(shapes, waves) for shapes in null.shapes[SHUFFLED]], 0)
    rows = []
    for component in range(count):
        exact = [100 * float(null.exact[name][component]) for name in (WHITE, MOVING, WALK)]
        draws = null_range((100 * null.draws[SHUFFLED][:, component]).tolist())
        noise = 100 * float(np.quantile(null.draws[WHITE][:, component], 0.95))
        share = [100 * end for end in measured.shares[component]]
        rows.append(
            (component + 1, *share, *draws, noise, *exact, float(overlap[component]), float(shuffled[component]))
        )  # fmt: skip
    above = ", ".join(f"{null.above[name]} of {name}" for name in (WHITE, MOVING, SHUFFLED, WALK))
    return Table.of_rows(
        "Shares of the components, in per cent",
        _SPECTRUM,
        rows,
        note="`low` to `high`: 95 % of resampled stories; `shuffled`, `from`, `to`: the same stories with their "
        "sentences in another order, mean and 95 % of the draws; `white noise, 95 %`: what 95 % of as many "
        "trajectories of noise stay below. `white noise`, `moving average` (white noise through the same windows and "
        "points) and `random walk` are exact. `cosine`: overlap of the shape with the pure cosine of its rank. "
        f"Components in a row, from the first, above 95 % of the draws: {above}.",
    )


def story_table(measured: ArcsMeasured) -> Table:
    names = ["story", "sentences"]
    if measured.arcs_known:
        names += ["arc", "nearest arc"]
    shown = measured.trajectories[..., 0] if measured.trajectories.shape[2] == 1 else None
    if shown is not None:
        names += [f"at {place + 1}" for place in range(measured.points)]
    rows = []
    for place, story in enumerate(measured.stories):
        row: list[object] = [" ".join((story.opening, *story.sentences)).strip()[:160], len(story.sentences)]
        if measured.arcs_known:
            row += [story.arc, measured.nearest_arcs[place]]
        rows.append(row if shown is None else [*row, *shown[place].tolist()])
    return Table.of_rows(
        "The stories and their trajectories",
        names,
        rows,
        note=f"{measured.title[0].upper()}{measured.title[1:]} on {measured.points} points, means over "
        f"{measured.window} sentences, not centred.",
    )


def spectrum_picture(measured: ArcsMeasured) -> Picture:
    null, count = measured.null, min(MOST_SHOWN, measured.points - 1)
    figure = new_figure(6.0, 3.4)
    axes = figure.subplots()
    ranks = list(range(1, count + 1))
    for name, colour in ((SHUFFLED, ORANGE), (WALK, GREEN), (WHITE, GREY)):
        points = [null_range(null.draws[name][:, place].tolist()) for place in range(count)]
        banded(axes, ranks, points, colour, name)
    banded(axes, ranks, measured.shares[:count], BLUE, "the stories")
    axes.set_xticks(ranks)
    axes.set_xlabel("component")
    axes.set_ylabel("share of the sum of squares")
    axes.set_ylim(0, None)
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="Spectrum of the trajectories",
        text="The share of every component: in the stories (blue, 95 % of resampled stories), in the same stories with "
        "their sentences shuffled (orange), in random walks (green) and white noise (grey), 95 % of the draws each. "
        "Only what lies above the orange band is due to the order of the sentences.",
    )


def shape_picture(measured: ArcsMeasured) -> Picture:
    null, count = measured.null, min(measured.components, measured.points - 1)
    places, waves = np.arange(1, measured.points + 1), cosines(measured.points, count)
    figure = new_figure(2.6 * count, 2.6)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for rank, axes in enumerate(panels):
        wave = waves[rank]
        for shapes in null.shapes[SHUFFLED]:
            axes.plot(places, _along(shapes[rank], wave), color=ORANGE, alpha=0.25, linewidth=0.8)
        axes.plot([], [], color=ORANGE, label="shuffled text")
        axes.plot(places, wave, "--", color=GREY, label="cosine")
        axes.plot(places, _along(null.found.shapes[rank], wave), color=BLUE, marker="o", markersize=4, label="stories")
        axes.set_title(f"component {rank + 1}", fontsize=9)
        axes.set_xlabel("position in the story")
        open_corner(axes)
    legend(panels[0], fontsize=7)
    return Picture.of(
        figure,
        title="Shapes of the components",
        text="The first shapes of the stories (blue), of the same stories shuffled, draw by draw (orange), and the "
        "pure cosines that random walks have (broken line). Signs are arbitrary and turned to the cosine's.",
    )


def _along(shape: np.ndarray, wave: np.ndarray) -> np.ndarray:
    return shape if float(shape @ wave) >= 0 else -shape
