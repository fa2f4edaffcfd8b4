"""A graph as one HTML file that opens anywhere, offline: data, style and script inside, no request to anyone.

The page draws what stands in its JSON and computes no science: shares, scores and paths are worked out here, by
`clew.attribution`. Text from prompts, tokens and labels reaches the page as data only, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import torch

from clew import files
from clew.attribution.algebra import roles, strongest_paths
from clew.attribution.graph import OFFSETS, ErrorNode, FeatureNode, Graph, TargetNode, TokenNode
from clew.attribution.influence import Scores, cumulative_share, edge_influence, inflow, influence
from clew.ids import FeatureId

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("graph_model.js", "graph_layout.js", "graph_draw.js", "graph_panel.js", "graph.js")
MOST_EDGES = 100_000
MOST_PATHS = 24


def export_html(graph: Graph, path: Path | str, *, pruned: bool = True, title: str | None = None) -> None:
    """Write the graph as one self-contained HTML file.

    A whole graph is pruned first (80 % of the influence, 98 % of the edges'), unless `pruned` is false; its own scores
    are shown beside. At most 100,000 edges are written, the most influential ones, and the page says how many it has.
    """
    files.write_text(path, render_html(graph, pruned=pruned, title=title))


def render_html(graph: Graph, *, pruned: bool = True, title: str | None = None) -> str:
    """The page that `export_html` writes."""
    shown = graph.prune() if pruned and is_whole(graph) else graph
    script = "(() => {\n'use strict';\n" + "\n".join(files.read_text(STATIC / name) for name in SCRIPTS) + "})();\n"
    style = files.read_text(STATIC / "graph.css")
    data = json.dumps(graph_view(shown, graph), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "policy": _policy(script, style),
        "version": _version(),
        "title": html.escape(title or f"{graph.prompt or 'Graph'} · Clew"),
        "style": style,
        "script": script,
        "data": data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], files.read_text(STATIC / "graph.html"))


def is_whole(graph: Graph) -> bool:
    """Whether no edge was pruned from the graph."""
    return float(inflow(graph).lost.max()) < 1e-3


def graph_view(graph: Graph, whole: Graph | None = None) -> dict[str, Any]:
    """What the page knows: the graph's nodes, edges and paths, with influence as it is in the whole graph."""
    whole = graph if whole is None else whole
    cut = whole is not graph and graph.n_nodes < whole.n_nodes
    place = [whole.index(node) for node in graph.nodes] if cut else list(range(graph.n_nodes))
    whole_influence = influence(whole)
    through, held = whole_influence[place].tolist(), cumulative_share(whole_influence)[place].tolist()
    entering, entered = inflow(graph), inflow(whole)
    mass: list[float | None] = [None] * graph.n_nodes
    for node, value in zip(graph.row_nodes.tolist(), graph.input_mass.tolist(), strict=True):
        mass[node] = _short(value)
    rows = zip(graph.offsets.tolist(), entering.error.tolist(), entering.lost.tolist(), strict=True)
    nodes = []
    for i, (offsets, error, lost) in enumerate(rows):
        shares = {
            "influence": _short(through[i]),
            "held": _short(held[i]),
            "error": _short(error),
            "lost": _short(lost),
        }
        inputs = {"mass": mass[i], "offsets": [_short(value) for value in offsets]}
        nodes.append(_node_view(graph, i) | shares | inputs)
    edges, n_edges = _edges_view(graph)
    speaking, paths = roles(graph), strongest_paths(graph, MOST_PATHS)
    counts = {"shown": [graph.n_nodes, len(edges["source"])], "whole": None}
    if cut or len(edges["source"]) < n_edges:
        counts["whole"] = [whole.n_nodes, int((whole.rows != 0).sum())]
    return {
        "prompt": graph.prompt,
        "tokens": list(graph.tokens),
        "layers": graph.n_layers,
        "first": graph.first_position,
        "subject": graph.subject,
        "dictionary": graph.dictionary,
        "kind": graph.dictionary_kind,
        "scores": {"whole": _pair(whole.scores()), "shown": _pair(graph.scores())},
        "shares": {"error": _short(entered.mean_error), "offset": _short(entered.mean_offset)},
        "counts": counts,
        "offsetNames": list(OFFSETS),
        "nodes": nodes,
        "edges": edges,
        "paths": [{"nodes": list(path.nodes), "weight": _short(path.weight)} for path in paths],
        "roles": {"inputs": list(speaking.inputs[:30]), "outputs": list(speaking.outputs[:30])},
    }


def _node_view(graph: Graph, index: int) -> dict[str, Any]:
    node = graph.node(index)
    place: dict[str, Any] = {"id": str(node.id), "kind": node.id.kind, "position": node.position}
    match node:
        case FeatureNode(layer, _, feature, activation):
            value = {"activation": _short(activation), "value": _short(float(graph.preactivations[index]))}
            return place | {"layer": layer, "label": graph.labels.get(FeatureId(layer, feature), "")} | value
        case ErrorNode(layer, _):
            return place | {"layer": layer}
        case TokenNode(position):
            return place | {"token": graph.token_ids[position]}
        case TargetNode(label, _, weight, rank):
            target = graph.targets[rank]
            said = {"label": label, "weight": _short(weight), "value": _short(target.value)}
            return place | said | {"probability": None if target.probability is None else _short(target.probability)}


def _edges_view(graph: Graph) -> tuple[dict[str, list[Any]], int]:
    """The edges as columns, the most influential first; `held` is the share of the edges' influence up to each."""
    carried = edge_influence(graph)
    where = graph.rows.nonzero()
    values = carried[where[:, 0], where[:, 1]]
    held = cumulative_share(values)
    order = torch.sort(values, descending=True, stable=True).indices[:MOST_EDGES]
    rows, cols = where[order, 0], where[order, 1]
    weights = graph.rows[rows, cols].tolist()
    return {
        "source": graph.col_nodes[cols].tolist(),
        "target": graph.row_nodes[rows].tolist(),
        "weight": [_short(weight) for weight in weights],
        "held": [round(share, 5) for share in held[order].tolist()],
    }, len(where)


def _pair(scores: Scores) -> list[float]:
    return [_short(scores.replacement), _short(scores.completeness)]


def _short(value: float) -> float:
    """Five digits: more than a person reads, fewer than a file needs."""
    return float(f"{value:.5g}")


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that runs this script and this style and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    rules = f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _version() -> str:
    from clew import __version__

    return __version__
