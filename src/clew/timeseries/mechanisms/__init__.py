"""Mechanisms of a classifier of series: the patches, heads and features that its decision is made of, tested.

    from clew.timeseries.mechanisms import draw, explain_decision, patch_heads, read_series, train, write_drawing

    transformer = train(series, labels)                # series (case, channel, time)
    cases = read_series(transformer, series, labels)
    decision = explain_decision(cases, 0)
    decision.sentence
    write_drawing("decision.svg", draw(cases, decision))

Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.timeseries.mechanisms.cases import SeriesCases, read_series
    from clew.timeseries.mechanisms.decision import Decision, explain_decision
    from clew.timeseries.mechanisms.drawing import draw, write_drawing
    from clew.timeseries.mechanisms.head_patching import HeadPatching, patch_heads
    from clew.timeseries.mechanisms.planted import PlantedBumps, planted_bumps
    from clew.timeseries.mechanisms.replaced_patches import PatchRole, patch_roles, token_totals
    from clew.timeseries.mechanisms.series_arrays import resampled
    from clew.timeseries.mechanisms.train_transformer import train
    from clew.timeseries.mechanisms.transformer import SeriesTransformer, TransformerSettings

_HOMES = {
    "Decision": "decision",
    "HeadPatching": "head_patching",
    "PatchRole": "replaced_patches",
    "PlantedBumps": "planted",
    "SeriesCases": "cases",
    "SeriesTransformer": "transformer",
    "TransformerSettings": "transformer",
    "draw": "drawing",
    "explain_decision": "decision",
    "patch_heads": "head_patching",
    "patch_roles": "replaced_patches",
    "planted_bumps": "planted",
    "read_series": "cases",
    "resampled": "series_arrays",
    "token_totals": "replaced_patches",
    "train": "train_transformer",
    "write_drawing": "drawing",
}

__all__ = [
    "Decision",
    "HeadPatching",
    "PatchRole",
    "PlantedBumps",
    "SeriesCases",
    "SeriesTransformer",
    "TransformerSettings",
    "draw",
    "explain_decision",
    "patch_heads",
    "patch_roles",
    "planted_bumps",
    "read_series",
    "resampled",
    "token_totals",
    "train",
    "write_drawing",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew.timeseries.mechanisms' has no attribute {name!r}")
    return getattr(import_module(f"clew.timeseries.mechanisms.{_HOMES[name]}"), name)
