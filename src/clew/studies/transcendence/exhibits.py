"""Tables and pictures of the study `transcendence`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner
from clew.studies.transcendence.experts import PlantedExperts, vote_accuracy
from clew.studies.transcendence.groups import TEMPERATURES, ExpertGroup

VOTE_DRAWS = 40
"""Draws of voters for the picture."""


def temperature_table(groups: Sequence[ExpertGroup]) -> Table:
    names = ["questions", "temperature", "right", "low", "high", "law", "best", "vote", "mass"]
    rows: list[tuple[Any, ...]] = []
    for group in groups:
        for t in TEMPERATURES:
            law = group.law_accuracy(t)
            rows.append((group.title, t, *group.accuracy(t), law, group.best, group.vote_accuracy, group.mass))
    return Table(
        title="How often the right answer is given, by temperature",
        columns={name: [row[place] for row in rows] for place, name in enumerate(names)},
        note="`right`: the model, with 95 % of resampled questions; `law`: what experts say, sharpened in the same "
        "way; `best`: the best single expert; `vote`: the answer that most experts give; `mass`: the probability that "
        "the model leaves to the answers at temperature 1.",
    )


def expert_table(groups: Sequence[ExpertGroup]) -> Table:
    names = ("experts", "number", "worst", "mean", "best", "vote of all", "model at 1", "model at 0")
    rows = []
    for group in groups:
        accuracies = group.expert_accuracies
        rows.append(
            (
                group.title,
                len(accuracies),
                min(accuracies),
                float(np.mean(accuracies)),
                max(accuracies),
                group.vote_accuracy,
                group.accuracy(1.0).value,
                group.accuracy(0.0).value,
            )
        )
    return Table(
        title="Experts, their vote, and the model",
        columns={name: [row[place] for row in rows] for place, name in enumerate(names)},
        note="Shares of right answers. Experts of the small world are drawn from its law, so that the best of many is "
        "so by luck alone.",
    )


def temperature_picture(groups: Sequence[ExpertGroup]) -> Picture:
    figure = new_figure(3.3 * len(groups), 3.3)
    for axes, group in zip(figure.subplots(1, len(groups), sharey=True), groups, strict=True):
        points = [group.accuracy(t) for t in TEMPERATURES]
        axes.plot(TEMPERATURES, [p.value for p in points], marker="o", markersize=4, color=BLUE, label="model")
        low, high = [p.low for p in points], [p.high for p in points]
        axes.fill_between(TEMPERATURES, low, high, color=BLUE, alpha=0.15, linewidth=0)
        law = [group.law_accuracy(t) for t in TEMPERATURES]
        axes.plot(TEMPERATURES, law, "--", color=ORANGE, linewidth=1.2, label="experts' answers, sharpened")
        axes.axhspan(min(group.expert_accuracies), max(group.expert_accuracies), color=GREY, alpha=0.3, linewidth=0,
                     label="single experts")  # fmt: skip
        axes.set_title(group.title.replace(", ", ",\n").replace(" whose", "\nwhose"), fontsize=8)
        axes.set_xlabel("temperature")
        axes.set_ylim(-0.03, 1.05)
        axes.set_xticks([0.0, 0.5, 1.0, 1.5])
        axes.invert_xaxis()
        open_corner(axes)
    figure.axes[0].set_ylabel("share of right answers")
    legend(figure.axes[0], fontsize=7, loc="lower left")
    return Picture.of(
        figure,
        title="Right answers by temperature",
        text="How often the right answer is given as the temperature falls to 0, where only the most likely answer is "
        "left: by the model (blue; shaded: 95 % of resampled questions) and by the experts' answers, sharpened in the "
        "same way (broken). The grey band reaches from the worst to the best single expert.",
    )


def vote_picture(spread: PlantedExperts, agree: PlantedExperts, seed: int) -> Picture:
    figure = new_figure(5.4, 3.3)
    axes = figure.subplots()
    voters = range(1, len(spread.answers) + 1, 2)
    for experts, colour, label in ((spread, BLUE, "errors are spread"), (agree, ORANGE, "errors agree")):
        generator = np.random.default_rng([seed, 7])
        shares = [vote_accuracy(experts.answers, experts.right, n, VOTE_DRAWS, generator) for n in voters]
        axes.plot(voters, shares, marker="o", markersize=4, color=colour, label=label)
    best = float((spread.answers == spread.right).mean(1).max())
    axes.axhline(best, color=GREY, linestyle="--", linewidth=1, label="best single expert")
    axes.set_xlabel("experts that vote")
    axes.set_ylabel("share of right answers")
    axes.set_ylim(0.4, 1.03)
    axes.set_xticks(list(voters))
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="When a vote beats every expert, and when not",
        text="The planted experts alone, without a model: how often a vote of some of them, drawn at random, is right. "
        "Where each errs in its own way (blue), votes soon beat the best single expert (broken line); where all err in "
        "the same questions with the same answer (orange), a vote is no better than its middle member.",
    )
