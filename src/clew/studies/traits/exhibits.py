"""Tables and pictures of the study `traits`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from clew.kit import Kit
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner, standing
from clew.studies.heads.scores import map_of
from clew.studies.traits.jingle_jangle import JANGLE, JINGLE
from clew.studies.traits.measured import NOTABLE, EncoderMeasured, TraitsMeasured
from clew.studies.traits.questionnaire import Ratings

MOST_FEATURES, MOST_PAIRS, MOST_JOINED = 20, 40, 25


def cell_table(measured: TraitsMeasured, encoder: EncoderMeasured) -> Table:
    table, factor_of, rows = encoder.table, measured.factor_of, []
    for i, statement in enumerate(table.statements):
        order = (-table.cosines[i]).argsort(kind="stable").argsort(kind="stable") + 1
        for j, keyword in enumerate(table.keywords):
            words, texts = (float(each[i, j]) for each in table.quantiles)
            value = float(table.cosines[i, j])
            sentence = _sentence(statement, keyword, value, words, texts)
            rows.append((statement, factor_of[keyword], keyword, value, int(order[j]), words, texts, sentence))
    return Table.of_rows(
        f"Statements and keywords, {encoder.name}",
        (
            *("statement", "factor", "keyword", "cosine", "rank"),
            *("above random keywords", "above random statements", "in words"),
        ),
        rows,
        note="`rank`: among the keywords of the statement. `above random keywords`: the share of words that name no "
        "trait from which the statement is further; `above random statements`: the share of statements about no trait "
        "that are further from the keyword. A cell is put in words where both are at least "
        f"{NOTABLE:.0%}, or at most {1 - NOTABLE:.0%}.",
    )


def _sentence(statement: str, keyword: str, value: float, words: float, texts: float) -> str:
    if min(words, texts) >= NOTABLE:
        return (
            f"{statement!r} is near {keyword!r} ({value:.2f}): nearer than {words:.0%} of random words, and than "
            f"{texts:.0%} of random statements are to it."
        )
    if max(words, texts) <= 1 - NOTABLE:
        return (
            f"{statement!r} is far from {keyword!r} ({value:.2f}): further than nearly all random words and statements."
        )
    return ""


def factor_table(measured: TraitsMeasured, encoder: EncoderMeasured) -> Table:
    means = measured.factor_means(encoder)
    rows = [(text, *row) for text, row in zip(encoder.table.statements, means.tolist(), strict=True)]
    return Table.of_rows(
        f"Statements and factors, {encoder.name}",
        ("statement", *measured.factors),
        rows,
        note="Mean cosine with the factor's keywords. Whether a statement agrees with a trait or denies it is hardly "
        "in it: see the claim on agreement and denial.",
    )


def published_table(encoder: EncoderMeasured) -> Table:
    return Table.of_rows(
        f"Cells that were published, beside {encoder.name}",
        ("statement", "keyword", "published", encoder.name),
        encoder.published(),
        note="Published with distilbert-base-nli-stsb-mean-tokens.",
    )


def pair_table(encoder: EncoderMeasured, count: int, draws: tuple[float, ...]) -> Table:
    pairs, rows = encoder.pairs, []
    for kind, members in pairs.flagged().items():
        for one, other in members[:MOST_PAIRS]:
            rows.append(
                (
                    kind,
                    pairs.scales[one],
                    pairs.scales[other],
                    float(pairs.labels[one, other]),
                    float(pairs.contents[one, other]),
                )
            )
    merges = "; ".join(", ".join(group) for group in pairs.merges()) or "none"
    low, high = np.quantile(draws, [0.025, 0.975])
    note = (
        f"{count} of {len(pairs.scales) * (len(pairs.scales) - 1) // 2} pairs; where labels are dealt out among the "
        f"scales {low:.0f} to {high:.0f} (95 %). Jingle: labels among the {1 - pairs.high:.0%} most alike, contents "
        f"among the {pairs.low:.0%} least alike; jangle: the reverse. Suggested merges (scales joined by jangle): "
        f"{merges}."
    )
    names = ("kind", "scale", "other", "label", "content")
    return Table.of_rows(f"Jingle and jangle, {encoder.name}", names, rows, note=note)


def feature_table(measured: TraitsMeasured, kit: Kit) -> Table:
    strongest = measured.readings.strongest(MOST_FEATURES)
    ids = [measured.readings.columns.ids[column] for column, *_ in strongest]
    names = kit.names(ids)
    rows = [
        (str(feature), names[feature], trait, share, writes)
        for feature, (_, trait, share, writes) in zip(ids, strongest, strict=True)
    ]
    return Table.of_rows(
        "Features that part the traits",
        ("feature", "name", "largest in", "between traits", "writes"),
        rows,
        note="Read behind `People who ... are`. `between traits`: the share of its variance that lies between the five "
        "traits; `writes`: its mean activation there times the length of its decoder.",
    )


def profile_picture(measured: TraitsMeasured, encoder: EncoderMeasured) -> Picture:
    means, table = measured.factor_means(encoder), encoder.table
    shown = min(len(means), 8)
    figure = new_figure(6.4, 0.9 + 0.55 * shown)
    axes = figure.subplots()
    for row, place in enumerate(reversed(range(shown))):
        random = table.with_random_keywords[place]
        low, high = np.quantile(random, [0.025, 0.975])
        axes.plot([low, high], [row, row], color=GREY, linewidth=7, alpha=0.4, solid_capstyle="butt")
    for number, name in enumerate(measured.factors):
        colour, mark = _colour(number), "osD^v"[number % 5]
        axes.plot(
            means[:shown, number][::-1],
            range(shown),
            color=colour,
            marker=mark,
            linestyle="none",
            markersize=6,
            label=name,
        )
    axes.set_yticks(range(shown), [_short(text) for text in reversed(table.statements[:shown])], fontsize=8)
    axes.set_ylim(-0.6, shown - 0.4)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_xlabel("mean cosine with the factor's keywords")
    open_corner(axes)
    legend(axes, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return Picture.of(
        figure,
        title=f"Profiles of the statements, {encoder.name}",
        text="The mean cosine of every statement with the keywords of each factor; the grey bar is where 95 % of its "
        "cosines with words lie that name no trait.",
    )


def network_picture(encoder: EncoderMeasured) -> Picture:
    pairs = encoder.pairs
    plane = map_of(2 - 2 * pairs.contents)
    figure = new_figure(6.6, 5.0)
    axes = figure.subplots()
    for kind, colour, style in ((JANGLE, ORANGE, "-"), (JINGLE, BLUE, "--")):
        for one, other in pairs.flagged()[kind][:MOST_JOINED]:
            axes.plot(*plane[[one, other]].T, style, color=colour, linewidth=1.2, alpha=0.8)
        axes.plot([], [], style, color=colour, label=kind)
    axes.scatter(plane[:, 0], plane[:, 1], s=16, color=GREY, zorder=3)
    for name, point in zip(pairs.scales, plane, strict=True):
        axes.annotate(name, point, fontsize=6.5, xytext=(3, 3), textcoords="offset points")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.08)
    open_corner(axes)
    legend(axes, loc="best")
    return Picture.of(
        figure,
        title=f"Jingle and jangle, {encoder.name}",
        text="Scales whose items are alike lie close. Orange: jangle, contents alike under labels that are not; blue: "
        "jingle, labels alike over contents that are not.",
    )


def trait_picture(measured: TraitsMeasured) -> Picture:
    readings = measured.readings
    figure = new_figure(5.0, 3.0)
    axes = figure.subplots()
    for place, (name, labels) in enumerate({"trait": readings.traits, "pole": readings.high}.items()):
        value = readings.share(labels)
        draws = readings.dealt(labels, measured.draws, measured.seed)
        standing(axes, value, place, BLUE, label="" if place else "features")
        shades: Any = axes.violinplot([draws], positions=[place], widths=0.5, showextrema=False)["bodies"]
        shades[0].set_facecolor(GREY)
        axes.annotate(name, (place, 0), xytext=(0, -14), textcoords="offset points", ha="center")
    axes.set_xticks([])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of behaviours told")
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="Traits and poles, told by features",
        text="How many of the sixty behaviours, each left out once, are told by the model's features: which of five "
        "traits, and which pole (points, 95 %). Shaded: the same where traits and poles are dealt out.",
    )


def rating_table(ratings: Ratings) -> Table:
    rows = [
        (item.text, item.factor or item.scale, "plus" if item.sign > 0 else "minus", *map(float, numbers))
        for item, *numbers in zip(ratings.items, ratings.straight, ratings.turned, ratings.on_numbers, strict=True)
    ]
    return Table.of_rows(
        "What the model answers",
        ("item", "factor", "keyed", "rating", "scale turned round", "on numbers"),
        rows,
        note="Expected points under the probabilities of the five numbers, 5 where the item describes the model best. "
        "`scale turned round`: asked with 1 as the best fit, and turned back. `on numbers`: how much of the "
        "probability lies on the five numbers.",
    )


def score_table(ratings: Ratings, measured: TraitsMeasured) -> Table:
    dealt = np.array([ratings.scores(signs) for signs in ratings.dealt_signs(measured.draws, measured.seed)])
    rows = [
        (factor, value.value, value.low, value.high, float(low), float(high))
        for factor, value, low, high in zip(
            ratings.factors, ratings.score_intervals(), *np.quantile(dealt, [0.025, 0.975], axis=0), strict=True
        )
    ]
    return Table.of_rows(
        "Scores of the factors",
        ("factor", "score", "low", "high", "keys dealt out, low", "high of these"),
        rows,
        note="The mean rating of a factor's items, those keyed against it turned round, as a person is "
        "scored. It says something only where both claims on ratings hold.",
    )


def rating_picture(ratings: Ratings) -> Picture:
    figure = new_figure(4.4, 4.2)
    axes = figure.subplots()
    for number, (sign, name) in enumerate(((1, "keyed plus"), (-1, "keyed minus"))):
        mine = ratings.signs == sign
        axes.scatter(
            ratings.straight[mine], ratings.turned[mine], s=14, marker="os"[number], color=_colour(number), label=name
        )
    axes.plot([1, 5], [1, 5], color=GREY, linewidth=0.8)
    axes.set_xlim(1, 5)
    axes.set_ylim(1, 5)
    axes.set_xlabel("rating, 5 is the best fit")
    axes.set_ylabel("the same, scale turned round")
    open_corner(axes)
    legend(axes, loc="best")
    return Picture.of(
        figure,
        title="Ratings on a scale and on the same scale turned round",
        text="Every item once. Where answers are about the items, points lie along the line; where the model likes a "
        "number, they lie across it.",
    )


def exhibits(measured: TraitsMeasured, kit: Kit) -> tuple[dict[str, Table], dict[str, Picture]]:
    """Everything that a case shows."""
    tables, figures = {"features": feature_table(measured, kit)}, {"traits": trait_picture(measured)}
    for encoder, tail in _named(measured):
        tables[f"cells{tail}"] = cell_table(measured, encoder)
        tables[f"factors{tail}"] = factor_table(measured, encoder)
        tables[f"pairs{tail}"] = pair_table(encoder, *measured.jingle_jangle(encoder))
        if encoder.published():
            tables[f"published{tail}"] = published_table(encoder)
        figures[f"profile{tail}"] = profile_picture(measured, encoder)
        figures[f"network{tail}"] = network_picture(encoder)
    if measured.ratings is not None:
        tables["ratings"] = rating_table(measured.ratings)
        tables["scores"] = score_table(measured.ratings, measured)
        figures["ratings"] = rating_picture(measured.ratings)
    return tables, figures


def _named(measured: TraitsMeasured) -> Iterator[tuple[EncoderMeasured, str]]:
    yield from zip(measured.encoders, ("", "-second"), strict=False)


def _colour(number: int) -> str:
    return (BLUE, ORANGE, "#4f9d69", "#8a5fb0", "#333333")[number % 5]


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:38]}…"
