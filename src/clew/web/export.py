"""A graph as one HTML file that opens anywhere, offline: the built page with its script, style and data inside.

The file is the page that `clew serve` shows. In place of a server it carries the graph's view, what is known of its
nodes, and the cards of its features, the most influential first, as many as fit; it says how many did not. Its policy
lets exactly this script and this style run and allows no request. Text from prompts, tokens and labels is data only,
never markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
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
from clew.web.schema.export import Embedded, LeftOut
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import Arrangement, EdgeColumns, GraphView, NodeDetail, Thresholds
from clew.web.views.features import feature_view, label_view, related
from clew.web.views.graphs import Naming, graph_view, node_view
from clew.web.views.open_graph import Held

if TYPE_CHECKING:
    from clew.kit import Kit

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 3_000_000  # of a file
CARD_BYTES, FEW_CARD_BYTES, NODE_BYTES = 1_700_000, 300_000, 600_000
_REST_BYTES = 1000  # names of the fields, and the counts of what is left out
_MOST_NODES, _CLOSER, _LEAST_NODES = (
    0.6,
    0.95,
    0.3,
)  # their share of a view's room; how the threshold falls, and to what
_LINKS, _LEFT_OUT = 16, 12  # of a node in a file, each way

Cards = Callable[[FeatureId], FeatureView | None]


def export_html(
    graph: Graph, path: Path | str, *, pruned: bool = True, title: str | None = None, kit: Kit | None = None
) -> None:
    """Write the graph as one self-contained HTML file, under 3 MB for a pruned graph.

    A whole graph is pruned first (80 % of the influence, 98 % of the edges'), unless `pruned` is false; its own scores
    are shown beside. With the kit that it was traced with, the cards of its features are in the file. What has no room
    is left out, and the file says how much: cards first, then the weakest edges, then nodes. Of a whole graph at most
    100,000 edges are written, the most influential ones.
    """
    with told_by(kit) as known:
        files.write_text(path, render_html(graph, pruned=pruned, title=title, **known))


def render_html(graph: Graph, **options: Any) -> str:
    """The page that `export_html` writes; options are those of `embedded`."""
    return page_of(embedded(graph, **options))


def embedded(
    graph: Graph,
    *,
    pruned: bool = True,
    title: str | None = None,
    thresholds: tuple[float, float] = (0.8, 0.98),
    card: Cards | None = None,
    naming: Naming | None = None,
    arrangement: Arrangement | None = None,
) -> Embedded:
    """What the file of a graph carries; `card` says what is known of a feature, `naming` what features are called."""
    node, edge = thresholds if pruned and is_whole(graph) else (1.0, 1.0)
    held, naming, title = Held(graph), naming or _own_names, title or f"{graph.prompt or 'Graph'} · Clew"
    asked = graph_view("", held, Thresholds(node=node, edge=edge), naming, of_kit=False)
    room = (MOST_BYTES if pruned else 1 << 40) - len(_page(title, "").encode()) - _size(arrangement) - _REST_BYTES
    view = _within(held, asked, naming, room - NODE_BYTES - (FEW_CARD_BYTES if card else 0))
    room -= _size(view)
    details = _details(held, view, naming, NODE_BYTES)
    features = _features(view)
    cards = _cards(features, card, min(CARD_BYTES, room - _sizes(details))) if card else {}
    return Embedded(
        title=title,
        version=_version(),
        graph=view,
        nodes=details,
        cards=cards,
        arrangement=arrangement,
        left_out=LeftOut(
            cards=len(features) - len(cards) if card else 0,
            details=len(view.nodes) - len(details),
            edges=view.counts.shown.edges - len(view.edges.weight),
            nodes=len(asked.nodes) - len(view.nodes),
        ),
    )


def page_of(carried: Embedded) -> str:
    """The file that carries this."""
    return _page(carried.title, _written(carried))


def _page(title: str, data: str) -> str:
    script, style = _built()
    parts = {
        "policy": _policy(script, style),
        "version": _version(),
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
    """The built page's script and style, as its own index names them."""
    index = files.read_text(STATIC / "index.html")
    found = []
    for pattern in (r'src="\./(assets/[\w.-]+\.js)"', r'href="\./(assets/[\w.-]+\.css)"'):
        match = re.search(pattern, index)
        assert match, "the built page names no script or no style: run make page"
        found.append(files.read_text(STATIC / match[1]))
    script, style = found
    assert not re.search("</script|<!--", script, re.IGNORECASE)
    assert not re.search("</style", style, re.IGNORECASE)
    return script, style


def _within(held: Held, view: GraphView, naming: Naming, room: int) -> GraphView:
    """A view that has room: with fewer of its weakest edges, and where the nodes alone are too many, of fewer nodes."""
    none = EdgeColumns(source=[], target=[], weight=[], held=[])
    while (size := _size(view)) > room:
        bare = _size(view.model_copy(update={"edges": none}))
        if bare < _MOST_NODES * room or view.thresholds.node < _LEAST_NODES:
            share = (room - bare) / (size - bare)
            kept = max(0, min(len(view.edges.weight) - 1, int(0.99 * share * len(view.edges.weight))))
            edges = {name: values[:kept] for name, values in view.edges.model_dump().items()}
            view = view.model_copy(update={"edges": EdgeColumns(**edges)})
            if not kept:
                break
        else:
            at = view.thresholds.model_copy(update={"node": view.thresholds.node * _CLOSER})
            view = graph_view("", held, at, naming, of_kit=False)
    return view


def _details(held: Held, view: GraphView, naming: Naming, room: int) -> dict[str, NodeDetail]:
    """What goes into nodes and out of them in the whole graph: of the most influential, as many as have room."""
    ranked = sorted(view.nodes, key=lambda node: (node.kind != "target", -node.influence))
    found: dict[str, NodeDetail] = {}
    for node in ranked:
        detail = node_view(held, held.graph.index(node.id), view.thresholds, naming, _LINKS)
        detail = detail.model_copy(update={"left_out": detail.left_out[:_LEFT_OUT], "paths": detail.paths[:4]})
        room -= _sizes({node.id: detail})
        if room < 0:
            break
        found[node.id] = detail
    return found


def _features(view: GraphView) -> list[str]:
    """The features of a view, those of the most influential nodes first."""
    ranked = sorted((node for node in view.nodes if node.feature), key=lambda node: -node.influence)
    return list(dict.fromkeys(node.feature for node in ranked if node.feature))


def _cards(features: Sequence[str], card: Cards, room: int) -> dict[str, FeatureView]:
    """The cards of the first of these features, as many as have room."""
    found: dict[str, FeatureView] = {}
    for feature in features:
        known = card(FeatureId.parse(feature))
        if known is None:
            continue
        room -= _sizes({feature: known})
        if room < 0:
            break
        found[feature] = known
    return found


@contextmanager
def told_by(kit: Kit | None) -> Iterator[dict[str, Any]]:
    """What a kit can tell `render_html`: the cards of features with their labels, and what features are called; nothing
    without one."""
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
            known = None if atlas is None else atlas[feature]
            named = names.of([feature, *([] if known is None else related(known))])
            labels = [] if store is None else [label_view(label) for label in store.of(feature)]
            return feature_view(feature, named[feature], kit.dictionary, known, labels, named)

        def naming(graph: Graph, features: Sequence[FeatureId]) -> Mapping[FeatureId, Name]:
            """The graph's own names; who gave one is known where it is still the feature's."""
            known, own = names.of(features), _own_names(graph, features)
            return known | {f: name for f, name in own.items() if name.text != known[f].text}

        yield {"card": card, "naming": naming}


def _own_names(graph: Graph, features: Sequence[FeatureId]) -> dict[FeatureId, Name]:
    return {feature: Name(graph.labels[feature], "") for feature in features if feature in graph.labels}


def _written(view: BaseModel) -> str:
    """A view as it stands in the file: nothing in it ends the element that it stands in."""
    plain = view.model_dump_json(exclude_none=True)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _size(view: BaseModel | None) -> int:
    """Bytes of a view in the file."""
    return 0 if view is None else len(_written(view).encode())


def _sizes(views: Mapping[str, BaseModel]) -> int:
    """Bytes of views under their ids."""
    return sum(_size(view) + len(id) + 4 for id, view in views.items())


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that runs this script and this style and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    rules = f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _version() -> str:
    from clew.version import __version__

    return __version__
