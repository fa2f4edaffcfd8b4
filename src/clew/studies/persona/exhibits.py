"""Tables and pictures of the study `persona`."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from clew.kit import Kit
from clew.stats import null_range
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, legend, open_corner, whiskers
from clew.studies.persona.claims import PersonaMeasures, share_of
from clew.studies.persona.groups import DIFFICULTY, GROUPS, INTERACTION, PERSONA
from clew.studies.persona.prompts import (
    CHILD,
    CHOSEN,
    FOUND,
    GRADUATE,
    NOBODY,
    PARTS,
    ROOT,
    SQUARE,
    TESTED,
    select,
)
from clew.studies.persona.runs import BOTH, SHARES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 8  # features of a group in the table
_COLOURS = {PERSONA: BLUE, INTERACTION: GREEN, BOTH: ORANGE, DIFFICULTY: GREY}
_PARTS = {FOUND: "features found in these", CHOSEN: "rule chosen on these", TESTED: "tested"}
_NAMES = {BOTH: "persona and interaction"}


def answer_table(m: PersonaMeasures) -> Table:
    """Who refuses what, in tested questions and in those in which features were found."""
    rows = []
    for kind, difficulty, part in product((CHILD, GRADUATE, NOBODY), (ROOT, SQUARE), PARTS):
        if places := select(m.questions, kind, difficulty, part=part):
            rows.append((kind, difficulty, _PARTS[part], len(places), *share_of(m.refused("plain")[places])))
    return Table.of_rows(
        "Who refuses",
        ("persona", "number", "questions", "prompts", "refused", "low", "high"),
        rows,
        "A square is a perfect square, a root any other number.",
    )


def choice_table(m: PersonaMeasures) -> Table:
    """Every rule and share that was tried, and what was taken."""
    c = m.choice
    counts = ("persona features", "interaction features", "both features")
    names = ("rule", "share", *counts, "without persona", "without interaction", "without both", "score", "taken")
    rows = [
        (rule, share, *map(int, c.sizes[place]), *c.refused[place].tolist(), float(c.scores[place]), place == c.taken)
        for place, (rule, share) in enumerate(c.tried)
    ]
    note = (
        f"How often a child refuses {c.prompts} roots, of numbers that are not tested, without the features of each "
        "group. `score`: the less of both groups alone, less both together; the highest is taken, and of equals the "
        "smaller share."
    )
    return Table.of_rows("Which rule was chosen", names, rows, note)


def change_table(m: PersonaMeasures) -> Table:
    """Every ablation and steering."""
    rows = []
    for name in m.found:
        if not name.startswith(("ablate.", "steer.")):
            continue
        verb, of, *rest = name.split(".")
        what = f"random set {rest[0]}" if of == "null" else _NAMES.get(of, of)
        what += f", {rest[0]} % of the group" if rest and of != "null" else ""
        who = "a child" if verb == "ablate" else "a graduate"
        rows.append((who, f"{verb} {what}", int(m.found[f"size/{name}"]), *m.rate(name)))
    return Table.of_rows(
        "Refusals of roots when features are changed",
        ("asked", "change", "features", "refused", "low", "high"),
        rows,
        f"At the last token alone, MLP outputs clamped through layer {m.through}. Ablated features are set to zero; "
        "steered ones get added what a child writes more there.",
    )


def feature_table(m: PersonaMeasures, kit: Kit) -> Table:
    """The strongest features of every group."""
    chosen = [
        (group, column)
        for group in GROUPS
        for column in m.groups.members(group, m.choice.share)[:_SHOWN].tolist()
    ]  # fmt: skip
    names, rows = kit.names([m.written.columns.ids[column] for _, column in chosen]), []
    for group, column in chosen:
        feature = m.written.columns.ids[column]
        rows.append((group, str(feature), names.get(feature, ""), *m.groups.cells[:, :, column].flatten().tolist()))
    return Table.of_rows(
        "Features of persona, difficulty and both",
        ("group", "feature", "name", "child root", "child square", "graduate root", "square"),
        rows,
        "What each writes on average at the last token (activation times decoder length) by persona and number; the "
        "last two columns are a graduate's.",
    )


def change_picture(m: PersonaMeasures) -> Picture:
    """How refusal falls with the features of each group, and rises in a graduate."""
    figure = new_figure(7.6, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _falls(left, m)
    _rises(right, m)
    open_corner(left, right)
    for axes in (left, right):
        axes.set_ylim(-0.03, 1.03)
    left.set_ylabel("share of roots refused")
    return Picture.of(
        figure,
        title="What carries the refusal",
        text="Left: a child's refusals of roots as the features of each group are set to zero, the strongest first, up "
        "to those that hold 97 % of what the group writes; grey squares are matched random features, as many as both "
        "groups have in the claim. Right: refusals of a graduate whose features are raised by what a child writes more "
        "there. Shaded and whiskers: 95 %.",
    )


def _falls(axes: Axes, m: PersonaMeasures) -> None:
    plain = m.plain(CHILD, ROOT)
    for name, colour in _COLOURS.items():
        runs = [f"ablate.{name}.{round(100 * share)}" for share in sorted({*SHARES, m.choice.share})]
        counts = [0, *(int(m.found[f"size/{run}"]) for run in runs)]
        rates = [plain, *(m.rate(run) for run in runs)]
        banded(axes, counts, rates, colour, _NAMES.get(name, name))
    draws = m.draws("ablate")
    axes.plot([m.drawn("ablate")] * len(draws), draws, "s", color=GREY, markersize=4, label="matched random")
    axes.set_xlabel("features ablated at the last token")
    axes.set_title("a child, features ablated", fontsize=9)
    legend(axes, fontsize=7.5)


def _rises(axes: Axes, m: PersonaMeasures) -> None:
    names = [PERSONA, INTERACTION, BOTH]
    rates = [m.rate(f"steer.{name}") for name in names] + [null_range(m.draws("steer"))]
    labels = [PERSONA, INTERACTION, "both", "random"]
    colours = [*(_COLOURS[name] for name in names), GREY]
    axes.bar(labels, [r.value for r in rates], color=colours, yerr=whiskers(rates), capsize=3, width=0.65)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title("a graduate, features raised", fontsize=9)


def layer_picture(m: PersonaMeasures) -> Picture:
    """Where the groups' features lie."""
    figure = new_figure(5.6, 3.0)
    axes = figure.subplots()
    layers = sorted({*m.written.columns.layer.tolist()})
    width = 0.8 / len(GROUPS)
    for place, group in enumerate(GROUPS):
        columns = m.groups.members(group, m.choice.share)
        counts = [int((m.written.columns.layer[columns] == layer).sum()) for layer in layers]
        at = [layer + (place - 1) * width for layer in layers]
        axes.bar(at, counts, width=width, color=_COLOURS[group], label=f"{group} ({len(columns)} features)")
    axes.set_xticks(layers, [f"L{layer}" for layer in layers])
    axes.set_ylabel("features")
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="Where the features lie",
        text="How many features of each layer belong to a group at the last token: the fewest that hold "
        f"{m.choice.share:.0%} of what the group writes.",
    )
