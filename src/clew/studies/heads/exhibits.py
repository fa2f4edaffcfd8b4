"""Tables and pictures of the study `heads`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from clew.stats import wilson
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import keys, legend, lying, named_rows, open_corner
from clew.studies.heads import scores
from clew.studies.heads.measured import SIGNIFICANT, HeadsMeasured
from clew.studies.heads.relations import KnownRelation
from clew.studies.heads.texts import OWN, RANDOM

MOST_RELATIONS = MOST_HEADS = 24
"""Rows and columns of the pictures."""


def head_table(measured: HeadsMeasured) -> Table:
    names = [scores.PREVIOUS, scores.NEXT, scores.FIRST, scores.DELIMITERS, scores.ENTROPY]
    names = [name for name in names if not (measured.model.causal and name == scores.NEXT)]
    columns: dict[str, list[Any]] = {"head": [measured.model.head_name(head) for head in range(measured.n_heads)]}
    columns |= {name: measured.score(name).tolist() for name in names}
    kinds = [name for name in measured.repeated if not name.endswith(".null")]
    columns |= {name.replace(".", ", "): measured.score(name).tolist() for name in kinds}
    columns["effect of silence"] = measured.effects.mean(0).tolist()
    unit = "nats a token" if measured.model.causal else "one minus the cosine of the text's vector"
    return Table(
        title="What every head looks at, and what its silence does",
        columns=columns,
        note=f"Mean attention over {len(measured.texts)} texts, and over the second copy of sequences that are said "
        f"twice. `entropy` is a share of the greatest that there could be. `effect of silence`: {unit}, the head's "
        "writing replaced by its mean.",
    )


def domain_table(measured: HeadsMeasured) -> Table:
    order = np.argsort(-measured.eta, kind="stable")
    names = measured.domain_names
    rows = []
    for head in order.tolist():
        part = measured.domain_parts[:, head]
        p = float(measured.domain_p[head])
        most = names[int(part.argmax())] if p < SIGNIFICANT else ""
        rows.append((measured.model.head_name(head), float(measured.eta[head]), p, most, *part.tolist()))
    return Table.of_rows(
        "Which head serves which domain",
        ("head", "told by the domain", "p", "specialised in", *names),
        rows,
        note="A head's part in a text: its share of what the silence of all heads, one at a time, does there. `told by "
        "the domain`: the share of the variance of its ranks that lies between domains. `p`: how often the largest of "
        f"all heads is as large where domains are dealt out among the {len(measured.texts)} texts.",
    )


def relation_table(relations: Sequence[KnownRelation], measured: HeadsMeasured) -> Table:
    rows = []
    for each in relations:
        right = wilson(int(each.right.sum()), len(each.right))
        rows.append(
            (
                each.relation,
                each.direction,
                measured.model.head_name(each.head),
                len(each.right),
                *(100 * end for end in right),
                each.offset,
                100 * float(each.offset_right.mean()),
            )
        )
    return Table.of_rows(
        "Relations, the best head of each and the best offset",
        ("relation", "direction", "head", "pairs", "right", "low", "high", "offset", "offset right"),
        rows,
        note="Per cent of the pairs of every other sentence; head, direction and offset are chosen on the rest. "
        "Relations with fewer than ten pairs in either half are left out.",
    )


def context_table(rows: Sequence[Sequence[Any]]) -> Table:
    return Table.of_rows(
        "Contexts in which a head writes alike",
        ("class", "head", "context", "looks at", "nearest elsewhere", "looks there at", "cosine", "of all pairs"),
        rows,
        note="The token in brackets is the one at which the head writes; what it adds to the stream there, less its "
        "mean, is compared by the cosine. `looks at`: the token with most of its attention, and how far it stands.",
    )


def look_table(rows: Sequence[Sequence[Any]]) -> Table:
    return Table.of_rows(
        "Why heads look where they look",
        ("class", "head", "from where to where", "attention", "side", "source", "name", "at", "effect"),
        rows,
        note="The five sources with the largest effects on either side of the score against the mean of the other "
        "keys; as `clew looks` finds them.",
    )


def class_picture(measured: HeadsMeasured) -> Picture:
    shown = {scores.PREVIOUS: scores.PREVIOUS}
    if not measured.model.causal:
        shown[scores.NEXT] = scores.NEXT
    shown |= {scores.FIRST: "first position", scores.DELIMITERS: "delimiters", scores.ENTROPY: "entropy"}
    shown |= {f"{scores.INDUCTION}.{OWN}": "induction, own domain", f"{scores.INDUCTION}.{RANDOM}": "induction, random"}
    shown |= {f"{scores.DUPLICATE}.{OWN}": "same token, own domain"}
    figure = new_figure(1.75 * len(shown), 2.5)
    panels = figure.subplots(1, len(shown), sharey=True)
    image: Any = None
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        grid = measured.score(name).reshape(measured.model.n_layers, measured.model.n_heads)
        image = axes.imshow(grid, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("head", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_xticks(range(0, measured.model.n_heads, max(1, measured.model.n_heads // 4)))
    panels[0].set_ylabel("layer")
    panels[0].set_yticks(range(measured.model.n_layers))
    figure.colorbar(image, ax=panels, shrink=0.8)
    return Picture.of(
        figure,
        title="Classes of heads",
        text="Every square is a head: how much of its attention goes to the token before, to the first position, to "
        "delimiters; its entropy beside the greatest that there could be; and, where a sequence is said twice, how "
        "much goes to what followed the same token in the first copy, in the model's own domain and among random "
        "tokens, and to the same token itself.",
    )


def map_picture(measured: HeadsMeasured) -> Picture:
    from matplotlib import colormaps

    plane = scores.map_of(measured.distance)
    figure = new_figure(5.6, 4.2)
    axes = figure.subplots()
    colours = colormaps["viridis"](np.linspace(0, 0.9, measured.model.n_layers))
    named = {measured.model.head_name(head) for head in measured.shown.values()}
    for layer in range(measured.model.n_layers):
        mine = measured.layers == layer
        axes.scatter(plane[mine, 0], plane[mine, 1], s=26, color=colours[layer], label=f"layer {layer}")
    for head, point in enumerate(plane):
        name = measured.model.head_name(head)
        if name in named or measured.n_heads <= 32:
            axes.annotate(name, point, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set_xticks([])
    axes.set_yticks([])
    open_corner(axes)
    legend(axes, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return Picture.of(
        figure,
        title="Heads that look alike",
        text="Heads whose attention is alike lie close: the plane in which Jensen-Shannon divergences between heads "
        "are kept best. Colours are layers.",
    )


def domain_picture(measured: HeadsMeasured) -> Picture:
    order = np.argsort(-measured.eta, kind="stable")[:MOST_HEADS]
    parts: Float[np.ndarray, "domain head"] = measured.domain_parts[:, order].clip(min=1e-6)
    figure = new_figure(0.34 * len(order) + 1.8, 0.42 * len(parts) + 1.2)
    axes = figure.subplots()
    image = axes.imshow(np.log2(parts / parts.mean(0)), cmap="PuOr_r", vmin=-2, vmax=2, aspect="auto")
    stars = ["*" if measured.domain_p[head] < SIGNIFICANT else "" for head in order.tolist()]
    names = [measured.model.head_name(head) + star for head, star in zip(order.tolist(), stars, strict=True)]
    axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(parts)), measured.domain_names)
    figure.colorbar(image, ax=axes, ticks=[-2, -1, 0, 1, 2], format=lambda power, _: f"x {2.0**power:g}")
    return Picture.of(
        figure,
        title="Which head serves which domain",
        text="The part of heads in the texts of each domain, beside their mean over domains (x 2: twice the mean); "
        "heads of which the domain says most stand first. A star: more than the largest of all heads where domains are "
        "dealt out among the texts (95 % of the draws).",
    )


def relation_picture(relations: Sequence[KnownRelation], measured: HeadsMeasured) -> Picture:
    shown = relations[:MOST_RELATIONS]
    figure = new_figure(6.0, 0.26 * len(shown) + 1.0)
    axes = figure.subplots()
    for row, each in enumerate(reversed(shown)):
        lying(axes, wilson(int(each.right.sum()), len(each.right)), row, BLUE)
        axes.plot([float(each.offset_right.mean())], [row], color=ORANGE, marker="D", markersize=4, linestyle="none")
    named_rows(axes, [f"{each.relation}, {measured.model.head_name(each.head)}" for each in shown])
    axes.set_xlim(0, 1.02)
    axes.grid(axis="x", color=GREY, alpha=0.3)
    axes.set_xlabel("share of the pairs")
    keys(axes, (BLUE, "o", "the best head"), (ORANGE, "D", "the best fixed offset"))
    open_corner(axes)
    legend(axes)
    return Picture.of(
        figure,
        title="Relations that heads know",
        text="For every relation how often its best head looks most at the other word (blue, 95 %), and how often the "
        "best fixed offset finds it (orange); both chosen on the other half of the sentences.",
    )
