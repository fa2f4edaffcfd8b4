"""Tables and pictures of the study `capital`."""

from __future__ import annotations

from typing import Any

from clew.kit import Kit
from clew.stats import null_range
from clew.studies.capital.carriers import GROUPS
from clew.studies.capital.claims import CapitalMeasured
from clew.studies.capital.facts import CapitalConfig
from clew.studies.capital.looks import SOURCES
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import keys, legend, lying, named_rows, open_corner

_SHOWN = 8  # features of a group in the table
_TEXTS = {
    "swap": "carriers of country and answer, all layers",
    "first": "those of the first layer alone",
    "token": "all features at the country's own token",
    "transplant": "one-hop activations in the two-hop prompt",
    "output": "output features of both prompts alone",
}


def sentence_table(m: CapitalMeasured, config: CapitalConfig) -> Table:
    """What was asked, and how often the model knows it."""
    rows = []
    for kind in ("one_hop", "two_hop"):
        for place, template in enumerate(config.templates(kind)):
            there = sum(prompt is not None for prompt in m.asked.prompts[kind][place])
            known = int(m.asked.known[kind][place].sum())
            rows.append((kind.replace("_", "-"), template.text, there, known / max(there, 1)))
    return Table.of_rows(
        "What was asked",
        ("kind", "sentence", "prompts", "answered"),
        rows,
        "`answered` is the share whose most likely next token is the first of the capital; only these are swapped.",
    )


def swap_table(m: CapitalMeasured) -> Table:
    """Every run with its interval, its clamped layers and its null."""
    names = ("changed", "through", "cases", "features", "follows", "low", "high", "stays", "null", "null to")
    last = m.layers[-1]
    runs = [(name, text, last) for name, text in _TEXTS.items()]
    runs[1] = ("first", _TEXTS["first"], m.layers[0])
    runs += [(f"upto.{layer}", f"carriers of layers up to {layer}", layer) for layer in m.layers[:-1]]
    runs += [(f"from.{layer}", f"carriers of layers from {layer}", last) for layer in m.layers[1:]]
    runs += [(f"first.through.{e}", _TEXTS["first"], e) for e in m.layers[1:]]
    runs += [("ablate.identity", "carriers of country and answer set to zero", last)]
    runs += [("ablate.question", "carriers of the question set to zero", last)]
    rows = [_swap_row(m, *run) for run in runs if run[0] in m.found]
    note = (
        "`follows`: the other country's capital is the most likely next token; `stays`: the own one still is. The null "
        "of a swap is matched random features changed by as much, of a transplant a third country's activations (how "
        "often b's capital is answered), of an ablation what still stays without matched random features; `null to` is "
        "the end of 95 % of its draws, `null writes` how much the drawn features write beside those under test. To "
        "swap output features alone is nearly a tautology: what they write is the answer. `through` decides: with "
        "later layers clamped, those of the first layer cannot be heard."
    )
    return Table.of_rows("What is answered after each change", (*names, "null writes"), rows, note)


def _swap_row(m: CapitalMeasured, name: str, text: str, through: int) -> tuple[Any, ...]:
    draws = m.draws("third" if name == "transplant" else f"{name}.null", own=name.startswith("ablate"))
    null = null_range(draws)
    written = [each.written for key, each in m.found.items() if key.startswith(f"{name}.null")]
    return (
        text,
        f"layer {through}",
        len(m.two_hop_pairs if name == "transplant" else m.pairs),
        m.found[name].features,
        *m.follow(name),
        m.follow(name, own=True).value,
        null.value,
        null.high,
        sum(written) / len(written) if written else float("nan"),
    )


def carrier_table(m: CapitalMeasured) -> Table:
    """How many carriers of each kind there are by layer."""
    carriers, columns_of = m.features.carriers[-1], m.features.columns
    chosen = carriers.identity | carriers.question
    total, rows = carriers.spread.sum(), []
    for layer in m.layers:
        here = columns_of.layer == layer
        counts = [int((here & chosen & (carriers.group == place)).sum()) for place in range(len(GROUPS))]
        rows.append((layer, *counts, *(float(spread[here].sum() / total) for spread in carriers.spread)))
    return Table.of_rows(
        "Carriers by layer",
        ("layer", *GROUPS, *(f"mean square, {group}" for group in GROUPS)),
        rows,
        "How many features carry the country whatever is asked, the question whatever the country, and the answer "
        "(written for one country and one question): a carrier counts where most of its mean squares lie. Beside them "
        "the shares of all mean squares of what is written at the last token, carriers or not.",
    )


def feature_table(m: CapitalMeasured, kit: Kit) -> Table:
    """The strongest carriers of each kind by name."""
    carriers, of = m.features.carriers[-1], m.features.columns
    chosen = []
    for place, group in enumerate(GROUPS):
        mine = carriers.spread[place] * (carriers.group == place)
        mine = mine * ~carriers.elsewhere * (carriers.question if group == "capital of" else carriers.identity)
        best = mine.argsort(descending=True)[:_SHOWN].tolist()
        chosen += [(place, column) for column in best if float(mine[column]) > 0]
    called, rows = kit.names([of.ids[column] for _, column in chosen]), []
    for place, column in chosen:
        feature, spread = of.ids[column], carriers.spread[:, column]
        country = m.asked.facts.countries[int(carriers.highest[column])] if GROUPS[place] != "capital of" else ""
        rows.append(
            (GROUPS[place], str(feature), called.get(feature, ""), country, float(spread[place] / spread.sum()))
        )
    names = ("carries", "feature", "name", "most for", "share of its mean squares")
    return Table.of_rows(
        "The strongest carriers", names, rows, "Those that write most when the capital is asked for."
    )  # fmt: skip


def look_table(m: CapitalMeasured) -> Table:
    """What the look of the first layer is made of, and by which heads the country's token reaches the carriers."""
    mean = m.looks["sources"].mean(0)
    rows = [
        (f"L0H{m.head}, {side}", source, value)
        for side, values in zip(("query side (last token)", "key side (country)"), mean, strict=True)
        for source, value in zip(SOURCES, values.tolist(), strict=True)
    ]
    loads = m.looks["loadings"]
    if len(loads):
        shares = loads.abs().sum(0) / loads.sum(1).abs().sum().clamp_min(1e-12)
        names = [f"head L{m.layers[0]}H{head}" for head in range(loads.shape[1] - 1)] + ["past all heads"]
        what = "edges from the country's token into first-layer carriers at the last token, as a share"
        rows += [(what, name, share) for name, share in zip(names, shares.tolist(), strict=True)]
    return Table.of_rows(
        "How the country comes to the last token",
        ("what", "source", "value"),
        rows,
        "The first rows take the head's score apart, less its mean score for the other tokens: values of each side add "
        "up to it. The last rows say through which heads the country's token reaches the carriers.",
    )


def swap_picture(m: CapitalMeasured) -> Picture:
    """The main runs beside their nulls."""
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots()
    shown = [name for name in _TEXTS if name in m.found]
    for row, name in enumerate(reversed(shown)):
        lying(axes, m.follow(name), row, BLUE)
        null = null_range(m.draws("third" if name == "transplant" else f"{name}.null"))
        axes.plot([null.value], [row], color=GREY, marker="s", linestyle="none")
    named_rows(axes, [{**_TEXTS, "transplant": "one-hop activations put into two-hop prompts"}[name] for name in shown])
    keys(axes, (BLUE, "o", "another country's features"), (GREY, "s", "null"))
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("how often the other country's capital is answered")
    open_corner(axes)
    legend(axes, loc="center right")
    return Picture.of(
        figure,
        title="Where another country can be put in",
        text="How often the answer follows when features are given another country's activations: at the last token in "
        "all layers, in the first layer alone, at the country's own token, in a two-hop prompt, and in the features "
        "that write the answer directly. Grey: matched random features, or a third country's activations in the "
        "two-hop prompt. Bars are 95 % intervals.",
    )


def layer_picture(m: CapitalMeasured) -> Picture:
    """How the answer follows by the layers that are swapped, and by the layers that are clamped."""
    figure = new_figure(7.2, 3.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for prefix, colour, text in (("upto", BLUE, "layers up to this one"), ("from", ORANGE, "layers from this one on")):
        values = [m.follow(f"{prefix}.{layer}").value for layer in m.layers]
        left.plot(m.layers, values, color=colour, marker="o", markersize=4, label=text)
    left.set_xlabel("layer")
    left.set_ylabel("answer follows")
    left.set_title("which layers are swapped", fontsize=9)
    legend(left)
    values = [m.follow(f"first.through.{e}").value for e in m.layers]
    right.plot(m.layers, values, color=BLUE, marker="o", markersize=4)
    right.set_xlabel("last clamped layer (through)")
    right.set_title("the first layer's carriers alone", fontsize=9)
    for axes in (left, right):
        axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(m.layers)
        open_corner(axes)
    return Picture.of(
        figure,
        title="Which layers decide",
        text="Left: the answer follows carriers of early layers, and hardly those of late ones. Right: the first "
        "layer's carriers act through the layers behind them; held to what they were without the swap, these no longer "
        "answer.",
    )


def look_picture(m: CapitalMeasured) -> Picture:
    """How much of its attention each head gives to the country, from the last token."""
    own = m.looks["own"].mean(0)
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    shown = axes.imshow(own.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for layer in range(own.shape[0]):
        for head in range(own.shape[1]):
            value = float(own[layer, head])
            axes.text(
                head, layer, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value > 0.6 else "k"
            )
    axes.set_xticks(range(own.shape[1]))
    axes.set_yticks(range(own.shape[0]))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    figure.colorbar(shown, ax=axes, label="attention")
    return Picture.of(
        figure,
        title="Who looks at the country",
        text="The share of each head's attention that goes from the last token to the country's token, mean over "
        f"{len(m.looks['own'])} prompts. Heads of the first layer bring the country to the last token, before any "
        "feature of a later layer could.",
    )
