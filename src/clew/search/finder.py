"""Search over an atlas in one call, whatever is searched by: words, meaning, token, text or example.

kit.atlas.search("capital")                       # words of labels
kit.atlas.search(text="The capital of France is") # what fires on it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.features.label import Label
from clew.features.promoted_tokens import label_of
from clew.ids import FeatureId
from clew.labels.display_names import named
from clew.labels.store import LabelStore
from clew.search import queries
from clew.search.query import Query, takes_query

if TYPE_CHECKING:
    from clew.dictionary.dictionary import Dictionary
    from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A feature that a search returns, and why."""

    feature: FeatureId
    label: str
    """The label that the search matched, else the feature's own label, else the tokens that it promotes."""
    by: str
    """The author of the label; empty where the feature has none."""
    value: float | None = None
    """By meaning the cosine, by text the activation, by example how strongly it is related."""
    share: float | None = None
    """By text: of its largest activation in the atlas' corpus."""
    how: str = ""
    """By text the token, by example the kind of relation."""


@dataclass(frozen=True, kw_only=True)
class Finder:
    """Where a search looks; what a way of searching does not need may be missing."""

    atlas: Atlas
    labels: Path | None = None
    subject: Subject | None = None
    dictionary: Dictionary | None = None

    @takes_query(Query)
    def find(self, query: Query) -> list[Hit]:
        """The hits of a search, whose fields are the arguments: `find(text="...", limit=5)`. See `answer`."""
        return self.answer(query)

    def answer(self, query: Query) -> list[Hit]:
        """The hits of a search, the best first.

        InputError where what the search needs is missing: a model, a dictionary, a file of labels, the feature.
        """
        with self._store(create=query.meaning is not None) as store:
            hits = self._hits(query, store)
            if query.within is not None and not query.by_token:
                hits = [hit for hit in hits if hit.feature in query.within][: query.limit]
            return self._with_labels(hits, store)

    def counted(self, query: Query) -> tuple[list[Hit], int]:
        """The hits of a search, and how many there would be without the limit.

        Where the limit counts something else (at every token, for each kind of relation) or where everything is a hit
        (near a meaning), the number is of those that are listed.

        Errors are those of `answer`.
        """
        if query.by_token or (query.words is None and query.token is None and query.text is None):
            hits = self.answer(query)
            return hits, len(hits)
        with self._store(create=False) as store:
            hits = self._hits(replace(query, limit=max(query.limit, len(self.atlas))), store)
            if query.within is not None:
                hits = [hit for hit in hits if hit.feature in query.within]
            return self._with_labels(hits[: query.limit], store), len(hits)

    def _hits(self, query: Query, store: LabelStore | None) -> list[Hit]:
        limit = query.limit if query.within is None else len(self.atlas)  # `find` keeps those within
        if query.words is not None:
            return self._by_words(store, query.words, limit)
        if query.meaning is not None:
            assert store is not None
            return self._by_meaning(store, query.meaning, query)
        if query.token is not None:
            return [Hit(feature=feature, label="", by="") for feature in self._promoting(query.token, limit)]
        if query.text is not None:
            return self._firing(query.text, query)
        return self._alike(query.like if isinstance(query.like, FeatureId) else FeatureId.parse(str(query.like)), limit)

    @contextmanager
    def _store(self, *, create: bool) -> Iterator[LabelStore | None]:
        """The file of labels; None where there is none yet and none is created."""
        if self.labels is None and create:
            raise InputError("a search by meaning keeps vectors beside a file of labels: open the kit with labels=")
        if self.labels is None or not (create or self.labels.is_file()):
            yield None
            return
        with LabelStore(self.labels, self.atlas.dictionary, name=self.atlas.model) as store:
            yield store

    def _by_words(self, store: LabelStore | None, words: str, limit: int) -> list[Hit]:
        """Labels of the store, then those by rule; a feature once."""
        labels = [] if store is None else store.matching(words, limit=limit)
        hits = {label.feature: _hit(label) for label in labels}
        for text in queries.matching(self.atlas.features_by_rule, words):
            if len(hits) >= limit:
                break
            rest = [feature for feature in self.atlas.features_by_rule[text] if feature not in hits]
            hits |= {feature: _hit(label) for feature, label in self.atlas.rules(rest).items()}
        return list(hits.values())[:limit]

    def _by_meaning(self, store: LabelStore, meaning: str, query: Query) -> list[Hit]:
        if (encoder := self.atlas.cache.get("encoder")) is None:
            encoder = self.atlas.cache["encoder"] = _encoder()
        index = queries.meanings(store, encoder, query.report, atlas=self.atlas)
        if query.within is None:
            nearest = index.nearest(meaning, limit=query.limit)
        else:
            nearest = index.nearest_among(meaning, query.within, limit=query.limit)
        return [_hit(label, cosine) for label, cosine in nearest]

    def _promoting(self, token: str, limit: int) -> list[FeatureId]:
        subject = self._model()[0]
        spellings = {subject.token_names.single(text) for text in (token, " " + token)}
        ids = {i for i in spellings if i is not None and i < len(subject.unembedding)}
        if not ids:
            raise InputError(f"{token!r} is not one token of {subject.name}: give a shorter word, or an id as '#1234'")
        return queries.promoting(self.atlas, self.atlas.summary.promoted, ids, limit)

    def _firing(self, text: str, query: Query) -> list[Hit]:
        subject, dictionary = self._model()
        firings = queries.firing(
            subject,
            dictionary,
            text,
            at_most=query.max_density,
            order=query.order,
            add_bos=query.add_bos,
            **self.atlas.levels(),
        )
        if query.within is not None:
            firings = [firing for firing in firings if firing.feature in query.within]
        if query.by_token:
            firings = [firing for group in queries.by_token(firings, query.limit).values() for firing in group]
        else:
            firings = queries.by_feature(firings)[: query.limit]
        tokens = subject.token_strings(subject.encode(text, add_bos=query.add_bos).tolist())
        return [
            Hit(
                feature=firing.feature,
                label="",
                by="",
                value=firing.activation,
                share=firing.share,
                how=tokens[firing.position],
            )
            for firing in firings
        ]

    def _alike(self, feature: FeatureId, limit: int) -> list[Hit]:
        return [
            Hit(feature=related.feature, label="", by="", value=related.value, how=relation)
            for relation, relatives in queries.alike(self.atlas[feature]).items()
            for related in relatives[:limit]
        ]

    def _model(self) -> tuple[Subject, Dictionary]:
        if self.subject is None or self.dictionary is None:
            raise InputError("this search needs the model: search in the atlas of a kit")
        self.atlas.check_fits(self.dictionary)
        return self.subject, self.dictionary

    def _with_labels(self, hits: list[Hit], store: LabelStore | None) -> list[Hit]:
        """The hits, with labels for those that were not matched by a label."""
        unnamed = {hit.feature for hit in hits if not hit.label}
        names = named(unnamed, labels=store, atlas=self.atlas)
        labelled = []
        for hit in hits:
            name = names.get(hit.feature)
            if name is not None:
                hit = replace(hit, label=name.text, by=name.author)
            elif hit.feature in unnamed:
                promoted = self.atlas[hit.feature].promoted[:3]
                hit = replace(hit, label=label_of(weight.token for weight in promoted))
            labelled.append(hit)
        return labelled


def _hit(label: Label, value: float | None = None) -> Hit:
    return Hit(feature=label.feature, label=label.text, by=label.author, value=value)


def _encoder() -> queries.Encoder:
    from clew.labels.sentence_encoder import SentenceEncoder

    return SentenceEncoder()
