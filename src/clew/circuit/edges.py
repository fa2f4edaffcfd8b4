"""What groups, and words of the prompt, do to other groups and to the answer: values, effects, what was measured.

A value is the share of a reader's absolute input that comes straight from the source, signed; an effect the share of
what it reads that goes with the source, straight and to first order. Of a group they are means over its features,
weighted by influence. What is measured goes over all paths: a group is ablated, or a word replaced, and the reader's
features are read again. Heads are those that carry the value, by their loadings (`clew.attribution.edge_parts`), of the
reader's most influential features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.edge_parts import head_loadings
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.circuit.circuit import GroupEdge
from clew.circuit.grouping import Cell, FeatureEvidence
from clew.circuit.measuring import Outcomes, share_lost
from clew.kernels.shares import share

LEAST = 0.05  # of a target: an edge is one if so much goes with its source, or comes from it
TAKEN_APART = 2  # features of a group whose edges are followed through heads
HEADS = 3  # that are named, at most
CARRIES = 0.15  # of the value: what a head must carry to be named


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A group, or a word with what stands at it."""

    id: str
    nodes: Int[Tensor, " node"]


def group_edges(
    material: FeatureEvidence, groups: Sequence[Cell], outcomes: Outcomes, local: LocalModel
) -> tuple[GroupEdge, ...]:
    """Edges between groups in the order of a run, into the answer, and from words into groups; weak ones left out.

    Row i of `outcomes` is the run without group i.
    """
    edges: list[GroupEdge] = []
    ids = [f"G{i + 1}" for i in range(len(groups))]
    sources = [Source(id=name, nodes=group.nodes) for name, group in zip(ids, groups, strict=True)]
    graph, answer = material.runs.graph, material.runs.answer
    for place, group in enumerate(groups):
        loadings = _loadings(material, group, local)
        for other, source in enumerate(sources):
            if other != place:
                lost = _lost(material, outcomes.activations[other], group)
                edges.append(_edge(material, source, ids[place], group.nodes, lost, loadings))
        if group.stage != "rest":
            for word in group.words:
                lost = _mean(material, group, material.dependence.features[:, word])
                source = _word_source(material, word, graph)
                edges.append(_edge(material, source, ids[place], group.nodes, lost, loadings))
    targets = torch.tensor(list(graph.target_range))
    for source, probability in zip(sources, outcomes.probability.tolist(), strict=True):
        lost = 1 - probability / answer.probability
        edges.append(_edge(material, source, "answer", targets, lost, {}))
    return tuple(edge for edge in edges if max(abs(edge.measured), abs(edge.value)) >= LEAST)


def _word_source(material: FeatureEvidence, word: int, graph: Graph) -> Source:
    """A word's tokens and all that stands at them."""
    positions = material.words[word].positions
    there = torch.isin(graph.node_positions, torch.tensor(positions)) & ~graph.mask("target")
    return Source(id=f"T@{positions[-1]}", nodes=there.nonzero()[:, 0])


def _edge(
    material: FeatureEvidence,
    source: Source,
    target: str,
    readers: Int[Tensor, " reader"],
    measured: float,
    loadings: Mapping[str, Float[Tensor, " node"]],
) -> GroupEdge:
    graph = material.runs.graph
    nodes = source.nodes[~torch.isin(source.nodes, readers)]
    weights = _weights(material, readers)
    straight = graph.between(readers.tolist(), nodes.tolist()).double().sum(1)
    value = float((share(straight, graph.over_nodes(graph.input_mass).double()[readers]) * weights).sum())
    effect = None
    if graph.effect_rows is not None:
        moved = graph.effects.between(readers.tolist(), nodes.tolist()).double().sum(1)
        whole = graph.over_nodes(graph.values).double()[readers]
        effect = float((share(moved, whole.abs()) * whole.sign() * weights).sum())
    return GroupEdge(
        source=source.id, target=target, value=value, effect=effect, measured=measured, heads=_heads(loadings, nodes)
    )


def _weights(material: FeatureEvidence, readers: Int[Tensor, " reader"]) -> Float[Tensor, " reader"]:
    """Of a group its features' influence, of the answer its targets' weights; they add up to 1."""
    graph = material.runs.graph
    weights = graph.rows.new_zeros(graph.n_nodes).double()
    weights[graph.part("feature")] = material.influence.double()
    weights[graph.part("target")] = graph.target_weights.double()
    chosen = weights[readers]
    return chosen / chosen.sum().clamp_min(1e-30)


def _mean(material: FeatureEvidence, group: Cell, values: Float[Tensor, " feature"]) -> float:
    weights = material.influence[group.nodes]
    return float((values[group.nodes] * weights).sum() / weights.sum().clamp_min(1e-30))


def _lost(material: FeatureEvidence, after: Float[Tensor, " feature"], group: Cell) -> float:
    before = material.runs.graph.activations
    return share_lost(before[group.nodes], after[group.nodes].to(before), material.influence[group.nodes])


def _loadings(material: FeatureEvidence, group: Cell, local: LocalModel) -> dict[str, Float[Tensor, " node"]]:
    """By head: what it carries from every node to the most influential features of a group."""
    if group.stage in ("reads", "rest"):
        return {}
    order = material.influence[group.nodes].argsort(descending=True, stable=True)[:TAKEN_APART]
    carried: dict[str, Tensor] = {}
    for node in group.nodes[order].tolist():
        value, by_head = head_loadings(local, material.runs.graph, node)
        for (layer, head), loading in by_head.items():
            name = f"L{layer}H{head}"
            carried[name] = carried.get(name, 0) + loading * float(material.influence[node])
        carried["value"] = carried.get("value", 0) + value * float(material.influence[node])
    return carried


def _heads(loadings: Mapping[str, Float[Tensor, " node"]], nodes: Int[Tensor, " source"]) -> tuple[str, ...]:
    """The heads that carry most of the value from some nodes, in its direction."""
    if "value" not in loadings or not len(nodes):
        return ()
    whole = float(loadings["value"][nodes].sum())
    shares = {name: float(each[nodes].sum()) / whole for name, each in loadings.items() if whole and name != "value"}
    strongest = sorted(shares, key=lambda name: -shares[name])[:HEADS]
    return tuple(name for name in strongest if shares[name] >= CARRIES)
