"""A decision drawn over its series: channels with patches shaded by what they make of the class, features above.

Every patch of every channel is shaded by what its values make of the class's logit, over all paths
(`SeriesCases.points`). Above stand the graph's most influential features, over the patch where they are read and by
layer, with the strongest edges from patches, between features and into the class. A strip below the channels shows what
was measured: how far the class falls with other series' patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.errors import InputError
from clew.timeseries.mechanisms.cases import SeriesCases
from clew.timeseries.mechanisms.decision import Decision
from clew.timeseries.mechanisms.replaced_patches import PatchRole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEATURES, EDGES, CHANNELS = 14, 36, 6
"""What is drawn at most: the most influential features, the strongest edges, the channels that matter most."""
LEAST = 0.03
"""Of the strongest edge: what an edge must be to be drawn."""
END_WIDTH, IN_A_ROW = 0.3, 5
"""Room for the mark behind the series, as a share of its length, and how many features stand side by side."""
FOR, AGAINST, GREY = "#b2182b", "#2166ac", "#777777"


def draw(cases: SeriesCases, decision: Decision | Graph, *, effects: bool = False) -> Figure:
    """Draw a decision, or a graph alone, over its series; `effects` shade by what goes with a value, to first order.

    MismatchError for a graph of other series; else errors are those of `SeriesCases.points`.
    """
    from matplotlib.figure import Figure

    graph = decision if isinstance(decision, Graph) else decision.graph
    roles = () if isinstance(decision, Graph) else decision.patches
    points = cases.points(graph, effects=effects)
    channels = sorted(np.argsort(-np.abs(points).sum(1), kind="stable")[:CHANNELS].tolist())
    ratios = [max(2.6, 1.1 * (graph.n_layers + 1)), *([1.0] * len(channels)), *([0.8] if roles else [])]
    figure = Figure(figsize=(9, 1.1 * sum(ratios) + 1.2), layout="constrained")
    panels = figure.subplots(len(ratios), 1, sharex=True, gridspec_kw={"height_ratios": ratios})
    ends = _ends(cases)
    _features(panels[0], cases, graph, ends)
    _channels(figure, panels[1 : 1 + len(channels)], cases, graph, points, channels)
    if roles:
        _strip(panels[-1], cases, roles)
    panels[-1].set_xlabel("time step")
    panels[0].set_xlim(ends[0], ends[-1])
    panels[-1].set_xticks([tick for tick in panels[-1].get_xticks() if 0 <= tick < cases.transformer.n_times])
    figure.suptitle(_title(cases, decision), fontsize=10)
    return figure


def write_drawing(path: Path | str, figure: Figure) -> None:
    """Write a drawing as PNG or SVG, by the ending of the path; InputError for another ending."""
    ending = Path(path).suffix.lower()
    if ending not in (".png", ".svg"):
        raise InputError(f"{path} ends neither in .png nor in .svg: give one of them")
    import matplotlib

    drawn = BytesIO()
    note: dict[str, Any] = (
        {"Creator": files.SOFTWARE, "Date": None} if ending == ".svg" else {"Software": files.SOFTWARE}
    )
    with matplotlib.rc_context({"svg.hashsalt": "clew"}):  # or the names inside differ at every writing
        figure.savefig(drawn, format=ending[1:], dpi=150, metadata=note)
    files.write_bytes(path, drawn.getvalue())


def _title(cases: SeriesCases, decision: Decision | Graph) -> str:
    graph = decision if isinstance(decision, Graph) else decision.graph
    target = graph.targets[0]
    said = target.label if target.probability is None else f"{target.label}, {target.probability:.1%}"
    title = f"case {cases.case_of(graph)}: {said}"
    if isinstance(decision, Graph):
        return title
    known = "" if decision.label is None else f" (true class {decision.label})"
    hangs = " and ".join(patch.name for patch in decision.deciding) or "no patch more than on others"
    return f"{title}{known}; hangs on {hangs}; circuit: {decision.verdict}"


def _ends(cases: SeriesCases) -> tuple[float, float, float]:
    """Where the series begins and ends, and where the mark behind it ends."""
    last = cases.transformer.n_times - 0.5
    return -0.5, last, last + END_WIDTH * cases.transformer.n_times


# --- the series -------------------------------------------------------------------------------------------------------


def _channels(
    figure: Figure,
    panels: Sequence[Axes],
    cases: SeriesCases,
    graph: Graph,
    points: Float[np.ndarray, "channel time"],
    channels: Sequence[int],
) -> None:
    """The series channel by channel, patches shaded by what they make of the class there."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    transformer = cases.transformer
    series = cases.series[cases.case_of(graph)]
    spans = [transformer.times_of(place) for place in range(transformer.n_patches)]
    sums = np.stack([points[:, span.start : span.stop].sum(1) for span in spans], 1)
    most = float(np.abs(sums).max()) or 1.0
    colours = ScalarMappable(Normalize(-most, most), "RdBu_r")
    for axes, channel in zip(panels, channels, strict=True):
        for span, value in zip(spans, sums[channel], strict=True):
            axes.axvspan(span.start - 0.5, span.stop - 0.5, color=colours.to_rgba(value), alpha=0.75, linewidth=0)
        axes.plot(
            np.arange(len(series[channel])), series[channel], color="black", linewidth=1.1, marker=".", markersize=3
        )
        axes.axhline(transformer.mean[channel], color=GREY, linewidth=0.6, linestyle=":")
        axes.set_ylabel(f"channel {channel}", fontsize=8, rotation=0, ha="right", va="center")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(colours, ax=list(panels), label=f"logit of {graph.targets[0].label}", pad=0.01, aspect=30)
    if len(channels) < len(series):
        panels[-1].annotate(
            f"{len(channels)} of {len(series)} channels", (0, -0.02), xycoords="axes fraction", fontsize=7, color=GREY,
            va="top",
        )  # fmt: skip


def _strip(axes: Axes, cases: SeriesCases, roles: Sequence[PatchRole]) -> None:
    """How far the class falls with other series' patches, and with patches drawn at random."""
    for role in roles:
        span = cases.transformer.times_of(role.place)
        middle = (span.start + span.stop - 1) / 2
        colour = FOR if role.decides else GREY
        error = [[role.fall.value - role.fall.low], [role.fall.high - role.fall.value]]
        axes.bar(middle, role.fall.value, 0.7 * len(span), color=colour, alpha=0.6, yerr=error, ecolor=colour)
        axes.hlines(role.null.value, span.start - 0.5, span.stop - 0.5, color="black", linestyle=":", linewidth=1)
    axes.axhline(0, color=GREY, linewidth=0.6)
    for colour, label in ((FOR, "decides"), (GREY, "does not")):
        axes.plot([], [], color=colour, alpha=0.6, marker="s", markersize=7, linestyle="none", label=label)
    axes.plot([], [], color="black", linestyle=":", label="random patches")
    axes.legend(loc="center right", fontsize=7, frameon=False)
    axes.set_ylabel("fall when\nreplaced", fontsize=8, rotation=0, ha="right", va="center")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


# --- features and edges -----------------------------------------------------------------------------------------------


def _features(axes: Axes, cases: SeriesCases, graph: Graph, ends: tuple[float, float, float]) -> None:
    """Features over their patches by layer, the class above the mark at the end, and the strongest edges."""
    through = influence(graph)
    features = through[graph.part("feature")].topk(min(FEATURES, graph.n_features)).indices.sort().values.tolist()
    patches = [graph.token_range.start + 1 + place for place in range(cases.transformer.n_patches)]
    target = graph.target_range[0]
    places = _places(cases, graph, features, ends)
    places |= {node: (_middle(cases, place, ends), 0.0) for place, node in enumerate(patches)}
    places[target] = ((ends[1] + ends[2]) / 2, graph.n_layers + 1.0)
    _edges(axes, graph, places, [*features, target], [*patches, *features])
    most = float(through[features].max()) or 1.0
    for node in features:
        axes.scatter(
            *places[node], s=25 + 120 * float(through[node]) / most, color="white", edgecolor="black", linewidth=0.8,
            zorder=2,
        )  # fmt: skip
        layer, _, index = graph.feature_keys[node].tolist()
        axes.annotate(f"L{layer}/{index}", places[node], (0, 7), textcoords="offset points", fontsize=6, ha="center")
    axes.scatter(*places[target], s=120, color=FOR, marker="s", zorder=2)
    beside: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center"}
    axes.annotate(graph.targets[0].label, places[target], (-9, 0), fontsize=8, **beside)
    axes.scatter([places[node][0] for node in patches], [0] * len(patches), marker="|", color="black", zorder=2)
    _frame(axes, graph, ends)


def _edges(
    axes: Axes,
    graph: Graph,
    places: dict[int, tuple[float, float]],
    readers: Sequence[int],
    sources: Sequence[int],
) -> None:
    """The strongest edges: as shares of what each reader reads, times its influence."""
    weight = influence(graph)
    weight[graph.target_range[0]] = 1.0
    mass = graph.over_nodes(graph.input_mass)[list(readers)].clamp_min(1e-30)
    strength = (graph.between(readers, sources) * (weight[list(readers)] / mass)[:, None]).numpy()
    most = float(np.abs(strength).max()) or 1.0
    for flat in np.argsort(-np.abs(strength), axis=None, kind="stable")[:EDGES].tolist():
        row, column = divmod(flat, len(sources))
        share = float(strength[row, column]) / most
        if abs(share) >= LEAST:
            (x0, y0), (x1, y1) = places[sources[column]], places[readers[row]]
            colour = FOR if share > 0 else AGAINST
            axes.plot([x0, x1], [y0, y1], color=colour, linewidth=0.4 + 3 * abs(share), alpha=0.45, zorder=1)


def _frame(axes: Axes, graph: Graph, ends: tuple[float, float, float]) -> None:
    """Names of layers, where the series ends, what the colours mean."""
    layers = [f"layer {layer}" for layer in range(graph.n_layers)]
    axes.set_yticks(range(graph.n_layers + 2), ["patch", *layers, "class"], fontsize=7)
    axes.set_ylim(-0.25, graph.n_layers + 1.35)
    axes.axvline(ends[1], color=GREY, linewidth=0.6, linestyle=":")
    axes.annotate("[end]", ((ends[1] + ends[2]) / 2, 0), fontsize=7, ha="center", va="center")
    axes.plot([], [], color=FOR, label="for")
    axes.plot([], [], color=AGAINST, label="against")
    axes.legend(loc="upper left", fontsize=7, frameon=False, title="edges and shading", title_fontsize=7)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


def _middle(cases: SeriesCases, place: int, ends: tuple[float, float, float]) -> float:
    """The middle of a patch, or of the mark behind the series."""
    if place >= cases.transformer.n_patches:
        return (ends[1] + ends[2]) / 2
    span = cases.transformer.times_of(place)
    return (span.start + span.stop - 1) / 2


def _places(
    cases: SeriesCases, graph: Graph, features: Sequence[int], ends: tuple[float, float, float]
) -> dict[int, tuple[float, float]]:
    """Where features are drawn: those of one layer and position one above the other, about the height of the layer."""
    cells: dict[tuple[int, int], list[int]] = {}
    for node in features:
        layer, position, _ = graph.feature_keys[node].tolist()
        cells.setdefault((layer, position), []).append(node)
    places = {}
    for (layer, position), nodes in cells.items():
        is_patch = position <= cases.transformer.n_patches
        width = 0.9 * (len(cases.transformer.times_of(position - 1)) if is_patch else ends[2] - ends[1])
        rows = [part.tolist() for part in np.array_split(nodes, -(-len(nodes) // IN_A_ROW))]
        for number, row in enumerate(rows):
            rise = 0.3 * (number - (len(rows) - 1) / 2)
            for column, node in enumerate(row):
                along = (column + 0.5) / len(row) - 0.5
                places[node] = (_middle(cases, position - 1, ends) + along * width, layer + 1 + rise)
    return places
