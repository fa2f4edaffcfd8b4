"""Tables and pictures of the study `leakage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from clew.stats import null_range
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import band, banded, legend, open_corner
from clew.studies.leakage.leak_rate import sharpened
from clew.studies.leakage.prompts import PARTS, SENTENCES
from clew.studies.leakage.rates import PERMUTATIONS, TEMPERATURES, Measured, Rates, clustered_mean


def temperature_table(rates: Mapping[tuple[str, str, float], Rates]) -> Table:
    names = "part sentences temperature Leak-Rate low high law difference permuted from to"
    rows = []
    for (part, sentence, temperature), r in rates.items():
        own, law, null = clustered_mean(r.own, r.clusters), float(r.law.mean()), null_range(r.permuted)
        rows.append((part, sentence, temperature, *own, law, own.value - law, *null))
    note = (
        "Taught sentences are those whose template the corpus holds with this first word. `low` to `high`: 95 % of "
        f"resampled concepts; `permuted`: the mean of {PERMUTATIONS} exchanges of concepts, 95 % of them between "
        "`from` and `to`."
    )
    return Table.of_rows("Leak-Rates by temperature", names.split(), rows, note)


def answer_table(measured: Measured) -> Table:
    names = ("part", "sentences", "pairs", "prompts", "p(associate)", "law", "greedy share", "mass", "echo")
    rows = []
    for part, sentence, pair in product(PARTS, SENTENCES, measured.kinds):
        chosen = measured.where(part, sentence, pair.kind)
        concept = measured.concepts(chosen)
        at, target = np.arange(len(concept)), pair.associate[concept]
        p, greedy = measured.answers[chosen], sharpened(measured.answers[chosen], 0.0)
        rows.append(
            (
                part,
                sentence,
                pair.kind,
                len(concept),
                float(p[at, target].mean()),
                float(pair.law[part][concept, target].mean()),
                float(greedy[at, target].mean()),
                float(measured.probabilities[chosen, :-1].sum(1).mean()),
                float(measured.probabilities[chosen, -1].mean()),
            )
        )
    note = (
        "`mass`: the probability of all answers of the kind; `echo`: of the concept's own word, which is no answer and "
        "counts in no Leak-Rate. `greedy share`: how often the associate is the most likely answer."
    )
    return Table.of_rows("What is answered", names, rows, note)


def carrier_table(measured: Measured) -> Table:
    """The five strongest carriers of every concept at the end."""
    carriers = [
        (kind, value, column, means)
        for (place, kind), means in measured.means.items()
        if place == "end"
        for value, strongest in enumerate(means.strongest(5))
        for column in strongest.tolist()
    ]
    called = measured.kit.names({means.feature(column) for _, _, column, means in carriers})
    rows = [
        (
            kind,
            means.values[value],
            str(means.feature(column)),
            called[means.feature(column)],
            float(means.mean[value, column]),
            float(means.mean[:, column].mean()),
        )
        for kind, value, column, means in carriers
    ]
    names = ("pairs", "concept", "feature", "name", "writes", "on average")
    note = "`writes`: mean activation times decoder length with this concept; `on average`: over all concepts."
    return Table.of_rows("The strongest carriers at the sentence's last token", names, rows, note)


def temperature_picture(rates: Mapping[tuple[str, str, float], Rates]) -> Picture:
    figure = new_figure(8.0, 3.4)
    for axes, sentence in zip(figure.subplots(1, 2, sharey=True), SENTENCES, strict=True):
        for part, colour in zip(PARTS, (BLUE, ORANGE), strict=True):
            _draw(axes, part, colour, [rates[part, sentence, t] for t in TEMPERATURES])
        axes.set_title(f"sentences that the corpus {'holds' if sentence == 'taught' else 'withholds'}", fontsize=9)
        axes.set_xlabel("temperature")
        open_corner(axes)
    axes = figure.axes[0]
    axes.set_ylabel("Leak-Rate")
    legend(figure.axes[1])
    return Picture.of(
        figure,
        title="Leak-Rate by temperature",
        text="How often an answer is more like the concept of its sentence than an answer to the same sentence with "
        "another concept. Blue: the part of the world in which both words are independent; orange: the part in which "
        "the second follows along meaning. Broken lines are the world's law, grey what permuted concepts give. At "
        "temperature 0 the most likely answer alone counts, which turns a small preference into a rule.",
    )


def _draw(axes: Any, part: str, colour: str, rates: Sequence[Rates]) -> None:
    """One part: measured with its interval, the law, and the range of permuted concepts."""
    means = [clustered_mean(r.own, r.clusters) for r in rates]
    banded(axes, TEMPERATURES, means, colour, f"{part}, measured")
    axes.plot(TEMPERATURES, [float(r.law.mean()) for r in rates], "--", color=colour, lw=1, label=f"{part}, the law")
    band(axes, TEMPERATURES, [null_range(r.permuted) for r in rates], GREY, 0.25)
