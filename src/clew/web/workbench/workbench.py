"""What is open on the workbench: a kit, a workspace, graphs at hand, jobs; and what each address asks of them."""

from __future__ import annotations

import getpass
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool

from clew.attribution.algebra import same_name_groups
from clew.attribution.checks import MOST_ENTRIES, check_whole
from clew.attribution.graph import Graph
from clew.errors import FileError, InputError
from clew.features.atlas import Atlas
from clew.features.label import UNCLEAR
from clew.ids import FeatureId
from clew.kit import Kit
from clew.labels import sentence_encoder as meaning
from clew.labels.display_names import Name, Names
from clew.version import __version__
from clew.web.errors import NotFoundError, RefusedError, TooLargeError, disk_is_full
from clew.web.responses import File
from clew.web.schema.bodies import MOST_EDITS, MOST_GENERATED, ArrangementBody, JobBody
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import (
    Arrangement,
    CompareView,
    GraphEntry,
    GraphList,
    GraphMade,
    GraphView,
    Group,
    NodeDetail,
    ScoresView,
    Suggestions,
    Thresholds,
)
from clew.web.schema.jobs import Job
from clew.web.schema.workbench import KitView, Limits, Token, Tokens, Workbench
from clew.web.security import MOST_BYTES, MOST_IMPORTED
from clew.web.views.graphs import compare_view, graph_view, node_view, scores_view
from clew.web.views.open_graph import Held
from clew.web.workbench.example_prompts import examples
from clew.web.workbench.features import Cards
from clew.web.workbench.graph_cache import Shelf
from clew.web.workbench.job_functions import work_of
from clew.web.workbench.job_queue import Queue
from clew.web.workbench.model_lock import Gate
from clew.web.workbench.pins_json import marks_of, with_marks
from clew.web.workbench.workspace import Workspace

_TITLE = 200  # characters of a job's title


class Bench:
    """Everything behind the addresses. Several threads may share it."""

    def __init__(self, kit: Kit, workspace: Path | str) -> None:
        """FileError when the workspace cannot be written."""
        self.kit, self.subject, self.dictionary = kit, kit.subject, kit.dictionary
        self.workspace = Workspace(workspace, self.dictionary.fingerprint, name=kit.name)
        self.gate, self.lock = Gate(), threading.Lock()
        self.shelf = Shelf(self.workspace.load)
        self.jobs = Queue(self.gate, self.workspace.keep_result)
        self.look_for_atlas()
        self.cards = Cards(self)

    def close(self) -> None:
        """End the jobs and give the workspace back."""
        self.jobs.close()
        self.workspace.close()

    def look_for_atlas(self) -> None:
        """The latest that was harvested into this workspace, unless the kit's own was made from more text."""
        found: Atlas | None = None if self.kit.atlas_path is None else self.kit.atlas
        if (path := self.workspace.atlas()) is not None:
            made = Atlas.load(path)
            made.check_fits(self.dictionary)
            if found is None or made.positions >= found.positions:
                found = made
        self.atlas: Atlas | None = found
        self.names_of = Names(self.subject, self.dictionary, self.workspace.labels, found)

    # --- the kit ------------------------------------------------------------------------------------------------

    def about(self) -> Workbench:
        dictionary = self.dictionary
        layers = sorted(dictionary.layers)
        view = KitView(
            name=self.kit.name,
            subject=self.subject.name,
            dictionary=dictionary.name,
            dictionary_kind=dictionary.kind,
            fingerprint=dictionary.fingerprint,
            n_layers=self.subject.n_layers,
            features={str(layer): dictionary.d_features(layer) for layer in layers},
            writes={str(layer): list(dictionary.written_layers(layer)) for layer in layers},
            can_trace=dictionary.kind != "sae",
            has_atlas=self.atlas is not None,
            has_meaning=self.atlas is not None and meaning.installed(),
            positions=0 if self.atlas is None else self.atlas.positions,
        )
        limits = Limits(
            prompt_tokens=self.subject.context_length,
            generated_tokens=MOST_GENERATED,
            edits=MOST_EDITS,
            body_bytes=MOST_BYTES,
            import_bytes=MOST_IMPORTED,
        )
        return Workbench(
            version=__version__, kit=view, examples=examples(self.kit.name), author=_author(), limits=limits
        )

    def tokens(self, prompt: str) -> Tokens:
        ids = self.subject.encode(prompt).tolist()
        pairs = zip(ids, self.subject.token_strings(ids), strict=True)
        found = [Token(id=id, text=text) for id, text in pairs]
        return Tokens(tokens=found, first_position=int(ids[0] in self.subject.special_ids))

    def feature_id(self, layer: str, index: int) -> FeatureId:
        """NotFoundError when the dictionary has no such feature."""
        found = FeatureId.parse(f"{layer}/{index}")
        if found.layer not in self.dictionary.layers or index >= self.dictionary.d_features(found.layer):
            raise NotFoundError(f"there is no feature {found} in {self.dictionary.name!r}")
        return found

    def naming(self, graph: Graph, features: Sequence[FeatureId]) -> Mapping[FeatureId, Name]:
        """Names as they are now for a graph of this kit, else those that the graph brought."""
        if graph.dictionary_fingerprint == self.dictionary.fingerprint:
            return self.names_of.of(features)
        return {f: Name(graph.labels[f], "imported") for f in features if f in graph.labels}

    # --- jobs ---------------------------------------------------------------------------------------------------

    def start(self, body: JobBody) -> Job:
        """Put long work into the queue; what is wrong with it at once is refused at once."""
        title, work = work_of(self, body)
        return self.jobs.start(body.kind, title[:_TITLE], work)

    def job(self, job: str) -> Job:
        try:
            return self.jobs.get(job)
        except NotFoundError:
            return self.workspace.result(job)

    # --- graphs -------------------------------------------------------------------------------------------------

    def history(self, offset: int, limit: int) -> GraphList:
        total, found = self.workspace.history(offset, limit)
        return GraphList(total=total, graphs=found)

    def held(self, graph: str) -> tuple[Held, bool]:
        """A graph at hand, and whether it is this kit's; NotFoundError when there is none."""
        entry = self.workspace.entry(graph)
        return self.shelf[entry.id], entry.of_kit

    def graph_view(self, graph: str, node: float, edge: float) -> GraphView:
        held, of_kit = self.held(graph)
        return graph_view(graph, held, Thresholds(node=node, edge=edge), self.naming, of_kit=of_kit)

    def scores(self, graph: str, node: float, edge: float) -> ScoresView:
        return scores_view(self.held(graph)[0], Thresholds(node=node, edge=edge))

    def node_detail(self, graph: str, id: str, node: float, edge: float, limit: int) -> NodeDetail:
        held, _ = self.held(graph)
        try:
            index = held.graph.index(id)
        except InputError as error:
            raise NotFoundError(str(error)) from error
        return node_view(held, index, Thresholds(node=node, edge=edge), self.naming, limit)

    def remove(self, graph: str) -> None:
        self.workspace.remove(graph)
        self.shelf.drop(graph)

    def restored(self, graph: str) -> GraphEntry:
        return self.workspace.restore(graph)

    def compared(self, a: str, b: str) -> CompareView:
        (one, of_one), (other, of_other) = self.held(a), self.held(b)
        return compare_view((a, b), one, other, self.naming, (of_one, of_other))

    async def take_in(self, content: bytes) -> GraphMade:
        return await run_in_threadpool(self._taken, content)

    def _taken(self, content: bytes) -> GraphMade:
        if content.lstrip()[:1] != b"{":
            return GraphMade(graph=self.workspace.keep(check_whole(self._read_file(content)), "import"))
        read, value = _read_json(content)
        made = self.workspace.keep(check_whole(read), "import")
        if (marks := marks_of(value)) is not None:
            self.workspace.arrange(made, marks)
        return GraphMade(graph=made)

    def _read_file(self, content: bytes) -> Graph:
        with self.workspace.taken_in(content) as path:
            try:
                return Graph.load(path)
            except FileError as error:
                if disk_is_full(error):
                    raise
                raise RefusedError(_no_graph(str(error).replace(str(path), "this file"))) from error

    def exported(self, graph: str, kind: str, node: float, edge: float) -> File:
        held, _ = self.held(graph)
        name = "-".join(held.graph.prompt.split()[-4:])[:60] or graph
        if kind == "graph":
            return File(self.workspace.content(graph), "application/octet-stream", f"{name}.graph")
        if kind == "html":
            return self._page(graph, held, node, edge, name)
        keys = held.graph.feature_keys.tolist()
        named = self.naming(held.graph, [FeatureId(layer, index) for layer, _, index in keys])
        whole = held.graph.with_labels({feature: one.text for feature, one in named.items() if one.text})
        part = whole.prune(node, edge)
        value = with_marks(part.to_json(slug=name), part, self.workspace.arrangement(graph))
        content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return File(content, "application/json", f"{name}.json")

    def _page(self, graph: str, held: Held, node: float, edge: float, name: str) -> File:
        """A graph with its cards and what a person did to it, as one file."""
        from clew.web.export import embedded, page_of

        def card(feature: FeatureId) -> FeatureView:
            return self.cards.feature(f"L{feature.layer}", feature.index)

        carried = embedded(
            held.graph,
            thresholds=(node, edge),
            card=card if self.workspace.entry(graph).of_kit else None,
            naming=self.naming,
            arrangement=self.workspace.arrangement(graph),
        )
        return File(page_of(carried).encode(), "text/html; charset=utf-8", f"{name}.html", carried.left_out)

    def arrangement(self, graph: str) -> Arrangement:
        return self.workspace.arrangement(graph)

    def arrange(self, graph: str, body: ArrangementBody) -> tuple[bool, Arrangement]:
        return self.workspace.arrange(graph, Arrangement.model_validate(body.model_dump()))

    def suggested(self, graph: str, by: str, node: float, edge: float) -> Suggestions:
        """Groups of shown features that go by one name, or promote one token most."""
        part = self.held(graph)[0].shown(node, edge).graph
        features = [FeatureId(layer, index) for layer, _, index in part.feature_keys.tolist()]
        if by == "token":
            promoted = self.names_of.promoted(self._ours(part, features))
            named = {feature: tokens[0] for feature, tokens in promoted.items()}
        else:
            given = self.naming(part, features)
            named = {f: name.text for f, name in given.items() if name.kind != "promoted" and name.text != UNCLEAR}
        groups = same_name_groups(part, named)
        return Suggestions(
            groups=[
                Group(
                    id=f"{by}-{position}-{number}",
                    name=name.strip(),
                    nodes=[str(part.node(node).id) for node in nodes],
                    note="same promoted token" if by == "token" else "same label",
                )
                for number, ((position, name), nodes) in enumerate(groups.items())
            ]
        )

    def _ours(self, graph: Graph, features: Iterable[FeatureId]) -> list[FeatureId]:
        return list(features) if graph.dictionary_fingerprint == self.dictionary.fingerprint else []


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "me"


def _no_graph(why: str) -> str:
    """Why a file is refused: what its owner can do about it, not what a reader of bytes stumbled over."""
    if "safetensors" not in why:
        return why
    return (
        "this file is no graph, or a part of one: give one that Clew saved (.graph), or graph JSON of Neuronpedia or "
        "circuit-tracer"
    )


def _read_json(content: bytes) -> tuple[Graph, dict[str, Any]]:
    """Graph JSON from elsewhere, read and as it is: refused in one line whatever is wrong with it."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"this file is not whole JSON ({str(error)[:200]})") from error
    try:
        nodes, tokens = len(value["nodes"]), len(value["metadata"]["prompt_tokens"])
    except (KeyError, TypeError) as error:
        lacks = f"it has no {error.args[0]}" if isinstance(error, KeyError) else "its nodes or tokens are no lists"
        raise RefusedError(f"this JSON is no graph of Neuronpedia or circuit-tracer: {lacks}") from error
    if nodes * (nodes + tokens) > MOST_ENTRIES:
        raise TooLargeError(f"a graph of {nodes:,} nodes and {tokens:,} tokens is too large: prune it first")
    try:
        return Graph.from_json(value), value
    except (RuntimeError, RecursionError, MemoryError) as error:
        raise FileError(f"this graph JSON is damaged ({error})") from error
