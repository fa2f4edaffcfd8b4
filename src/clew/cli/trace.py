"""`clew trace`: a prompt's graph, as a summary, a page or a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from clew import files
from clew.attribution.graph import ENVELOPE, Graph
from clew.attribution.summary import FeatureSummary, GraphSummary, summarise
from clew.attribution.trace import TraceSettings
from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import JsonOption, Only, keywords, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.progress_bar import bar
from clew.cli.prompts import texts_of
from clew.cli.tables import table, tokens_line
from clew.intervention.doubt import LiveEffect, beside_live
from clew.kit import Kit
from clew.labels.in_prompt import summary_here
from clew.memory import resident_peak

Live = Mapping[str, LiveEffect | None]
"""Of every listed feature, by its id; None where its own layer is not written."""


@dataclass(frozen=True, kw_only=True)
class TraceOutput:
    """The files that a traced graph is written to."""

    html: Annotated[Path | None, typer.Option("--html", help="Write a page that draws the graph offline.")] = None
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the graph: *.json for other tools, else Clew's own.")
    ] = None

    replace: ReplaceOption = False

    def check(self, n_graphs: int, prompts: Path | None) -> None:
        """Refuse what must not be written, before the work begins: errors are those of `check_outputs`."""
        outputs = []
        for number in range(n_graphs) if n_graphs > 1 else [None]:
            html, save = _numbered(self.html, number), _numbered(self.save, number)
            if html is not None:
                outputs.append(OutputFile("--html", html, files.PAGE))
            if save is not None:
                outputs.append(OutputFile("--save", save, files.GRAPH_JSON if _is_json(save) else ENVELOPE.format))
        check_outputs(outputs, replace=self.replace, inputs=[("--prompts", prompts)])

    def write(self, graph: Graph, kit: Kit, number: int | None) -> None:
        """Write what is asked for; of several graphs, the number is in the name."""
        html, save = _numbered(self.html, number), _numbered(self.save, number)
        if html is not None:
            from clew.web.export import export_html  # the page is large, and few traces are written as one

            export_html(graph, html, kit=kit)
            print(f"wrote {html}", file=sys.stderr)
        if save is not None:
            graph.to_json(save) if _is_json(save) else graph.save(save)
            print(f"wrote {save}", file=sys.stderr)


@with_settings()
def trace(
    settings: Annotated[
        TraceSettings, Only("targets", "position", "answer", "max_features", "effects", "rest_responds", "add_bos")
    ],
    source: KitOptions,
    output: TraceOutput,
    prompt: Annotated[str | None, typer.Argument(help="The text to explain.", show_default=False)] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A file with one prompt a line.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Trace how the model came to its next token.

    Example: `clew trace "The capital of France is" --html paris.html`
    """
    texts = texts_of(prompt, prompts)
    output.check(len(texts), prompts)
    kit = source.load()
    on_few_threads(kit)
    summaries = []
    for number, text in enumerate(texts):
        started, memory = time.perf_counter(), resident_peak()
        message: Any = [{"role": "user", "content": text}] if chat else text
        with bar("tracing") as report:
            graph = kit.trace(message, **keywords(replace(settings, report=report)))
        cost = {"seconds": time.perf_counter() - started, "megabytes": (resident_peak() - memory) / (1 << 20)}
        summary = summary_here(summarise(graph), graph, kit.atlas if kit.atlas_path else None, kit.sourced_names)
        live = _live(kit, graph, summary) if settings.effects else None
        if as_json:
            summaries.append({**_with_live(summary.to_json(), live), **cost})
        else:
            _print_summary(summary, live, **cost)
        output.write(graph, kit, number if len(texts) > 1 else None)
    if as_json:
        print(json.dumps(summaries if prompts else summaries[0], ensure_ascii=False, indent=1))


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _numbered(path: Path | None, number: int | None) -> Path | None:
    return path if path is None or number is None else path.with_stem(f"{path.stem}-{number + 1}")


def _print_summary(summary: GraphSummary, live: Live | None, *, seconds: float, megabytes: float) -> None:
    """Print one traced prompt: tokens, outputs, scores, paths, features."""
    console = Console(highlight=False)
    console.print(Text(summary.prompt, style="bold"))
    console.print(Text(f"{summary.subject}, {summary.dictionary}", style="dim"))
    console.print(tokens_line(summary.tokens), "", sep="\n")
    outputs = table("next token", ">probability", "")
    for token, probability in summary.outputs[:5]:
        outputs.add_row(Text(repr(token)), f"{probability:.4f}", Text("█" * round(30 * probability), style="blue"))
    console.print(outputs, "")
    console.print(
        f"explains {', '.join(repr(t) for t in summary.targets)} with {_counted(summary)}\n"
        f"replacement {summary.replacement:.3f}   completeness {summary.completeness:.3f}   "
        f"share of {summary.error_name} {summary.error_share:.1%}   of offsets {summary.offset_share:.1%}\n"
        f"{summary.first}\n",
        markup=False,
    )
    paths = table(">weight", "", title="Strongest paths")
    for path in summary.paths:
        style = "blue" if path.weight > 0 else "dark_orange"
        paths.add_row(Text(f"{path.weight:+.4f}", style=style), Text(" → ".join(path.words)))
    if summary.paths:
        console.print(paths, "")
    _print_features(console, "Strongest effects (what the output loses when it goes)", summary.strongest, live)
    for title, features in (
        ("Input features (most of their input comes from tokens)", summary.input_features),
        ("Output features (most of their influence goes straight to the output)", summary.output_features),
    ):
        _print_features(console, title, features, live)
    if live is not None:
        console.print(
            f"effect: what the logit of {summary.targets[0]!r} loses with the feature, by the graph's effects over all "
            "paths;\nlive: by the model's own derivative, which also passes through what the dictionary misses;\n"
            "?: not to be trusted, the model's first and second derivative together say otherwise\n",
            style="dim",
            markup=False,
        )
    console.print(Text(f"{seconds:.2f} s, {megabytes:.0f} MB more memory at the peak\n", style="dim"))


def _counted(summary: GraphSummary) -> str:
    """How many features have a row, and where the others are."""
    if summary.error_name == "rest":
        active = summary.n_features + summary.n_left_out
        return (
            f"{summary.n_features:,} of {active:,} active neurons, those that change it most; "
            "the others are the rest, one node a layer and position"
        )
    left = f" ({summary.n_left_out:,} more left out)" if summary.n_left_out else ""
    return f"{summary.n_features:,} active features{left}"


def _live(kit: Kit, graph: Graph, summary: GraphSummary) -> Live:
    """Of every listed feature."""
    listed = {
        feature.id: feature.effect or 0.0
        for feature in (*summary.input_features, *summary.output_features, *summary.strongest)
    }
    nodes = [graph.index(id) for id in listed]
    return dict(zip(listed, beside_live(kit.subject, kit.dictionary, graph, nodes, [*listed.values()]), strict=True))


def _with_live(summary: dict[str, Any], live: Live | None) -> dict[str, Any]:
    if live is not None:
        for feature in (*summary["input_features"], *summary["output_features"], *summary["strongest"]):
            found = live[feature["id"]]
            numbers = (None, None, None) if found is None else (found.first, found.second, found.doubtful)
            feature |= dict(zip(("live_effect", "estimated_loss", "doubtful"), numbers, strict=True))
    return summary


def _print_features(console: Console, title: str, features: tuple[FeatureSummary, ...], live: Live | None) -> None:
    numbers = (">activation", ">influence", *((">effect", ">live") if live is not None else ()))
    shown = table("feature", "at", *numbers, "", title=title)
    for feature in features:
        found = None if live is None else live[feature.id]
        mark = "?" if found is not None and found.doubtful else ""
        both = (mark + _signed(feature.effect), _signed(None if found is None else found.first))
        effects = both if live is not None else ()
        row = (f"{feature.activation:.2f}", f"{feature.share:.3f}", *effects)
        shown.add_row(feature.id, Text(repr(feature.token)), *row, Text(feature.label))
    if features:
        console.print(shown, "")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
