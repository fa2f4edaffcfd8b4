"""`clew graph robustness`: does a circuit hang on an edge?"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.attribution.robustness import Robustness
from clew.attribution.trace import TraceSettings
from clew.cli.graph.merged import WholeOption
from clew.cli.graph_arguments import graphs_of
from clew.cli.kits import KitOptions
from clew.cli.options import JsonOption, Only, with_settings
from clew.cli.tables import table
from clew.stats import Interval


@with_settings()
def robustness_(
    settings: Annotated[TraceSettings, Only("targets", "position", "max_features", "add_bos")],
    source: KitOptions,
    graph: Annotated[str, typer.Argument(help="A prompt, or a graph from clew trace --save.", show_default=False)],
    draws: Annotated[int, typer.Option(help="How often edges are deleted at random.")] = 20,
    rewirings: Annotated[int, typer.Option(help="How many rewired graphs stand beside it.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    whole: WholeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether a graph hangs on few edges or spreads, beside rewired graphs and expanders.

    Example: `clew graph robustness "The capital of France is"`
    """
    (traced,) = graphs_of([graph], source, settings)
    result = (traced if whole else traced.prune()).robustness(draws=draws, rewirings=rewirings, seed=seed)
    if as_json:
        print(json.dumps({"prompt": traced.prompt, **result.to_json()}, ensure_ascii=False, indent=1))
    else:
        _print(traced.prompt, result)


def _print(prompt: str, result: Robustness) -> None:
    console = Console(highlight=False)
    console.print(Text(prompt, style="bold"), "", Text(result.sentence), "", sep="\n")
    columns = (">at random", ">strongest first", ">the same, rewired", ">in one piece", ">an expander")
    shares = table(">edges deleted", *columns, title="Influence that is left, and nodes that hang together")
    for each in result.survivals:
        shares.add_row(
            f"{each.deleted:.0%}", _percent(each.random), f"{each.strongest:.0%}", _percent(each.rewired),
            _percent(each.connected), _percent(each.expander_connected),
        )  # fmt: skip
    console.print(shares, "")
    figures = table("figure", ">this graph", ">rewired, or an expander", title="Of its edges")
    figures.add_row("spectral gap", f"{result.gap:.3f}", _number(result.rewired_gap, 3))
    figures.add_row("steps until a walk has mixed", f"{result.mixing:.1f}", _number(result.rewired_mixing, 1))
    figures.add_row("feed-forward motifs", f"{result.motifs:,}", _number(result.rewired_motifs, 0))
    figures.add_row("second eigenvalue, bare edges", f"{result.eigenvalue:.3f}", _number(result.expander_eigenvalue, 3))
    console.print(figures, "")


def _percent(value: Interval) -> str:
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"


def _number(value: Interval, digits: int) -> str:
    return f"{value.value:,.{digits}f} ({value.low:,.{digits}f} to {value.high:,.{digits}f})"
