"""`clew trace`: a prompt's graph, as a summary, a page or a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from clew.cli.kits import (
    DictionaryOption,
    JsonOption,
    KitOption,
    ModelOption,
    bar,
    on_few_threads,
    open_kit,
    table,
    texts_of,
    tokens_line,
)

if TYPE_CHECKING:
    from clew.attribution.graph import Graph
    from clew.attribution.summary import FeatureSummary, GraphSummary
    from clew.kit import Kit


def trace(
    prompt: Annotated[str | None, typer.Argument(help="The text to explain.", show_default=False)] = None,
    kit: KitOption = "minnow",
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help='What to explain: a token, or "Paris - Berlin". May be repeated.'),
    ] = None,
    position: Annotated[int, typer.Option(help="Position of the targets; -1 is the last.")] = -1,
    answer: Annotated[str | None, typer.Option(help="An answer of several tokens, traced token by token.")] = None,
    max_features: Annotated[
        int | None, typer.Option("--max-features", help="Keep the rows of this many features; the rest is an offset.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A file with one prompt a line.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that draws the graph offline.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the graph: *.json for other tools, else Clew's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Trace how the model came to its next token.

    Example: `clew trace "The capital of France is" --html paris.html`
    """
    from clew.attribution.summary import summarise

    texts = texts_of(prompt, prompts)
    loaded = open_kit(kit, model, dictionary)
    on_few_threads(loaded)
    found = []
    for number, text in enumerate(texts):
        started, memory = time.perf_counter(), _peak_megabytes()
        given: Any = [{"role": "user", "content": text}] if chat else text
        with bar("tracing") as progress:
            graph = loaded.trace(
                given,
                targets=target or None,
                position=position,
                answer=answer,
                max_features=max_features,
                report=lambda stage: progress(stage.done, stage.of),
            )
        cost = {"seconds": time.perf_counter() - started, "megabytes": _peak_megabytes() - memory}
        summary = summarise(graph)
        if as_json:
            found.append({**summary.to_json(), **cost})
        else:
            _print_summary(summary, **cost)
        place = number if len(texts) > 1 else None
        _write(graph, loaded, html=_numbered(html, place), save=_numbered(save, place))
    if as_json:
        print(json.dumps(found if prompts else found[0], ensure_ascii=False, indent=1))


def _numbered(path: Path | None, number: int | None) -> Path | None:
    return path if path is None or number is None else path.with_stem(f"{path.stem}-{number + 1}")


def _write(graph: Graph, kit: Kit, *, html: Path | None, save: Path | None) -> None:
    if html is not None:
        from clew.web.export import export_html

        export_html(graph, html, kit=kit)
        print(f"wrote {html}", file=sys.stderr)
    if save is not None:
        graph.to_json(save) if save.suffix == ".json" else graph.save(save)
        print(f"wrote {save}", file=sys.stderr)


def _peak_megabytes() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _print_summary(summary: GraphSummary, *, seconds: float, megabytes: float) -> None:
    """Print one traced prompt: tokens, outputs, scores, paths, features."""
    console = Console(highlight=False)
    console.print(Text(summary.prompt, style="bold"))
    console.print(Text(f"{summary.subject}, {summary.dictionary}", style="dim"))
    console.print(tokens_line(summary.tokens), "", sep="\n")
    outputs = table("next token", ">probability", "")
    for token, probability in summary.outputs[:5]:
        outputs.add_row(Text(repr(token)), f"{probability:.4f}", Text("█" * round(30 * probability), style="blue"))
    console.print(outputs, "")
    left = f" ({summary.n_left_out:,} more left out)" if summary.n_left_out else ""
    console.print(
        f"explains {', '.join(repr(t) for t in summary.targets)} with {summary.n_features:,} active features{left}\n"
        f"replacement {summary.replacement:.3f}   completeness {summary.completeness:.3f}   "
        f"share of error {summary.error_share:.1%}   of offsets {summary.offset_share:.1%}\n",
        markup=False,
    )
    paths = table(">weight", "", title="Strongest paths")
    for path in summary.paths:
        style = "blue" if path.weight > 0 else "dark_orange"
        paths.add_row(Text(f"{path.weight:+.4f}", style=style), Text(" → ".join(path.words)))
    if summary.paths:
        console.print(paths, "")
    _print_features(console, "Input features (most of their input comes from tokens)", summary.input_features)
    _print_features(
        console, "Output features (most of their influence goes straight to the output)", summary.output_features
    )
    console.print(Text(f"{seconds:.2f} s, {megabytes:.0f} MB more memory at the peak\n", style="dim"))


def _print_features(console: Console, title: str, features: tuple[FeatureSummary, ...]) -> None:
    shown = table("feature", "at", ">activation", ">influence", "", title=title)
    for feature in features:
        row = (
            feature.id,
            Text(repr(feature.token)),
            f"{feature.activation:.2f}",
            f"{feature.share:.3f}",
            Text(feature.label),
        )
        shown.add_row(*row)
    if features:
        console.print(shown, "")
