"""What is asked of features: lists and searches, cards, activations on a text, labels."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from clew.errors import ClewError, InputError
from clew.features.label import Label
from clew.ids import FeatureId
from clew.search import queries as by
from clew.search.finder import Finder
from clew.web.errors import BusyError, NotFoundError
from clew.web.schema.bodies import FiresBody, LabelBody
from clew.web.schema.features import (
    FeatureList,
    FeatureRow,
    FeatureView,
    FiresAt,
    FiresView,
    LabelConflict,
    LabelView,
    ProbeView,
)
from clew.web.schema.features import Name as NameView
from clew.web.schema.features import Names as NamesView
from clew.web.views.features import Search, browsed, feature_view, fire, fitting, label_views, related, row
from clew.web.views.graphs import NAMELESS

if TYPE_CHECKING:
    from clew.web.workbench.workbench import Bench

_MOST_FOUND = 1000  # of a search; nobody turns more pages
_MOST_NAMES = 500
_MOST_FIRES = 200
_PATIENCE = 5.0  # seconds that a search waits for labels that are read for the first time


class Cards:
    """The features of the kit on the bench."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._meanings, self._starting = threading.Lock(), threading.Lock()
        self._encoder: by.Encoder | None = None
        self._prepared: threading.Thread | None = None
        self._failed: ClewError | None = None
        self._labelling = threading.Lock()

    def found(self, search: Search) -> FeatureList:
        """Features browsed or searched, a page of them."""
        bench, atlas = self.bench, self.bench.atlas
        if search.how == "browse":
            every = browsed(atlas, bench.dictionary, search)
            page = every[search.offset : search.offset + search.limit]
            names = bench.names_of.of(page)
            return FeatureList(total=len(every), features=[row(f, names[f], atlas) for f in page])
        if not search.query.strip():
            raise InputError("the search is empty: say what to look for")
        hits = self._searched(search)
        if atlas is not None:
            keep = fitting(atlas, search)
            hits = [hit for hit in hits if keep[atlas.number(hit[0])]]
        part = hits[search.offset : search.offset + search.limit]
        names = bench.names_of.of([feature for feature, _, _ in part])
        rows: list[FeatureRow] = [row(f, names[f], atlas, why, strength) for f, why, strength in part]
        return FeatureList(total=len(hits), features=rows)

    def _searched(self, search: Search) -> list[tuple[FeatureId, str, float | None]]:
        """Features, what was found of them in words, and how strongly."""
        bench, query = self.bench, search.query
        if search.how == "words" and bench.atlas is None:
            labels = bench.workspace.labels.matching(query, limit=_MOST_FOUND)
            return [(label.feature, f"label: {label.text}", None) for label in labels]
        if search.how == "fires":
            with bench.gate.short():
                fired = by.by_feature(self._fired(query, search.max_density))
            tokens = bench.tokens(query).tokens
            return [(one.feature, f"fires at {tokens[one.position].text!r}", one.activation) for one in fired]
        if bench.atlas is None:
            raise InputError(f"{bench.kit.name or 'this kit'} has no atlas: harvest one to search in")
        if search.how == "meaning":
            return self._by_meaning(query)
        way: dict[str, Any] = {{"words": "words", "promotes": "token", "alike": "like"}[search.how]: query}
        if search.how == "alike":
            self.bench.feature_id(*_parted(query))
        finder = Finder(
            atlas=bench.atlas, labels=bench.workspace.labels.path, subject=bench.subject, dictionary=bench.dictionary
        )
        hits = finder.find(**way, limit=_MOST_FOUND)
        why = {"words": "label: {0.label}", "promotes": "promotes it", "alike": "{0.how}"}[search.how]
        return [(hit.feature, why.format(hit), hit.value) for hit in hits]

    def _by_meaning(self, query: str) -> list[tuple[FeatureId, str, float | None]]:
        with self._starting:
            if self._prepared is None:
                self._prepared = threading.Thread(target=self._prepare, name="clew-meanings", daemon=True)
                self._prepared.start()
        self._prepared.join(_PATIENCE)
        if self._prepared.is_alive():
            raise BusyError("the labels are being read for their meaning, once: ask again in a moment")
        if self._failed is not None:
            raise self._failed
        found = self._index().nearest(query, limit=_MOST_FOUND)
        first: dict[FeatureId, tuple[str, float]] = {}
        for label, cosine in found:
            first.setdefault(label.feature, (f"label: {label.text}", cosine))
        return [(feature, why, cosine) for feature, (why, cosine) in first.items()]

    def _prepare(self) -> None:
        """Read all labels for their meaning; the vectors are kept in the workspace."""
        try:
            self._index()
        except ClewError as error:
            self._failed = error

    def _index(self) -> by.Meanings:
        """Labels by meaning; only new ones are read."""
        with self._meanings:
            if self._encoder is None:
                from clew.labels.sentence_encoder import Encoder

                self._encoder = Encoder()
            return by.meanings(self.bench.workspace.labels, self._encoder, atlas=self.bench.atlas)

    def _fired(self, text: str, max_density: float) -> list[by.Firing]:
        bench = self.bench
        known: dict[str, Any] = {} if bench.atlas is None else bench.atlas.levels()
        return by.firing(bench.subject, bench.dictionary, text, at_most=max_density, **known)

    def fires(self, body: FiresBody) -> FiresView:
        """What fires on a text."""
        bench = self.bench
        told = bench.tokens(body.text)
        with bench.gate.short():
            found = self._fired(body.text, body.max_density)
        places, features = by.by_token(found, body.top), by.by_feature(found)[:_MOST_FIRES]
        every = [*features, *(one for here in places.values() for one in here)]
        names = bench.names_of.of([one.feature for one in every])

        def fires(some: list[by.Firing]) -> list[Any]:
            return [fire(one, names[one.feature], bench.atlas) for one in some]

        return FiresView(
            tokens=[token.text for token in told.tokens],
            first_position=told.first_position,
            by_token=[FiresAt(position=position, features=fires(here)) for position, here in places.items()],
            by_feature=fires(features),
        )

    def names(self, ids: str) -> NamesView:
        """Names of features with commas between them."""
        parts = [part for part in ids.split(",") if part.strip()]
        if len(parts) > _MOST_NAMES:
            raise InputError(f"{len(parts)} features are asked for: at most {_MOST_NAMES} at once")
        features = list(dict.fromkeys(self.bench.feature_id(*_parted(part)) for part in parts))
        found = self.bench.names_of.of(features)
        kinds: dict[FeatureId, Any] = {feature: found.get(feature, NAMELESS).kind for feature in features}
        return NamesView(names=[NameView(feature=str(f), text=found[f].text, kind=kinds[f]) for f in features])

    def feature(self, layer: str, index: int) -> FeatureView:
        """All that is known of a feature."""
        bench, feature = self.bench, self.bench.feature_id(layer, index)
        card = None if bench.atlas is None else bench.atlas[feature]
        names = bench.names_of.of([feature, *([] if card is None else related(card))])
        return feature_view(feature, names[feature], bench.dictionary, card, self._labels(feature), names)

    def _labels(self, feature: FeatureId) -> list[LabelView]:
        return label_views(self.bench.workspace.labels.of(feature, history=True))

    def probe(self, layer: str, index: int, text: str) -> ProbeView:
        """A feature's activation at every token of a text."""
        bench, feature = self.bench, self.bench.feature_id(layer, index)
        with bench.gate.short():
            tokens, values, first = by.activations_on(bench.subject, bench.dictionary, feature, text)
        known = None
        if bench.atlas is not None:
            known = float(bench.atlas.summary.max_activation[bench.atlas.number(feature)])
        return ProbeView(
            feature=str(feature),
            tokens=list(tokens),
            activations=values.tolist(),
            first_position=first,
            max_activation=known,
        )

    def add_label(self, layer: str, index: int, body: LabelBody) -> LabelView | LabelConflict:
        """Keep a person's label, on the disk when this returns; or say what its author has said since."""
        feature = self.bench.feature_id(layer, index)
        label = Label(feature=feature, text=body.text, kind="person", author=body.author, note=body.note)
        with self._labelling:
            now = next((one for one in self._labels(feature) if one.current and _same_voice(one, label)), None)
            if body.after is not None and body.after != (0 if now is None else now.id):
                says = "nothing any more" if now is None else repr(now.text)
                line = f"{body.author} has labelled {feature} elsewhere since, and says {says}: nothing was kept"
                return LabelConflict(error=line, newest=now)
            (number,) = self.bench.workspace.labels.add([label])
        return next(view for view in self._labels(feature) if view.id == number)

    def withdraw(self, label: int) -> None:
        """NotFoundError when there is no such label."""
        try:
            self.bench.workspace.labels.withdraw(label)
        except InputError as error:
            raise NotFoundError(f"there is no label {label}") from error


def _same_voice(view: LabelView, label: Label) -> bool:
    return (view.kind, view.author, view.method) == (label.kind, label.author, label.method)


def _parted(feature: str) -> tuple[str, int]:
    """Layer and index of a written feature; InputError when it is none that anything could have."""
    text = feature.strip()
    if len(text) > 20:
        raise InputError(f"{text[:20]!r} is not a feature: write L<layer>/<index>, for example L3/1207")
    found = FeatureId.parse(text)
    return f"L{found.layer}", found.index
