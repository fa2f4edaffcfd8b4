"""Tables and pictures of the study `action-spaces`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from clew.stats import mean_interval
from clew.studies.action_spaces.claims import NEAR, ActionSpacesMeasures
from clew.studies.action_spaces.copying import head_name
from clew.studies.action_spaces.rewards import SOURCES
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, keys, legend, lying, named_rows, open_corner

LIGHT = "#8fb4e0"


def regret_table(measured: ActionSpacesMeasures) -> Table:
    """Regrets by the number of arms."""
    rows = []
    for arms in measured.config.arms:
        thompson, uniform = (measured.teachers[f"{name}.{arms}"] for name in ("thompson", "uniform"))
        drawn, learned = (of[f"nearest.{arms}"] for of in (measured.drawn, measured.learned))
        sampled = measured.drawn[f"sampled.{arms}"]
        means = (float(each.mean()) for each in (thompson, drawn, sampled, learned, uniform))
        rows.append((arms, "no" if arms in measured.config.unseen else "yes", *means, *measured.ratio(drawn, thompson)))
    return Table.of_rows(
        f"Regret of {measured.config.horizon} pulls, by the number of arms",
        [
            "arms",
            "trained on",
            "Thompson",
            "drawn anew",
            "sampled",
            "learned",
            "any arm",
            "drawn / Thompson",
            "low",
            "high",
        ],
        rows,
        note=f"Means of {measured.config.games} games. `drawn anew`, `learned`: a player by its embeddings, which "
        "pulls the nearest arm; `sampled`: the first by its probabilities. Learned embeddings that were never trained "
        "come first: with more arms than these some are known. Ratios with 95 % intervals, games resampled.",
    )


def head_table(measured: ActionSpacesMeasures) -> Table:
    """What every head copies and looks at."""
    copying, half = measured.copying, measured.copying.half
    columns = [
        copying.of_paid(sums, copying.paid, unpaid=unpaid)[half:].mean(0)
        for sums in (copying.copied, copying.attended)
        for unpaid in (False, True)
    ]
    favour = measured.flips["favour"].numpy().mean(0)
    rows = [
        (head_name(head), "yes" if head in copying.chosen else "", *(float(c[head]) for c in columns), float(fall))
        for head, fall in enumerate(favour)
    ]
    return Table.of_rows(
        "What heads copy",
        ["head", "chosen", "copies paid", "copies unpaid", "looks at paid", "looks at unpaid", "pay in the look"],
        rows,
        note="`copies`: logits that a look adds to the pulled arm, less what it adds to the others, the mean over "
        "pulls and the queries behind them. `looks`: attention. `pay in the look`: nats by which a look at a pull "
        "falls when it no longer paid; below 0 it rises.",
    )


def look_table(measured: ActionSpacesMeasures) -> Table:
    """One look by its sources."""
    head, query, key, step = (int(each) for each in measured.look["look"])
    sides = measured.look["sources"]
    rows = [(name, float(sides[0, place]), float(sides[1, place])) for place, name in enumerate(SOURCES)]
    rows.append(("together", float(sides[0].sum()), float(sides[1].sum())))
    return Table.of_rows(
        f"Why {head_name(head)} looks from position {query} at pull {step}, which paid (position {key})",
        ["source", "query side", "key side"],
        rows,
        note="The score, less the mean of the other keys', taken apart twice: by what stands at the query, and by what "
        "stands at the keys. `the pull itself` is the token that stands there.",
    )


def regret_picture(measured: ActionSpacesMeasures) -> Picture:
    """Regret by the number of arms."""
    figure = new_figure(6.6, 3.6)
    axes = figure.subplots()
    arms, pulls = list(measured.config.arms), measured.config.horizon
    lines: tuple[tuple[Mapping[str, Tensor], str, str, str], ...] = (
        (measured.teachers, "uniform", GREY, "any arm"),
        (measured.learned, "nearest", ORANGE, "learned embeddings"),
        (measured.drawn, "sampled", LIGHT, "drawn anew, sampled"),
        (measured.drawn, "nearest", BLUE, "embeddings drawn anew"),
        (measured.teachers, "thompson", GREEN, "Thompson sampling"),
    )
    for of, name, colour, label in lines:
        points = [mean_interval((of[f"{name}.{each}"] / pulls).tolist()) for each in arms]
        banded(axes, arms, points, colour, label)
    bar = [NEAR * float(measured.teachers[f"thompson.{each}"].mean()) / pulls for each in arms]
    axes.plot(arms, bar, "--", color=GREEN, linewidth=1, label=f"{NEAR} times Thompson's")
    axes.axvspan(measured.config.trained, max(arms) + 1, color=GREY, alpha=0.12, linewidth=0)
    axes.text(measured.config.trained + 0.5, 0.02, "never trained on", fontsize=8, color="#555555")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("arms")
    axes.set_ylabel("regret a pull")
    open_corner(axes)
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture.of(
        figure,
        title="Regret by the number of arms",
        text="How much less a pull earns than the best arm would. The player that sees its arms as embeddings drawn "
        f"anew for every game (blue) was trained with 4 to {measured.config.trained} arms. The one with learned "
        "embeddings (orange) gets the numbers first that it never saw. Bands are 95 % intervals over games.",
    )


def head_picture(measured: ActionSpacesMeasures) -> Picture:
    """What heads copy, and what is lost without them."""
    copying, half = measured.copying, measured.copying.half
    n = copying.copied.shape[1]
    figure = new_figure(8.2, 0.9 + 0.28 * n)
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    for unpaid, colour in ((False, BLUE), (True, ORANGE)):
        copied = copying.of_paid(copying.copied, copying.paid, unpaid=unpaid)[half:]
        for head in range(n):
            lying(left, mean_interval(copied[:, head].tolist()), n - 1 - head, colour)
    names = [f"{head_name(head)}{' (chosen)' if head in copying.chosen else ''}" for head in range(n)]
    named_rows(left, names)
    left.axvline(0, color=GREY, linewidth=1)
    left.set_xlabel("logits that a look adds to the arm it looks at")
    keys(left, (BLUE, "o", "the arm paid"), (ORANGE, "o", "it did not"))
    legend(left, loc="best")
    shares = [measured.carried(each).value for each in measured.ablations["others"]]
    right.plot(shares, np.zeros(len(shares)), "|", color=GREY, markersize=14)
    for layer, silenced in enumerate(measured.ablations["layers"]):
        lying(right, measured.carried(silenced), 2 + layer, GREEN)
    lying(right, measured.carried(measured.ablations["chosen"]), 1, BLUE)
    names = [f"all of layer {layer}" for layer in range(measured.config.layers)]
    right.set_yticks(range(2 + len(names)), ["other sets", "chosen heads", *names])
    right.set_ylim(-0.6, 1.6 + len(names))
    right.axvline(0, color=GREY, linewidth=1)
    right.set_xlabel("share of the gain that is lost")
    open_corner(left, right)
    return Picture.of(
        figure,
        title="Heads that copy the arm that paid",
        text="Left: what every head adds, for each pull that it looks at, to the logit of the arm that was pulled, "
        "less what it adds to other arms. Right: how much of what the player gains on pulling any arm is lost when the "
        "chosen heads write their mean, beside sets of as many other heads (grey) and all heads of a layer (green).",
    )
