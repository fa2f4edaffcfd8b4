"""Effects of removing nodes, predicted from a graph and measured in the model, in one layout.

Every function returns [node, source], in the layout of `total_effect`: what each feature's pre-activation and each
target's centred logit lose when a source feature is ablated. NaN stands where a source cannot act: in its own and in
clamped layers, at earlier positions, and at errors and tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.local_model import LocalModel
from clew.attribution.prediction import predict_removal
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.intervention.clamp import LIVE, Regime
from clew.intervention.edit import Edit
from clew.intervention.run import Part, cases, read_sites, rows_at_once
from clew.subject.recording import SiteAt
from clew.subject.subject import Subject

_DEALT = 512  # rows whose edges are dealt out at a time
Effects = Float[Tensor, "node source"]


def can_act(graph: Graph, sources: Sequence[int], through: Sequence[int]) -> Float[Tensor, "node source"]:
    """One where a source's removal can reach a node, NaN elsewhere; `through` is the last clamped layer of each."""
    layers, positions = graph.node_layers[:, None], graph.node_positions[:, None]
    reached = (layers > torch.tensor(through)) & (positions >= positions[list(sources), 0])
    acts = reached & graph.mask("feature", "target")[:, None]
    return torch.where(acts, 1.0, torch.nan).double()


def predicted(graph: Graph, sources: Sequence[int], through: Sequence[int]) -> Effects:
    """Total effects by the graph; features in layers that are clamped behind a source keep their activation."""
    effects = torch.empty(graph.n_nodes, len(sources), dtype=torch.float64)
    for same, clamped in _clamped_alike(graph, sources, through):
        effects[:, same] = total_effect(graph, [sources[i] for i in same.tolist()], clamped=clamped)
    return effects * can_act(graph, sources, through)


def _clamped_alike(
    graph: Graph, sources: Sequence[int], through: Sequence[int]
) -> Iterator[tuple[Int[Tensor, " place"], Bool[Tensor, " feature"]]]:
    """The places of sources behind which the same features are clamped, and those features."""
    layers = graph.feature_keys[:, 0]
    source_layers, last = layers[list(sources)], torch.tensor(through)
    for pair in torch.unique(torch.stack([source_layers, last]), dim=1).T:
        same = ((source_layers == pair[0]) & (last == pair[1])).nonzero()[:, 0]
        yield same, (layers > pair[0]) & (layers <= pair[1])


@torch.no_grad()
def with_exact_readout(model: LocalModel, graph: Graph, sources: Sequence[int], through: Sequence[int]) -> Effects:
    """Effects predicted by a graph's effects, those on targets through the exact final norm.

    InputError for a graph without effects, or a target that is a direction which the graph does not keep.
    """
    directions, exact = target_directions(model.subject, graph), predicted(graph.effects, sources, through)
    logits = torch.empty(len(sources), len(graph.targets), dtype=torch.float64)
    for same, clamped in _clamped_alike(graph, sources, through):
        for part in same.split(rows_at_once(model.subject, graph.n_tokens)):
            removed = torch.zeros(graph.n_nodes, len(part), dtype=torch.float64)
            removed[[sources[i] for i in part.tolist()], torch.arange(len(part))] = 1
            logits[part] = predict_removal(model, graph, removed, directions, clamped=clamped).logits
    targets = graph.part("target")
    exact[targets] = logits.T + 0 * exact[targets]  # where a source cannot act it still cannot
    return exact


def shuffled(graph: Graph, seed: int) -> Graph:
    """The graph with each row's edges dealt out anew among the sources that it has."""
    generator = torch.Generator().manual_seed(seed)
    order, values = (torch.rand(graph.rows.shape, generator=generator) for _ in range(2))
    dealt = torch.zeros_like(graph.rows)
    parts = zip(*(whole.split(_DEALT) for whole in (graph.rows, order, values, dealt)), strict=True)
    for rows, row_order, row_values, result in parts:
        row_order[rows == 0] = 2.0  # behind everything that may be dealt out
        row_values[rows == 0] = torch.inf
        result.scatter_(1, row_order.argsort(1), rows.gather(1, row_values.argsort(1)))
    return replace(graph, rows=dealt)


@torch.no_grad()
def measured(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    sources: Sequence[int],
    through: Sequence[int],
    regime: Regime = LIVE,
) -> Effects:
    """Ablate each source and measure, its layer clamped up to `through`; in a tangent regime gradient x activation.

    InputError for a target that is a direction which the graph does not keep.
    """
    ids = torch.tensor(graph.token_ids, device=subject.device)
    edits = [[Edit.ablate(str(graph.node(source).id))] for source in sources]
    directions = target_directions(subject, graph)
    effects = torch.full((graph.n_nodes, len(sources)), torch.nan, dtype=torch.float64)
    first = graph.first_position
    reads: Mapping[SiteAt, Tensor] = {}
    if regime.tangent and dictionary.reads_by_position:
        reads = LocalModel.record(subject, dictionary, ids).recording.sites
    for part in cases(subject, dictionary, ids, edits, through=list(through), regime=regime, first=first):
        lost = _lost(dictionary, graph, directions, part, reads if regime.tangent else None)
        effects[:, list(part.cases)] = lost.double().cpu()
    return effects * can_act(graph, sources, through)


def _lost(
    dictionary: Dictionary, graph: Graph, directions: Tensor, part: Part, reads: Mapping[SiteAt, Tensor] | None
) -> Float[Tensor, "node row"]:
    """What every node lost in every row of a batch whose row 0 has no edits; of derivatives, where `reads` are given.

    They are what neurons read in the run itself, on which their derivative depends.
    """
    run, start, tangent = part.run, part.start, reads is not None

    def change(value: Tensor) -> Tensor:
        return -value[1:] if tangent else value[:1] - value[1:]

    final = change(run.final)
    lost = final.new_zeros(graph.n_nodes, len(final), dtype=torch.promote_types(final.dtype, torch.float32))
    for node, target, direction in zip(graph.target_range, graph.targets, directions, strict=True):
        if target.position >= start:
            lost[node] = final[:, target.position - start].to(direction) @ direction
    keys = graph.feature_keys.to(lost.device)
    for site, layer in read_sites(dictionary):
        nodes = ((keys[:, 0] == layer) & (keys[:, 1] >= start)).nonzero()[:, 0]
        _, position, index = keys[nodes].T
        held = run.kept[site, layer][:, position - start].to(lost)
        if not dictionary.reads_by_position:
            readers = dictionary.encoder_rows(layer, index).to(lost)
        elif reads is not None:
            readers = dictionary.slope_rows(layer, index, reads[site, layer][position]).to(lost)
        else:  # a neuron's activation stands for its pre-activation, and is not linear in what it reads
            values = dictionary.activations_of(layer, held.transpose(0, 1), index)
            lost[nodes] = values[:, :1] - values[:, 1:]
            continue
        lost[nodes] = torch.einsum("rnd,nd->nr", change(held), readers)
    return lost
