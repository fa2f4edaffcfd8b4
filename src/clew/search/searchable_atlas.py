"""An Atlas that can be searched: `clew.Atlas`, and what `kit.atlas` gives.

`features.atlas` reads cards and knows of no search. This class adds `search`, with the parts of a kit that some
searches need: its model, its dictionary and its file of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
from clew.search.finder import Finder, Hit
from clew.search.query import Query, takes_query
from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchableAtlas(Atlas):
    """Cards by feature, and searches among them: `kit.atlas.search("capital")`."""

    labels: Path | None = None
    """A file of labels, searched by words and by meaning beside the labels by rule."""
    subject: Subject | None = None
    """Searches by text and by token need it."""
    loaded_dictionary: Dictionary | None = None
    """The dictionary itself, of which `dictionary` is the fingerprint; searches by text need it."""

    @takes_query(Query)
    def search(self, query: Query) -> list[Hit]:
        """Features by words of their labels, or by `meaning=`, `token=`, `text=` or `like=`, the best first.

        InputError unless exactly one of these is given, and where the search needs what this atlas was not opened with:
        a model, a file of labels.
        """
        finder = Finder(atlas=self, labels=self.labels, subject=self.subject, dictionary=self.loaded_dictionary)
        return finder.answer(query)
