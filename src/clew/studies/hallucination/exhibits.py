"""Tables and pictures of the study `hallucination` in the small world; scores have a file of their own."""

from __future__ import annotations

from collections.abc import Sequence

from clew.ids import FeatureId
from clew.kit import Kit
from clew.stats import Interval, mean_interval, null_range
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, keys, legend, lying, named_rows, open_corner, standing, whiskers
from clew.studies.hallucination.claims import LEFT_BAR, REFUSED_BAR
from clew.studies.hallucination.rates import Calibration
from clew.studies.hallucination.score_exhibits import crossing_table, score_picture, score_table
from clew.studies.hallucination.unknown_names import SIZES
from clew.studies.hallucination.world_measured import (
    LawMeasured,
    NamesMeasured,
    PeopleMeasured,
    UnknownMeasured,
    WorldMeasured,
    within,
)

_COLOURS = (BLUE, GREY, ORANGE)


def world_tables(measured: WorldMeasured, kit: Kit) -> dict[str, Table]:
    tables = {"raised": raised_table(measured.names, kit), "refusals": refusal_table(measured.names)}
    if measured.people is not None:
        tables["errors"] = error_table(measured.laws, measured.people)
        tables["bounds"] = bound_table(measured.laws)
        tables["calibration"] = calibration_table({law.name: law.calibration for law in measured.laws})
        tables["abstention"] = abstention_table(measured.people)
        tables["scores"] = score_table(measured.people.grades)
        tables["crossings"] = crossing_table(measured.people.grades)
    if measured.unknown is not None:
        tables["circuit"] = circuit_table(measured.unknown)
    return tables


def world_figures(measured: WorldMeasured) -> dict[str, Picture]:
    figures = {"steering": steering_picture(measured.names)}
    if measured.people is not None:
        shown = measured.laws
        figures["errors"] = error_picture(shown)
        figures["calibration"] = calibration_picture({law.name: law.calibration for law in shown})
        figures["bounds"] = bound_picture(shown)
        figures["scores"] = score_picture(measured.people.grades)
    if measured.unknown is not None:
        figures["circuit"] = circuit_picture(measured.unknown)
    return figures


def error_table(laws: Sequence[LawMeasured], people: PeopleMeasured) -> Table:
    rows = [(law.name, name, n, *error) for law in laws for name, n, error in law.by_count]
    rows += [("the small world, other sentences", name, n, *error) for name, n, error in people.other_sentences]
    return Table.of_rows(
        "Errors by how often the corpus states a birthday",
        ("law", "stated", "people", "error", "low", "high"),
        rows,
        note="The probability of a wrong answer, mean over people who have an answer (those who are refused are left "
        "out). `other sentences`: the sentence that the corpus withholds from each.",
    )


def bound_table(laws: Sequence[LawMeasured]) -> Table:
    names = ("law", "N", "sr", "unseen", "err", "low", "high", "ideal err", "delta", "err_iiv", "2/|E|", "sample")
    rows = []
    for law in laws:
        single, iiv = law.bounds
        rows.append(
            (
                law.name,
                law.facts.total,
                law.facts.rate,
                law.unseen,
                *law.errors.err,
                law.ideal,
                law.errors.delta.value,
                law.errors.err_iiv.value,
                single.losses["2/|E|"],
                single.losses["sample"],
                single.value,
                _said(single.vacuous, law.errors.err.value >= single.value),
                iiv.value,
                _said(iiv.vacuous, law.errors.err.value >= iiv.value),
                law.stray,
            )
        )
    return Table.of_rows(
        "Singletons, errors and the bounds",
        (*names, "bound by singletons", "it says", "bound by is-it-valid", "that says", "stray"),
        rows,
        note="`sr`: share of the corpus that answers a question which it answers only once; `unseen`: the law's mass "
        "of questions that the corpus does not hold; `ideal err`: of a model that knows what it saw and guesses evenly "
        "elsewhere; `sample`: (35 + 6 ln N) / sqrt N; `stray`: the model's mass of what is no answer, counted wrong.",
    )


def _said(vacuous: bool, true: bool) -> str:
    return "nothing: it is not above zero" if vacuous else "something, and it is true" if true else "something untrue"


def calibration_table(of: dict[str, Calibration]) -> Table:
    rows = [
        (name, f"{low:.1f} to {high:.1f}", n, confidence, *accuracy)
        for name, calibration in of.items()
        for low, high, n, confidence, accuracy in calibration.reliability()
    ]
    errors = ", ".join(f"{name} {calibration.error}" for name, calibration in of.items())
    return Table.of_rows(
        "Confidence and how often it is right",
        ("of", "bin", "questions", "confidence", "right", "low", "high"),
        rows,
        note=f"Likeliest answers. Expected calibration error: {errors}.",
    )


def abstention_table(people: PeopleMeasured) -> Table:
    refused, counts = people.people.refused, people.counts
    groups = {
        "refused by the corpus": refused & (counts > 1),
        "answered, stated over 40 times": ~refused & (counts > 40),
        "answered, stated 2 to 40 times": ~refused & (counts > 1) & (counts <= 40),
        "stated once": counts == 1,
        "never stated": counts == 0,
    }
    rows = []
    for name, member in groups.items():
        said = [within(mean_interval(a[member].tolist())) for a in (people.taught.refusal, people.withheld_refusal)]
        rows.append((name, int(member.sum()), *said[0], *said[1]))
    return Table.of_rows(
        "How often the model refuses",
        ("people", "number", "refused", "low", "high", "other sentence", "low ", "high "),
        rows,
        note="The probability of a refusal, in a sentence that the corpus holds, and in the one that it withholds.",
    )


def raised_table(names: NamesMeasured, kit: Kit) -> Table:
    columns, steering = names.readings.columns, names.steering
    called = kit.names({columns.ids[column] for column in steering.chosen.tolist()})
    detectors = {column for column, _ in names.detection.best(names.detection.known)}
    called |= kit.names({columns.ids[column] for column in detectors})
    known, refused, invented = (
        rows.mean(0) for rows in (names.readings.known, names.readings.refused, names.readings.invented)
    )
    rows = []
    for what, chosen in (("raised", steering.chosen.tolist()), ("tells known names", sorted(detectors))):
        for column in chosen:
            feature = columns.ids[column]
            means = (float(each[column]) for each in (refused, known, invented))
            rows.append((what, str(feature), called.get(feature, ""), *means))
    return Table.of_rows(
        "Features that are raised, and those that tell known names",
        ("use", "feature", "name", "mean, refused people", "known people", "invented names"),
        rows,
    )


def refusal_table(names: NamesMeasured) -> Table:
    rows = [
        (group, kind, *names.refusal(group, name))
        for group in ("invented", "known")
        for kind, name in (("as it is", "plain"), ("with the features raised", "raised"))
    ]
    rows.append(("invented", "with random features raised", *null_range(names.random_refusals)))
    return Table.of_rows(
        "Refusals with and without features raised",
        ("names", "model", "refused", "low", "high"),
        rows,
        note="Mean probability; known names are those that were not used to choose the features.",
    )


def circuit_table(unknown: UnknownMeasured) -> Table:
    parts = unknown.parts
    rows = []
    for place, fitted in enumerate(parts["fitted"]):
        left = within(mean_interval(parts["left"][place].tolist()))
        rows.append((SIZES[place], float(fitted.mean()), *left))
    first = [FeatureId(int(a), int(b)) for a, b in zip(parts["layer"][:8], parts["feature"][:8], strict=True)]
    return Table.of_rows(
        "Refusals without the circuit",
        ("neurons", "left, names of the choice", "left, names never seen", "low", "high"),
        rows,
        note=f"Unedited: {unknown.never} of names never seen, {float(parts['known'].mean()):.3f} of known ones, of "
        f"which {float(parts['right'].mean()):.3f} get the answer that training gave. Random sets leave "
        f"{null_range(unknown.random)}. The strongest neurons: {', '.join(map(str, first))}.",
    )


def error_picture(laws: Sequence[LawMeasured]) -> Picture:
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    names = list(dict.fromkeys(name for law in laws for name, _, _ in law.by_count))
    for law, colour in zip(laws, (BLUE, ORANGE), strict=False):
        at = [names.index(name) for name, _, _ in law.by_count]
        banded(axes, at, [error for _, _, error in law.by_count], colour, law.name)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("statements of the birthday in the corpus")
    axes.set_ylabel("error")
    axes.set_ylim(0, 1)
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="What was seen rarely is answered wrongly",
        text="The probability of a wrong answer by how often the corpus states a birthday, with 95 % intervals: of the "
        "model in the small world, and of the small model under the flatter law.",
    )


def calibration_picture(of: dict[str, Calibration]) -> Picture:
    figure = new_figure(3.4 * len(of), 3.3)
    panels = figure.subplots(1, len(of), sharey=True, squeeze=False)[0]
    for axes, (name, calibration), colour in zip(panels, of.items(), (BLUE, ORANGE), strict=False):
        rows = calibration.reliability()
        x, right = [row[3] for row in rows], [row[4] for row in rows]
        axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
        axes.errorbar(
            x, [r.value for r in right], yerr=whiskers(right), color=colour, marker="o", markersize=4, capsize=2,
            linestyle="none",
        )  # fmt: skip
        axes.set_title(f"{name}\ncalibration error {calibration.error.value:.3f}", fontsize=9)
        axes.set_xlabel("confidence")
        open_corner(axes)
    panels[0].set_ylabel("right")
    return Picture.of(
        figure,
        title="Reliability",
        text="How often the likeliest answer is right, by its probability, in bins of a tenth, questions by the law, "
        "with 95 % intervals. On the broken line a model knows how sure it may be.",
    )


def bound_picture(laws: Sequence[LawMeasured]) -> Picture:
    figure = new_figure(7.0, 3.0)
    panels = figure.subplots(1, len(laws), sharex=True, sharey=True, squeeze=False)[0]
    for axes, law in zip(panels, laws, strict=True):
        single, iiv = law.bounds
        points = {
            "error": (law.errors.err, ORANGE),
            "singleton rate sr": (law.facts.resampled_rate(), BLUE),
            "unseen mass": (_point(law.unseen), BLUE),
            "error of the ideal model": (_point(law.ideal), GREEN),
            "delta": (law.errors.delta, GREY),
            "bound by singletons": (law.errors.bound_interval(single), "black"),
            "bound by is-it-valid": (law.errors.bound_interval(iiv), "black"),
        }
        for row, (interval, colour) in enumerate(reversed(list(points.values()))):
            lying(axes, interval, row, colour)
        named_rows(axes, list(points))
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_title(law.name, fontsize=9)
        open_corner(axes)
    return Picture.of(
        figure,
        title="Singletons, errors and bounds",
        text="The error (orange), what the corpus says of it (blue), the error of a model that knows what it saw "
        "(green), the distance from calibration (grey), and both lower bounds (black), with 95 % intervals. A bound "
        "at the left of the line says nothing.",
    )


def _point(value: float) -> Interval:
    return Interval(value, value, value)


def steering_picture(names: NamesMeasured) -> Picture:
    figure = new_figure(5.6, 3.0)
    axes = figure.subplots()
    for place, group in enumerate(("invented", "known")):
        standing(axes, names.refusal(group, "plain"), 3 * place, GREY, "o")
        standing(axes, names.refusal(group, "raised"), 3 * place + 1, BLUE, "o")
    axes.plot([1.6] * len(names.random_refusals), names.random_refusals, "s", color=ORANGE, alpha=0.6, markersize=4)
    keys(axes, (GREY, "o", "as it is"), (BLUE, "o", "features raised"), (ORANGE, "s", "random features raised"))
    axes.set_xticks([0.8, 3.5], ["invented names", "known names"])
    axes.set_xlim(-0.6, 4.6)
    axes.set_ylim(0, None)
    axes.set_ylabel("refused")
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="Refusal can be raised",
        text="The probability of a refusal: as the model is (grey), with the features raised that speak most "
        "for a refusal (blue), and with each set of random active features raised in their place (orange).",
    )


def circuit_picture(unknown: UnknownMeasured) -> Picture:
    figure = new_figure(5.6, 3.2)
    axes = figure.subplots()
    left = [within(mean_interval(row.tolist())) for row in unknown.parts["left"]]
    banded(axes, [0, *SIZES[: len(left)]], [unknown.never, *left], BLUE, "names never seen")
    axes.plot(
        [unknown.size] * len(unknown.random), unknown.random, "s", color=ORANGE, markersize=4, label="random sets"
    )
    for bar in (LEFT_BAR, REFUSED_BAR):
        axes.axhline(bar, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xlabel("neurons ablated, of 256")
    axes.set_ylabel("refused")
    axes.set_ylim(0, 1.02)
    open_corner(axes)
    legend(axes, loc="center left")
    return Picture.of(
        figure,
        title="The circuit of unknown names",
        text="The probability that a name never seen is refused, by the number of neurons ablated, those that speak "
        "most for a refusal first (blue), and with as many random active neurons ablated (orange). Broken lines: bars.",
    )
