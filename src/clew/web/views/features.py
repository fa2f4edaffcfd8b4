"""Features as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
from clew.features.card import Card
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels.display_names import Name
from clew.search.queries import Firing
from clew.web.schema.features import CardView, FeatureRow, FeatureView, Fire, LabelView, ScoreView

_RELATED = ("nearest_decoder", "nearest_encoder", "together", "inputs", "outputs")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What features are looked for, and which part of them is wanted."""

    how: Literal["browse", "words", "meaning", "promotes", "fires", "alike"]
    query: str
    layer: int | None
    min_density: float
    max_density: float
    dead: Literal["hide", "show", "only"]
    sort: Literal["feature", "density", "max_activation"]
    descending: bool
    offset: int
    limit: int


def browsed(atlas: Atlas | None, dictionary: Dictionary, search: Search) -> list[FeatureId]:
    """Every feature that fits, in the order asked for."""
    if atlas is None:
        layers = [layer for layer in sorted(dictionary.layers) if search.layer in (None, layer)]
        return [FeatureId(layer, index) for layer in layers for index in range(dictionary.d_features(layer))]
    keep = fitting(atlas, search)
    order = np.nonzero(keep)[0]
    if search.sort != "feature":
        values = getattr(atlas.summary, search.sort)[order]
        order = order[np.argsort(-values if search.descending else values, kind="stable")]
    elif search.descending:
        order = order[::-1]
    return [atlas.feature(number) for number in order.tolist()]


def fitting(atlas: Atlas, search: Search) -> np.ndarray:
    """Which features of an atlas the filters let through."""
    summary = atlas.summary
    keep = (summary.density >= search.min_density) & (summary.density <= search.max_density)
    if search.layer is not None:
        keep &= summary.layer == search.layer
    if search.dead != "show":
        keep &= (summary.density == 0) == (search.dead == "only")
    return keep


def row(
    feature: FeatureId, name: Name, atlas: Atlas | None, why: str = "", strength: float | None = None
) -> FeatureRow:
    """One line of a list."""
    known: dict[str, Any] = {"density": None, "dead": None, "max_activation": None}
    if atlas is not None:
        number, summary = atlas.number(feature), atlas.summary
        density = float(summary.density[number])
        known = {"density": density, "dead": density == 0, "max_activation": float(summary.max_activation[number])}
    kind: Any = name.kind
    return FeatureRow(feature=str(feature), label=name.text, label_kind=kind, why=why, strength=strength, **known)


def fire(one: Firing, name: Name, atlas: Atlas | None) -> Fire:
    kind: Any = name.kind
    density = None if atlas is None else float(atlas.summary.density[atlas.number(one.feature)])
    return Fire(
        feature=str(one.feature),
        label=name.text,
        label_kind=kind,
        position=one.position,
        activation=one.activation,
        share=one.share,
        density=density,
    )


def feature_view(
    feature: FeatureId,
    name: Name,
    dictionary: Dictionary,
    card: Card | None,
    labels: Sequence[LabelView],
    names: Mapping[FeatureId, Name],
) -> FeatureView:
    """All that is known of a feature; `names` are those of related ones."""
    kind: Any = name.kind
    return FeatureView(
        feature=str(feature),
        name=name.text,
        name_kind=kind,
        reads=feature.layer,
        writes=list(dictionary.written_layers(feature.layer)),
        card=None if card is None else card_view(card, names),
        labels=list(labels),
    )


def card_view(card: Card, names: Mapping[FeatureId, Name]) -> CardView:
    """A card with the names of the features it speaks of."""
    plain = card.to_json()
    for kind in _RELATED:
        for one in plain[kind]:
            one["label"] = names[FeatureId.parse(one["feature"])].text
    return CardView.model_validate(plain)


def related(card: Card) -> list[FeatureId]:
    """The features that a card speaks of."""
    return [one.feature for kind in _RELATED for one in getattr(card, kind)]


def label_view(label: Label, *, replaced: bool = False) -> LabelView:
    kind: Any = label.kind
    assert label.id is not None
    return LabelView(
        id=label.id,
        feature=str(label.feature),
        text=label.text,
        kind=kind,
        author=label.author,
        method=label.method,
        note=label.note,
        date=label.date,
        current=label.current,
        replaced=replaced,
        scores=[ScoreView(**vars(score)) for score in label.scores],
    )


def label_views(labels: Sequence[Label]) -> list[LabelView]:
    """Labels of one feature with their history."""
    newest = {_said_by(label): label.id for label in sorted(labels, key=lambda label: (label.date, label.id or 0))}
    return [label_view(one, replaced=not one.current and newest[_said_by(one)] != one.id) for one in labels]


def _said_by(label: Label) -> tuple[str, str, str]:
    return label.kind, label.author, label.method
