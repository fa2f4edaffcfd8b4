"""The picture of how often features fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clew.runs.fidelity import DENSITY_EDGES, Fidelity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def density_figure(rows: Sequence[tuple[str, Fidelity]]) -> Figure:
    """How many features fire how often, a panel a layer, a line a Dictionary; those that never fired in the legend."""
    from matplotlib.figure import Figure

    layers = rows[0][1].layers
    wide = min(4, len(layers))
    high = -(-len(layers) // wide)
    figure = Figure(figsize=(3.2 * wide, 2.6 * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False, sharex=True).flatten()
    for number, (axis, layer) in enumerate(zip(axes, layers, strict=False)):
        for name, fidelity in rows:
            never, *counts = fidelity.density[number]
            axis.stairs(counts, DENSITY_EDGES, label=f"{name}, {never} never")
        axis.set_title(f"L{layer}", fontsize=9)
        axis.legend(fontsize=6)
    for axis in axes[len(layers) :]:
        axis.set_visible(False)
    figure.supxlabel("log10 of the share of positions at which a feature fires", fontsize=9)
    figure.supylabel("features", fontsize=9)
    return figure
