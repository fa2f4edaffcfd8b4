"""Features of the open kit: lists and searches, cards, activations on a text, labels."""

from __future__ import annotations

import threading
from typing import Any

from clew.errors import InputError
from clew.features.label import Label
from clew.ids import FeatureId
from clew.search import queries
from clew.search.finder import Finder
from clew.web.errors import NotFoundError
from clew.web.schema.bodies import FeatureQuery, FiresBody, LabelBody, ProbeBody
from clew.web.schema.features import (
    FeatureList,
    FeatureName,
    FeatureNames,
    FeatureView,
    Fire,
    FiresAt,
    FiresView,
    LabelConflict,
    LabelView,
    ProbeView,
)
from clew.web.views.features import (
    browse,
    feature_row,
    feature_view,
    fire_view,
    label_views,
    passes_filters,
    related_features,
)
from clew.web.views.graphs import NAMELESS
from clew.web.views.token_rows import shown_row
from clew.web.workbench.meaning_search import MeaningSearch
from clew.web.workbench.open_kit import OpenKit

_MOST_HITS = 1000  # of a search; nobody turns more pages
_MOST_NAMES = 500
_MOST_FIRES = 200

ScoredFeature = tuple[FeatureId, str, float | None]
"""A feature that a search found, why in words, and how strongly."""


class WorkbenchFeatures:
    """The features of an open kit. Methods that take a feature raise NotFoundError when the dictionary lacks it."""

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit = open_kit
        self._meanings = MeaningSearch(open_kit)
        self._labelling = threading.Lock()

    # --- lists --------------------------------------------------------------------------------------------------

    def search(self, query: FeatureQuery) -> FeatureList:
        """A page of the features that a query browses or finds.

        InputError for an empty search or a kit that cannot be searched so, BusyError while labels are being read.
        """
        atlas = self.open_kit.atlas
        page = slice(query.offset, query.offset + query.limit)
        if query.how == "browse":
            features = browse(atlas, self.open_kit.dictionary, query)
            names = self.open_kit.names.of(features[page])
            rows = [feature_row(feature, names[feature], atlas) for feature in features[page]]
            return FeatureList(total=len(features), features=rows)
        if not query.query.strip():
            raise InputError("the search is empty: say what to look for")
        hits = self._hits(query)
        if atlas is not None:
            passes = passes_filters(atlas, query)
            hits = [hit for hit in hits if passes[atlas.number(hit[0])]]
        names = self.open_kit.names.of([feature for feature, _, _ in hits[page]])
        rows = [feature_row(feature, names[feature], atlas, why, strength) for feature, why, strength in hits[page]]
        return FeatureList(total=len(hits), features=rows)

    def _hits(self, query: FeatureQuery) -> list[ScoredFeature]:
        open_kit, text = self.open_kit, query.query
        labels = open_kit.workspace.labels
        if query.how == "words" and open_kit.atlas is None:
            matches = labels.matching(text, limit=_MOST_HITS)
            return [(label.feature, f"label: {label.text}", None) for label in matches]
        if query.how == "fires":
            with open_kit.model_lock.short():
                firings = queries.by_feature(self._firings(text, query))
            tokens = open_kit.tokens(text, add_bos=query.add_bos).tokens
            return [(f.feature, f"fires at {tokens[f.position].text!r}", f.activation) for f in firings]
        if query.how == "list":
            return [(feature, "", None) for feature in labels.lists().get(text.strip(), ())]
        if open_kit.atlas is None:
            raise InputError(f"{open_kit.kit.name or 'this kit'} has no atlas: harvest one to search in")
        if query.how == "meaning":
            return self._meanings.nearest(text, _MOST_HITS)
        finder = Finder(
            atlas=open_kit.atlas, labels=labels.path, subject=open_kit.subject, dictionary=open_kit.dictionary
        )
        match query.how:
            case "words":
                hits = finder.find(words=text, limit=_MOST_HITS)
                return [(hit.feature, f"label: {hit.label}", hit.value) for hit in hits]
            case "promotes":
                hits = finder.find(token=text, limit=_MOST_HITS)
                return [(hit.feature, "promotes it", hit.value) for hit in hits]
            case _:  # alike
                open_kit.feature_id(*_layer_and_index(text))
                hits = finder.find(like=text, limit=_MOST_HITS)
                return [(hit.feature, hit.how, hit.value) for hit in hits]

    def names(self, ids: str) -> FeatureNames:
        """Names of features, whose ids are given with commas between them; InputError for too many, or no ids."""
        parts = [part for part in ids.split(",") if part.strip()]
        if len(parts) > _MOST_NAMES:
            raise InputError(f"{len(parts)} features are asked for: at most {_MOST_NAMES} at once")
        features = list(dict.fromkeys(self.open_kit.feature_id(*_layer_and_index(part)) for part in parts))
        names = self.open_kit.names.of(features)
        kinds: dict[FeatureId, Any] = {feature: names.get(feature, NAMELESS).kind for feature in features}
        return FeatureNames(names=[FeatureName(feature=str(f), text=names[f].text, kind=kinds[f]) for f in features])

    # --- activations on a text ----------------------------------------------------------------------------------

    def fires(self, body: FiresBody) -> FiresView:
        """Which features fire on a text, by token and by feature; InputError for a text that cannot be read."""
        atlas = self.open_kit.atlas
        tokens = self.open_kit.tokens(body.text, add_bos=body.add_bos)
        with self.open_kit.model_lock.short():
            firings = self._firings(body.text, body)
        by_token, by_feature = queries.by_token(firings, body.top), queries.by_feature(firings)[:_MOST_FIRES]
        shown = [*by_feature, *(firing for at_token in by_token.values() for firing in at_token)]
        names = self.open_kit.names.of([firing.feature for firing in shown])

        def views(firings: list[queries.Firing]) -> list[Fire]:
            return [fire_view(firing, names[firing.feature], atlas) for firing in firings]

        return FiresView(
            tokens=[token.text for token in tokens.tokens],
            shown=tokens.shown,
            first_position=tokens.first_position,
            by_token=[FiresAt(position=position, features=views(at_token)) for position, at_token in by_token.items()],
            by_feature=views(by_feature),
        )

    def _firings(self, text: str, asked: FeatureQuery | FiresBody) -> list[queries.Firing]:
        open_kit = self.open_kit
        options: dict[str, Any] = {"at_most": asked.max_density, "add_bos": asked.add_bos}
        if open_kit.atlas is not None:
            options |= open_kit.atlas.levels()
        return queries.firing(open_kit.subject, open_kit.dictionary, text, **options)

    def probe(self, layer: str, index: int, body: ProbeBody) -> ProbeView:
        """A feature's activation at every token of a text."""
        open_kit, feature = self.open_kit, self.open_kit.feature_id(layer, index)
        with open_kit.model_lock.short():
            tokens, activations, first = queries.activations_on(
                open_kit.subject, open_kit.dictionary, feature, body.text, add_bos=body.add_bos
            )
        highest = None
        if open_kit.atlas is not None:
            highest = float(open_kit.atlas.summary.max_activation[open_kit.atlas.number(feature)])
        return ProbeView(
            feature=str(feature),
            tokens=list(tokens),
            shown=shown_row(tokens, int(activations.argmax())),
            activations=activations.tolist(),
            first_position=first,
            max_activation=highest,
        )

    # --- one feature --------------------------------------------------------------------------------------------

    def view(self, layer: str, index: int) -> FeatureView:
        """All that is known of a feature: its card, its labels, the names of related features."""
        open_kit, feature = self.open_kit, self.open_kit.feature_id(layer, index)
        card = None if open_kit.atlas is None else open_kit.atlas[feature]
        names = open_kit.names.of([feature, *([] if card is None else related_features(card))])
        return feature_view(feature, names[feature], open_kit.dictionary, card, self._labels(feature), names)

    def _labels(self, feature: FeatureId) -> list[LabelView]:
        return label_views(self.open_kit.workspace.labels.of(feature, history=True))

    def add_label(self, layer: str, index: int, body: LabelBody) -> LabelView | LabelConflict:
        """Keep a person's label, on the disk when this returns; or report what its author has written since."""
        feature = self.open_kit.feature_id(layer, index)
        label = Label(feature=feature, text=body.text, kind="person", author=body.author, note=body.note)
        with self._labelling:
            newest = next((v for v in self._labels(feature) if v.current and _same_author(v, label)), None)
            if body.after is not None and body.after != (0 if newest is None else newest.id):
                says = "nothing any more" if newest is None else repr(newest.text)
                line = f"{body.author} has labelled {feature} elsewhere since, and says {says}: nothing was kept"
                return LabelConflict(error=line, newest=newest)
            (number,) = self.open_kit.workspace.labels.add([label])
        return next(view for view in self._labels(feature) if view.id == number)

    def withdraw_label(self, label: int) -> None:
        """NotFoundError when there is no such label."""
        try:
            self.open_kit.workspace.labels.withdraw(label)
        except InputError as error:
            raise NotFoundError(f"there is no label {label}") from error


def _same_author(view: LabelView, label: Label) -> bool:
    return (view.kind, view.author, view.method) == (label.kind, label.author, label.method)


def _layer_and_index(feature: str) -> tuple[str, int]:
    """The two parts of a written feature; InputError when no dictionary can have it."""
    text = feature.strip()
    if len(text) > 20:
        raise InputError(f"{text[:20]!r} is not a feature: write L<layer>/<index>, for example L3/1207")
    parsed = FeatureId.parse(text)
    return f"L{parsed.layer}", parsed.index
