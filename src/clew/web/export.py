"""A graph as one HTML file that opens anywhere, offline: the built page with its script, style and data inside.

The file is the page that `clew serve` shows, but for the views that need a server. In place of a server it carries the
graph's view, details of its nodes, and cards of its features: the most influential first, as many as fit, with a count
of those that do not. Its policy allows exactly this script and this style, and no request. Text from prompts, tokens
and labels is data, never markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.influence import inflow
from clew.ids import FeatureId
from clew.labels.display_names import Name, Names
from clew.labels.store import LabelStore
from clew.version import __version__
from clew.web.schema.circuits import CircuitView
from clew.web.schema.export import Embedded, LeftOut
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import Arrangement, EdgeColumns, GraphView, NodeDetail, Thresholds
from clew.web.views.features import feature_view, label_view, related_features
from clew.web.views.graphs import Naming, NodeNames, graph_view, node_view
from clew.web.views.names_here import names_by
from clew.web.views.open_graph import OpenGraph
from clew.web.workbench.pins_json import with_marks

if TYPE_CHECKING:
    from clew.kit import Kit

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 3_000_000  # of a file for a pruned graph
CARD_BYTES, FEW_CARD_BYTES, NODE_BYTES = 1_700_000, 300_000, 600_000
_REST_BYTES = 1000  # for names of fields, and counts of what is left out
_MOST_NODES = 0.6  # share of a view's room that nodes may take before the node threshold falls
_THRESHOLD_STEP, _LEAST_THRESHOLD = 0.95, 0.3  # how the node threshold falls, and how far
_SOURCE_BYTES, _SOURCE_EDGES = 600_000, 200_000  # of the graph to read back, and how many edges are tried
_LINKS, _LEFT_OUT = 16, 12  # of a node in a file, each way

Cards = Callable[[FeatureId], FeatureView | None]


def export_html(
    graph: Graph, path: Path | str, *, pruned: bool = True, title: str | None = None, kit: Kit | None = None
) -> None:
    """Write the graph as one self-contained HTML file, under 3 MB for a pruned graph.

    A whole graph is pruned first (to 80 % of the influence of nodes, 98 % of that of edges) unless `pruned` is false;
    the scores of the whole graph are shown too. With the kit that traced it, the file has the cards of its features.
    What has no room is left out, and the file counts it: cards first, then the weakest edges, then nodes. Of a whole
    graph at most 100,000 edges are written, the most influential ones. FileError when the file cannot be written.
    """
    with page_options(kit) as options:
        files.write_text(path, render_html(graph, pruned=pruned, title=title, **options))


def render_html(graph: Graph, **options: Any) -> str:
    """The page that `export_html` writes, as text; options are those of `embedded`."""
    return page_of(embedded(graph, **options))


def embedded(
    graph: Graph,
    *,
    pruned: bool = True,
    title: str | None = None,
    thresholds: tuple[float, float] = (0.8, 0.98),
    card: Cards | None = None,
    names: NodeNames | None = None,
    arrangement: Arrangement | None = None,
    circuit: CircuitView | None = None,
) -> Embedded:
    """The data in the file of a graph; `card` gives the view of a feature, `names` those of nodes."""
    node, edge = thresholds if pruned and is_whole(graph) else (1.0, 1.0)
    open_graph, names = OpenGraph(graph), names or NodeNames(naming=_graph_names)
    title = title or f"{graph.prompt or 'Graph'} · Clew"
    wanted = graph_view("", open_graph, Thresholds(node=node, edge=edge), names.naming, of_kit=False, here=names.here)
    room = (MOST_BYTES if pruned else 1 << 40) - len(_page(title, "").encode()) - _size(arrangement) - _REST_BYTES
    room -= _size(circuit)
    view = _fitted(open_graph, wanted, names, room - NODE_BYTES - (FEW_CARD_BYTES if card else 0))
    room -= _size(view)
    source = _source(graph, view, names.naming, arrangement, min(_SOURCE_BYTES, room - NODE_BYTES) if pruned else room)
    room -= len(source or "")
    details = _details(open_graph, view, names, NODE_BYTES)
    features = _features(view)
    cards = _cards(features, card, min(CARD_BYTES, room - _sizes(details))) if card else {}
    return Embedded(
        title=title,
        version=__version__,
        graph=view,
        nodes=details,
        cards=cards,
        arrangement=arrangement,
        source=source,
        left_out=LeftOut(
            cards=len(features) - len(cards) if card else 0,
            details=len(view.nodes) - len(details),
            edges=view.counts.shown.edges - len(view.edges.weight),
            nodes=len(wanted.nodes) - len(view.nodes),
        ),
        circuit=circuit,
        fingerprint=graph.dictionary_fingerprint,
    )


def page_of(content: Embedded) -> str:
    """The HTML file with this data."""
    return _page(content.title, _script_json(content))


def _page(title: str, data: str) -> str:
    script, style = _built()
    parts = {
        "policy": _policy(script, style),
        "version": __version__,
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": data,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _PAGE)


def is_whole(graph: Graph) -> bool:
    """Whether no edge was pruned from the graph."""
    return float(inflow(graph).lost.max()) < 1e-3


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="clew {{version}}">
<meta name="color-scheme" content="light dark">
<title>{{title}}</title>
<style>{{style}}</style>
</head>
<body>
<div id="page"></div>
<noscript>This page is drawn with JavaScript; nothing leaves your machine.</noscript>
<script type="application/json" id="clew-data">{{data}}</script>
<script type="module">{{script}}</script>
</body>
</html>
"""


@cache
def _built() -> tuple[str, str]:
    """Script and style of the page as one file: all that `make page` builds for it, with nothing to fetch."""
    script, style = (files.read_text(STATIC / "file" / name) for name in ("page.js", "page.css"))
    assert not re.search("</script|<!--", script, re.IGNORECASE)
    assert not re.search("</style", style, re.IGNORECASE)
    return script, style


def _fitted(open_graph: OpenGraph, view: GraphView, names: NodeNames, room: int) -> GraphView:
    """A view that fits: without its weakest edges and, when the nodes alone take too much, of fewer nodes."""
    no_edges = EdgeColumns(source=[], target=[], weight=[], held=[])
    while (size := _size(view)) > room:
        bare = _size(view.model_copy(update={"edges": no_edges}))
        if bare < _MOST_NODES * room or view.thresholds.node < _LEAST_THRESHOLD:
            share = (room - bare) / (size - bare)
            count = max(0, min(len(view.edges.weight) - 1, int(0.99 * share * len(view.edges.weight))))
            edges = {name: values[:count] for name, values in view.edges.model_dump().items()}
            view = view.model_copy(update={"edges": EdgeColumns(**edges)})
            if not count:
                break
        else:
            closer = view.thresholds.model_copy(update={"node": view.thresholds.node * _THRESHOLD_STEP})
            view = graph_view("", open_graph, closer, names.naming, of_kit=False, here=names.here)
    return view


def _source(graph: Graph, view: GraphView, naming: Naming, arrangement: Arrangement | None, room: int) -> str | None:
    """The graph that a view shows as graph JSON with its pins and groups, packed; None when that has no room.

    With it the workbench can take the file in again, which the view alone does not allow.
    """
    if view.counts.shown.edges > _SOURCE_EDGES:
        return None
    features = [FeatureId(layer, index) for layer, _, index in graph.feature_keys.tolist()]
    labels = {feature: name.text for feature, name in naming(graph, features).items() if name.text}
    labelled = graph.with_labels(labels)
    whole = (view.thresholds.node, view.thresholds.edge) == (1.0, 1.0)
    part = labelled if whole else labelled.prune(view.thresholds.node, view.thresholds.edge)
    value = with_marks(part.to_json(), part, arrangement) if arrangement else part.to_json()
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return packed if len(packed) <= room else None


def _details(open_graph: OpenGraph, view: GraphView, names: NodeNames, room: int) -> dict[str, NodeDetail]:
    """Inputs and outputs of targets and then of the most influential nodes, as many as have room."""
    ranked = sorted(view.nodes, key=lambda node: (node.kind != "target", -node.influence))
    details: dict[str, NodeDetail] = {}
    for node in ranked:
        detail = node_view(
            open_graph, open_graph.graph.index(node.id), view.thresholds, names.naming, _LINKS, names.here
        )
        detail = detail.model_copy(update={"left_out": detail.left_out[:_LEFT_OUT], "paths": detail.paths[:4]})
        room -= _sizes({node.id: detail})
        if room < 0:
            break
        details[node.id] = detail
    return details


def _features(view: GraphView) -> list[str]:
    """The features of a view, those of the most influential nodes first."""
    ranked = sorted((node for node in view.nodes if node.feature), key=lambda node: -node.influence)
    return list(dict.fromkeys(node.feature for node in ranked if node.feature))


def _cards(features: Sequence[str], card: Cards, room: int) -> dict[str, FeatureView]:
    """The cards of the first features, as many as have room."""
    views: dict[str, FeatureView] = {}
    for feature in features:
        view = card(FeatureId.parse(feature))
        if view is None:
            continue
        room -= _sizes({feature: view})
        if room < 0:
            break
        views[feature] = view
    return views


@contextmanager
def page_options(kit: Kit | None) -> Iterator[dict[str, Any]]:
    """The options `card` and `names` of `embedded` from a kit's atlas and labels; none without a kit."""
    if kit is None:
        yield {}
        return
    with ExitStack() as opened:
        atlas = None if kit.atlas_path is None else kit.atlas
        store = None
        if kit.labels is not None and kit.labels.is_file():
            store = opened.enter_context(LabelStore(kit.labels, kit.dictionary.fingerprint, name=kit.name))
        names = Names(kit.subject, kit.dictionary, store, atlas)

        def card(feature: FeatureId) -> FeatureView:
            facts = None if atlas is None else atlas[feature]
            listed = names.of([feature, *([] if facts is None else related_features(facts))])
            labels = [] if store is None else [label_view(label) for label in store.of(feature)]
            return feature_view(feature, listed[feature], kit.dictionary, facts, labels, listed)

        def naming(graph: Graph, features: Sequence[FeatureId]) -> Mapping[FeatureId, Name]:
            """The names in the graph; the kit knows who gave a name, where the name has not changed since."""
            kit_names, graph_names = names.of(features), _graph_names(graph, features)
            return kit_names | {f: name for f, name in graph_names.items() if name.text != kit_names[f].text}

        here = names_by(atlas, kit.dictionary.fingerprint)
        yield {"card": card, "names": NodeNames(naming=naming, here=here)}


def _graph_names(graph: Graph, features: Sequence[FeatureId]) -> dict[FeatureId, Name]:
    return {feature: Name(graph.labels[feature], "") for feature in features if feature in graph.labels}


def _script_json(view: BaseModel) -> str:
    """A view as JSON that is safe inside a script element: no text in it can end the element."""
    text = view.model_dump_json(exclude_none=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _size(view: BaseModel | None) -> int:
    """Bytes of a view in the file."""
    return 0 if view is None else len(_script_json(view).encode())


def _sizes(views: Mapping[str, BaseModel]) -> int:
    """Bytes of views under their ids."""
    return sum(_size(view) + len(id) + 4 for id, view in views.items())


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that allows this script, this style and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    rules = f"default-src 'none'; img-src blob:; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    return f"{rules}; base-uri 'none'; form-action 'none'"
