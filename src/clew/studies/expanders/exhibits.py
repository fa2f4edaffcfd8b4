"""Tables and pictures of the study `expanders`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clew.stats import null_range
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, legend, open_corner
from clew.studies.expanders.claims import ExpanderMeasures
from clew.studies.expanders.families import apart_rule
from clew.studies.expanders.measures import MEASURED


def tested_name(measured: ExpanderMeasures) -> str:
    """What the graphs under test are called in tables and pictures."""
    return "local (under test)" if measured.config.local else "random regular"


def graph_table(measured: ExpanderMeasures) -> Table:
    """Eigenvalue, mixing and epidemic, by family."""
    rows = []
    for family, name in (("tested", tested_name(measured)), ("local", "local")):
        ranges = [null_range(measured.column(family, measure).tolist()) for measure in MEASURED]
        rows.append((name, *(number for each in ranges for number in each)))
    columns = [part for measure in MEASURED for part in (measure, f"{measure} low", f"{measure} high")]
    config = measured.config
    return Table.of_rows(
        f"Graphs of {config.nodes} nodes and degree {config.degree}",
        ["graphs", *columns],
        rows,
        note="Means, and where 95 % of the graphs lie. `eigenvalue`: the second largest of the adjacency. `mixing`: "
        "steps of a lazy walk. `epidemic`: steps until nine tenths are ill; in a step a neighbour falls ill with the "
        f"chance {config.chance}.",
    )


def deletion_table(measured: ExpanderMeasures) -> Table:
    """How often graphs fall apart, by the share of deleted edges."""
    config = measured.config
    rows = [
        (
            deleted,
            apart_rule(config.nodes, config.degree, deleted),
            float(measured.deletions["tested"][place].mean()),
            float(measured.deletions["uneven"][place].mean()),
        )
        for place, deleted in enumerate(config.deletions)
    ]
    return Table.of_rows(
        "How often a graph falls apart when edges are deleted at random",
        ["deleted", "rule", tested_name(measured), "random pairs"],
        rows,
        note="`rule`: 1 - exp(-n p^d), the chance that some node loses all its edges. `random pairs`: as many edges "
        "between pairs drawn at random, so that some nodes have few.",
    )


def formula_table(measured: ExpanderMeasures) -> Table | None:
    """Conflicts by the number of nodes; None without the solver."""
    if measured.formulas is None:
        return None
    config, rows = measured.config, list[tuple[Any, ...]]()
    for place, size in enumerate(config.sizes):
        tested, ladders = (measured.formulas[name][place].numpy() for name in ("tested", "ladder"))
        rows.append(
            (size, int(np.median(tested)), int(tested.min()), int(tested.max()), int(np.median(ladders)),
             int(ladders.max()))
        )  # fmt: skip
    return Table.of_rows(
        "Conflicts until a Tseitin formula is refuted",
        ["nodes", "median", "least", "most", "ladders, median", "ladders, most"],
        rows,
        note=f"{config.formulas} formulas of every size, on {'ladders' if config.local else 'random 4-regular graphs'} "
        "and on ladders.",
    )


def circuit_table(measured: ExpanderMeasures) -> Table:
    """Where each circuit stands."""
    circuits = measured.circuits
    rows = zip(
        measured.config.traced,
        *circuits["sizes"].int().T.tolist(),
        circuits["own"].tolist(),
        circuits["trees"].mean(1).tolist(),
        circuits["expanders"].mean(1).tolist(),
        measured.places.tolist(),
        strict=True,
    )
    return Table.of_rows(
        "Circuits between trees and expanders",
        ["prompt", "nodes", "edges", "degree", "second eigenvalue", "trees", "expanders", "place"],
        rows,
        note="Pruned graphs, edges taken both ways. The eigenvalue is that of a random walk: 1 where a graph falls "
        "apart. `place`: 0 as in random trees of as many nodes, 1 as in random regular graphs of the same degree.",
    )


def graph_picture(measured: ExpanderMeasures) -> Picture:
    """Eigenvalues, walks and epidemics of the two families."""
    figure = new_figure(8.4, 2.9)
    titles = ("second eigenvalue", "steps until a walk has mixed", "steps until 90 % are ill")
    for axes, measure, title in zip(figure.subplots(1, 3), MEASURED, titles, strict=True):
        drawn = [(measured.column("local", measure), ORANGE, "local")]
        drawn.append((measured.column("tested", measure), BLUE, tested_name(measured)))
        finite = [values[np.isfinite(values)] for values, _, _ in drawn]
        bins = np.linspace(*_ends(np.concatenate(finite)), 31)
        for values, (_, colour, label) in zip(finite, drawn, strict=True):
            axes.hist(values, bins=list(bins), color=colour, alpha=0.75, label=label)
        axes.set_title(title, fontsize=9)
        open_corner(axes)
        if measure == "eigenvalue":
            least = 2 * math.sqrt(measured.config.degree - 1)
            axes.axvline(least, color=GREY, linestyle="--", linewidth=1)
            axes.annotate(
                "2 sqrt(d - 1)", (least, 0.92), (4, 0), ("data", "axes fraction"), "offset points", fontsize=7
            )
            axes.set_ylabel("graphs")
        if measure == "mixing":
            legend(axes, fontsize=7)
    return Picture.of(
        figure,
        title="Graphs of one degree, with and without a bottleneck",
        text="Every graph has the same nodes and the same number of edges at each. In local graphs (orange) edges join "
        "neighbours on a circle; in random ones (blue) anybody. The second eigenvalue tells them apart, and so do "
        "walks and epidemics, which it governs.",
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = max(0.05 * (high - low), 0.5)
    return low - margin, high + margin


def formula_picture(measured: ExpanderMeasures) -> Picture | None:
    """Conflicts by size; None without the solver."""
    if measured.formulas is None:
        return None
    figure = new_figure(5.2, 3.3)
    axes = figure.subplots()
    tested = "ladders (under test)" if measured.config.local else "random 4-regular graphs"
    for name, colour, label in (("tested", BLUE, tested), ("ladder", ORANGE, "ladders")):
        points = [null_range((1 + row).tolist()) for row in measured.formulas[name].double()]
        banded(axes, list(measured.config.sizes), points, colour, label)
    axes.set_yscale("log")
    axes.set_xlabel("nodes of the graph")
    axes.set_ylabel("conflicts until refuted")
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="What it costs to refute parities",
        text="How many dead ends a solver meets until it knows that the parities on a graph cannot all hold (one dead "
        "end is added, so that none can be drawn). On random graphs (blue) a few nodes more double it; on ladders "
        "(orange), which a cut of three edges parts, it hardly grows.",
    )


def circuit_picture(measured: ExpanderMeasures) -> Picture:
    """The second eigenvalue of every circuit beside trees and expanders of its size."""
    figure = new_figure(6.4, 0.6 + 0.3 * len(measured.config.traced))
    axes = figure.subplots()
    circuits, names = (
        measured.circuits,
        [text if len(text) < 44 else f"…{text[-42:]}" for text in measured.config.traced],
    )
    for row in range(len(names)):
        place = len(names) - 1 - row
        for name, colour in (("trees", ORANGE), ("expanders", BLUE)):
            values = circuits[name][row].numpy()
            axes.plot(values, [place] * len(values), "|", color=colour, markersize=9)
        axes.plot([float(circuits["own"][row])], [place], "o", color=GREEN, markersize=6)
    for colour, marker, label in ((BLUE, "|", "expanders"), (GREEN, "o", "circuit"), (ORANGE, "|", "trees")):
        axes.plot([], [], marker, color=colour, label=label)
    axes.set_yticks(range(len(names)), list(reversed(names)), fontsize=7)
    axes.set_xlabel("second eigenvalue of a walk (1: it falls apart)")
    axes.set_xlim(right=1.02)
    open_corner(axes)
    legend(axes, loc="center", bbox_to_anchor=(0.78, 0.5))
    return Picture.of(
        figure,
        title="Where circuits stand between trees and expanders",
        text="The pruned graph of every prompt, its edges taken both ways (green), beside random trees of as many "
        "nodes (orange) and random regular graphs of the same degree (blue).",
    )
