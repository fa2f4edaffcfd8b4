"""Tables and pictures of scores in which refusing pays: the leaderboard by confidence target, and where it turns."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner
from clew.studies.hallucination.grading import TARGETS, Grades, confidence_score, crossing, leaderboard

_LOWEST, _LAST = -1.0, 0.95
_COLOURS = (BLUE, ORANGE, GREEN, GREY, "#8a5aa8", "#b0a030", "#333333")


def score_table(grades: Mapping[str, Grades]) -> Table:
    """Every answerer with its scores and places."""
    boards = leaderboard(grades)
    rows = []
    for name, each in grades.items():
        row: list[object] = [name, each.right, each.refused, each.wrong]
        for target in TARGETS:
            row += [confidence_score(each, target), boards[target].index(name) + 1]
        rows.append(row)
    columns = [part for target in TARGETS for part in (f"score, t = {target:g}", f"place, t = {target:g}")]
    return Table.of_rows(
        "Scores in which refusing pays",
        ("answers by", "right", "refused", "wrong", *columns),
        rows,
        note="Right 1, refused 0, wrong -t / (1 - t): t = 0 is the usual, binary score, in which guessing never loses.",
    )


def crossing_table(grades: Mapping[str, Grades]) -> Table:
    """Pairs that change places, with the target at which they do."""
    rows = []
    for one, other in combinations(grades, 2):
        target = crossing(grades[one], grades[other])
        if target is not None:
            first, second = (one, other) if grades[one].right > grades[other].right else (other, one)
            rows.append((first, second, target))
    return Table.of_rows(
        "Where places change",
        ("ahead below", "ahead above", "t"),
        sorted(rows, key=lambda row: row[2]),
        note="t / (1 - t) = difference in right answers over difference in wrong ones.",
    )


def score_picture(grades: Mapping[str, Grades]) -> Picture:
    """Scores as lines over the target."""
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    targets = np.linspace(0, _LAST, 200)
    for place, (name, each) in enumerate(grades.items()):
        scores = [confidence_score(each, float(target)) for target in targets]
        axes.plot(targets, scores, color=_COLOURS[place % len(_COLOURS)], label=name)
    axes.set_ylim(_LOWEST, 1.02)
    axes.set_xlabel("confidence target t")
    axes.set_ylabel("score")
    open_corner(axes)
    legend(axes, loc="lower left")
    return Picture.of(
        figure,
        title="Who is first hangs on what a wrong answer costs",
        text="The mean score by the confidence target: right 1, refused 0, wrong -t / (1 - t). At the left end a wrong "
        "answer costs nothing, and who guesses is ahead of who refuses; lines cross where places change.",
    )
