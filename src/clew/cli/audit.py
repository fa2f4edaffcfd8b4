"""`clew audit`: how far the predictions of a graph hold in the real model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.cli.kits import (
    DictionaryOption,
    JsonOption,
    KitOption,
    ModelOption,
    bar,
    lines_of,
    on_few_threads,
    open_kit,
    table,
)
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.attribution.graph import Graph
    from clew.intervention.agreement import Agreement
    from clew.intervention.audit import Audit
    from clew.intervention.curves import Curves
    from clew.kit import Kit


def audit(
    prompt: Annotated[str | None, typer.Argument(help="The text whose graph is tested.", show_default=False)] = None,
    kit: KitOption = "minnow",
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    graph: Annotated[Path | None, typer.Option("--graph", help="A saved graph in place of a prompt.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A file with one prompt a line.")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="What the graph explains. May be repeated.")
    ] = None,
    nodes: Annotated[
        int, typer.Option(help="Features of each graph to ablate, half of them the most influential.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn at random.")] = 0,
    neurons: Annotated[bool, typer.Option("--neurons", help="Audit the model's own neurons as a dictionary.")] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write figures and a PNG; left out with --graph, they go beside the graph."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ablate features in the real model and compare with what the graph predicted, beside baselines.

    Example: `clew audit "The capital of France is" --save paris.audit`
    """
    from clew.intervention.audit import audit_all

    if sum(given is not None for given in (prompt, graph, prompts)) != 1:
        raise InputError(
            'give one prompt, or --prompts, or --graph; for example: clew audit "The capital of France is"'
        )
    loaded = open_kit(kit, model, dictionary)
    on_few_threads(loaded)
    loaded = _with_neurons(loaded) if neurons else loaded
    texts = [] if graph is not None else [prompt or ""] if prompts is None else lines_of(prompts)
    with bar("auditing", of=max(1, len(texts))) as progress:
        done = audit_all(
            loaded.subject,
            loaded.dictionary,
            _graphs(loaded, graph, texts, target),
            nodes=nodes,
            seed=seed,
            means=loaded.mean_activations(),
            report=lambda stage: progress(stage.done, stage.of),
        )
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False, indent=1))
    else:
        _print(done)
    place = save if save is not None or graph is None else graph.with_suffix(".audit")
    if place is not None:
        done.save(place)
        print(f"wrote {place} and {place.with_suffix('.png')}", file=sys.stderr)


def _with_neurons(kit: Kit) -> Kit:
    from clew.dictionary.dictionary import Dictionary
    from clew.kit import Kit

    return Kit(kit.subject, Dictionary.from_neurons(kit.subject), kit.name, kit.provenance)


def _graphs(kit: Kit, graph: Path | None, texts: list[str], target: list[str] | None) -> Iterator[Graph]:
    from clew.attribution.graph import Graph

    if graph is not None:
        yield Graph.load(graph)
    for text in texts:
        yield kit.trace(text, targets=target or None)


_LINES = {
    "total": "graph",
    "influential": "  top",
    "random": "  random",
    "gradient": "grad x act",
    "activation": "activation",
    "shuffled": "shuffled",
}


def _print(audit: Audit) -> None:
    console = Console(highlight=False)
    for prompt in audit.prompts[:3]:
        console.print(Text(prompt, style="bold"))
    if len(audit.prompts) > 3:
        console.print(Text(f"and {len(audit.prompts) - 3} more prompts", style="dim"))
    about = f"{audit.subject}, {audit.dictionary}: {audit.nodes:,} features ablated in {audit.seconds:.1f} s"
    console.print(Text(about, style="dim"), "", Text(audit.verdict), "", sep="\n")
    _print_lines(console, audit, _LINES, "Predicted and measured effects: Spearman, slope, wrong sign")
    distances = [name for name in audit.lines if name.startswith("distance.")]
    _print_lines(
        console,
        audit,
        {name: name.removeprefix("distance.") for name in distances},
        "By layers between (outputs: to the end)",
    )
    reach = {name: name.replace("e", "l") for name in audit.lines if name.startswith("e+")}
    _print_lines(console, audit, {"total": "l"} | reach, "By the last clamped layer e")
    _print_steps(console, audit)
    for one in audit.curves:
        _print_curves(console, one)
    if audit.tokens:
        beside = ", ".join(f"{name} {value.spearman}" for name, value in audit.tokens.items())
        console.print(f"tokens on targets, beside the exact graph of the neurons: Spearman of {beside}", markup=False)


def _cells(one: Agreement) -> tuple[str, ...]:
    if one.pairs == 0 or math.isnan(one.spearman.value):
        return "", "", "", ""
    low, high = (f"{end:.2f}" for end in (one.spearman.low, one.spearman.high))
    return f"{one.spearman.value:.2f}", f"{low}…{high}", f"{one.slope.value:.2f}", f"{one.sign_errors.value:.0%}"


def _print_lines(console: Console, audit: Audit, names: dict[str, str], title: str) -> None:
    rest = (">95 %", ">slope", ">sign")
    shown = table("", ">outputs", *rest, ">features", *(f"{name} " for name in rest), title=title)
    for name, label in names.items():
        line = audit.lines[name]
        shown.add_row(label, *_cells(line.outputs), *_cells(line.features))
    console.print(shown, "")


def _print_steps(console: Console, audit: Audit) -> None:
    steps = [name.removeprefix("released.") for name in audit.lines if name.startswith("released.")]
    if not steps:
        return
    title = "Which step parts them"
    shown = table("", ">released:", ">", ">frozen:", "> ", title=title)
    shown.add_row("", *("outputs", "features") * 2, style="dim")
    for step in steps:
        lines = [audit.lines[f"{state}.{step}"] for state in ("released", "frozen")]
        shown.add_row(step, *(f"{one.spearman.value:.2f}" for line in lines for one in (line.outputs, line.features)))
    total = audit.lines["total"]
    shown.add_row("nothing frozen", "", "", *(f"{one.spearman.value:.2f}" for one in (total.outputs, total.features)))
    console.print(shown, "")


def _print_curves(console: Console, curves: Curves) -> None:
    kept, gone = curves.faithfulness, curves.completeness
    console.print(
        f"ablation to {curves.ablation}: faithfulness {kept.area:.2f} (matched random sets {kept.random_area:.2f}), "
        f"completeness {gone.area:.2f} (random {gone.random_area:.2f})\n"
        f"without any feature: logit {curves.whole.logit:.2f} to {curves.no_features.logit:.2f}, "
        f"probability {curves.whole.probability:.3f} to {curves.no_features.probability:.3f}; "
        f"without any error: logit {curves.no_errors.logit:.2f}, probability {curves.no_errors.probability:.3f}\n",
        markup=False,
    )
