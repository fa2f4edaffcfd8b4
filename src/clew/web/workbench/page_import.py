"""The graph in a page that Clew exported: what the page shows becomes a graph again.

The page carries the graph's view: nodes, offsets and edges in five digits, pruned at its thresholds, and of the edges
as many as had room. So the graph that is read is that part of the first one, and `settings` says so; it keeps the whole
graph's normalisation, as every pruned graph does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import MOST_ENTRIES, check_whole
from clew.attribution.json_values import parsed, whole_text
from clew.attribution.nodes import OFFSETS, TargetInfo
from clew.errors import FileError
from clew.ids import FeatureId, NodeId
from clew.web.errors import TooLargeError, UnreadableError
from clew.web.schema.bodies import ArrangementBody
from clew.web.schema.graphs import Arrangement, GraphNode, GraphView


class _PageContent(BaseModel):
    """What is read of the data in a page, which leaves out what is null."""

    graph: GraphView
    arrangement: Arrangement | None = None
    fingerprint: str = ""


_START, _END = b'<script type="application/json" id="clew-data">', b"</script>"
_KINDS = ("feature", "error", "token", "target")
_GIVEN_NAMES = ("person", "model", "heuristic", "imported")


def is_page(content: bytes) -> bool:
    """Whether this is HTML, of whatever program."""
    return content[:4096].lstrip()[:1] == b"<"


def read_page(content: bytes) -> tuple[Graph, Arrangement | None]:
    """The graph that an exported page shows, and what a person did to it.

    UnreadableError when the page is none of Clew's, TooLargeError when its edges would not fit, FileError or ValueError
    when it was damaged.
    """
    start = content.find(_START) + len(_START)
    end = content.find(_END, start)
    if start < len(_START) or end < 0:
        raise UnreadableError("this page holds no graph of Clew: give one that Clew exported")
    value = parsed(content[start:end])
    if isinstance(value, dict) and isinstance(value.get("graph"), dict):
        value["graph"].setdefault("first_reason", "")  # in pages from before it was measured
    page = _PageContent.model_validate(value)
    graph = check_whole(_graph(page.graph, page.fingerprint))
    if page.arrangement is None:
        return graph, None
    done = ArrangementBody.model_validate(page.arrangement.model_dump() | {"revision": 0})
    return graph, Arrangement.model_validate(done.model_dump())


def _graph(view: GraphView, fingerprint: str) -> Graph:
    ids = [NodeId.parse(node.id) for node in view.nodes]
    parts = {kind: [i for i, id in enumerate(ids) if id.kind == kind] for kind in _KINDS}
    if [i for kind in _KINDS for i in parts[kind]] != list(range(len(ids))) or len(parts["token"]) != len(view.tokens):
        raise FileError("the nodes of this page are not in order")
    n_sources = len(ids) - len(parts["target"])
    readers = [i for i, node in enumerate(view.nodes) if node.mass is not None]
    if len(readers) * n_sources > MOST_ENTRIES:
        raise TooLargeError(f"a graph of {len(ids):,} nodes is too large: export it at a lower node threshold")
    features = [view.nodes[i] for i in parts["feature"]]
    rows = _rows(view, readers, n_sources)
    masses = torch.tensor([view.nodes[i].mass or 0.0 for i in readers])
    return Graph(
        prompt=view.prompt,
        tokens=tuple(view.tokens),
        token_ids=tuple(view.token_ids),
        n_layers=view.n_layers,
        first_position=view.first_position,
        first_reason=view.first_reason,
        feature_keys=_keys([ids[i] for i in parts["feature"]]),
        activations=torch.tensor([node.activation or 0.0 for node in features]),
        preactivations=torch.tensor([node.value or 0.0 for node in features]),
        error_keys=torch.tensor([[ids[i].layer, ids[i].position] for i in parts["error"]], dtype=torch.long).reshape(
            -1, 2
        ),
        targets=tuple(_target(view.nodes[i]) for i in parts["target"]),
        rows=rows,
        row_nodes=torch.tensor(readers, dtype=torch.long),
        col_nodes=torch.arange(n_sources),
        row_offsets=torch.tensor([view.nodes[i].offsets for i in readers]).reshape(-1, len(OFFSETS)),
        input_mass=masses.maximum(rows.abs().sum(1)),  # what was rounded up is no more than the whole
        next_tokens=tuple((each.label, each.probability or 0.0) for each in view.next_tokens),
        subject=view.subject,
        dictionary=view.dictionary,
        dictionary_kind=view.dictionary_kind,
        dictionary_fingerprint=fingerprint,
        settings={"read from a page": True, "node": view.thresholds.node, "edge": view.thresholds.edge},
        labels={FeatureId.parse(n.feature): n.label for n in features if n.feature and n.label and _is_given(n)},
    )


def _is_given(node: GraphNode) -> bool:
    """Whether somebody gave the feature its name; without a kit, a page does not know who."""
    return (node.label_kind or "imported") in _GIVEN_NAMES


def _keys(ids: Sequence[NodeId]) -> torch.Tensor:
    keys = [[id.layer, id.position, id.index] for id in ids]
    return torch.tensor(keys, dtype=torch.long).reshape(-1, 3)


def _target(node: GraphNode) -> TargetInfo:
    return TargetInfo(
        label=whole_text(node.label, "an output's label"),
        position=node.position,
        weight=node.weight or 0.0,
        value=node.value or 0.0,
        token=node.token_id,
        probability=node.probability,
    )


def _rows(view: GraphView, readers: Sequence[int], n_sources: int) -> torch.Tensor:
    edges = view.edges
    if not len(edges.source) == len(edges.target) == len(edges.weight):
        raise FileError("the edges of this page are columns of several lengths")
    row_of = {node: row for row, node in enumerate(readers)}
    rows = torch.zeros(len(readers), n_sources)
    if edges.source:
        places = torch.tensor([row_of[target] for target in edges.target]), torch.tensor(edges.source)
        if int(places[1].min()) < 0:
            raise FileError("an edge of this page starts nowhere")
        rows[places] = torch.tensor(edges.weight)
    return rows
