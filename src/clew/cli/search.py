"""`clew features search`: find features by label, by meaning, by token, by text, by example."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.text import Text

from clew.cli.common import WORKSPACE, JsonOption, KitOption, LabelsOption, bar, open_kit, table
from clew.cli.features import AtlasOption, console_for_cards, open_atlas
from clew.cli.label import store_of
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.features.label import Label
    from clew.features.labels import LabelStore
    from clew.ids import FeatureId

    Rows = list[dict[str, Any]]


def search(
    words: Annotated[str | None, typer.Argument(help="Words that a label holds.", show_default=False)] = None,
    meaning: Annotated[str | None, typer.Option(help="What a label should mean (needs the extra minilm).")] = None,
    token: Annotated[str | None, typer.Option(help="A token that a feature promotes.")] = None,
    text: Annotated[str | None, typer.Option(help="A text on which a feature fires.")] = None,
    like: Annotated[str | None, typer.Option(help="A feature; found are those like it.", metavar="FEATURE")] = None,
    by_token: Annotated[bool, typer.Option("--by-token", help="Of --text: the strongest at every token.")] = False,
    max_density: Annotated[float, typer.Option(help="Of --text: leave out what fires on more of all tokens.")] = 1.0,
    limit: Annotated[int, typer.Option(help="How many features.")] = 20,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Find features: by words of their labels, or in one of the other ways.

    Example: `clew features search --text "The capital of France is" --max-density 0.05`
    """
    if sum(way is not None for way in (words, meaning, token, text, like)) != 1:
        raise InputError("say in one way what to search: words of a label, or --meaning, --token, --text or --like")
    if limit < 1:
        raise InputError(f"--limit is {limit}: give at least one")
    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        if words is not None:
            rows = [_row(label.feature, label) for label in store.matching(words, limit=limit)]
        elif meaning is not None:
            rows = _by_meaning(store, meaning, limit)
        elif token is not None:
            rows = _promoting(opened, kit, token, limit)
        elif text is not None:
            rows = _firing(opened, kit, text, by_token, max_density, limit)
        else:
            rows = _alike(opened, str(like), limit)
        _named(rows, store, opened)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    console = console_for_cards()
    if not rows:
        console.print("No feature found.")
        return
    shown = table(*(name if isinstance(rows[0][name], str) else f">{name}" for name in rows[0]))
    for row in rows:
        shown.add_row(
            *(Text(f"{v:.3g}" if isinstance(v, float) else "–" if v is None else str(v)) for v in row.values())
        )
    console.print(shown)


def _row(feature: FeatureId, label: Label | None = None, **more: Any) -> dict[str, Any]:
    return {"feature": str(feature), **more, "label": label.text if label else "", "by": label.author if label else ""}


def _named(rows: Rows, store: LabelStore, atlas: Atlas) -> None:
    """Labels for those that were not found by theirs."""
    from clew.features.promoted import label_of
    from clew.ids import FeatureId

    wanted = {FeatureId.parse(row["feature"]) for row in rows if not row["label"]}
    shown = store.shown(wanted)
    for row in rows:
        feature = FeatureId.parse(row["feature"])
        if feature in wanted:
            label = shown.get(feature)
            promoted = label_of(weight.token for weight in atlas[feature].promoted[:3])
            row |= {"label": label.text if label else promoted, "by": label.author if label else ""}


def _by_meaning(store: LabelStore, meaning: str, limit: int) -> Rows:
    from clew.features.meaning import Encoder
    from clew.features.search import meanings

    with bar("reading labels") as report:
        index = meanings(store, Encoder(), report)
    return [_row(label.feature, label, cosine=cosine) for label, cosine in index.nearest(meaning, limit=limit)]


def _promoting(atlas: Atlas, kit: str, token: str, limit: int) -> Rows:
    from clew.features.search import promoting

    subject = open_kit(kit, None, None).subject
    ids = {found[0] for form in (token, " " + token) if len(found := subject.token_ids(form)) == 1}
    if not ids:
        raise InputError(f"{token!r} is not one token of {subject.name}: give a shorter word")
    return [_row(feature) for feature in promoting(atlas, atlas.summary.promoted, ids, limit)]


def _firing(atlas: Atlas, kit: str, text: str, by_token: bool, max_density: float, limit: int) -> Rows:
    from clew.features import search

    loaded = open_kit(kit, None, None)
    atlas.check_fits(loaded.dictionary)
    summary = atlas.summary
    layers = {layer: summary.layer == layer for layer, _ in atlas.layers}
    largest: Mapping[int, np.ndarray] = {layer: summary.max_activation[own] for layer, own in layers.items()}
    density: Mapping[int, np.ndarray] = {layer: summary.density[own] for layer, own in layers.items()}
    found = search.firing(
        loaded.subject, loaded.dictionary, text, largest=largest, density=density, at_most=max_density
    )
    tokens = loaded.subject.token_strings(loaded.subject.encode(text).tolist())
    chosen: Iterable[search.Firing]
    if by_token:
        chosen = [one for here in search.by_token(found, limit).values() for one in here]
    else:
        chosen = search.by_feature(found)[:limit]
    return [
        _row(one.feature, at=repr(tokens[one.position]), activation=one.activation, share=one.share) for one in chosen
    ]


def _alike(atlas: Atlas, feature: str, limit: int) -> Rows:
    from clew.features.search import alike

    found = alike(atlas[feature])
    return [_row(near.feature, how=how, strength=near.value) for how, some in found.items() for near in some[:limit]]
