"""How merged graphs are asked for, printed and written."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.attribution.graph import Graph
from clew.attribution.influence import influence, top_features
from clew.attribution.merge import Slots
from clew.attribution.merged_graph import ENVELOPE, MergedGraph
from clew.attribution.nodes import FeatureNode
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.tables import table
from clew.errors import InputError

_LISTED = 15
_TOKENS = 3  # of different prompts, that a position is named after
GraphsArgument = Annotated[
    list[str], typer.Argument(help="Prompts, or graphs from clew trace --save.", metavar="GRAPH...", show_default=False)
]
WholeOption = Annotated[bool, typer.Option("--whole", help="Take the graphs as they are; otherwise they are pruned.")]
SlotOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slot",
        help="Positions that mean the same, as in country=4, or country=4,6 with one a graph; all others are one slot "
        "together. Left out: every position by itself where all prompts have the same length, otherwise a feature is "
        "one wherever it stands.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class MergedOutput:
    """Where a merged graph goes."""

    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the merged graph as JSON.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False
    replace: ReplaceOption = False

    def check(self) -> None:
        """Refuse what must not be written, before the work begins: errors are those of `check_outputs`."""
        if self.output is not None:
            check_outputs([OutputFile("--output", self.output, ENVELOPE.format)], replace=self.replace)

    def give(self, merged: MergedGraph, title: str) -> None:
        """Print it, and write it where that is asked for."""
        if self.as_json:
            print(json.dumps(merged.to_json(), ensure_ascii=False, indent=1))
        else:
            _print(merged, title)
        if self.output is not None:
            merged.to_json(self.output)
            print(f"wrote {self.output}", file=sys.stderr)


def slots_of(graphs: Sequence[Graph], texts: Sequence[str] | None) -> Slots | None:
    """The slots that a command line names; InputError, with what was seen, for one that does not fit the graphs."""
    if not texts:
        return _positions(graphs) if len({graph.n_tokens for graph in graphs}) == 1 else None
    slots: list[dict[int, str]] = [{} for _ in graphs]
    for text in texts:
        name, _, numbers = text.partition("=")
        places = numbers.split(",")
        if not name or not all(place.isdecimal() for place in places) or len(places) not in (1, len(graphs)):
            raise InputError(f"slot {text!r}: give country=4, or one position for each of the {len(graphs)} graphs")
        for slot, graph, place in zip(slots, graphs, places * (len(graphs) // len(places)), strict=True):
            if int(place) >= graph.n_tokens:
                raise InputError(
                    f"slot {text!r}: the prompt {graph.prompt!r} has the positions 0 to {graph.n_tokens - 1}"
                )
            slot[int(place)] = name
    return slots


def _positions(graphs: Sequence[Graph]) -> Slots:
    """Every position a slot, named after the tokens that stand there."""
    names = []
    for position, tokens in enumerate(zip(*(graph.tokens for graph in graphs), strict=True)):
        distinct = list(dict.fromkeys(token.strip() for token in tokens))
        more = " …" if len(distinct) > _TOKENS else ""
        names.append(f"{' / '.join(distinct[:_TOKENS])}{more} @{position}")
    return [names for _ in graphs]


def _print(merged: MergedGraph, title: str) -> None:
    console, graph = Console(highlight=False), merged.graph
    for prompt in dict.fromkeys(merged.prompts):
        console.print(Text(prompt, style="bold"))
    console.print(f"\n{title}\n", markup=False)
    through = influence(graph)
    features = table("feature", "at", ">share", ">activation", ">influence", "", title="Features")
    for index in top_features(graph, _LISTED).tolist():
        node = graph.node(index)
        assert isinstance(node, FeatureNode)
        features.add_row(
            str(node.id.feature), _cut(graph.tokens[node.position]), f"{float(merged.node_share[index]):.0%}",
            f"{node.activation:.2f}", f"{float(through[index]):.3f}", _cut(graph.labels.get(node.id.feature, "")),
        )  # fmt: skip
    console.print(features, "")
    edges = table("from", "to", ">share", ">mean", ">spread", title="Edges that carry the most")
    strength = graph.rows.abs() * through[graph.row_nodes][:, None]
    n_cols = strength.shape[1]
    for place in strength.flatten().topk(min(_LISTED, int((graph.rows != 0).sum()))).indices.tolist():
        row, col = divmod(place, n_cols)
        ends = (graph.node_label(int(nodes[at])) for nodes, at in ((graph.col_nodes, col), (graph.row_nodes, row)))
        numbers = merged.edge_share[row, col], graph.rows[row, col], merged.edge_spread[row, col]
        share, mean, spread = map(float, numbers)
        edges.add_row(*map(_cut, ends), f"{share:.0%}", f"{mean:+.2f}", f"{spread:.2f}")
    console.print(edges, "")


def _cut(text: str) -> Text:
    """A text that ends where its column does."""
    return Text(text, no_wrap=True, overflow="ellipsis")
