"""Effects, edges and looks as the page shows them: values of the library, named and rounded."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.edge_parts import EdgeParts
from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.looks import Look
from clew.attribution.nodes import TargetNode
from clew.ids import FeatureId
from clew.intervention.doubt import doubtful
from clew.intervention.look_effects import look_of
from clew.labels.display_names import Name
from clew.web.schema.explanations import (
    EdgeDetail,
    EdgeStep,
    HeadLoading,
    LayerAttention,
    LayerStream,
    LookAblation,
    LookSide,
    LookSource,
    LookView,
    NamedNode,
    NodeEffects,
    PatternView,
    TargetEffect,
)
from clew.web.views.graphs import Naming, features_of, name_of, short, shorts, strongest
from clew.web.views.token_rows import shown_row

MOST_SOURCES = 40  # of a side of a look
_ALL = 65535  # stands for all of the attention
_RESIDUE = 1e-5  # of the sizes that a rest is the difference of: what rounding leaves of zero
_HEAD_STEP = re.compile(r"L(\d+)H(\d+) (query|key)")


def effects_view(graph: Graph, live: Tensor, estimated: Tensor, index: int, limit: int) -> NodeEffects:
    """What outputs lose with a node of a graph with effects, and the effects of its edges.

    `live` is of all features, `estimated` of this node, one number a target. The edges are those with the largest
    values.
    """
    effects = graph.effects
    targets = [] if isinstance(graph.node(index), TargetNode) else list(graph.target_range)
    lost = total_effect(effects, [index])[targets, 0].tolist() if targets else []
    ranks = range(len(targets))
    by_model = live[index].tolist() if index < graph.n_features else [math.nan for _ in ranks]
    inputs, outputs = effects.inputs(index), effects.outputs(index)
    sources, readers = strongest(graph.inputs(index), limit), strongest(graph.outputs(index), limit)
    return NodeEffects(
        id=str(graph.node(index).id),
        targets=[
            _target_effect(graph, targets[rank], lost[rank], by_model[rank], float(estimated[rank])) for rank in ranks
        ],
        inputs={str(graph.node(source).id): short(float(inputs[source])) for source in sources},
        outputs={str(graph.node(reader).id): short(float(outputs[reader])) for reader in readers},
    )


def _target_effect(graph: Graph, target: int, total: float, live: float, estimated: float) -> TargetEffect:
    node = graph.node(target)
    assert isinstance(node, TargetNode)
    known = not math.isnan(live)
    return TargetEffect(
        target=str(node.id),
        label=node.label,
        total=short(total),
        live=short(live) if known else None,
        errors=short(live - total) if known else None,
        estimated=short(estimated) if known else None,
        doubtful=bool(doubtful(torch.tensor(total), torch.tensor(estimated))),
    )


def edge_view(graph: Graph, parts: EdgeParts, source: int, target: int, naming: Naming) -> EdgeDetail:
    """The edge from one node to another, whose incoming edges were taken apart."""
    names = naming(graph, features_of(graph, {source, target}))
    loadings = {key: float(loading[source]) for key, loading in parts.loadings.items()}
    passed = {layer for (layer, _), loading in loadings.items() if loading}
    rests = {layer: float(rest[source]) for layer, rest in parts.stream.items() if layer in passed}
    most = max(map(abs, (*loadings.values(), float(parts.value[source]))))
    steps = {name: float(part[source]) for name, part in parts.parts.items()}
    return EdgeDetail(
        source=_named(graph, source, names),
        target=_named(graph, target, names),
        query=graph.node(target).position,
        key=graph.node(source).position,
        value=short(float(parts.value[source])),
        effect=short(float(parts.effect[source])),
        heads=[
            HeadLoading(layer=layer, head=head, value=short(value))
            for (layer, head), value in sorted(loadings.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
            if value
        ],
        stream=[
            LayerStream(layer=layer, value=short(rest) if abs(rest) > _RESIDUE * most else 0.0)
            for layer, rest in sorted(rests.items())
        ],
        steps=[_step(name, value) for name, value in sorted(steps.items(), key=lambda pair: -abs(pair[1])) if value],
    )


def _step(name: str, value: float) -> EdgeStep:
    match = _HEAD_STEP.fullmatch(name)
    if match is None:
        return EdgeStep(name=name, value=short(value))
    return EdgeStep(name=name, layer=int(match[1]), head=int(match[2]), side=match[3], value=short(value))


def pattern_view(look: Look, patterns: dict[int, Tensor]) -> PatternView:
    """A head's pattern at the look's query; its key is the one that the head looks at most."""
    return PatternView(
        layer=look.layer,
        head=look.head,
        query=look.query,
        weights=shorts(patterns[look.layer][look.head, look.query].cpu()),
        most=look.key,
        n_heads=[len(patterns[layer]) for layer in sorted(patterns)],
    )


def attention_view(
    graph: Graph, layer: int, heads: Sequence[int], patterns: Float[Tensor, "head pos pos"], n_layers: int
) -> LayerAttention:
    """The patterns of some heads of a layer, each weight in 16 bits: a fifth of the bytes of its digits."""
    rows, columns = torch.tril_indices(graph.n_tokens, graph.n_tokens)
    weights = (patterns.cpu().float()[:, rows, columns].clamp(0, 1) * _ALL).round().numpy().astype("<u2")
    return LayerAttention(
        layer=layer,
        n_layers=n_layers,
        heads=list(heads),
        tokens=list(graph.tokens),
        shown=shown_row(graph.tokens),
        weights=base64.b64encode(weights.tobytes()).decode("ascii"),
    )


def look_view(
    graph: Graph, ablations: tuple[list[int], Tensor], measured: Sequence[float] | None, naming: Naming
) -> LookView:
    """Why a head looks somewhere: the two sides of the graph of a look, and what ablations do to it."""
    look, (ablated, predicted), by_effect = look_of(graph), ablations, graph.effects
    sides = [strongest(by_effect.inputs(target), MOST_SOURCES) for target in graph.target_range]
    names = naming(graph, features_of(graph, {*ablated, *sides[0], *sides[1]}))
    lost = [None] * len(ablated) if measured is None else [short(value) for value in measured]
    return LookView(
        layer=look.layer,
        head=look.head,
        query=look.query,
        key=look.key,
        weight=short(look.weight),
        n_others=len(look.others),
        contrast=short(graph.targets[0].value),
        query_side=_side(graph, by_effect, graph.target_range[0], sides[0], names),
        key_side=_side(graph, by_effect, graph.target_range[1], sides[1], names),
        ablations=[
            LookAblation(**_named(graph, node, names).model_dump(), predicted=short(told), measured=value)
            for node, told, value in zip(ablated, predicted.tolist(), lost, strict=True)
        ],
    )


def _side(graph: Graph, by_effect: Graph, target: int, sources: list[int], names: Mapping[FeatureId, Name]) -> LookSide:
    values, effects = graph.inputs(target), by_effect.inputs(target)
    return LookSide(
        sources=[
            LookSource(
                **_named(graph, source, names).model_dump(),
                value=short(float(values[source])),
                effect=short(float(effects[source])),
            )
            for source in sources
        ],
        n_sources=int(torch.count_nonzero(effects)),
        rest=short(float(values.double().sum() - values[sources].double().sum())),
        offsets=shorts(graph.offsets[target]),
    )


def _named(graph: Graph, index: int, names: Mapping[FeatureId, Name]) -> NamedNode:
    name = name_of(graph, index, names)
    return NamedNode(id=str(graph.node(index).id), label=name.text, label_kind=name.kind)  # type: ignore[arg-type]
