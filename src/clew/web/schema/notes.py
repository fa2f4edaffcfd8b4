"""What the page is sent of a person's notes and lists of features."""

from __future__ import annotations

from clew.web.schema.base import View
from clew.web.schema.features import FeatureName


class Note(View):
    """What a person wrote on a graph or on a feature."""

    revision: int
    text: str
    date: str | None


class NoteConflict(View):
    """The note has been changed elsewhere since."""

    error: str
    newest: Note


class FeaturesOfList(View):
    name: str
    features: list[FeatureName]


class Lists(View):
    """A person's lists of features; one is gone when it holds none."""

    lists: list[FeaturesOfList]
