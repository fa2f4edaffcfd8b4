"""Search over an atlas in one call, whatever is searched by: words, meaning, token, text or example.

kit.atlas.search("capital")                       # words of labels
kit.atlas.search(text="The capital of France is") # what fires on it
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
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
from clew.search import queries as by

if TYPE_CHECKING:
    from clew.dictionary.dictionary import Dictionary
    from clew.subject.subject import Subject

WAYS = ("words", "meaning", "token", "text", "like")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One feature that was found, and why."""

    feature: FeatureId
    label: str
    """What it is called: the label that was found by, else its own, else what it promotes."""
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

    def find(
        self,
        words: str | None = None,
        *,
        meaning: str | None = None,
        token: str | None = None,
        text: str | None = None,
        like: FeatureId | str | None = None,
        by_token: bool = False,
        max_density: float = 1.0,
        order: by.Order = "activation",
        within: Collection[FeatureId] | None = None,
        limit: int = 20,
        report: Callable[[int, int], None] | None = None,
    ) -> list[Hit]:
        """Features found in one way, the best first. InputError unless exactly one way is given.

        `words` stand in labels, or words that begin with them do; `meaning` needs the extra minilm; `token` is one of
        the five that a feature promotes most; `text` makes features fire, the strongest by `order` (`by_token`: at each
        token; denser ones than `max_density` are left out); `like` is a feature. Only features `within` are found.
        """
        given = dict(zip(WAYS, (words, meaning, token, text, like), strict=True))
        if sum(way is not None for way in given.values()) != 1:
            raise InputError(f"search in one way: {', '.join(WAYS)}")
        if limit < 1:
            raise InputError(f"the limit is {limit}: give at least one")
        if not 0 <= max_density <= 1:
            raise InputError(f"the largest density is {max_density:g}: it is a share between 0 and 1")
        wide = limit if within is None else len(self.atlas)  # of all of which those within are kept
        with self._store(make=meaning is not None) as store:
            if words is not None:
                found = self._by_words(store, words, wide)
            elif meaning is not None:
                assert store is not None
                found = self._by_meaning(store, meaning, within, limit, report)
            elif token is not None:
                found = [Hit(feature=each, label="", by="") for each in self._promoting(token, wide)]
            elif text is not None:
                found = self._firing(text, by_token, max_density, order, within, limit)
            else:
                found = self._alike(like if isinstance(like, FeatureId) else FeatureId.parse(str(like)), wide)
            if within is not None and not by_token:
                found = [hit for hit in found if hit.feature in within][:limit]
            return self._named(found, store)

    @contextmanager
    def _store(self, *, make: bool) -> Iterator[LabelStore | None]:
        if self.labels is None and make:
            raise InputError("a search by meaning keeps vectors beside a file of labels: open the kit with labels=")
        if self.labels is None or not (make or self.labels.is_file()):
            yield None
            return
        with LabelStore(self.labels, self.atlas.dictionary, name=self.atlas.model) as store:
            yield store

    def _by_words(self, store: LabelStore | None, words: str, limit: int) -> list[Hit]:
        """Labels of the store, then those by rule; a feature once."""
        found = [] if store is None else store.matching(words, limit=limit)
        hits = {label.feature: _hit(label) for label in found}
        for text in by.matching(self.atlas.said_by_rule, words):
            if len(hits) >= limit:
                break
            rest = [feature for feature in self.atlas.said_by_rule[text] if feature not in hits]
            hits |= {feature: _hit(label) for feature, label in self.atlas.rules(rest).items()}
        return list(hits.values())[:limit]

    def _by_meaning(
        self,
        store: LabelStore,
        meaning: str,
        within: Collection[FeatureId] | None,
        limit: int,
        report: Callable[[int, int], None] | None,
    ) -> list[Hit]:
        if (encoder := self.atlas.kept.get("encoder")) is None:
            encoder = self.atlas.kept["encoder"] = _encoder()
        index = by.meanings(store, encoder, report, atlas=self.atlas)
        if within is None:
            found = index.nearest(meaning, limit=limit)
        else:
            found = index.nearest_among(meaning, within, limit=limit)
        return [_hit(label, cosine) for label, cosine in found]

    def _promoting(self, token: str, limit: int) -> list[FeatureId]:
        subject = self._model()[0]
        ids = {found[0] for form in (token, " " + token) if len(found := subject.token_ids(form)) == 1}
        if not ids:
            raise InputError(f"{token!r} is not one token of {subject.name}: give a shorter word")
        return by.promoting(self.atlas, self.atlas.summary.promoted, ids, limit)

    def _firing(
        self,
        text: str,
        by_token: bool,
        max_density: float,
        order: by.Order,
        within: Collection[FeatureId] | None,
        limit: int,
    ) -> list[Hit]:
        subject, dictionary = self._model()
        found = by.firing(subject, dictionary, text, at_most=max_density, order=order, **self.atlas.levels())
        if within is not None:
            found = [one for one in found if one.feature in within]
        tokens = subject.token_strings(subject.encode(text).tolist())
        if by_token:
            chosen = [one for here in by.by_token(found, limit).values() for one in here]
        else:
            chosen = by.by_feature(found)[:limit]
        places = [(one, tokens[one.position]) for one in chosen]
        return [
            Hit(feature=one.feature, label="", by="", value=one.activation, share=one.share, how=token)
            for one, token in places
        ]

    def _alike(self, feature: FeatureId, limit: int) -> list[Hit]:
        found = by.alike(self.atlas[feature])
        return [
            Hit(feature=near.feature, label="", by="", value=near.value, how=how)
            for how, some in found.items()
            for near in some[:limit]
        ]

    def _model(self) -> tuple[Subject, Dictionary]:
        if self.subject is None or self.dictionary is None:
            raise InputError("this search needs the model: search in the atlas of a kit")
        self.atlas.check_fits(self.dictionary)
        return self.subject, self.dictionary

    def _named(self, found: list[Hit], store: LabelStore | None) -> list[Hit]:
        """With labels for those that were not found by theirs."""
        wanted = {hit.feature for hit in found if not hit.label}
        labels = named(wanted, labels=store, atlas=self.atlas)
        made = []
        for hit in found:
            label = labels.get(hit.feature)
            if label is not None:
                hit = replace(hit, label=label.text, by=label.author)
            elif hit.feature in wanted:
                hit = replace(hit, label=label_of(each.token for each in self.atlas[hit.feature].promoted[:3]))
            made.append(hit)
        return made


def _hit(label: Label, value: float | None = None) -> Hit:
    return Hit(feature=label.feature, label=label.text, by=label.author, value=value)


def _encoder() -> by.Encoder:
    from clew.labels.sentence_encoder import Encoder

    return Encoder()
