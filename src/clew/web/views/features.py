"""Features as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
from clew.features.card import Card
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels.display_names import Name
from clew.search.queries import Firing
from clew.web.schema.bodies import FeatureQuery
from clew.web.schema.features import CardView, FeatureRow, FeatureView, Fire, LabelView, ScoreView
from clew.web.views.token_rows import shown_row

_RELATED = ("nearest_decoder", "nearest_encoder", "together", "inputs", "outputs")


def browse(atlas: Atlas | None, dictionary: Dictionary, query: FeatureQuery) -> list[FeatureId]:
    """Every feature that passes the filters, in the order of the query; all features of a layer without an atlas."""
    if atlas is None:
        layers = [layer for layer in sorted(dictionary.layers) if query.layer in (None, layer)]
        return [FeatureId(layer, index) for layer in layers for index in range(dictionary.d_features(layer))]
    passes = passes_filters(atlas, query)
    order = np.nonzero(passes)[0]
    if query.sort != "feature":
        values = getattr(atlas.summary, query.sort)[order]
        order = order[np.argsort(-values if query.descending else values, kind="stable")]
    elif query.descending:
        order = order[::-1]
    return [atlas.feature(number) for number in order.tolist()]


def passes_filters(atlas: Atlas, query: FeatureQuery) -> np.ndarray:
    """Which features of an atlas pass the filters of a query, by their number in the atlas."""
    summary = atlas.summary
    passes = (summary.density >= query.min_density) & (summary.density <= query.max_density)
    if query.layer is not None:
        passes &= summary.layer == query.layer
    if query.dead != "show":
        passes &= (summary.density == 0) == (query.dead == "only")
    return passes


def feature_row(
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


def fire_view(firing: Firing, name: Name, atlas: Atlas | None) -> Fire:
    kind: Any = name.kind
    density = None if atlas is None else float(atlas.summary.density[atlas.number(firing.feature)])
    return Fire(
        feature=str(firing.feature),
        label=name.text,
        label_kind=kind,
        position=firing.position,
        activation=firing.activation,
        share=firing.share,
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
    """All that is known of a feature; `names` has those of the related features."""
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
    """A card with the names of its related features, and its contexts as one reads them."""
    fields = card.to_json()
    views = [*fields["top"], *fields["silent"], *(context for band in fields["bands"] for context in band["contexts"])]
    for context in views:
        context["shown"] = shown_row(context["tokens"], context["at"])
    for kind in _RELATED:
        for related in fields[kind]:
            related["label"] = names[FeatureId.parse(related["feature"])].text
    return CardView.model_validate(fields)


def related_features(card: Card) -> list[FeatureId]:
    """The other features that a card lists."""
    return [related.feature for kind in _RELATED for related in getattr(card, kind)]


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
    """Labels of one feature with their history: which of them its author has replaced."""
    newest = {_author(label): label.id for label in sorted(labels, key=lambda label: (label.date, label.id or 0))}
    return [label_view(label, replaced=not label.current and newest[_author(label)] != label.id) for label in labels]


def _author(label: Label) -> tuple[str, str, str]:
    return label.kind, label.author, label.method
