"""`clew labels show`: the labels of a feature."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from clew.cli.atlases import AtlasOptions
from clew.cli.label_text import scores_of
from clew.cli.options import JsonOption, with_settings
from clew.cli.tables import table, wide_console
from clew.ids import FeatureId
from clew.labels.exchange import as_json as label_as_json


@with_settings()
def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    source: AtlasOptions,
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the labels of a feature, the one that stands for it first.

    Example: `clew labels show L3/120 --history`
    """
    with source.load() as atlas, source.read_labels(atlas) as store:
        feature_id = FeatureId.parse(feature)
        atlas.number(feature_id)
        labels = () if store is None else store.of(feature_id, history=history)
    if as_json:
        print(json.dumps([label_as_json(label) for label in labels], ensure_ascii=False, indent=1))
        return
    shown = table("label", "by", "method", "date", "scores", "rests on")
    for label in labels:
        who = f"{label.author} ({label.kind})"
        shown.add_row(*map(Text, (label.text, who, label.method, label.date[:10], scores_of(label), label.note)))
    wide_console().print(shown if labels else f"{feature} has no label: give it one with clew label")
