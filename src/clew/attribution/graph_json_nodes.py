"""Nodes of graph JSON, read strictly: what kind each is, where it stands, its numbers.

ValueError, in one line, for a value of another kind than it must be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from clew.attribution.json_values import layer_number, real_number, sequence, shown, whole_number, whole_text
from clew.attribution.nodes import OFFSETS, TargetInfo

NAME = re.compile(r"(\w+)_(\d+)_(\d+)")
_PROBABILITY = re.compile(r"\(p=([0-9.eE+-]+)\)")


def cantor(layer: int, feature: int) -> int:
    """One number for a layer and a feature: Cantor's pairing."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def uncantor(number: int) -> tuple[int, int]:
    """The layer and the feature of a paired number."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def kind_of(node: Mapping[str, Any]) -> str:
    kind, name = node["feature_type"], whole_text(node["node_id"], "a node's name")
    if kind in ("embedding", "logit"):
        return kind
    if isinstance(kind, str) and "error" in kind:
        return "error"
    if kind in ("cross layer transcoder", "unexplored node", "transcoder", "per layer transcoder"):
        return "feature"
    raise ValueError(f"node {shown(name)} is a {shown(kind)}, which is neither feature, error, embedding nor logit")


def position_of(node: Mapping[str, Any]) -> int:
    return whole_number(node["ctx_idx"], "a position", low=0)


def feature_key_of(node: Mapping[str, Any]) -> tuple[int, int, int]:
    """Layer, position, index. The index stands in the name; `feature` is it, or it paired with the layer."""
    layer, position = layer_number(node["layer"], "a layer"), position_of(node)
    match = NAME.fullmatch(node["node_id"])
    if match and match[1] == str(layer) and match[3] == str(position):
        return layer, position, int(match[2])
    number = whole_number(node["feature"], "a feature", low=0, high=1 << 63)
    paired = uncantor(number)
    return layer, position, paired[1] if paired[0] == layer else number


def error_key_of(node: Mapping[str, Any]) -> tuple[int, int]:
    return layer_number(node["layer"], "a layer"), position_of(node)


def real_of(node: Mapping[str, Any], name: str, absent: float) -> float:
    """A number of a node; where it has none, what stands for it."""
    return absent if node.get(name) is None else real_number(node[name], name)


def offsets_of(node: Mapping[str, Any]) -> list[float]:
    values = sequence(node.get("offsets", [0.0] * len(OFFSETS)), "offsets")
    if len(values) != len(OFFSETS):
        raise ValueError(f"node {shown(node['node_id'])} has {len(values)} offsets, not {len(OFFSETS)}")
    return [real_number(value, "an offset") for value in values]


def target_of(node: Mapping[str, Any], inflow: float) -> TargetInfo:
    if "value" in node and "weight" in node:
        token, probability = node.get("token"), node.get("probability")
        return TargetInfo(
            label=whole_text(node["label"], "an output's label"),
            position=whole_number(node["position"], "an output's position", low=0),
            weight=real_number(node["weight"], "an output's weight", low=0.0),
            value=real_number(node["value"], "an output's logit"),
            token=None if token is None else whole_number(token, "an output's token"),
            probability=None if probability is None else real_number(probability, "an output's probability", low=0.0),
            plus=_side_of(node, "plus"),
            minus=_side_of(node, "minus"),
        )
    clerp = whole_text(node["clerp"], "an output's name")
    start, end, chance = clerp.find('"'), clerp.rfind('" (p='), _PROBABILITY.search(clerp)
    probability = real_of(node, "token_prob", 0.0) or float(chance[1] if chance else 0.0)
    return TargetInfo(
        label=clerp[start + 1 : end] if start < end else clerp,
        position=position_of(node),
        weight=probability,
        value=inflow,
        token=whole_number(node["feature"], "an output's token"),
        probability=probability,
    )


def _side_of(node: Mapping[str, Any], name: str) -> tuple[tuple[int, float], ...]:
    """One side of a contrast: tokens and their weights."""
    pairs = [sequence(pair, "a token and its weight") for pair in sequence(node.get(name, []), f"an output's {name}")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"an output's {name} are tokens with a weight each")
    return tuple(
        (whole_number(token, "a contrast's token", low=0), real_number(weight, "a contrast's weight", low=0.0))
        for token, weight in pairs
    )
