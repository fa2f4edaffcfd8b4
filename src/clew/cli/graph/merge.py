"""`clew graph merge`: several graphs as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from clew.attribution.merge import check_one_kit, merge
from clew.attribution.trace import TraceSettings
from clew.cli.graph.merged import GraphsArgument, MergedOutput, SlotOption, WholeOption, slots_of
from clew.cli.graph_arguments import graphs_of
from clew.cli.kits import KitOptions
from clew.cli.options import Only, with_settings


@dataclass(frozen=True, kw_only=True)
class MergedMeans:
    """What means are over, and what they leave out."""

    outputs: Annotated[
        str, typer.Option(help="Which outputs are one: those of one label, or of one rank (label, rank).")
    ] = "label"
    over: Annotated[
        str, typer.Option(help="Means over all graphs, or over those that have an edge (all, present).")
    ] = "all"
    share: Annotated[float, typer.Option(help="Drop features and edges that fewer of the graphs have.")] = 0.0


@with_settings()
def merge_(
    settings: Annotated[TraceSettings, Only("targets", "position", "max_features", "add_bos")],
    source: KitOptions,
    output: MergedOutput,
    means: MergedMeans,
    graphs: GraphsArgument,
    slot: SlotOption = None,
    whole: WholeOption = False,
) -> None:
    """Merge the graphs of several prompts: means, and how many prompts have each feature and edge.

    Example: `clew graph merge "The capital of France is" "The capital of Italy is" --outputs rank`
    """
    output.check()
    traced = graphs_of(graphs, source, settings)
    check_one_kit(traced)
    parts = traced if whole else [graph.prune() for graph in traced]
    merged = merge(parts, slots_of(parts, slot), targets=means.outputs, over=means.over).present_in(means.share)
    shared = int((merged.node_share[merged.graph.part("feature")] == 1).sum())
    output.give(
        merged,
        f"{len(parts)} graphs, {merged.graph.n_features:,} features, of which {shared:,} are in every graph. Shares "
        "are of the graphs.",
    )
