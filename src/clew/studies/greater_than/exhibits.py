"""Tables and pictures of the study `greater-than`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clew.kit import Kit
from clew.stats import null_range
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import keys, legend, lying, named_rows, open_corner
from clew.studies.greater_than.claims import YearsMeasured, by_start
from clew.studies.greater_than.classes import CLASSES, MASS
from clew.studies.greater_than.prompts import YEARS, difference, law, renormalised
from clew.studies.greater_than.scales import COLUMNS, HELD

_SETS = {
    "at start": "at the start year",
    "at start, layers to 0": "of them in layer 0",
    "all": "all influential features",
}
_SHOWN = ("general", "narrow band", "parity or contrast", "saboteur")


def class_table(m: YearsMeasured) -> Table:
    """How many features each class has, and what they contribute."""
    whole = float(m.classes.contribution.sum())
    rows = []
    for name in CLASSES:
        nodes = m.classes.of(name)
        share = float(m.classes.contribution[nodes].sum()) / whole if whole else float("nan")
        influence = float(m.merged.influence[nodes].sum())
        rows.append((name, len(nodes), len({*nodes} & {*m.merged.at_start}), share, influence))
    return Table.of_rows(
        "Classes of features",
        ("class", "features", "at the start year", "share of the effect", "share of the influence"),
        rows,
        f"The {len(m.merged.keys)} most influential features at or behind the start year; of the most influential of "
        f"all places {m.merged.n_early} more stand in front of it, cannot depend on it, and are dropped. `share of the "
        "effect`: of their direct effect on later years less the others, added up. The graphs have a replacement score "
        f"of {m.merged.replacement:.0%} on average.",
    )


def feature_table(m: YearsMeasured, kit: Kit) -> Table:
    """Every feature, what it was classed by, and where it is used elsewhere."""
    named = kit.names([m.merged.feature(node) for node in range(len(m.merged.keys))])
    names = ("feature", "place", "name", "class", "influence", "effect", "p helps", "p band", "p parity", "p multiples")
    rows = []
    for node, (_, place, _) in enumerate(m.merged.keys):
        feature, p = m.merged.feature(node), m.classes.p
        rows.append(
            (
                str(feature),
                place,
                named.get(feature, ""),
                m.classes.names[node],
                float(m.merged.influence[node]),
                float(m.classes.contribution[node]),
                *(float(p[name][node]) for name in ("helps", "band", "parity", "multiples")),
                *task_range(m.merged.activations[node], m.merged.all_starts),
                *context_range(kit, m, node),
            )
        )
    return Table.of_rows(
        "Features",
        (*names, "from", "to", "contexts from", "contexts to"),
        rows,
        f"`from` and `to`: the start years between which {MASS:.0%} of its activation lies in this task; `contexts "
        "from` and `to`: the two-digit numbers at which it fires in its top contexts, where there is an atlas.",
    )


def task_range(activations: np.ndarray, starts: np.ndarray) -> tuple[int, int]:
    """Between which start years most of the activation lies, as much cut off at either end."""
    sums = np.cumsum(activations) / max(float(activations.sum()), 1e-12)
    cut = (1 - MASS) / 2
    low = int(np.searchsorted(sums, cut))
    high = int(np.searchsorted(sums, 1 - cut))
    return int(starts[min(low, len(starts) - 1)]), int(starts[min(high, len(starts) - 1)])


def context_range(kit: Kit, m: YearsMeasured, node: int) -> tuple[float, float]:
    """The smallest and largest two-digit number at which a feature fires in its top contexts; NaN without."""
    if kit.atlas_path is None:
        return float("nan"), float("nan")
    number = {int(token): year for year, token in enumerate(m.asked.years.tolist())}
    card = kit.atlas[str(m.merged.feature(node))]
    years = [number[c.token_ids[c.at]] for c in card.top if c.token_ids[c.at] in number]
    return (float(min(years)), float(max(years))) if years else (float("nan"), float("nan"))


def ablation_table(m: YearsMeasured) -> Table:
    """What is left when sets of features are ablated."""
    names = ("ablated", "features", "active a prompt", "difference", "renormalised", "low", "high", "mass on years")
    sets: list[tuple[str, tuple[float, ...], np.ndarray]] = [("nothing", (0.0, 0.0), m.years[m.ablated_places])]
    sets += [(name, m.sizes[name], years) for name, years in m.ablated.items()]
    rows = []
    for name, size, years in sets:
        left = by_start(difference(renormalised(years), m.ablated_starts), m.ablated_starts)
        raw = float(difference(years, m.ablated_starts).mean())
        rows.append((name, int(size[0]), size[1], raw, *left, float(years.sum(1).mean())))
    return Table.of_rows(
        "Ablations",
        names,
        rows,
        "`difference` is the probability of later years less that of the others, `renormalised` the same as shares of "
        "what lies on two-digit years: ablating many features breaks digits at all. Features are set to zero at their "
        "own places, MLP outputs clamped through the last edited layer; `null` sets are matched random features.",
    )


def scale_table(m: YearsMeasured) -> Table:
    """Single, joint and summed effects."""
    texts = {
        "edges": "sum of the graph's edges (values)",
        "attention parts": "+ queries and keys follow, to first order",
        "norm parts": "+ norm scales follow, to first order",
        "effects": "= sum of the graph's effects",
        "predicted": "predicted jointly: features behind the edited layers follow, final norm exact",
    }
    rows = [(text, "none: a prediction", name, "") for name, text in texts.items()]
    for name, (clamped, _) in HELD.items():
        through = "the last layer" if clamped else "the last edited layer"
        rows.append((f"measured, held: {name}", through, f"joint {name}", f"singles {name}"))

    def mean(name: str) -> float:
        return float(m.scales[:, COLUMNS.index(name)].mean()) if name and len(m.scales) else float("nan")

    return Table.of_rows(
        "One scale for single, joint and summed effects",
        ("what", "through", "together", "one by one, added up", "SD over prompts"),
        [(*row[:2], mean(row[2]), mean(row[3]), float(m.scales[:, COLUMNS.index(row[2])].std())) for row in rows],
        "Mean logit of later years less that of the others, lost with the features at the start year, mean over "
        f"{len(m.scales)} prompts. With patterns, norms and MLP outputs held the model is linear, and both columns are "
        "the sum of edges; what is left of the distance between them when one of these is free is what that step "
        "makes.",
    )


def _heat(axes: Any, values: np.ndarray, starts: np.ndarray, *, signed: bool, name: str) -> Any:
    most = float(np.abs(values).max()) or 1.0
    shown = axes.imshow(
        values,
        aspect="auto",
        origin="lower",
        extent=(0, YEARS, float(starts[0]), float(starts[-1]) + 1),
        cmap="RdBu" if signed else "Blues",
        vmin=-most if signed else 0,
        vmax=most,
        interpolation="nearest",
    )
    axes.plot([starts[0], starts[-1]], [starts[0], starts[-1]], color=GREY, linewidth=0.8)
    axes.set_title(name, fontsize=8)
    axes.set_xlabel("end year", fontsize=8)
    axes.tick_params(labelsize=7)
    return shown


def _by_start(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    own = np.unique(starts)
    return np.stack([values[starts == start].mean(0) for start in own]), own


def year_picture(m: YearsMeasured) -> Picture:
    """What the model says of the years, the law, and what is left without the features at the start year."""
    figure = new_figure(8.6, 3.2)
    panels = figure.subplots(1, 3, sharey=True)
    whole, starts = _by_start(m.years, m.asked.judged)
    after, some = _by_start(m.ablated["at start"], m.ablated_starts)
    rows = ((law(starts), starts, "the world's law"), (whole, starts, "the model"),
            (after, some, "without the features at the start year"))  # fmt: skip
    for axes, (values, own, name) in zip(panels, rows, strict=True):
        _heat(axes, np.sqrt(values), own, signed=False, name=name)
    panels[0].set_ylabel("start year", fontsize=8)
    return Picture.of(
        figure,
        title="Which end years are said",
        text="The probability of every end year (square root, for the eye) by start year: by the world's law every "
        "later year of the century is as likely; the model; the model with the features at the start year's token "
        "ablated. On the grey line the end year is the start year.",
    )


def feature_picture(m: YearsMeasured) -> Picture:
    """The strongest feature of each class: its activation by start year, and its direct effect by start and end."""
    best = {name: strongest(m, name) for name in _SHOWN}
    shown = [(name, node) for name, node in best.items() if node is not None]
    figure = new_figure(2.5 * max(len(shown), 2), 4.4)
    if not shown:
        figure.text(0.5, 0.5, "no feature has a class", ha="center")
    grid: Any = (
        figure.subplots(2, max(len(shown), 1), squeeze=False, sharex="col", height_ratios=(1, 2)) if shown else []
    )
    for column, (name, node) in enumerate(shown):
        top, bottom = grid[0][column], grid[1][column]
        top.fill_between(m.merged.all_starts, m.merged.activations[node], step="mid", color=ORANGE, linewidth=0)
        top.set_title(f"{name}\n{m.merged.feature(node)} at {m.merged.keys[node][1]}", fontsize=8)
        top.set_xlabel("start year", fontsize=7)
        top.tick_params(labelsize=7, labelbottom=True)
        open_corner(top)
        drawn = _heat(bottom, m.merged.effects[node], m.merged.starts, signed=True, name="")
        bar = figure.colorbar(drawn, ax=bottom, orientation="horizontal", shrink=0.8)
        bar.ax.tick_params(labelsize=6)
        if column == 0:
            top.set_ylabel("activation", fontsize=8)
            bottom.set_ylabel("start year", fontsize=8)
    lacking = [name for name, node in best.items() if node is None]
    return Picture.of(
        figure,
        title="A feature of each class",
        text="Above: how active the strongest feature of a class is by start year. Below: its direct effect on the "
        "logit of every end year (blue: raised, red: lowered; less its mean over the years), on the grey line the end "
        f"year is the start year.{' No feature is ' + ' or '.join(lacking) + '.' if lacking else ''}",
    )


def strongest(m: YearsMeasured, name: str) -> int | None:
    """The feature of a class whose effects on the years are largest."""
    nodes = m.classes.of(name)
    size: Callable[[int], float] = lambda node: float(np.abs(m.classes.contribution[node]))  # noqa: E731
    return max(nodes, key=size, default=None)


def ablation_picture(m: YearsMeasured) -> Picture:
    """The difference that is left and the mass on years, by what is ablated."""
    figure = new_figure(7.2, 3.0)
    axes = figure.subplots()
    sets = [name for name in m.ablated if ".null." not in name and ("layers to" not in name or name == m.first)]
    for row, name in enumerate(reversed(sets)):
        lying(axes, m.left(name), row, BLUE)
        axes.plot([m.mass(name).value], [row], color=GREEN, marker="|", markersize=12, linestyle="none")
    for name in ("at start", m.first):
        null = null_range([m.left(each).value for each in m.nulls(name)])
        lying(axes, null, len(sets) - 1 - sets.index(name), GREY, "s")
    keys(axes, (BLUE, "o", "difference left"), (GREEN, "|", "mass on years"), (GREY, "s", "null"))
    axes.axvspan(0.48, 0.52, color=GREY, alpha=0.2, linewidth=0)
    named_rows(axes, [_SETS.get(name, name) for name in sets])
    axes.set_xlabel("later years less the others, as shares of what lies on years")
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="What is left without some features",
        text="The difference between later years and the others, renormalised over two-digit years, when a set of "
        "features is ablated (blue, 95 % over start years), beside matched random features at the start year (grey). "
        "The shaded band is what a predictor scores that does not see the start year; green: the mass left on years.",
    )
