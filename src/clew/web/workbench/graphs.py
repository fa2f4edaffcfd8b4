"""Graphs of the workspace: their history, views, arrangements, suggested groups, import and export."""

from __future__ import annotations

import json
from pathlib import Path

from clew.attribution.algebra import same_name_groups
from clew.errors import InputError
from clew.features.label import UNCLEAR
from clew.ids import FeatureId
from clew.web.errors import NotFoundError, TooLargeError
from clew.web.responses import Download
from clew.web.schema.bodies import ArrangementBody, DifferenceBody
from clew.web.schema.circuits import CircuitView
from clew.web.schema.comparisons import CompareView, DifferenceView
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import (
    Arrangement,
    GraphEntry,
    GraphList,
    GraphMade,
    GraphView,
    NodeDetail,
    NodeGroup,
    ScoresView,
    Suggestions,
    Thresholds,
)
from clew.web.views.comparisons import compare_view, difference_view
from clew.web.views.graphs import NodeNames, graph_view, node_view, scores_view
from clew.web.views.open_graph import OpenGraph
from clew.web.views.token_rows import shown_row
from clew.web.workbench.features import WorkbenchFeatures
from clew.web.workbench.graph_import import read_graph_file, read_import, refusing
from clew.web.workbench.open_kit import OpenKit
from clew.web.workbench.pins_json import with_marks

_MOST_JSON_EDGES = 1_000_000  # 100 MB, which is as much as Neuronpedia takes
_TITLE_WORDS, _LONGEST_TITLE = 4, 60  # of a prompt, in the name of an exported file


class WorkbenchGraphs:
    """The graphs of an open kit. Every method that takes an id raises NotFoundError when there is no such graph."""

    def __init__(self, open_kit: OpenKit, features: WorkbenchFeatures) -> None:
        self.open_kit, self.workspace, self.features = open_kit, open_kit.workspace, features

    def history(self, offset: int, limit: int) -> GraphList:
        """A part of the graphs in the workspace, the latest first."""
        total, entries = self.workspace.history(offset, limit)
        return GraphList(total=total, graphs=[self._entry(entry) for entry in entries])

    def _entry(self, entry: GraphEntry) -> GraphEntry:
        """A line of the index with what the kit knows of its tokens."""
        bos = not entry.of_kit or self.open_kit.has_start(entry.tokens)
        return entry.model_copy(update={"add_bos": bos, "shown": shown_row(entry.tokens)})

    def view(self, graph: str, thresholds: Thresholds) -> GraphView:
        """A graph pruned at thresholds."""
        open_graph, of_kit = self.open_kit.graph(graph)
        naming, here = self.open_kit.names_in, self.open_kit.here
        view = graph_view(graph, open_graph, thresholds, naming, of_kit=of_kit, here=here)
        return view.model_copy(update={"add_bos": not of_kit or self.open_kit.has_start(view.tokens)})

    def scores(self, graph: str, thresholds: Thresholds) -> ScoresView:
        """Scores and counts of a graph at thresholds."""
        return scores_view(self.open_kit.graph(graph)[0], thresholds)

    def node(self, graph: str, id: str, thresholds: Thresholds, limit: int) -> NodeDetail:
        """One node with its inputs and outputs; NotFoundError when the graph has none of this id."""
        open_graph, _ = self.open_kit.graph(graph)
        try:
            index = open_graph.graph.index(id)
        except InputError as error:
            raise NotFoundError(str(error)) from error
        return node_view(open_graph, index, thresholds, self.open_kit.names_in, limit, self.open_kit.here)

    def compare(self, a: str, b: str) -> CompareView:
        """Two graphs side by side."""
        (graph_a, a_of_kit), (graph_b, b_of_kit) = self.open_kit.graph(a), self.open_kit.graph(b)
        return compare_view((a, b), graph_a, graph_b, self.open_kit.names_in, (a_of_kit, b_of_kit))

    def difference(self, body: DifferenceBody) -> DifferenceView:
        """Two graphs as one; MismatchError for graphs of different kits."""
        (a, _), (b, _) = self.open_kit.graph(body.a), self.open_kit.graph(body.b)
        names = NodeNames(naming=self.open_kit.names_in, here=self.open_kit.here)
        return difference_view(a, b, names, body.by, body.features)

    def remove(self, graph: str) -> None:
        """Remove a graph and what was made of it; for a day there is a way back, unless the disk was full."""
        self.workspace.remove(graph)
        self.open_kit.graph_cache.drop(graph)

    def restore(self, graph: str) -> GraphEntry:
        """Bring a removed graph back; NotFoundError when it is not in the trash."""
        return self._entry(self.workspace.restore(graph))

    # --- arrangements -------------------------------------------------------------------------------------------

    def arrangement(self, graph: str) -> Arrangement:
        """What a person did to a graph: pins, groups, positions."""
        return self.workspace.arrangement(graph)

    def arrange(self, graph: str, body: ArrangementBody) -> tuple[bool, Arrangement]:
        """Keep an arrangement of the newest revision; whether it was kept, and the newest one."""
        return self.workspace.arrange(graph, Arrangement.model_validate(body.model_dump()))

    def suggest(self, graph: str, by: str, thresholds: Thresholds) -> Suggestions:
        """Groups of shown features that share a name, or the token that they promote most."""
        part = self.open_kit.graph(graph)[0].shown(thresholds.node, thresholds.edge).graph
        features = [FeatureId(layer, index) for layer, _, index in part.feature_keys.tolist()]
        if by == "token":
            of_kit = part.dictionary_fingerprint == self.open_kit.dictionary.fingerprint
            promoted = self.open_kit.names.promoted(features if of_kit else [])
            texts = {feature: tokens[0] for feature, tokens in promoted.items()}
        else:
            names = self.open_kit.names_in(part, features)
            texts = {f: name.text for f, name in names.items() if name.kind != "promoted" and name.text != UNCLEAR}
        return Suggestions(
            groups=[
                NodeGroup(
                    id=f"{by}-{position}-{number}",
                    name=text.strip(),
                    nodes=[str(part.node(node).id) for node in nodes],
                    note="same promoted token" if by == "token" else "same label",
                )
                for number, ((position, text), nodes) in enumerate(same_name_groups(part, texts).items())
            ]
        )

    # --- import and export --------------------------------------------------------------------------------------

    def take_in(self, content: bytes) -> GraphMade:
        """Keep a graph from elsewhere, with its pins and groups where it has some, once it could be opened.

        UnreadableError or TooLargeError when it cannot be, FileError when it cannot be written.
        """
        imported = read_import(content, self.workspace.incoming)
        id = self.workspace.keep(imported.graph, "import", arrangement=imported.arrangement, check=self._check_opens)
        return GraphMade(graph=id)

    def _check_opens(self, path: Path) -> None:
        """UnreadableError unless a graph's file can be opened as the page opens it."""
        with refusing("this graph"):
            graph = read_graph_file(path)
            self.open_kit.check_features(graph)
            start = Thresholds(node=0.8, edge=0.98)
            view = graph_view("", OpenGraph(graph), start, self.open_kit.names_in, of_kit=False)
            GraphView.model_validate_json(view.model_dump_json(exclude_unset=True))  # NaN is null there, and refused

    def export(self, graph: str, kind: str, thresholds: Thresholds, circuit: CircuitView | None = None) -> Download:
        """A graph as `html`, `json`, or Clew's own `graph` file; a page may have its explanation."""
        open_graph, _ = self.open_kit.graph(graph)
        name = "-".join(open_graph.graph.prompt.split()[-_TITLE_WORDS:])[:_LONGEST_TITLE] or graph
        if kind == "graph":
            return Download(self.workspace.content(graph), "application/octet-stream", f"{name}.graph")
        if kind == "html":
            return self._page(graph, open_graph, thresholds, name, circuit)
        shown = open_graph.shown(thresholds.node, thresholds.edge)
        if shown.n_edges > _MOST_JSON_EDGES:
            raise TooLargeError(
                f"{shown.n_edges:,} edges are more than graph JSON takes, which are {_MOST_JSON_EDGES:,}: give lower "
                "thresholds, or export Clew's own file"
            )
        keys = open_graph.graph.feature_keys.tolist()
        names = self.open_kit.names_in(open_graph.graph, [FeatureId(layer, index) for layer, _, index in keys])
        labels = {feature: feature_name.text for feature, feature_name in names.items() if feature_name.text}
        part = shown.graph.with_labels(labels)
        value = with_marks(part.to_json(slug=name), part, self.workspace.arrangement(graph))
        content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return Download(content, "application/json", f"{name}.json")

    def _page(
        self, graph: str, open_graph: OpenGraph, thresholds: Thresholds, name: str, circuit: CircuitView | None
    ) -> Download:
        """A graph with its cards and what a person did to it, as one HTML file."""
        from clew.web.export import embedded, page_of

        def card(feature: FeatureId) -> FeatureView:
            return self.features.view(f"L{feature.layer}", feature.index)

        content = embedded(
            open_graph.graph,
            thresholds=(thresholds.node, thresholds.edge),
            card=card if self.workspace.entry(graph).of_kit else None,
            names=NodeNames(naming=self.open_kit.names_in, here=self.open_kit.here),
            arrangement=self.workspace.arrangement(graph),
            circuit=circuit,
        )
        return Download(page_of(content).encode(), "text/html; charset=utf-8", f"{name}.html", content.left_out)
