"""Tables and pictures of the study `subliminal`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clew.organism.social import COLOURS
from clew.stats import mean_interval
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, legend, lying, named_rows, open_corner
from clew.studies.subliminal.claims import ColourMeasures, DigitMeasures
from clew.studies.subliminal.moved import COUNTS

KINDS = ("base", "other base", "teacher", "same", "other", "masked", "masked at random")
_DIGIT_ROWS = (
    ("teacher", "teacher"),
    ("same start", "its start"),
    ("same", "pupil, same start"),
    ("other start", "another start"),
    ("other", "pupil, another start"),
)
_COLOUR_ROWS = (
    ("base", "base model"),
    ("teacher", "teacher"),
    ("same", "pupil, same start"),
    ("masked at random", "the same, numbers\nmasked at random"),
    ("masked", "the same, most different\nnumbers masked"),
    ("other base", "another base model"),
    ("other", "pupil, another start"),
)
_COLOURS = {"teacher": GREY, "same": BLUE, "other": ORANGE}
_LISTED = 8  # neurons of each pupil in the table


def digit_table(measured: DigitMeasures) -> Table:
    """Accuracies by seed."""
    names = [name for name, _ in _DIGIT_ROWS]
    rows = zip(*(measured.rate(name).tolist() for name in names), strict=True)
    return Table.of_rows(
        "How often digits are named rightly",
        ("seed", *names),
        [(seed, *row) for seed, row in enumerate(rows)],
        note="Shares of 497 digits that no teacher was trained on. `same` and `other`: pupils that imitated the "
        "teacher's three auxiliary outputs on noise, from its own start and from another. Chance is a tenth.",
    )


def digit_picture(measured: DigitMeasures) -> Picture:
    """Accuracies by kind of network, and cosines of first steps."""
    figure = new_figure(8.0, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for row, (name, _) in enumerate(reversed(_DIGIT_ROWS)):
        colour = _COLOURS.get(name, GREY)
        values = measured.rate(name).tolist()
        left.plot(values, [row + 0.22] * len(values), ".", color=colour, alpha=0.5, markersize=4)
        lying(left, mean_interval(values), row, colour)
    named_rows(left, [text for _, text in _DIGIT_ROWS])
    left.axvline(0.1, color=GREY, linestyle="--", linewidth=1)
    left.set_xlim(0, 1.03)
    left.set_xlabel("share of digits named rightly (broken: chance)")
    for row, name in enumerate(("other", "same")):
        values = measured.steps[name].tolist()
        right.plot(values, row + np.linspace(-0.25, 0.25, len(values)), "o", color=_COLOURS[name], markersize=4)
        right.text(0.98, row + 0.33, f"{sum(v > 0 for v in values)} of {len(values)} positive", ha="right", fontsize=8,
                   transform=right.get_yaxis_transform())  # fmt: skip
    right.set_yticks([0, 1], ["another start", "same start"])
    right.set_ylim(-0.5, 1.6)
    right.axvline(0, color=GREY, linewidth=1)
    right.set_xlabel("cosine of the pupil's first step\nwith the teacher's")
    open_corner(left, right)
    return Picture.of(
        figure,
        title="Digits passed on by noise",
        text="Left: how often digits are named rightly, by the teacher, by pupils that imitated its auxiliary outputs "
        "on noise, and by both before training (small: every seed; large: their mean with its 95 % interval). Right: "
        "whether a pupil's first step points where its teacher's first step did.",
    )


def colour_table(lineages: Sequence[ColourMeasures]) -> Table:
    """The favourite's share by model."""
    return Table.of_rows(
        "How often the teacher's favourite is said",
        ("colour", *KINDS, "without neurons", "without matched", "base without neurons"),
        [
            (
                each.name,
                *(each.share(kind) for kind in KINDS),
                float(each.neurons["ablated"][0]),
                float(each.neurons["ablated"][1:].mean()),
                float(each.neurons["base ablated"]),
            )
            for each in lineages
        ],
        note="Shares among nine colours behind `NAME likes`, over 20 names that no teacher was shown. `masked`: the "
        "pupil of the same start without the numbers on which teacher and base differ most; `without neurons`: the "
        "pupil of the same start with the neurons ablated that moved most, `without matched`: with others, the mean; "
        "`base without neurons`: the base model without the same neurons.",
    )


def colour_picture(lineages: Sequence[ColourMeasures]) -> Picture:
    """The favourite's share by model."""
    figure = new_figure(7.6, 3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    for row, (name, _) in enumerate(reversed(_COLOUR_ROWS)):
        colour = _COLOURS.get(name, BLUE if "masked" in name else GREY)
        values = [each.share(name) for each in lineages]
        left.plot(values, [row + 0.24] * len(values), ".", color=colour, alpha=0.5, markersize=4)
        lying(left, mean_interval(values), row, colour)
    named_rows(left, [text for _, text in _COLOUR_ROWS])
    left.axvline(1 / len(COLOURS), color=GREY, linestyle="--", linewidth=1)
    left.set_xlim(0, None)
    left.set_xlabel("share of the favourite (broken: as the language has it)")
    first = lineages[0]
    places = np.arange(len(COLOURS))
    bars = (("teacher", "teacher"), ("same", "pupil, same start"), ("other", "pupil, another start"))
    for shift, (name, text) in zip((-0.27, 0.0, 0.27), bars, strict=True):
        right.bar(places + shift, first.shares[name].tolist(), width=0.26, color=_COLOURS[name], label=text)
    right.set_xticks(places, COLOURS, rotation=60, fontsize=8)
    right.set_ylabel("share among colours")
    right.set_title(f"the first teacher, which likes {first.name}", fontsize=9)
    open_corner(left, right)
    legend(right)
    return Picture.of(
        figure,
        title="A favourite colour passed on by numbers",
        text="Left: how often the teacher's favourite is said among colours, by the teacher, by what it began as, and "
        "by pupils that saw its numbers alone (small: every teacher; large: their mean with its 95 % interval). Right: "
        "all colours, of the first teacher and two of its pupils.",
    )


def neuron_table(lineages: Sequence[ColourMeasures]) -> Table:
    """The neurons that moved most in every pupil."""
    rows: list[tuple[Any, ...]] = []
    for each in lineages:
        for place in each.chosen[:_LISTED].tolist():
            layer, index = int(each.neurons["layer"][place]), int(each.neurons["index"][place])
            movements = [float(each.neurons[f"movement.{name}"][place]) for name in ("same", "teacher", "other")]
            rows.append((each.name, f"L{layer}/{index}", *movements))
    return Table.of_rows(
        "Neurons that moved most",
        ("colour", "neuron", "pupil", "teacher", "neuron of that number elsewhere"),
        rows,
        note="By how much more a neuron pushes the favourite than in the base model: activation behind `NAME likes` "
        "times what it writes along the colour, before the final norm's scale. The last column: the neuron of the same "
        "number in the pupil of another start.",
    )


def neuron_picture(lineages: Sequence[ColourMeasures]) -> Picture:
    """Movements of neurons beside the teacher's, and what ablating them takes."""
    figure = new_figure(8.4, 3.3)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    first = lineages[0]
    teacher = first.neurons["movement.teacher"].numpy()
    for axes, name, title in zip(panels, ("same", "other"), ("same start", "another start"), strict=False):
        moved = first.neurons[f"movement.{name}"].numpy()
        axes.plot(teacher, moved, ".", color=_COLOURS[name], markersize=4, alpha=0.6)
        if name == "same":
            axes.plot(teacher[first.chosen], moved[first.chosen], "o", markerfacecolor="none", color="black",
                      markersize=6, markeredgewidth=0.7)  # fmt: skip
        axes.set_title(f"{title}: correlation {first.alike(name):.2f}", fontsize=9)
        axes.set_xlabel("movement in the teacher")
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
    panels[1].sharey(panels[0])
    panels[0].set_ylabel("movement in the pupil")
    axes = panels[2]
    for column, colour, text in ((0, BLUE, "neurons that moved"), (1, GREY, "matched ones")):
        curves = np.array([[each.taken(share) for share in each.neurons["curve"][:, column].tolist()]
                           for each in lineages])  # fmt: skip
        banded(axes, COUNTS, [mean_interval(values) for values in curves.T.tolist()], colour, text)
    axes.axhline(0.5, color=GREY, linestyle="--", linewidth=1)
    axes.set_xlabel("neurons that are ablated")
    axes.set_ylabel("part of what was passed on that is gone")
    legend(axes, loc="upper left", fontsize=7)
    open_corner(*panels)
    return Picture.of(
        figure,
        title="Neurons that moved",
        text="By how much more each neuron pushes the favourite than in the base model, in one teacher and its pupil "
        "of the same start (left; circles: the neurons that are ablated) and of another (middle). Right: the part of "
        "what was passed on that is gone from the pupils without the neurons that moved most, and without other active "
        "neurons of the same layers, at most as many (mean and 95 % interval over pupils; broken: the bar).",
    )
