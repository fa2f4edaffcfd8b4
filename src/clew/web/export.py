"""A graph as one HTML file that opens anywhere, offline: the built page with its script, style and data inside.

The file is the page that `clew serve` shows. In place of a server it carries the graph's view, what is known of its
nodes, and the cards of its features, the most influential first, as many as fit. Its policy lets exactly this script
and this style run and allows no request. Text from prompts, tokens and labels is data only, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.influence import inflow
from clew.features.labels import LabelStore
from clew.features.names import Name, Names
from clew.ids import FeatureId
from clew.web.models import Arrangement, GraphView, Thresholds
from clew.web.models_features import FeatureView
from clew.web.shelf import Held
from clew.web.views import Naming, graph_view, node_view
from clew.web.views_features import feature_view, label_view, related

if TYPE_CHECKING:
    from clew.kit import Kit

STATIC = Path(__file__).parent / "static"
CARD_CHARACTERS, NODE_CHARACTERS = 1_700_000, 600_000  # with page and graph a file stays under 3 MB
_LINKS, _LEFT_OUT = 16, 12  # of a node in a file, each way

Cards = Callable[[FeatureId], FeatureView | None]


def export_html(
    graph: Graph, path: Path | str, *, pruned: bool = True, title: str | None = None, kit: Kit | None = None
) -> None:
    """Write the graph as one self-contained HTML file, under 3 MB for a pruned graph.

    A whole graph is pruned first (80 % of the influence, 98 % of the edges'), unless `pruned` is false; its own scores
    are shown beside. With the kit that it was traced with, the cards of its features are in the file. At most 100,000
    edges are written, the most influential ones, and the page says how many there are.
    """
    with told_by(kit) as known:
        files.write_text(path, render_html(graph, pruned=pruned, title=title, **known))


def render_html(
    graph: Graph,
    *,
    pruned: bool = True,
    title: str | None = None,
    thresholds: tuple[float, float] = (0.8, 0.98),
    card: Cards | None = None,
    naming: Naming | None = None,
    arrangement: Arrangement | None = None,
) -> str:
    """The page that `export_html` writes; `card` says what is known of a feature, `naming` what features are called."""
    node, edge = thresholds if pruned and is_whole(graph) else (1.0, 1.0)
    held, at = Held(graph), Thresholds(node=node, edge=edge)
    view = graph_view("", held, at, naming or _own_names, of_kit=False)
    title = title or f"{graph.prompt or 'Graph'} · Clew"
    value = {
        "title": title,
        "version": _version(),
        "graph": _plain(view),
        "nodes": _nodes(held, view, at, naming or _own_names),
        "cards": _cards(view, card) if card else {},
        "arrangement": None if arrangement is None else _plain(arrangement),
    }
    script, style = _built()
    parts = {
        "policy": _policy(script, style),
        "version": _version(),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": _written(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
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


def _nodes(held: Held, view: GraphView, at: Thresholds, naming: Naming) -> dict[str, Any]:
    """What goes into nodes and out of them in the whole graph: of the most influential, within the bound."""
    ranked = sorted(view.nodes, key=lambda node: (node.kind != "target", -node.influence))
    found, size = {}, 0
    for node in ranked:
        detail = node_view(held, held.graph.index(node.id), at, naming, _LINKS)
        value = _plain(detail.model_copy(update={"left_out": detail.left_out[:_LEFT_OUT], "paths": detail.paths[:4]}))
        size += len(_written(value))
        if size > NODE_CHARACTERS:
            break
        found[node.id] = value
    return found


def _cards(view: GraphView, card: Cards) -> dict[str, Any]:
    """Cards of the features, those of the most influential nodes first, within the bound."""
    ranked = sorted((node for node in view.nodes if node.feature), key=lambda node: -node.influence)
    found, size = {}, 0
    for feature in dict.fromkeys(node.feature for node in ranked if node.feature):
        known = card(FeatureId.parse(feature))
        if known is None:
            continue
        value = _plain(known)
        size += len(_written(value))
        if size > CARD_CHARACTERS:
            break
        found[feature] = value
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


def _plain(view: Any) -> Any:
    return view.model_dump(mode="json", exclude_none=True)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that runs this script and this style and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    rules = f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _version() -> str:
    from clew import __version__

    return __version__
