"""What a person keeps of features and graphs: lists, as `clew labels list` has them, and notes."""

from __future__ import annotations

from typing import Any

from clew.errors import InputError
from clew.ids import FeatureId
from clew.web.schema.bodies import ListBody, NoteBody
from clew.web.schema.features import FeatureName
from clew.web.schema.notes import FeaturesOfList, Lists, Note, NoteConflict
from clew.web.views.graphs import NAMELESS
from clew.web.workbench.open_kit import OpenKit

_MOST_LISTED = 2000  # features of one list that are named


class NotesAndLists:
    """Lists and notes of an open kit. Methods raise NotFoundError for a graph or feature that there is not."""

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit, self.notes = open_kit, open_kit.workspace.notes

    def lists(self) -> Lists:
        """Every list with the names of its features."""
        lists = {name: members[:_MOST_LISTED] for name, members in self.open_kit.workspace.labels.lists().items()}
        names = self.open_kit.names.of([feature for members in lists.values() for feature in members])

        def named(feature: FeatureId) -> FeatureName:
            name = names.get(feature, NAMELESS)
            kind: Any = name.kind
            return FeatureName(feature=str(feature), text=name.text, kind=kind)

        return Lists(lists=[FeaturesOfList(name=name, features=list(map(named, of))) for name, of in lists.items()])

    def change_list(self, body: ListBody) -> Lists:
        """Put features into a list, and take others out; InputError for a name of no visible characters."""
        name = " ".join(body.name.split())
        if not name or not name.isprintable():
            raise InputError(f"a list's name is of visible characters, not {body.name!r}")
        added, removed = ([self._feature(text) for text in texts] for texts in (body.add, body.remove))
        labels = self.open_kit.workspace.labels
        labels.put_in_list(name, added)
        labels.take_from_list(name, removed)
        return self.lists()

    def graph_note(self, graph: str) -> Note:
        """The note on a graph."""
        return self.notes.get(graph=self.open_kit.workspace.entry(graph).id)

    def write_graph_note(self, graph: str, body: NoteBody) -> Note | NoteConflict:
        """Keep a note on a graph, unless another one was written since."""
        known = self.open_kit.workspace.entry(graph).id
        return _answer(*self.notes.put(body.text, body.revision, graph=known), body)

    def feature_note(self, layer: str, index: int) -> Note:
        """The note on a feature."""
        return self.notes.get(**self._key(self.open_kit.feature_id(layer, index)))

    def write_feature_note(self, layer: str, index: int, body: NoteBody) -> Note | NoteConflict:
        """Keep a note on a feature, unless another one was written since."""
        key = self._key(self.open_kit.feature_id(layer, index))
        return _answer(*self.notes.put(body.text, body.revision, **key), body)

    def _key(self, feature: FeatureId) -> dict[str, str]:
        return {"fingerprint": self.open_kit.dictionary.fingerprint, "feature": str(feature)}

    def _feature(self, text: str) -> FeatureId:
        parsed = FeatureId.parse(text)
        return self.open_kit.feature_id(f"L{parsed.layer}", parsed.index)


def _answer(is_kept: bool, newest: Note, body: NoteBody) -> Note | NoteConflict:
    if is_kept:
        return newest
    line = f"the note has been changed elsewhere: revision {newest.revision} is the newest, not {body.revision}"
    return NoteConflict(error=line, newest=newest)
