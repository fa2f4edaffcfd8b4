"""The names of features wherever they are shown: graphs, cards, lists, searches, edits.

A feature's name is its label if a store has a clear one (`LabelStore.shown`), else its label by rule, else the tokens
that it promotes. A model's label gives way to one by rule which the same judge scores higher. The promoted tokens never
change and are cached; labels are read each time, because people write them while they work. Where several of one list
have the same name by rule, it also says what each writes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
from clew.features.label import Label
from clew.features.promoted_tokens import label_of, promoted_tokens
from clew.ids import FeatureId
from clew.labels.store import LabelStore
from clew.subject.subject import Subject

_CACHED = 200_000  # features
_MOST_COMPUTED = 400  # features of one list whose tokens are computed where no atlas has them: a second's work
TOKENS = 3


@dataclass(frozen=True)
class Name:
    """A text, and its source: the kind of a label's author, or `promoted`; all empty where nothing is known."""

    text: str
    kind: str
    author: str = ""


def named(
    features: Iterable[FeatureId], *, labels: LabelStore | None = None, atlas: Atlas | None = None
) -> dict[FeatureId, Name]:
    """The clear label of each feature, from the store, else by rule; features without one are left out."""
    wanted = list(dict.fromkeys(features))
    names = {} if labels is None else {feature: Name(*name) for feature, name in labels.names(wanted).items()}
    if atlas is not None:
        rules = atlas.rules(feature for feature in wanted if feature not in names or names[feature].kind == "model")
        for feature, rule in rules.items():
            if rule.clear and (feature not in names or (labels is not None and _better(rule, feature, labels))):
                names[feature] = Name(rule.text, rule.kind, rule.author)
    return names


def _better(rule: Label, feature: FeatureId, labels: LabelStore) -> bool:
    """Whether a label by rule tells held-out contexts apart better than the model's that would stand before it.

    A model proposes and scores decide: where a judge has scored both, the better one is shown.
    """
    proposed = labels.of(feature)[0]
    for score in rule.scores:
        other = proposed.score(score.test, score.judge)
        if score.test == "detection" and other is not None:
            return score.value > other.value
    return False


class Names:
    """Names of one Dictionary's features. Several threads may share it."""

    def __init__(
        self, subject: Subject, dictionary: Dictionary, labels: LabelStore | None, atlas: Atlas | None = None
    ) -> None:
        self.subject, self.dictionary, self.labels, self.atlas = subject, dictionary, labels, atlas
        self._promoted: dict[FeatureId, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def of(self, features: Iterable[FeatureId]) -> dict[FeatureId, Name]:
        """A name for each; without an atlas only the first few hundred are named by the tokens that they promote."""
        wanted = list(dict.fromkeys(features))
        names = named(wanted, labels=self.labels, atlas=self.atlas)
        rest = [feature for feature in wanted if feature not in names]
        tokens = self.promoted(rest)
        names |= {f: Name(label_of(tokens[f]), "promoted") if f in tokens else Name("", "") for f in rest}
        return self._told_apart(names)

    def _told_apart(self, names: dict[FeatureId, Name]) -> dict[FeatureId, Name]:
        """Features of one list whose names by rule are the same also go by what they write, where that differs."""
        counts = Counter(name.text for name in names.values() if name.kind == "heuristic")
        same = [f for f, name in names.items() if name.kind == "heuristic" and counts[name.text] > 1]
        tokens = self.promoted(same)
        writes = {f: next(iter(tokens[f]), "").strip() for f in same if f in tokens}
        apart = Counter((names[f].text, written) for f, written in writes.items())
        return {
            f: replace(name, text=f"{name.text}, writes {writes[f]}")
            if writes.get(f) and apart[name.text, writes[f]] < counts[name.text]
            else name
            for f, name in names.items()
        }

    def promoted(self, features: Iterable[FeatureId]) -> dict[FeatureId, tuple[str, ...]]:
        """The tokens that features promote most, the strongest first."""
        wanted = list(features)
        with self._lock:
            new = [feature for feature in wanted if feature not in self._promoted]
            if len(self._promoted) + len(new) > _CACHED:
                self._promoted.clear()
                new = wanted
            if new:
                self._promoted |= self._read(new) if self.atlas is not None else self._computed(new[:_MOST_COMPUTED])
            return {feature: self._promoted[feature] for feature in wanted if feature in self._promoted}

    def _read(self, features: list[FeatureId]) -> dict[FeatureId, tuple[str, ...]]:
        assert self.atlas is not None
        ids = self.atlas.summary.promoted[[self.atlas.number(feature) for feature in features], :TOKENS].tolist()
        distinct = sorted({token for row in ids for token in row})
        texts = dict(zip(distinct, self.subject.token_strings(distinct), strict=True))
        return {feature: tuple(texts[token] for token in row) for feature, row in zip(features, ids, strict=True)}

    def _computed(self, features: list[FeatureId]) -> dict[FeatureId, tuple[str, ...]]:
        return promoted_tokens(self.subject, self.dictionary, features, TOKENS)
