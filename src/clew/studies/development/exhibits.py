"""Pictures of the study `development`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, new_figure
from clew.studies.charts import legend, open_corner
from clew.studies.development.measures import NAMES, DevelopmentMeasures
from clew.studies.development.one_prompt import SOURCES
from clew.studies.development.tables import head_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, GREEN, "#8c5fa8", "#b8433f", "#4aa3a3")
"""Of the families, in their order."""
TICKS = tuple(first * 10**power for power in range(6) for first in (1, 2, 5))
SHOWN_HEADS = 4
"""Heads of the picture of one prompt, those that carry most at the end."""


def figures_of(measured: DevelopmentMeasures, prompt: str) -> Mapping[str, Picture]:
    """All pictures."""
    return {
        "circuits": _circuits(measured),
        "order": _order(measured),
        "coefficient": _coefficient(measured),
        "prompt": _prompt(measured, prompt),
        "toys": _toys(measured),
    }


def _steps(steps: Sequence[float], *panels: Axes) -> None:
    """A logarithmic axis of steps, with plain numbers at it."""
    shown = [each for each in TICKS if min(steps) <= each <= max(steps)]
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xlabel("step of training")
        axes.set_xticks(shown, [f"{each:,}" for each in shown])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(steps) / 1.1, max(steps) * 1.1)
    open_corner(*panels)


def _circuits(measured: DevelopmentMeasures) -> Picture:
    figure = new_figure(9.0, 3.4)
    panels: Any = figure.subplots(1, 2, sharey=True)
    steps = measured.config.snapshot_steps
    for family, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        for axes, curves in zip(panels, (measured.gain, measured.strength.mean(3)), strict=True):
            for curve in curves[:, :, family]:
                axes.plot(steps, curve, color=colour, alpha=0.35, linewidth=0.8)
            axes.plot(steps, curves[:, :, family].mean(0), color=colour, linewidth=2, label=name)
    random = measured.random.mean((0, 2, 3, 4))
    panels[1].plot(steps, random, color=GREY, linewidth=2, linestyle="--", label="random sets")
    panels[0].set_title("gain: what the model knows", fontsize=10)
    panels[1].set_title("strength: what goes with the circuit", fontsize=10)
    panels[0].set_ylabel("probability of the right answer")
    legend(panels[1], loc="upper left")
    _steps(steps, *panels)
    return Picture.of(
        figure,
        title="Circuits come one after the other",
        text="Left, how much likelier the right answer is behind its own prompt than behind other prompts of its "
        "family. Right, how much of that goes when the neurons and heads are silent that make up the circuit of the "
        "last snapshot; grey, random sets in their place. Thin lines are models, thick ones their mean.",
    )


def _order(measured: DevelopmentMeasures) -> Picture:
    figure = new_figure(6.5, 3.0)
    axes: Any = figure.subplots()
    for model, onsets in enumerate(measured.onsets):
        seed = measured.config.seed + model
        axes.plot(onsets, [seed] * len(onsets), color=GREY, linewidth=0.5, zorder=0)
        for family, (at, name) in enumerate(zip(onsets, NAMES, strict=True)):
            axes.plot([at], [seed], "o", color=COLOURS[family], markersize=9, label=name if model == 0 else None)
    axes.set_yticks([measured.config.seed + model for model in range(len(measured.models))])
    axes.set_ylim(measured.config.seed + len(measured.models) - 0.5, measured.config.seed - 0.5)
    axes.set_ylabel("seed")
    if np.isfinite(measured.onsets).any():
        _steps(measured.onsets[np.isfinite(measured.onsets)].tolist(), axes)
    legend(axes, loc="upper center", ncols=6, bbox_to_anchor=(0.5, 1.2), handletextpad=0.1, columnspacing=1.0)
    return Picture.of(
        figure,
        title="When each circuit appears",
        text="For every model, the step at which each family's circuits pass half of the strength that they end with. "
        "A family without a point has no circuit that takes a tenth of the probability away.",
    )


def _coefficient(measured: DevelopmentMeasures) -> Picture:
    figure = new_figure(7.0, 5.0)
    panels: Any = figure.subplots(3, 1, sharex=True)
    steps = measured.config.snapshot_steps
    for model in range(len(measured.models)):
        label = f"seed {measured.config.seed + model}"
        colour = COLOURS[model % len(COLOURS)]
        panels[0].plot(steps, measured.coefficient[model], color=colour, marker="o", markersize=3, label=label)
        panels[1].plot(steps, measured.total[model], color=colour, marker="o", markersize=3)
        panels[2].plot(steps, measured.induction[model, :, 0], color=colour, marker="o", markersize=3)
        panels[2].plot(steps, measured.induction[model, :, 1], color=colour, linestyle=":")
    panels[0].set_ylabel("learning\ncoefficient")
    panels[1].set_ylabel("mean strength\nof circuits")
    panels[2].set_ylabel("induction\nscore")
    legend(panels[0])
    _steps(steps, *panels)
    for axes in panels[:2]:
        axes.set_xlabel("")
    return Picture.of(
        figure,
        title="The learning coefficient beside the circuits",
        text="Top, the local learning coefficient of every model; middle, the strength of its circuits, the mean over "
        "families; bottom, how much of its attention the best head gives to what followed the same item before: solid "
        "in sequences that are repeated from their first item, as they were taught, dotted in lists resumed anywhere.",
    )


def _prompt(measured: DevelopmentMeasures, prompt: str) -> Picture:
    figure = new_figure(9.5, 3.4)
    panels: Any = figure.subplots(1, 3)
    steps, numbers = measured.config.snapshot_steps, measured.prompt
    panels[0].plot(steps, numbers["probability"], color=BLUE, label="right answer")
    panels[0].plot(steps, numbers["without"], color=GREY, linestyle="--", label="without the circuit")
    panels[0].plot(steps, numbers["shared"], color=ORANGE, label="members shared\nwith the last")
    panels[0].set_title("the circuit found anew", fontsize=10)
    heads, names = numbers["loadings"].numpy(), head_names()
    strongest = np.argsort(-heads[-1])[:SHOWN_HEADS]
    for colour, head in zip(COLOURS, strongest, strict=False):
        panels[1].plot(steps, heads[:, head], color=colour, label=names[head])
    panels[1].set_title("heads that carry the deciding token", fontsize=10)
    looks = numbers["look"].sum(1).numpy()
    for colour, source, curve in zip(COLOURS, SOURCES, looks.T, strict=False):
        if np.abs(curve).max() > 0:
            panels[2].plot(steps, curve, color=colour, label=source)
    panels[2].plot(steps, looks.sum(1), color="black", linewidth=2, label="both sides, all")
    panels[2].set_title(f"why {names[int(numbers['head'])]} looks there", fontsize=10)
    panels[2].set_ylabel("score, less that of other tokens")
    for axes in panels:
        legend(axes, fontsize=7)
    _steps(steps, *panels)
    return Picture.of(
        figure,
        title="The circuit of one prompt at every snapshot",
        text=f"{prompt!r}, traced anew by exact neurons at every snapshot of the first model. Left, the answer, what "
        "is left of it without the circuit of that snapshot, and how many of its members are those of the last one (of "
        "all in either). Middle, which heads carry the deciding token into the most influential neurons at the last "
        "token; heads that cancel add up to more than one. Right, the score with which the head that carries most at "
        "the end looks at the deciding token, by its sources, the query's and the key's side added.",
    )


def _toys(measured: DevelopmentMeasures) -> Picture:
    figure = new_figure(9.0, 3.2)
    panels: Any = figure.subplots(1, 3)
    steps, toys = measured.config.toy_snapshot_steps, measured.toys
    for axes, name, label in zip(
        panels, ("loss", "corners", "llc"), ("loss", "corners of the polygon", "learning coefficient"), strict=True
    ):
        for toy in range(measured.config.toys):
            axes.plot(steps, toys[name][:, toy], color=COLOURS[toy % len(COLOURS)], linewidth=1)
        axes.set_title(label, fontsize=10)
    _steps(steps, *panels)
    return Picture.of(
        figure,
        title="Toy models of superposition",
        text="Eight features in two hidden dimensions, one line a model. The loss falls over plateaus; corners are "
        "features with a direction longer than a half; the coefficient is below zero far from a minimum.",
    )
