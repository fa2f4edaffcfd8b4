"""The names of features wherever they are shown: graphs, cards, lists, searches, edits.

A feature's name is its label if a store has a clear one (`LabelStore.shown`), else its label by rule, else the tokens
that it promotes. These tokens never change and are cached; labels are read each time, because people write them while
they work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
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
        rules = atlas.rules(feature for feature in wanted if feature not in names)
        names |= {f: Name(label.text, label.kind, label.author) for f, label in rules.items() if label.clear}
    return names


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
        return names | {f: Name(label_of(tokens[f]), "promoted") if f in tokens else Name("", "") for f in rest}

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
