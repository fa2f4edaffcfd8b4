"""Graph JSON: the format that Neuronpedia and circuit-tracer's page read, written and read back.

A node is known by its text: `{layer}_{feature}_{position}` for a feature, `E_{token}_{position}` for a token,
`{n_layers + 1}_{token}_{position}` for a target. An error is `error_{layer}_{position}` here; the other programs write
`0_{layer}_{position}`, which is also the name of a feature of layer 0. What their readers do not know (pre-activations,
offsets, input masses) rides along in further keys, so that a graph of ours reads back whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import check_whole
from clew.attribution.graph_json_nodes import (
    NAME,
    cantor,
    error_key_of,
    feature_key_of,
    kind_of,
    offsets_of,
    position_of,
    real_of,
    target_of,
)
from clew.attribution.influence import cumulative_share, influence
from clew.attribution.json_values import (
    bare,
    layer_number,
    mapping,
    real_number,
    sequence,
    shown,
    whole_number,
    whole_text,
)
from clew.attribution.nodes import ErrorNode, FeatureNode, TargetNode, TokenNode
from clew.errors import FileError
from clew.ids import FeatureId, NodeId

SCHEMA = 1
DIRECTION = 1 << 30  # a target that is no token takes a number above every vocabulary
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_OF_GRAPH = ("n_layers", "first_position", "subject", "dictionary", "dictionary_kind", "dictionary_fingerprint")
_OF_FIRST = ("first_reason", "first_ratio")  # not in graphs from before it was measured


# --- writing ------------------------------------------------------------------------------------------------------


def to_json(graph: Graph, slug: str = "") -> dict[str, Any]:
    """The graph as graph JSON: every node, every edge that is not zero; `influence` is the cumulative share.

    Prune first: Neuronpedia takes 100 MB, which is about a million edges.
    """
    number = _number(graph)
    shares = cumulative_share(influence(graph)).tolist()
    nodes = [_node(graph, index, shares[index]) for index in range(graph.n_nodes)]
    _add_inputs(graph, nodes, number)
    names = _unique_names(nodes)
    present = graph.rows != 0 if graph.effect_rows is None else (graph.rows != 0) | (graph.effect_rows != 0)
    where = present.nonzero()
    targets, sources = graph.row_nodes[where[:, 0]].tolist(), graph.col_nodes[where[:, 1]].tolist()
    weights = graph.rows[where[:, 0], where[:, 1]].tolist()
    links = [
        {"source": names[source], "target": names[target], "weight": number(weight)}
        for source, target, weight in zip(sources, targets, weights, strict=True)
    ]
    if graph.effect_rows is not None:  # a second weight, which other readers pass over
        for link, effect in zip(links, graph.effect_rows[where[:, 0], where[:, 1]].tolist(), strict=True):
            link["effect"] = number(effect)
    if max((int(n["layer"]) for n in nodes if n["feature_type"] not in ("embedding", "logit")), default=0) == 0:
        nodes.append(_second_layer(graph))
    pinned = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": _metadata(graph, slug), "qParams": pinned, "nodes": nodes, "links": links}


def _number(graph: Graph) -> Callable[[float], float]:
    """As many digits as bring the graph's floats back unchanged."""
    digits = 9 if graph.rows.dtype == torch.float32 else 17
    return lambda value: float(f"{value:.{digits}g}")


def _metadata(graph: Graph, slug: str) -> dict[str, Any]:
    from clew.version import __version__

    words = re.sub(r"[^a-z0-9]+", "-", graph.prompt.lower()).strip("-")
    ours = {"schema": SCHEMA, "dtype": str(graph.rows.dtype).removeprefix("torch."), "token_ids": list(graph.token_ids)}
    ours |= {name: getattr(graph, name) for name in (*_OF_GRAPH, *_OF_FIRST)}
    ours |= {"settings": dict(graph.settings), "provenance": dict(graph.provenance)}
    return {
        "slug": slug or words[:60] or "graph",
        "scan": graph.subject or "unknown",
        "transcoder_list": [graph.dictionary] if graph.dictionary else [],
        "prompt_tokens": list(graph.tokens),
        "prompt": graph.prompt,
        "schema_version": 1,
        "info": {"generator": {"name": "clew", "version": __version__}, "clew": ours},
    }


def _node(graph: Graph, index: int, share: float) -> dict[str, Any]:
    node, last = graph.node(index), str(graph.n_layers + 1)
    place: dict[str, Any] = {"ctx_idx": node.position, "run_idx": 0, "reverse_ctx_idx": 0, "influence": round(share, 9)}
    place |= {"token_prob": 0.0, "is_target_logit": False, "clerp": ""}
    match node:
        case FeatureNode(layer, position, feature, _):
            kind = {"node_id": f"{layer}_{feature}_{position}", "feature": cantor(layer, feature), "layer": str(layer)}
            kind |= {"feature_type": "cross layer transcoder", "jsNodeId": f"{layer}_{feature}-0"}
            kind |= {"activation": _number(graph)(node.activation)}
            return place | kind | {"clerp": graph.labels.get(FeatureId(layer, feature), "")}
        case ErrorNode(layer, position):
            kind = {"node_id": f"error_{layer}_{position}", "feature": -1, "layer": str(layer)}
            return place | kind | {"feature_type": "mlp reconstruction error", "jsNodeId": f"{layer}_{position}-0"}
        case TokenNode(position):
            token = graph.token_ids[position]
            kind = {"node_id": f"E_{token}_{position}", "feature": position, "layer": "E", "feature_type": "embedding"}
            return place | kind | {"jsNodeId": f"E_{token}-{position}", "clerp": f'Emb: "{graph.tokens[position]}"'}
        case TargetNode(label, position, weight, rank):
            target = graph.targets[rank]
            token = DIRECTION + rank if target.token is None else target.token
            chance = weight if target.probability is None else target.probability
            kind = {"node_id": f"{last}_{token}_{position}", "feature": token, "layer": last, "feature_type": "logit"}
            kind |= {"jsNodeId": f"L_{token}-{position}", "token_prob": chance, "is_target_logit": rank == 0}
            kind |= {"clerp": f'Output "{label.replace("(p=", "(p =")}" (p={chance:.3f})'}
            return place | kind | target.to_json()


def _add_inputs(graph: Graph, nodes: Sequence[dict[str, Any]], number: Callable[[float], float]) -> None:
    """What only our reader knows, for the nodes that have a row."""
    rows = zip(graph.row_nodes.tolist(), graph.input_mass.tolist(), graph.row_offsets.tolist(), strict=True)
    for index, mass, offsets in rows:
        nodes[index]["input_mass"] = number(mass)
        nodes[index]["offsets"] = [number(value) for value in offsets]
    for index, value in enumerate(graph.preactivations.tolist()):
        nodes[index]["preactivation"] = number(value)


def _unique_names(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """The nodes' names, made unique: the same token may be a target twice."""
    taken: set[str] = set()
    for node in nodes:
        while node["node_id"] in taken:
            node["feature"] += DIRECTION
            node["node_id"] = f"{node['layer']}_{node['feature']}_{node['ctx_idx']}"
            node["jsNodeId"] = f"L_{node['feature']}-{node['ctx_idx']}"
        taken.add(node["node_id"])
    return [node["node_id"] for node in nodes]


def _second_layer(graph: Graph) -> dict[str, Any]:
    """An error node without edges in layer 1: Neuronpedia's page does not draw a graph whose last layer is layer 0."""
    position = graph.n_tokens - 1
    where = {"node_id": f"error_1_{position}", "layer": "1", "ctx_idx": position, "jsNodeId": f"1_{position}-0"}
    what = {"feature": -1, "feature_type": "mlp reconstruction error", "clerp": "no second layer", "influence": 1.0}
    rest = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}
    return where | what | rest | {"placeholder": True}


# --- reading ------------------------------------------------------------------------------------------------------


def from_json(value: Any) -> Graph:
    """The graph that graph JSON describes; FileError, in one line, when it describes none, or none that is whole.

    Of another program's graph the offsets are unknown and zero, a row's input is what its edges hold, and a
    pre-activation is what flows in. Where a source's name means a feature and an error at once, its first edge to a
    target is the feature's and a second one the error's; `settings` counts the names for which one edge was found.
    """
    if not isinstance(value, Mapping) or not {"metadata", "nodes", "links"} <= value.keys():
        raise FileError("this JSON is not a graph: it lacks metadata, nodes or links")
    try:
        return check_whole(_Reader(value).graph())
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FileError(f"this graph JSON is damaged ({reason})") from error


def ids_by_name(value: Mapping[str, Any]) -> dict[str, str]:
    """The ids of the nodes in graph JSON that `from_json` reads, by their names there.

    A name of a feature and an error at once is the feature's.
    """
    reader, ids = _Reader(value), dict[str, str]()
    for rank, node in enumerate(reader.outputs):
        ids[node["node_id"]] = str(NodeId("target", position_of(node), None, rank))
    for node in reader.embeddings:
        ids[node["node_id"]] = str(NodeId("token", position_of(node)))
    for node, (layer, position) in zip(reader.errors, reader.error_keys, strict=True):
        ids[node["node_id"]] = str(NodeId("error", position, layer))
    for node, (layer, position, index) in zip(reader.features, reader.keys, strict=True):
        ids[node["node_id"]] = str(NodeId("feature", position, layer, index))
    return ids


class _Reader:
    """One pass over nodes, then one over links."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.metadata, self.links = mapping(value["metadata"], "metadata"), sequence(value["links"], "links")
        self.ours = mapping(mapping(self.metadata.get("info") or {}, "info").get("clew") or {}, "clew")
        schema = whole_number(self.ours.get("schema", 0), "schema", low=0)
        if schema > SCHEMA:
            raise FileError(f"this graph JSON has schema {schema}, newer than {SCHEMA}: upgrade clew")
        self.tokens = tuple(
            whole_text(token, "a token") for token in sequence(self.metadata["prompt_tokens"], "tokens")
        )
        kinds: dict[str, list[Mapping[str, Any]]] = {"feature": [], "error": [], "embedding": [], "logit": []}
        for node in sequence(value["nodes"], "nodes"):
            if not mapping(node, "a node").get("placeholder"):
                kinds[kind_of(node)].append(node)
        self.features = sorted(kinds["feature"], key=feature_key_of)
        self.errors = sorted(kinds["error"], key=error_key_of)
        self.embeddings, self.outputs = kinds["embedding"], kinds["logit"]
        if not self.outputs:
            raise ValueError("no logit node")
        self.keys = [feature_key_of(node) for node in self.features]
        self.error_keys = [error_key_of(node) for node in self.errors]
        self.notes: dict[str, int] = {}

    def graph(self) -> Graph:
        self._check_nodes()
        dtype = _DTYPES[whole_text(self.ours.get("dtype", "float32"), "dtype")]
        n_free = len(self.features) + len(self.errors) + len(self.tokens)
        readers = [i for i, node in enumerate(self.features) if not self.ours or "input_mass" in node]
        readers += range(n_free, n_free + len(self.outputs))
        rows, effect_rows = self._rows(readers, n_free, dtype)
        row_nodes = [self.features[i] if i < n_free else self.outputs[i - n_free] for i in readers]
        flows = dict(zip(readers, rows.sum(1).tolist(), strict=True))
        preactivations = [real_of(n, "preactivation", flows.get(i, 0.0)) for i, n in enumerate(self.features)]
        activations = [real_of(node, "activation", 0.0) for node in self.features]
        masses = [real_of(n, "input_mass", m) for n, m in zip(row_nodes, rows.abs().sum(1).tolist(), strict=True)]
        labels = {FeatureId(k[0], k[2]): n["clerp"] for k, n in zip(self.keys, self.features, strict=True)}
        return Graph(
            prompt=whole_text(self.metadata["prompt"], "the prompt"),
            tokens=self.tokens,
            token_ids=self._token_ids(),
            feature_keys=torch.tensor(self.keys, dtype=torch.long).reshape(-1, 3),
            activations=torch.tensor(activations, dtype=dtype),
            preactivations=torch.tensor(preactivations, dtype=dtype),
            error_keys=torch.tensor(self.error_keys, dtype=torch.long).reshape(-1, 2),
            targets=tuple(target_of(n, flows[n_free + i]) for i, n in enumerate(self.outputs)),
            rows=rows,
            effect_rows=effect_rows,
            row_nodes=torch.tensor(readers, dtype=torch.long),
            col_nodes=torch.arange(n_free),
            row_offsets=torch.tensor([offsets_of(node) for node in row_nodes], dtype=dtype),
            input_mass=torch.tensor(masses, dtype=dtype),
            labels={feature: whole_text(label, "a label") for feature, label in labels.items() if label},
            settings=dict(mapping(self.ours.get("settings", {}), "settings")) | self.notes,
            provenance=dict(mapping(self.ours.get("provenance", {}), "provenance")),
            **self._whole(),
        )

    def _whole(self) -> dict[str, Any]:
        """What describes the graph as a whole, guessed where another program left it out."""
        if self.ours:
            numbers = {name: whole_number(self.ours[name], name, low=0) for name in _OF_GRAPH[:2]}
            texts = {name: whole_text(self.ours[name], name) for name in _OF_GRAPH[2:]}
            return numbers | texts | self._first()
        layers = [key[0] for key in self.keys + self.error_keys]
        positions = [key[1] for key in self.keys + self.error_keys]
        n_layers = max(max(layers, default=0) + 1, layer_number(self.outputs[0]["layer"], "a layer") - 1)
        names = [whole_text(name, "a transcoder") for name in self.metadata.get("transcoder_list") or ()]
        return {
            "n_layers": n_layers,
            "first_position": min(min(positions, default=0), 1),
            "subject": whole_text(self.metadata["scan"], "scan"),
            "dictionary": ", ".join(names),
        }

    def _first(self) -> dict[str, Any]:
        """Why the first position is left out; nothing in graphs from before it was measured."""
        first: dict[str, Any] = {}
        if "first_reason" in self.ours:
            first["first_reason"] = whole_text(self.ours["first_reason"], "first_reason")
        if "first_ratio" in self.ours:
            first["first_ratio"] = real_number(self.ours["first_ratio"], "first_ratio")
        return first

    def _token_ids(self) -> tuple[int, ...]:
        """Ids from the tokens' names, -1 where the file has none."""
        if self.ours:
            return tuple(whole_number(id, "a token id") for id in sequence(self.ours["token_ids"], "token ids"))
        ids = [-1] * len(self.tokens)
        for node in self.embeddings:
            match = NAME.fullmatch(node["node_id"])
            if match:
                ids[position_of(node)] = int(match[2])
        return tuple(ids)

    def _check_nodes(self) -> None:
        tokens = [position_of(node) for node in self.embeddings]
        for kind, keys in (("feature", self.keys), ("error", self.error_keys), ("token", tokens)):
            if len(set(keys)) < len(keys):
                raise ValueError(f"the same {kind} stands there twice")
        for node in (*self.features, *self.errors, *self.embeddings, *self.outputs):
            if position_of(node) >= len(self.tokens):
                raise ValueError(f"node {shown(node['node_id'])} lies outside the {len(self.tokens)} tokens")
        names = [node["node_id"] for node in (*self.features, *self.embeddings, *self.outputs)]
        error_names = [node["node_id"] for node in self.errors]  # may be names of features, and nothing else
        others = {node["node_id"] for node in (*self.embeddings, *self.outputs)}
        for group in (names, error_names, [*others, *{*error_names} & others]):
            if len(set(group)) < len(group):
                twice = next(name for name, count in Counter(group).items() if count > 1)
                raise ValueError(f"two nodes go by the name {shown(twice)}")

    def _rows(self, readers: Sequence[int], n_free: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """The edges, row = target, column = source, from the links, and their effects where these are given."""
        first_token = len(self.features) + len(self.errors)
        nodes = (*self.features, *self.errors)
        sources: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            sources.setdefault(node["node_id"], []).append(index)
        for node in self.embeddings:
            sources[node["node_id"]] = [first_token + position_of(node)]
        row_of = {index: row for row, index in enumerate(readers)}
        row_named = {nodes[i]["node_id"]: row_of[i] for i in readers if i < n_free}
        row_named |= {node["node_id"]: row_of[n_free + i] for i, node in enumerate(self.outputs)}
        layers = [key[0] for key in (*self.keys, *self.error_keys)] + [-1] * len(self.tokens)
        row_layers = [layers[i] if i < n_free else max(layers, default=0) + 1 for i in readers]
        rows = torch.zeros(len(readers), n_free, dtype=dtype)
        filled: dict[tuple[int, int], float] = {}
        effects: dict[tuple[int, int], float] = {}
        for link in self.links:
            source, target = (
                whole_text(mapping(link, "a link")[end], f"a link's {end}") for end in ("source", "target")
            )
            if target not in row_named or source not in sources:
                self.notes["links_without_nodes"] = self.notes.get("links_without_nodes", 0) + 1
                continue
            row = row_named[target]
            places = [i for i in sources[source] if layers[i] < row_layers[row]]
            free = [i for i in places if (row, i) not in filled]
            if not free:
                what = "stands there twice" if places else "runs backwards"
                raise ValueError(f"the link from {bare(source)} to {bare(target)} {what}")
            if len(places) > 1:
                self.notes["ambiguous_links"] = self.notes.get("ambiguous_links", 0) + (1 if len(free) > 1 else -1)
            filled[row, free[0]] = real_number(link["weight"], "the weight of a link")
            if self.ours and "effect" in link:
                effects[row, free[0]] = real_number(link["effect"], "the effect of a link")
        if effects and len(effects) < len(filled):
            raise ValueError(f"{len(filled) - len(effects)} of {len(filled)} links have no effect, the others have one")
        return _filled(rows, filled), _filled(torch.zeros_like(rows), effects) if effects else None


def _filled(rows: Tensor, entries: Mapping[tuple[int, int], float]) -> Tensor:
    """Put entries at their places."""
    if entries:
        where = torch.tensor(list(entries), dtype=torch.long)
        rows[where[:, 0], where[:, 1]] = torch.tensor(list(entries.values()), dtype=rows.dtype)
    return rows
