"""`clew diff`: what parts the graphs of two prompts."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.attribution.diff import FeatureChange, GraphDiff, diff
from clew.attribution.graph import Graph
from clew.attribution.trace import TraceSettings
from clew.cli.graph_arguments import graphs_of
from clew.cli.kits import KitOptions
from clew.cli.options import JsonOption, Only, with_settings
from clew.cli.tables import table

_LISTED = 15


@with_settings()
def diff_(
    settings: Annotated[TraceSettings, Only("targets", "position", "max_features", "add_bos")],
    source: KitOptions,
    one: Annotated[str, typer.Argument(help="A prompt, or a graph from clew trace --save.", show_default=False)],
    other: Annotated[str, typer.Argument(help="The prompt or graph to set beside it.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Set the graphs of two prompts side by side: features by activation and by their effect on the output.

    Example: `clew diff "The capital of France is" "The capital of Italy is"`
    """
    a, b = graphs_of([one, other], source, settings)
    found = diff(a, b)
    if as_json:
        value = {"prompts": [a.prompt, b.prompt], "shares": found.comparison.shares, **found.to_json()}
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        _print(a, b, found)


def _print(a: Graph, b: Graph, found: GraphDiff) -> None:
    console = Console(highlight=False)
    for name, graph, label, value in (("a", a, found.target_a, found.value_a), ("b", b, found.target_b, found.value_b)):
        console.print(Text(f"{name}  {graph.prompt}", style="bold"))
        console.print(Text(f"   explains {label!r}, its centred logit {value:.2f}", style="dim"))
    if not found:
        console.print("\nNothing differs.\n")
        return
    shares = [f"{shared:.0%}" for shared, _ in found.comparison.shares]
    console.print(
        f"\n{len(found.comparison.shared):,} features are in both, with {' and '.join(shares)} of the features' "
        f"influence;\n{len(found.only_a):,} are in a alone, {len(found.only_b):,} in b alone.\n",
        markup=False,
    )
    labels = {**b.labels, **a.labels}
    columns = (">activation a", ">b", f">{found.kind[:-1]} a", "> b", "> change", "")
    shown = table("feature", "at", *columns, title="Features whose effect on the output differs most")
    for change in found.changes[:_LISTED]:
        shown.add_row(
            str(change.feature), _where(a, b, change), *_numbers(change), _short(labels.get(change.feature, ""))
        )
    console.print(shown, "")
    edges = table("from", "to", ">a", ">b", title="Edges that differ most, between features that both have")
    for edge in found.edges[:_LISTED]:
        ends = (_short(a.node_label(a.index(node))) for node in (edge.source, edge.target))
        edges.add_row(*ends, f"{edge.a:+.2f}", f"{edge.b:+.2f}")
    console.print(*([edges, ""] if found.edges else []))
    console.print(
        f"by {found.kind}: what the output's centred logit loses with the feature, over all paths\n",
        style="dim",
        markup=False,
    )


def _where(a: Graph, b: Graph, change: FeatureChange) -> Text:
    """The tokens at which a feature stands: one where both agree."""
    tokens = [
        repr(graph.tokens[graph.node(graph.index(node)).position])
        for graph, node in ((a, change.node_a), (b, change.node_b))
        if node is not None
    ]
    return Text(" / ".join(dict.fromkeys(tokens)))


def _numbers(change: FeatureChange) -> list[str]:
    there = change.node_a is not None, change.node_b is not None
    activations, effects = (change.activation_a, change.activation_b), (change.effect_a, change.effect_b)
    return [
        *(f"{value:.2f}" if on else "–" for value, on in zip(activations, there, strict=True)),
        *(f"{value:+.2f}" if on else "–" for value, on in zip(effects, there, strict=True)),
        f"{change.effect:+.2f}",
    ]


def _short(text: str) -> Text:
    """A text that ends where its column does."""
    return Text(text, no_wrap=True, overflow="ellipsis")
