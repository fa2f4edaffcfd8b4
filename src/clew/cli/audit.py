"""`clew audit`: how far the predictions of a graph hold in the real model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.trace import TraceSettings
from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import JsonOption, Only, keywords, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.progress_bar import bar
from clew.cli.prompts import lines_of
from clew.cli.tables import table
from clew.errors import InputError
from clew.intervention.agreement import Agreement
from clew.intervention.audit import ENVELOPE, Audit, audit_all
from clew.intervention.measurements import AuditSettings
from clew.kit import Kit
from clew.settings import one_of


@dataclass(frozen=True, kw_only=True)
class GraphChoice:
    """The graphs to test: one of a prompt, one that was saved, or one for every line of a file."""

    prompt: Annotated[str | None, typer.Argument(help="The text whose graph is tested.", show_default=False)] = None
    graph: Annotated[Path | None, typer.Option("--graph", help="A saved graph in place of a prompt.")] = None
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A file with one prompt a line.")] = None

    def __post_init__(self) -> None:
        one_of(prompts=self.prompts, graph=self.graph)
        if sum(choice is not None for choice in (self.prompt, self.graph, self.prompts)) != 1:
            raise InputError(
                'give one prompt, or --prompts, or --graph; for example: clew audit "The capital of France is"'
            )

    def texts(self) -> list[str]:
        """The prompts to trace; none for a saved graph."""
        if self.graph is not None:
            return []
        return [self.prompt or ""] if self.prompts is None else lines_of(self.prompts)

    def load(self, kit: Kit, texts: list[str], settings: TraceSettings) -> Iterator[Graph]:
        """The graphs one after the other."""
        if self.graph is not None:
            if not settings.add_bos:
                raise InputError("--no-bos says how a prompt is read; --graph has its tokens already: give one of them")
            yield Graph.load(self.graph)
        for text in texts:
            yield kit.trace(text, **keywords(settings))


@with_settings()
def audit(
    choice: GraphChoice,
    source: KitOptions,
    tracing: Annotated[TraceSettings, Only("targets", "add_bos")],
    settings: Annotated[AuditSettings, Only("nodes", "seed")],
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write figures and a PNG; left out with --graph, they go beside the graph."),
    ] = None,
    replace_files: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ablate features in the real model and compare with what the graph predicted, beside baselines.

    Example: `clew audit "The capital of France is" --save paris.audit`
    """
    if choice.graph is not None and tracing.targets is not None:
        raise InputError("--target says what a prompt's graph explains; --graph explains already: give one of them")
    path = save if save is not None or choice.graph is None else choice.graph.with_suffix(".audit")
    if path is not None:
        picture = None if files.kind_of(path) == ENVELOPE.format else files.PICTURE  # of an audit it is the audit's
        outputs = (
            OutputFile("--save", path, ENVELOPE.format),
            OutputFile("the picture of --save", path.with_suffix(".png"), picture),
        )
        check_outputs(outputs, replace=replace_files, inputs=[("--graph", choice.graph), ("--prompts", choice.prompts)])
    kit = source.load()
    on_few_threads(kit)
    texts = choice.texts()
    with bar("auditing", of=max(1, len(texts))) as report:
        settings = replace(settings, means=kit.mean_activations(), report=report)
        graphs = choice.load(kit, texts, tracing)
        measured = audit_all(kit.subject, kit.dictionary, graphs, **keywords(settings))
    if as_json:
        print(json.dumps(measured.to_json(), ensure_ascii=False, indent=1))
    else:
        _print(measured)
    if path is not None:
        measured.save(path)
        print(f"wrote {path} and {path.with_suffix('.png')}", file=sys.stderr)


_LINES = {
    "effects": "effects",
    "exact": "  exact",
    "total": "values",
    "influential": "  top",
    "random": "  random",
    "gradient": "live, first",
    "second": "  second",
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
    names = {name: label for name, label in _LINES.items() if name in audit.lines}
    _print_lines(console, audit, names, "Predicted and measured effects: Spearman, slope, wrong sign")
    if audit.marks is not None:
        marks = audit.marks
        console.print(
            f"Of what effects predict of outputs {marks.misses:.0%} misses (sign wrong, or twice off).\n"
            f"{marks.marked:.0%} is marked as not to be trusted: that is {marks.misses_held:.0%} of the misses and "
            f"{marks.error_held:.0%} of the squared error.\n",
            style="dim",
            markup=False,
        )
    distances = {name: name.split(".")[1] for name in audit.lines if name.startswith("distance.")}
    _print_lines(console, audit, _both(audit, distances), "By layers between (outputs: to the end)")
    reach = {name: name.replace("e", "l") for name in audit.lines if name.startswith("e+")}
    _print_lines(console, audit, _both(audit, {"total": "l"} | reach), "By the last clamped layer e")
    _print_steps(console, audit)
    if audit.curves:
        _print_areas(console, audit)
        _print_ends(console, audit)
    if audit.tokens:
        beside = ", ".join(f"{name} {value.spearman}" for name, value in audit.tokens.items())
        console.print(f"tokens on targets, beside the exact graph of the neurons: Spearman of {beside}", markup=False)


def _both(audit: Audit, names: dict[str, str]) -> dict[str, str]:
    """Lines of values, each below the one of effects where there is one."""
    if "exact" not in audit.lines:
        return names
    lines = {}
    for name, label in names.items():
        lines["exact" if name == "total" else f"exact.{name}"] = f"{label} effects"
        lines[name] = "  values"
    return lines


def _cells(agreement: Agreement) -> tuple[str, ...]:
    if agreement.pairs == 0 or math.isnan(agreement.spearman.value):
        return "", "", "", ""
    low, high = (f"{end:.2f}" for end in (agreement.spearman.low, agreement.spearman.high))
    return (
        f"{agreement.spearman.value:.2f}",
        f"{low}…{high}",
        f"{agreement.slope.value:.2f}",
        f"{agreement.sign_errors.value:.0%}",
    )


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
        shown.add_row(step, *(f"{part.spearman.value:.2f}" for line in lines for part in (line.outputs, line.features)))
    total = audit.lines["total"]
    shown.add_row("nothing frozen", "", "", *(f"{part.spearman.value:.2f}" for part in (total.outputs, total.features)))
    console.print(shown, "")


def _print_areas(console: Console, audit: Audit) -> None:
    """How few features carry the answer, beside the scores of the graph."""
    title = "Sets of the most influential features, beside matched random sets"
    shown = table("ablated to", "others", *(f">{name}" for name in ("kept", "removed", "CPR", "CMD")), title=title)
    for curves in sorted(audit.curves, key=lambda each: each.kept, reverse=True):  # recomputed first
        pairs = (
            (curves.faithfulness.area, curves.faithfulness.random_area),
            (curves.completeness.area, curves.completeness.random_area),
            (curves.cpr, curves.random_cpr),
            (curves.cmd, curves.random_cmd),
        )
        shown.add_row(curves.ablation, curves.kept, *(f"{value:.2f} ({random:.2f})" for value, random in pairs))
    console.print(shown)
    scores = (
        f"the graph's\nreplacement, {audit.scores.replacement:.2f}, and completeness, {audit.scores.completeness:.2f}."
    )
    console.print(
        "kept: faithfulness; removed: completeness; CPR: area under faithfulness by the\n"
        "share of features; CMD: area between it and 1. Others recomputed: effects over\n"
        f"all hops count; held: direct effects alone. Random sets hold none of the\n"
        f"features of the set while others are left. Beside them {scores}\n",
        style="dim",
        markup=False,
    )


def _print_ends(console: Console, audit: Audit) -> None:
    for curves in audit.curves:
        if curves.kept == "held":
            console.print(
                f"ablation to {curves.ablation}, without any feature: "
                f"logit {curves.whole.logit:.2f} to {curves.no_features.logit:.2f}, "
                f"probability {curves.whole.probability:.3f} to {curves.no_features.probability:.3f}; "
                f"without any error: logit {curves.no_errors.logit:.2f}, "
                f"probability {curves.no_errors.probability:.3f}\n",
                markup=False,
            )
