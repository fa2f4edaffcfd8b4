"""A kit that the server has open, with its workspace: what graphs, features and jobs of the workbench share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import check_features
from clew.features.atlas import Atlas
from clew.ids import FeatureId
from clew.kit import Kit
from clew.labels.display_names import Name, Names
from clew.web.errors import NotFoundError
from clew.web.schema.workbench import Token, Tokens
from clew.web.views.names_here import names_by
from clew.web.views.open_graph import OpenGraph
from clew.web.views.token_rows import shown_row
from clew.web.workbench.graph_cache import GraphCache
from clew.web.workbench.model_lock import ModelLock
from clew.web.workbench.workspace import Workspace


class OpenKit:
    """A kit, its workspace, its atlas, and the lock of its model. Several threads may share it."""

    def __init__(self, kit: Kit, workspace: Path | str) -> None:
        """FileError when the workspace cannot be written."""
        self.kit, self.subject, self.dictionary = kit, kit.subject, kit.dictionary
        self.workspace = Workspace(workspace, self.dictionary.fingerprint, name=kit.name)
        self.model_lock = ModelLock()
        self.graph_cache = GraphCache(self.workspace.load)
        self.choose_atlas()

    def choose_atlas(self) -> None:
        """Take the latest atlas harvested into this workspace, unless the kit's was made from more text."""
        chosen = self.kit.atlas_path
        if (path := self.workspace.atlas()) is not None:
            with Atlas.load(path) as harvested:
                harvested.check_fits(self.dictionary)
                if chosen is None or harvested.positions >= self.kit.atlas.positions:
                    chosen = path
        self.labelled_kit = replace(self.kit, labels=self.workspace.labels.path, atlas_path=chosen)
        """The kit with the labels and the atlas of the workspace, by which traced graphs are named."""
        self.atlas: Atlas | None = None if chosen is None else self.labelled_kit.atlas
        self.names = Names(self.subject, self.dictionary, self.workspace.labels, self.atlas)
        self.here = names_by(self.atlas, self.dictionary.fingerprint)

    def tokens(self, text: str, *, add_bos: bool) -> Tokens:
        """A text as the model reads it; InputError when it cannot."""
        ids = self.subject.encode(text, add_bos=add_bos).tolist()
        names = self.subject.token_strings(ids)
        return Tokens(
            tokens=[Token(id=id, text=name) for id, name in zip(ids, names, strict=True)],
            shown=shown_row(names),
            first_position=int(ids[0] in self.subject.marker_ids),
        )

    @property
    def start(self) -> tuple[str, ...]:
        """The names of the tokens in front of a text, unless `add_bos` is off."""
        return self.subject.token_strings(self.subject.start_ids)

    def has_start(self, tokens: Sequence[str]) -> bool:
        """Whether a row of this kit's tokens begins as texts do unless `add_bos` is off."""
        start = self.start
        return tuple(tokens[: len(start)]) == start

    def feature_id(self, layer: str, index: int) -> FeatureId:
        """NotFoundError when the dictionary has no such feature."""
        feature = FeatureId.parse(f"{layer}/{index}")
        if feature.layer not in self.dictionary.layers or index >= self.dictionary.d_features(feature.layer):
            raise NotFoundError(f"there is no feature {feature} in {self.dictionary.name!r}")
        return feature

    def graph(self, graph: str) -> tuple[OpenGraph, bool]:
        """A graph by its id, and whether this kit traced it; NotFoundError when there is none."""
        entry = self.workspace.entry(graph)
        return self.graph_cache[entry.id], entry.of_kit

    def check_features(self, graph: Graph) -> None:
        """FileError when a graph that says it is of this kit names features or tokens that the kit does not have."""
        if graph.dictionary_fingerprint == self.dictionary.fingerprint:
            features = {layer: self.dictionary.d_features(layer) for layer in self.dictionary.layers}
            vocabulary = len(self.subject.unembedding)
            check_features(graph, features, n_layers=self.subject.n_layers, vocabulary=vocabulary)

    def names_in(self, graph: Graph, features: Sequence[FeatureId]) -> Mapping[FeatureId, Name]:
        """Today's names for a graph of this kit; for another kit's, the names that the graph came with."""
        if graph.dictionary_fingerprint == self.dictionary.fingerprint:
            return self.names.of(features)
        return {f: Name(graph.labels[f], "imported") for f in features if f in graph.labels}
