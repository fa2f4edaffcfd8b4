"""Graph JSON: the format that Neuronpedia and circuit-tracer's page read, written and read back.

A node is known by its text: `{layer}_{feature}_{position}` for a feature, `E_{token}_{position}` for a token,
`{n_layers + 1}_{token}_{position}` for a target. An error is `error_{layer}_{position}` here; the other programs write
`0_{layer}_{position}`, which is also the name of a feature of layer 0. What their readers do not know (pre-activations,
offsets, input masses) rides along in further keys, so that a graph of ours reads back whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import cumulative_share, influence
from clew.attribution.nodes import OFFSETS, ErrorNode, FeatureNode, TargetInfo, TargetNode, TokenNode
from clew.errors import FileError
from clew.ids import FeatureId, NodeId

SCHEMA = 1
DIRECTION = 1 << 30  # a target that is no token takes a number above every vocabulary
_THREE = re.compile(r"(\w+)_(\d+)_(\d+)")
_OUTPUT = re.compile(r'"(.*)" \(p=', re.DOTALL)
_PROBABILITY = re.compile(r"\(p=([0-9.eE+-]+)\)")
_OF_GRAPH = ("n_layers", "first_position", "subject", "dictionary", "dictionary_kind", "dictionary_fingerprint")
_OF_FIRST = {"first_reason": str, "first_ratio": float}  # not in graphs from before it was measured


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
    where = graph.rows.nonzero()
    targets, sources = graph.row_nodes[where[:, 0]].tolist(), graph.col_nodes[where[:, 1]].tolist()
    weights = graph.rows[where[:, 0], where[:, 1]].tolist()
    links = [
        {"source": names[source], "target": names[target], "weight": number(weight)}
        for source, target, weight in zip(sources, targets, weights, strict=True)
    ]
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
            return place | kind | vars(target)


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


def cantor(layer: int, feature: int) -> int:
    """One number for a layer and a feature: Cantor's pairing."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def uncantor(number: int) -> tuple[int, int]:
    """The layer and the feature of a paired number."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


# --- reading ------------------------------------------------------------------------------------------------------


def from_json(value: Any) -> Graph:
    """The graph that graph JSON describes; FileError, in one line, when it describes none.

    Of another program's graph the offsets are unknown and zero, a row's input is what its edges hold, and a
    pre-activation is what flows in. Where a source's name means a feature and an error at once, its first edge to a
    target is the feature's and a second one the error's; `settings` counts the names for which one edge was found.
    """
    if not isinstance(value, Mapping) or not {"metadata", "nodes", "links"} <= value.keys():
        raise FileError("this JSON is not a graph: it lacks metadata, nodes or links")
    try:
        return _Reader(value).graph()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FileError(f"this graph JSON is damaged ({reason})") from error


def ids_by_name(value: Mapping[str, Any]) -> dict[str, str]:
    """The ids of the nodes in graph JSON that `from_json` reads, by their names there.

    A name of a feature and an error at once is the feature's.
    """
    reader, ids = _Reader(value), dict[str, str]()
    for rank, node in enumerate(reader.outputs):
        ids[node["node_id"]] = str(NodeId("target", int(node["ctx_idx"]), None, rank))
    for node in reader.embeddings:
        ids[node["node_id"]] = str(NodeId("token", int(node["ctx_idx"])))
    for node, (layer, position) in zip(reader.errors, reader.error_keys, strict=True):
        ids[node["node_id"]] = str(NodeId("error", position, layer))
    for node, (layer, position, index) in zip(reader.features, reader.keys, strict=True):
        ids[node["node_id"]] = str(NodeId("feature", position, layer, index))
    return ids


class _Reader:
    """One pass over nodes, then one over links."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.metadata, self.links = value["metadata"], value["links"]
        self.ours = (self.metadata.get("info") or {}).get("clew") or {}
        if int(self.ours.get("schema", 0)) > SCHEMA:
            raise FileError(f"this graph JSON has schema {self.ours['schema']}, newer than {SCHEMA}: upgrade clew")
        self.tokens = tuple(map(str, self.metadata["prompt_tokens"]))
        kinds: dict[str, list[Mapping[str, Any]]] = {"feature": [], "error": [], "embedding": [], "logit": []}
        for node in value["nodes"]:
            if not node.get("placeholder"):
                kinds[_kind(node)].append(node)
        self.features = sorted(kinds["feature"], key=_feature_key)
        self.errors = sorted(kinds["error"], key=_error_key)
        self.embeddings, self.outputs = kinds["embedding"], kinds["logit"]
        if not self.outputs:
            raise ValueError("no logit node")
        self.keys = [_feature_key(node) for node in self.features]
        self.error_keys = [_error_key(node) for node in self.errors]
        self.notes: dict[str, int] = {}

    def graph(self) -> Graph:
        self._check_nodes()
        dtype = getattr(torch, self.ours.get("dtype", "float32"))
        n_free = len(self.features) + len(self.errors) + len(self.tokens)
        readers = [i for i, node in enumerate(self.features) if not self.ours or "input_mass" in node]
        readers += range(n_free, n_free + len(self.outputs))
        rows = self._rows(readers, n_free, dtype)
        row_nodes = [self.features[i] if i < n_free else self.outputs[i - n_free] for i in readers]
        row_sums = rows.sum(1).tolist()
        flows = dict(zip(readers, row_sums, strict=True))
        preactivations = [n.get("preactivation", flows.get(i, 0.0)) for i, n in enumerate(self.features)]
        activations = [node.get("activation") or 0.0 for node in self.features]
        masses = [n.get("input_mass", m) for n, m in zip(row_nodes, rows.abs().sum(1).tolist(), strict=True)]
        offsets = [node.get("offsets", [0.0] * len(OFFSETS)) for node in row_nodes]
        labels = {FeatureId(k[0], k[2]): n["clerp"] for k, n in zip(self.keys, self.features, strict=True)}
        return Graph(
            prompt=str(self.metadata["prompt"]),
            tokens=self.tokens,
            token_ids=self._token_ids(),
            feature_keys=torch.tensor(self.keys, dtype=torch.long).reshape(-1, 3),
            activations=torch.tensor(activations, dtype=dtype),
            preactivations=torch.tensor(preactivations, dtype=dtype),
            error_keys=torch.tensor(self.error_keys, dtype=torch.long).reshape(-1, 2),
            targets=tuple(_target(n, flows[n_free + i]) for i, n in enumerate(self.outputs)),
            rows=rows,
            row_nodes=torch.tensor(readers, dtype=torch.long),
            col_nodes=torch.arange(n_free),
            row_offsets=torch.tensor(offsets, dtype=dtype).reshape(-1, len(OFFSETS)),
            input_mass=torch.tensor(masses, dtype=dtype),
            labels={feature: str(label) for feature, label in labels.items() if label},
            settings=dict(self.ours.get("settings", {})) | self.notes,
            provenance=dict(self.ours.get("provenance", {})),
            **self._whole(),
        )

    def _whole(self) -> dict[str, Any]:
        """What describes the graph as a whole, guessed where another program left it out."""
        if self.ours:
            known = {name: kind(self.ours[name]) for name, kind in _OF_FIRST.items() if name in self.ours}
            return {name: self.ours[name] for name in _OF_GRAPH} | known
        layers = [key[0] for key in self.keys + self.error_keys]
        positions = [key[1] for key in self.keys + self.error_keys]
        n_layers = max(max(layers, default=0) + 1, int(self.outputs[0]["layer"]) - 1)
        names = [str(name) for name in self.metadata.get("transcoder_list") or ()]
        first = min(positions, default=0)
        return {
            "n_layers": n_layers,
            "first_position": min(first, 1),
            "subject": str(self.metadata["scan"]),
            "dictionary": ", ".join(names),
        }

    def _token_ids(self) -> tuple[int, ...]:
        """Ids from the tokens' names, -1 where the file has none."""
        if self.ours:
            return tuple(map(int, self.ours["token_ids"]))
        ids = [-1] * len(self.tokens)
        for node in self.embeddings:
            match = _THREE.fullmatch(node["node_id"])
            if match:
                ids[int(node["ctx_idx"])] = int(match[2])
        return tuple(ids)

    def _check_nodes(self) -> None:
        for kind, keys in (("feature", self.keys), ("error", self.error_keys)):
            if len(set(keys)) < len(keys):
                raise ValueError(f"the same {kind} stands there twice")
        for node in (*self.features, *self.errors, *self.embeddings, *self.outputs):
            if not 0 <= int(node["ctx_idx"]) < len(self.tokens):
                raise ValueError(f"node {node['node_id']} lies outside the {len(self.tokens)} tokens")

    def _rows(self, readers: Sequence[int], n_free: int, dtype: torch.dtype) -> Tensor:
        """The edges, row = target, column = source, from the links."""
        first_token = len(self.features) + len(self.errors)
        nodes = (*self.features, *self.errors)
        sources: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            sources.setdefault(node["node_id"], []).append(index)
        for node in self.embeddings:
            sources.setdefault(node["node_id"], []).append(first_token + int(node["ctx_idx"]))
        row_of = {index: row for row, index in enumerate(readers)}
        row_named = {nodes[i]["node_id"]: row_of[i] for i in readers if i < n_free}
        row_named |= {node["node_id"]: row_of[n_free + i] for i, node in enumerate(self.outputs)}
        layers = [key[0] for key in (*self.keys, *self.error_keys)] + [-1] * len(self.tokens)
        row_layers = [layers[i] if i < n_free else max(layers, default=0) + 1 for i in readers]
        rows = torch.zeros(len(readers), n_free, dtype=dtype)
        filled: dict[tuple[int, int], float] = {}
        for link in self.links:
            if link["target"] not in row_named or link["source"] not in sources:
                self._note("links_without_nodes", link)
                continue
            row = row_named[link["target"]]
            places = [i for i in sources[link["source"]] if layers[i] < row_layers[row]]
            free = [i for i in places if (row, i) not in filled]
            if not free:
                what = "stands there twice" if places else "runs backwards"
                raise ValueError(f"the link from {link['source']} to {link['target']} {what}")
            if len(places) > 1:
                self.notes["ambiguous_links"] = self.notes.get("ambiguous_links", 0) + (1 if len(free) > 1 else -1)
            weight = float(link["weight"])
            if not math.isfinite(weight):
                raise ValueError(f"the link from {link['source']} to {link['target']} weighs {weight}")
            filled[row, free[0]] = weight
        if filled:
            where = torch.tensor(list(filled), dtype=torch.long)
            rows[where[:, 0], where[:, 1]] = torch.tensor(list(filled.values()), dtype=dtype)
        return rows

    def _note(self, name: str, link: Mapping[str, Any]) -> None:
        if not isinstance(link["target"], str) or not isinstance(link["source"], str):
            raise ValueError(f"a link from {link['source']!r} to {link['target']!r}")
        self.notes[name] = self.notes.get(name, 0) + 1


def _kind(node: Mapping[str, Any]) -> str:
    kind = node["feature_type"]
    if kind in ("embedding", "logit"):
        return kind
    if "error" in kind:
        return "error"
    if kind in ("cross layer transcoder", "unexplored node", "transcoder", "per layer transcoder"):
        return "feature"
    raise ValueError(f"node {node['node_id']} is a {kind!r}, which is neither feature, error, embedding nor logit")


def _feature_key(node: Mapping[str, Any]) -> tuple[int, int, int]:
    """Layer, position, index. The index stands in the name; `feature` is it, or it paired with the layer."""
    layer, position = int(node["layer"]), int(node["ctx_idx"])
    match = _THREE.fullmatch(node["node_id"])
    if match and match[1] == str(layer) and match[3] == str(position):
        return layer, position, int(match[2])
    paired = uncantor(int(node["feature"]))
    return layer, position, paired[1] if paired[0] == layer else int(node["feature"])


def _error_key(node: Mapping[str, Any]) -> tuple[int, int]:
    return int(node["layer"]), int(node["ctx_idx"])


def _target(node: Mapping[str, Any], inflow: float) -> TargetInfo:
    if "value" in node and "weight" in node:
        return TargetInfo(**{name: node[name] for name in TargetInfo.__dataclass_fields__})
    clerp = str(node["clerp"])
    label, chance = _OUTPUT.search(clerp), _PROBABILITY.search(clerp)
    probability = float(node.get("token_prob") or (chance[1] if chance else 0.0))
    return TargetInfo(
        label=label[1] if label else clerp,
        position=int(node["ctx_idx"]),
        weight=probability,
        value=inflow,
        token=int(node["feature"]),
        probability=probability,
    )
