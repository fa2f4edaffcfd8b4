"""An audit as one picture: predicted against measured, baselines, the steps that part them, e, curves."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from clew import files
from clew.intervention.measurements import STEPS

if TYPE_CHECKING:
    from clew.intervention.audit import Audit

SHOWN = 4000  # points of a scatter
BLUE, ORANGE, GREY = "#3b6fb6", "#d1702b", "#9aa0a6"


def draw(audit: Audit) -> bytes:
    """The picture as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    _scatter(axes[0, 0], audit, target=1, title="Outputs (centred logits)")
    _scatter(axes[0, 1], audit, target=0, title="Features (pre-activations)")
    _baselines(axes[0, 2], audit)
    _steps(axes[1, 0], audit)
    _reach(axes[1, 1], audit)
    _curves(axes[1, 2], audit)
    title = repr(audit.prompts[0]) if len(audit.prompts) == 1 else f"{len(audit.prompts)} prompts"
    figure.suptitle(f"{title}   {audit.subject}, {audit.dictionary}, {audit.nodes:,} features ablated", fontsize=11)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": files.SOFTWARE})
    return content.getvalue()


def _scatter(ax: Any, audit: Audit, *, target: int, title: str) -> None:
    """Pairs on a symmetric logarithmic scale that holds the largest of all; the title counts what is drawn."""
    every = audit.pairs[audit.pairs[:, 3] == target].numpy()
    pairs = every[np.isfinite(every[:, :2]).all(1)]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:SHOWN]
    predicted, measured = pairs[chosen, 0], pairs[chosen, 1]
    ax.scatter(predicted, measured, s=5, alpha=0.35, color=BLUE, linewidths=0)
    size = float(np.abs(pairs[:, :2]).max()) if len(pairs) else 1.0
    decade = np.ceil(np.log10(max(size, 1e-6)))
    ticks = [0.0, *(sign * 10.0 ** (decade - back) for back in range(3) for sign in (-1, 1))]
    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        scale("symlog", linthresh=10.0 ** (decade - 2))
        axis.set_ticks(ticks)
        axis.minorticks_off()
    ax.plot([-size, size], [-size, size], color=GREY, linewidth=0.8)
    line = getattr(audit.lines["exact" if "exact" in audit.lines else "total"], "outputs" if target else "features")
    drawn = f"{len(chosen):,} of {len(every):,} pairs"
    if len(pairs) < len(every):
        drawn += f", {len(every) - len(pairs):,} not finite"
    ax.set_title(f"{title}, {drawn}\nSpearman {line.spearman}, slope {line.slope.value:.2f}", fontsize=9)
    ax.set_xlabel("predicted loss", fontsize=8)
    ax.set_ylabel("measured loss", fontsize=8)


def _bars(ax: Any, names: list[str], rows: list[tuple[str, str, list[Any]]], title: str) -> None:
    """Grouped horizontal bars of rank correlations with intervals."""
    height = 0.8 / len(rows)
    for place, (label, colour, values) in enumerate(rows):
        y = np.arange(len(names)) + (place - (len(rows) - 1) / 2) * height
        middle = np.array([v.value for v in values])
        spread = np.abs(np.array([[v.value - v.low, v.high - v.value] for v in values])).T
        ax.barh(y, middle, height * 0.9, xerr=spread, color=colour, label=label, error_kw={"linewidth": 0.8})
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(min(-0.1, ax.get_xlim()[0]), 1.02)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_title(title, fontsize=9)
    ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=2)


def _baselines(ax: Any, audit: Audit) -> None:
    names = {"exact": "effects, last norm exact", "effects": "effects", "total": "values",
             "gradient": "live gradient x activation", "activation": "activation alone",
             "shuffled": "shuffled edges"}  # fmt: skip
    names = {name: text for name, text in names.items() if name in audit.lines}
    rows = [
        (kind, colour, [getattr(audit.lines[name], kind).spearman for name in names])
        for kind, colour in (("outputs", ORANGE), ("features", BLUE))
    ]
    _bars(ax, list(names.values()), rows, "Spearman with what was measured")


def _steps(ax: Any, audit: Audit) -> None:
    steps = [step for step in STEPS if f"released.{step}" in audit.lines]
    if not steps:
        ax.set_axis_off()
        return
    rows = [
        (label, colour, [audit.lines[f"{state}.{step}"].features.spearman for step in steps])
        for state, label, colour in (
            ("released", "released alone from the frozen model", ORANGE),
            ("frozen", "frozen alone in the live model", BLUE),
        )
    ]
    _bars(ax, steps, rows, "Which step parts them (features, Spearman with the prediction)")


def _reach(ax: Any, audit: Audit) -> None:
    """By effects where there are any, beside values as thin lines."""
    names = ["total", *(name for name in audit.lines if name.startswith("e+"))]
    both = {"values": names}
    if "exact" in audit.lines:
        both = {"effects": ["exact", *(f"exact.{name}" for name in names[1:])], **both}
    for kind, colour in (("outputs", ORANGE), ("features", BLUE)):
        for way, lines in both.items():
            known = [getattr(audit.lines[name], kind).spearman for name in lines if name in audit.lines]
            x, thin = np.arange(len(known)), way == "values" and len(both) > 1
            style = {"linestyle": "--", "linewidth": 0.8} if thin else {"marker": "o", "markersize": 3}
            ax.plot(x, [v.value for v in known], color=colour, label=f"{kind}, by {way}", **style)
            if not thin:
                low, high = ([getattr(v, end) for v in known] for end in ("low", "high"))
                ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set_xticks(range(len(names)), ["e = l", *(name.replace("e", "l") for name in names[1:])], fontsize=8)
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), 1.02)
    ax.set_title("Spearman by the last clamped layer e", fontsize=9)
    ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)


def _curves(ax: Any, audit: Audit) -> None:
    """Ablated to zero: other features recomputed (solid) and held (dashed), matched random sets pale beside them."""
    if not audit.curves:
        ax.set_axis_off()
        return
    shown = sorted((one for one in audit.curves if one.ablation == "zero"), key=lambda one: one.kept, reverse=True)
    for one, style in zip(shown, ("-", "--"), strict=False):
        for name, colour in (("faithfulness", BLUE), ("completeness", ORANGE)):
            curve = getattr(one, name)
            label = f"{name}, {one.kept}: {curve.area:.2f} (random {curve.random_area:.2f})"
            ax.plot(curve.sizes, curve.values, style, color=colour, marker="o", markersize=3, label=label)
            ax.plot(curve.sizes, curve.random, style, color=colour, alpha=0.4, linewidth=1)
    ax.set_xscale("log", base=2)
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.set_xlabel("features kept (faithfulness) or removed (completeness)", fontsize=8)
    ax.set_title("How few features carry the answer", fontsize=9)
    ax.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2)
