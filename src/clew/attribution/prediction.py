"""What a graph with effects predicts of the outputs when shares of some nodes are removed.

1. `responses` of the graph's effects say which share of every other node goes with them.
2. What all of these no longer write goes forwards through the steps with their full derivative, to the last stream.
3. The final norm and the softmax are applied exactly to the changed stream: a probability is never linearised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import responses
from clew.attribution.local_model import LocalModel
from clew.errors import MismatchError
from clew.subject.hooks import module_at, normalized
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian, linearized
from clew.subject.recording import Add, Affine, Embed, Mlp, Site


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a graph predicts, one row a case. Losses are positive where something falls."""

    lost: Float[Tensor, "case node"]
    """Of every feature's pre-activation and every target's centred logit, to first order."""
    logits: Float[Tensor, "case target"]
    """What every target's centred logit loses, the final norm exact."""
    before: Float[Tensor, " target"]
    """The targets' probabilities in the recorded run; NaN for a difference of tokens."""
    probabilities: Float[Tensor, "case target"]
    """The targets' probabilities once the shares are removed."""


@torch.no_grad()
def predict_removal(
    model: LocalModel,
    graph: Graph,
    removed: Float[Tensor, "node case"],
    directions: Float[Tensor, "target d_model"],
    *,
    clamped: Bool[Tensor, " feature"] | None = None,
) -> Prediction:
    """What the graph predicts when shares of its nodes are removed: 1 is all of a node, -1 doubles it.

    `directions` are what the targets read of the final normed stream; `clamped` features keep their activation.
    InputError for a graph without effects, MismatchError when it is not of this model's prompt.
    """
    ids = tuple(model.recording.ids.tolist())
    if graph.token_ids != ids:
        raise MismatchError(f"the graph has {len(graph.token_ids)} tokens, others than the {len(ids)} of this run")
    lost, gone = responses(graph.effects, removed, clamped=clamped)
    change = _final_change(model, graph, gone)
    positions = [target.position for target in graph.targets]
    final = _normed(model, _last_stream(model)[positions] + change[:, positions])
    moved = model.recording.final[positions] - final
    logits = torch.einsum("ctd,td->ct", moved, directions.to(moved))
    before, after = _probabilities(model, graph, final)
    return Prediction(lost=lost.T, logits=logits.double().cpu(), before=before, probabilities=after)


def _final_change(
    model: LocalModel, graph: Graph, gone: Float[Tensor, "node case"]
) -> Float[Tensor, "case pos d_model"]:
    """How the stream before the final norm changes, to first order."""
    steps = linearized(model.recording)
    dictionary, sources = model.dictionary, model.sources
    gone = gone.to(sources.dtype).to(sources.device)
    written = _unwritten(model, graph, gone)
    registers: dict[str, Tensor] = {}
    reads: dict[int, Tensor] = {}
    for step in steps[:-3]:  # all but the final norm and the unembedding
        match step:
            case Embed():
                shares = gone[list(graph.token_range)].T
                registers[step.target] = -shares[:, :, None] * step.tokens
            case Mlp():
                registers[step.target] = torch.zeros_like(registers["stream"])
            case Add():
                registers[step.target] = registers[step.target] + registers[step.source]
            case Site():
                if step.name == dictionary.write_site:
                    registers[step.register] = written[step.layer]
                    skip = sources.skip(step.layer)
                    if skip is not None:
                        moved = reads[step.layer] @ skip.T
                        moved[:, : sources.first_position] = 0
                        registers[step.register] = registers[step.register] + moved
                if step.name == dictionary.read_site:
                    reads[step.layer] = registers[step.register]
            case Affine():
                registers[step.target] = registers[step.source] * step.weight
            case NormalizeJacobian() | AttendJacobian():
                registers[step.target] = step.forward(registers[step.source])
    return registers["stream"]


def _unwritten(model: LocalModel, graph: Graph, gone: Tensor) -> list[Float[Tensor, "case pos d_model"]]:
    """What is no longer written to every layer's output."""
    sources, dictionary = model.sources, model.dictionary
    shape = gone.shape[1], graph.n_tokens, dictionary.d_model
    written = [sources.errors.new_zeros(shape) for _ in range(graph.n_layers)]
    for layer in torch.unique(graph.feature_keys[:, 0]).tolist():
        nodes = (graph.feature_keys[:, 0] == layer).nonzero()[:, 0]
        _, positions, ids = graph.feature_keys[nodes].to(gone.device).T
        shares = gone[nodes] * graph.activations[nodes].to(gone)[:, None]
        decoders = dictionary.decoder_rows(layer, ids).to(gone)
        for slot, out in enumerate(dictionary.written_layers(layer)):
            written[out].index_add_(1, positions, -torch.einsum("fc,fd->cfd", shares, decoders[:, slot]))
    layers, positions = graph.error_keys.to(gone.device).T
    shares = gone[graph.part("error")]
    for node in (shares != 0).any(1).nonzero()[:, 0].tolist():
        layer, position = int(layers[node]), int(positions[node])
        written[layer][:, position] -= shares[node][:, None] * sources.errors[layer, position]
    return written


def _last_stream(model: LocalModel) -> Float[Tensor, "pos d_model"]:
    return model.recording.sites["resid_post", model.recording.n_layers - 1]


def _normed(model: LocalModel, stream: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case pos d_model"]:
    """The final norm, its scale that of each row."""
    family = model.subject.family
    norm = module_at(model.subject.model, family.final_norm)
    affine = model.recording.steps[-2]
    assert isinstance(affine, Affine)
    return affine.forward(normalized(stream, norm, family.centred)[0])


def _probabilities(model: LocalModel, graph: Graph, final: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' probabilities before and after; NaN where a target is a difference."""
    tokens: Sequence[int | None] = [target.token for target in graph.targets]
    before = torch.full((len(tokens),), torch.nan, dtype=torch.float64)
    after = before.repeat(len(final), 1)
    for rank, (token, target) in enumerate(zip(tokens, graph.targets, strict=True)):
        if token is not None:
            before[rank] = model.recording.probabilities[target.position, token]
            logits = model.subject.unembed(final[:, rank].to(model.subject.dtype))
            after[:, rank] = model.subject.probabilities(logits)[:, token]
    return before, after
