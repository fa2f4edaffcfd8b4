"""`clew graph consensus`: what thresholds and wordings agree on."""

from __future__ import annotations

from typing import Annotated

import typer

from clew.attribution.consensus import consensus, prunings
from clew.attribution.merge import check_one_kit
from clew.attribution.trace import TraceSettings
from clew.cli.graph.merged import GraphsArgument, MergedOutput, SlotOption, slots_of
from clew.cli.graph_arguments import graphs_of
from clew.cli.kits import KitOptions
from clew.cli.options import Only, with_settings


@with_settings()
def consensus_(
    settings: Annotated[TraceSettings, Only("targets", "position", "max_features", "add_bos")],
    source: KitOptions,
    output: MergedOutput,
    graphs: GraphsArgument,
    slot: SlotOption = None,
    share: Annotated[float, typer.Option(help="Keep what at least this share of the prunings has, 0 to 1.")] = 0.9,
) -> None:
    """Say which features and edges survive most thresholds of pruning, or are there in most wordings.

    Every graph is pruned with twelve pairs of thresholds; several graphs, of paraphrases, are laid over each other.

    Example: `clew graph consensus "The capital of France is" --share 0.9`
    """
    output.check()
    traced = graphs_of(graphs, source, settings)
    check_one_kit(traced)
    parts = [part for graph in traced for part in prunings(graph)]
    count = len(parts) // len(traced)
    by_graph = slots_of(traced, slot)
    slots = None if by_graph is None else [slot for slot in by_graph for _ in range(count)]
    merged = consensus(parts, slots, share=share)
    output.give(
        merged,
        f"{merged.graph.n_features:,} features are in at least {share:.0%} of {len(parts)} prunings: {count} pairs of "
        f"thresholds, {len(traced)} prompt{'s' * (len(traced) > 1)}. Shares are of the prunings.",
    )
