"""`clew looks`: why an attention head looks from one token to another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from clew.attribution.graph import Graph
from clew.attribution.looks import SIDES
from clew.attribution.trace_look import LookSettings
from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import JsonOption, Only, keywords, with_settings
from clew.cli.progress_bar import bar
from clew.cli.tables import table, tokens_line
from clew.errors import InputError
from clew.intervention.look_effects import look_of, measured_contrast, strongest_ablations
from clew.kit import Kit

_LISTED = 8


@with_settings()
def looks(
    settings: Annotated[LookSettings, Only("layer", "head", "query", "key", "max_features", "add_bos")],
    source: KitOptions,
    prompt: Annotated[str, typer.Argument(help="The text.", show_default=False)],
    measure: Annotated[
        int, typer.Option(help="Ablate so many features in the model, those with the largest predicted effect.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say why an attention head looks from one token to another: what at the query, and what at the key, makes it.

    Example: `clew looks "Again: 14 93 button fence clay; 14 93 button" --layer 4 --head 0 --measure 5`
    """
    if measure < 0:
        raise InputError(f"--measure is {measure}: give at least 0")
    kit = source.load()
    on_few_threads(kit)
    with bar("tracing") as report:
        graph = kit.looks(prompt, **keywords(replace(settings, report=report)))
    found = _found(kit, graph, measure)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        _print(graph, found)


def _found(kit: Kit, graph: Graph, measure: int) -> dict[str, Any]:
    """What is printed, as plain values."""
    look = look_of(graph)
    sides = {}
    for side, rank in zip(SIDES, graph.target_range, strict=True):
        row = graph.row_of(rank)
        values, effects = graph.rows[row], graph.effects.rows[row]
        top = effects.abs().argsort(descending=True, stable=True)[:_LISTED]
        sides[side] = [
            {**_named(graph, int(graph.col_nodes[i])), "value": float(values[i]), "effect": float(effects[i])}
            for i in top.tolist()
            if float(effects[i])
        ]
    value: dict[str, Any] = {
        "prompt": graph.prompt,
        "subject": graph.subject,
        "dictionary": graph.dictionary,
        **vars(look),
        "contrast": graph.targets[0].value,
        "sides": sides,
        **kit.dictionary.other_model,
    }
    if measure:
        value["ablations"] = _ablations(kit, graph, measure)
    return value


def _ablations(kit: Kit, graph: Graph, measure: int) -> list[dict[str, Any]]:
    top, predicted = strongest_ablations(graph, measure)
    if not top:
        raise InputError("no feature stands before this head: there is nothing to ablate")
    measured = measured_contrast(kit.subject, kit.dictionary, graph, top)
    return [
        {**_named(graph, node), "predicted": told, "measured": lost}
        for node, told, lost in zip(top, predicted.tolist(), measured.tolist(), strict=True)
    ]


def _named(graph: Graph, index: int) -> dict[str, Any]:
    node = graph.node(index)
    return {"node": str(node.id), "at": graph.tokens[node.position], "name": graph.node_label(index)}


def _print(graph: Graph, found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(Text(graph.prompt, style="bold"))
    console.print(Text(f"{graph.subject}, {graph.dictionary}", style="dim"))
    console.print(tokens_line(graph.tokens), "", sep="\n")
    query, key, others = found["query"], found["key"], len(found["others"])
    console.print(
        f"Head {found['head']} of layer {found['layer']} at {graph.tokens[query]!r} ({query}) gives "
        f"{found['weight']:.0%} of its attention to {graph.tokens[key]!r} ({key}):\n"
        f"its score there is {found['contrast']:+.2f} against the mean of {others} other "
        f"{'key' if others == 1 else 'keys'}.\n",
        markup=False,
    )
    for side, title in zip(SIDES, ("What at the query makes it look there", "What at the keys"), strict=True):
        shown = table("", "at", ">value", ">effect", title=title)
        for each in found["sides"][side]:
            numbers = (f"{each[name]:+.2f}" for name in ("value", "effect"))
            shown.add_row(Text(each["name"]), Text(repr(each["at"])), *numbers)
        console.print(shown, "")
    if "ablations" in found:
        shown = table("", "at", ">predicted", ">measured", title="What the score loses when it is ablated")
        for each in found["ablations"]:
            numbers = (f"{each[name]:+.2f}" for name in ("predicted", "measured"))
            shown.add_row(Text(each["name"]), Text(repr(each["at"])), *numbers)
        console.print(shown, "")
