"""Pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clew.runs.fidelity import DENSITY_EDGES, Fidelity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def density_figure(found: Sequence[tuple[str, Fidelity]]) -> Figure:
    """How many features fire how often, a panel a layer, a line a Dictionary; those that never fired in the legend."""
    from matplotlib.figure import Figure

    layers = found[0][1].layers
    wide = min(4, len(layers))
    high = -(-len(layers) // wide)
    figure = Figure(figsize=(3.2 * wide, 2.6 * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False, sharex=True).flatten()
    for at, layer in enumerate(layers):
        for name, evaluation in found:
            never, *counts = evaluation.density[at]
            axes[at].stairs(counts, DENSITY_EDGES, label=f"{name}, {never} never")
        axes[at].set_title(f"L{layer}", fontsize=9)
        axes[at].legend(fontsize=6)
    for axis in axes[len(layers) :]:
        axis.set_visible(False)
    figure.supxlabel("log10 of the share of positions at which a feature fires", fontsize=9)
    figure.supylabel("features", fontsize=9)
    return figure
