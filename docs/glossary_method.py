"""Pictures of the glossary: attribution, circuits, and how they are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from glossary_bench import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    Bench,
    Say,
    bars,
    grid,
    picture,
)
from matplotlib.figure import Figure

import clew
from clew.organism.prompts import listed_prompts
from clew.runs.fidelity import replaced_logits
from clew.studies.charts import keys, legend, named_rows, open_corner

if TYPE_CHECKING:
    pass

# --- the method -----------------------------------------------------------------------------------------------------


@picture("replacement-model", 3.4)
def replacement_model(bench: Bench, figure: Figure, say: Say) -> None:
    names, real, replaced = [], [], []
    for prompt in listed_prompts(9):
        ids = bench.subject.encode(prompt)[None]
        left_out = torch.zeros_like(ids, dtype=torch.bool)
        left_out[:, 0] = True
        likely = bench.subject.logits(ids)[0, -1].softmax(-1)
        token = int(likely.argmax())
        logits = replaced_logits(bench.subject, bench.dictionary, ids, left_out)[0, -1]
        names.append(
            f"{prompt if len(prompt) < 42 else '…' + prompt[-41:]} → {bench.subject.token_strings([token])[0].strip()}"
        )
        real.append(100 * float(likely[token]))
        replaced.append(100 * float(logits.softmax(-1)[token]))
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    for shift, values, colour, name in (
        (0.2, real, GREY, say("the model", "модель")),
        (-0.2, replaced, BLUE, say("all MLPs replaced", "все MLP заменены")),
    ):
        axes.barh(rows + shift, values, height=0.38, color=colour, label=name)
        for row, value in zip(rows + shift, values, strict=True):
            axes.text(value + 1, row, f"{value:.0f}", va="center", fontsize=8)
    named_rows(axes, names)
    axes.set_xlim(0, 112)
    axes.set_xlabel(say("probability of the answer, %", "вероятность ответа, %"))
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    open_corner(axes)


@picture("error-node", 2.7)
def error_node(bench: Bench, figure: Figure, say: Say) -> None:
    errors, site = bench.local.errors, bench.dictionary.write_site
    outputs = torch.stack([bench.recording.sites[site, layer] for layer in range(bench.dictionary.n_layers)])
    share = (errors.norm(dim=-1) / outputs.norm(dim=-1)).detach().numpy()[::-1, 1:]
    axes = figure.subplots()
    grid(axes, 100 * share, 100, "{:.0f}")
    axes.set_xticks(range(len(bench.tokens) - 1), bench.tokens[1:])
    axes.set_yticks(range(len(share)), reversed(range(len(share))))
    axes.set_ylabel(say("layer", "слой"))
    axes.set_title(
        say(
            "How long each error is, in % of the MLP output that it belongs to",
            "Длина ошибки в % от выхода MLP, к которому она относится",
        )
    )


@picture("attribution", 3.2)
def attribution(bench: Bench, figure: Figure, say: Say) -> None:
    graph = bench.graph
    target = graph.n_nodes - 1
    row, offsets = graph.inputs(target), float(graph.offsets[target].sum())
    chosen = row.abs().topk(7).indices.tolist()
    labels = [graph.node_label(index) for index in chosen]
    names = [label if label.startswith("L") else f"{say('token', 'токен')} {label}" for label in labels]
    rest = float(row.sum() - row[chosen].sum())
    values = [*row[chosen].tolist(), rest, offsets, float(row.sum()) + offsets]
    n_rest = int((row != 0).sum()) - len(chosen)
    names = [name if len(name) < 46 else f"{name[:44]}…" for name in names]
    names += [
        say(f"{n_rest} other nodes", f"прочие узлы: {n_rest}"),
        say("biases, positions, sink", "смещения, позиции, сток"),
        say("sum = the logit", "сумма = логит"),
    ]
    axes = figure.subplots()
    bars(axes, names, values, [*[BLUE if value > 0 else ORANGE for value in values[:-1]], "black"])
    axes.set_xlabel(say("what it adds to the logit of “Paris”", "что прибавляет к логиту «Paris»"))


@picture("attribution-graph", 3.6)
def attribution_graph(bench: Bench, figure: Figure, say: Say) -> None:
    graph = bench.graph.prune(node=0.8, edge=0.9)
    places: dict[int, tuple[float, float]] = {}
    taken: dict[tuple[int, int], int] = {}
    for index, node in enumerate(graph.nodes):
        layer = {"token": -1, "target": bench.dictionary.n_layers}.get(node.id.kind, getattr(node, "layer", 0))
        spot = taken[node.position, layer] = taken.get((node.position, layer), -1) + 1
        places[index] = (node.position + 0.11 * ((spot + 1) // 2) * (-1) ** spot, layer)
    axes = figure.subplots()
    largest = float(graph.rows.abs().max())
    for row, target in enumerate(graph.row_nodes.tolist()):
        for column in graph.rows[row].nonzero()[:, 0].tolist():
            weight, source = float(graph.rows[row, column]), int(graph.col_nodes[column])
            ends = zip(places[source], places[target], strict=True)
            axes.plot(*ends, color=BLUE if weight > 0 else ORANGE, linewidth=0.4 + 4 * abs(weight) / largest, alpha=0.4)
    looks = {"feature": ("o", BLUE), "error": ("D", GREY), "token": ("s", "black"), "target": ("s", "black")}
    for index, node in enumerate(graph.nodes):
        marker, colour = looks[node.id.kind]
        axes.plot(*places[index], marker=marker, color=colour, markersize=6, markeredgecolor="white")
    axes.set_xticks(range(len(bench.tokens)), bench.tokens)
    layers = [say("token", "токен"), *map(str, range(bench.dictionary.n_layers)), "Paris"]
    axes.set_yticks(range(-1, bench.dictionary.n_layers + 1), layers)
    axes.set_ylabel(say("layer", "слой"))
    axes.set_xlim(0.5, len(bench.tokens) - 0.3)
    keys(axes, (BLUE, "o", say("feature", "признак")), (GREY, "D", say("error", "ошибка")))
    legend(axes, loc="upper left")
    open_corner(axes)


@picture("circuit", 2.9)
def circuit(bench: Bench, figure: Figure, say: Say) -> None:
    found, axes = bench.circuit, figure.subplots()
    groups = [found.group(name) for name in found.chain]
    spots = {"T@4": (0.0, 1.0), "T@2": (0.0, 0.0), "answer": (3.5, 0.5)}
    for group in groups:
        spots[group.id] = (2.5, 0.5) if group.role == "output" else (1.15, 1.0 if group is groups[0] else 0.0)
    texts = {"T@4": "France", "T@2": "capital", "answer": f"Paris\n{found.answer.probability:.1%}"}
    texts |= {group.id: f"{group.name}\n{say('features', 'признаков')}: {len(group.members)}" for group in groups}
    for edge in found.edges:
        if edge.source in spots and edge.target in spots:
            (x, y), (to, up) = spots[edge.source], spots[edge.target]
            arrow = {
                "arrowstyle": "-|>",
                "color": BLUE,
                "linewidth": 0.6 + 3 * edge.measured,
                "shrinkA": 26,
                "shrinkB": 40,
            }
            axes.annotate("", (to, up), (x, y), zorder=0, arrowprops=arrow)
            near = 0.55 if edge.source.startswith("T@") and up != y else 0.42
            note = f"{edge.measured:.0%}" + (f" ({', '.join(edge.heads[:1])})" if edge.heads else "")
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            above = 0.0 if up != y else -0.11 if y == 0 else 0.11
            axes.text(
                x + near * (to - x), y + above + near * (up - y), note, fontsize=7.5, ha="center", va="center", bbox=box
            )
    box = {"boxstyle": "round,pad=0.45", "facecolor": PALE, "edgecolor": BLUE}
    for id, (x, y) in spots.items():
        axes.text(x, y, texts[id], ha="center", va="center", fontsize=8.5, bbox=box)
    axes.set(xlim=(-0.3, 3.8), ylim=(-0.35, 1.35))
    axes.set_axis_off()
    axes.set_title(say("Share of each end that is lost without its start", "Какая доля конца теряется без его начала"))


@picture("necessity-and-sufficiency", 3.0)
def necessity(bench: Bench, figure: Figure, say: Say) -> None:
    found, axes = bench.circuit, figure.subplots()
    groups = found.groups[:5]
    rows = np.arange(len(groups) + 1)[::-1]
    measured = [
        *[(g.without, g.alone, g.null.probability) for g in groups],
        (found.without, found.alone, found.null.probability),
    ]
    wordings = (
        say("without it", "без неё"),
        say("it alone", "только она"),
        say("without random features in its place", "без случайных вместо неё"),
    )
    for column, (colour, marker, name) in enumerate(zip((ORANGE, BLUE, GREY), "so|", wordings, strict=True)):
        axes.plot(
            [100 * m[column] for m in measured],
            rows,
            marker,
            color=colour,
            markersize=8 if marker == "|" else 6,
            markeredgewidth=2 if marker == "|" else 1,
            label=name,
        )
    named_rows(axes, [*[g.name for g in groups], say("all groups", "все группы")])
    axes.grid(axis="y", color="#eeeeee")
    axes.set_xlabel(say("probability of “Paris”, %", "вероятность «Paris», %"))
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    open_corner(axes)


@picture("ablation-and-steering", 3.0)
def ablation_and_steering(bench: Bench, figure: Figure, say: Say) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    group, counts = bench.circuit.groups[0], (0, 1, 4, 8, len(bench.circuit.groups[0].members))
    removed = torch.zeros(len(counts), bench.graph.n_features, dtype=torch.bool)
    for row, count in enumerate(counts):
        removed[row, [bench.graph.index(member) for member in group.members[:count]]] = True
    values = [100 * p for p in bench.circuit.runs.outcomes(removed).probability.tolist()]
    left.bar(range(len(counts)), values, color=ORANGE, width=0.65)
    left.set_xticks(range(len(counts)), counts)
    left.set_xlabel(say("features of “country: France” ablated", "отключено признаков «country: France»"))
    left.set_ylabel(say("probability of “Paris”, %", "вероятность «Paris», %"))
    left.set_title(say("Ablation", "Отключение"))
    strengths = np.linspace(0, 20, 11)
    cases = [("You find Lyon in", [clew.Edit.set("L0/447@4", float(value))]) for value in strengths]
    for token, colour in ((" France", GREY), (" Italy", BLUE)):
        right.plot(
            strengths,
            [100 * p for p in bench.chance(cases, token)],
            color=colour,
            marker="o",
            markersize=3,
            label=token.strip(),
        )
    right.set_xlabel(say("strength of L0/447 at “in”", "сила L0/447 у «in»"))
    right.set_title(say("Steering: “You find Lyon in …”", "Управление: «You find Lyon in …»"))
    legend(right)
    open_corner(left, right)


@picture("null", 2.7)
def null(bench: Bench, figure: Figure, say: Say) -> None:
    for axes, found, name in zip(
        figure.subplots(1, 2), (bench.circuit, bench.sums), ("country: France", "number: 34"), strict=True
    ):
        group = found.group(name)
        draws = [100 * p for p in group.null.probabilities]
        label = say(f"{len(draws)} random sets, as heavy", f"{len(draws)} случайных наборов того же веса")
        axes.hist(draws, bins=np.linspace(0, 100, 51), color=GREY, label=label)
        label = say(f"the group “{name}”", f"группа «{name}»")
        axes.axvline(100 * group.without, color=ORANGE, linewidth=2, label=label)
        axes.set_title(f"{found.prompt} → {found.answer.text.strip()}")
        axes.set_xlabel(say("probability of the answer left, %", "что осталось от вероятности ответа, %"))
        axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
        axes.set_ylabel(say("sets", "наборов"))
        legend(axes, loc="upper left")
        open_corner(axes)
