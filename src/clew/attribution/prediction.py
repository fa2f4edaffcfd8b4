"""What a graph with effects predicts of the outputs when shares of some nodes are removed.

1. `responses` of the graph's effects say which share of every other node goes with them.
2. What all of these no longer write goes forwards through the steps with their full derivative, to the last stream.
3. The final norm and the softmax are applied exactly to the changed stream: a probability is never linearised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.contrast import Readout
from clew.attribution.graph import Graph
from clew.attribution.influence import responses
from clew.attribution.local_model import LocalModel
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian
from clew.subject.recording import Add, Affine, Embed, Mlp, Site


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a graph predicts, one row a case. Losses are positive where something falls."""

    lost: Float[Tensor, "case node"]
    """Of every feature's pre-activation and every target's centred logit, to first order."""
    logits: Float[Tensor, "case target"]
    """What every target's centred logit loses, the final norm exact."""
    before: Float[Tensor, " target"]
    """The targets' probabilities in the recorded run; NaN for a difference of two tokens or a direction."""
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
    lost, gone = responses(graph.effects, removed, clamped=clamped)
    change = _final_change(model, graph, gone)
    positions = torch.tensor([target.position for target in graph.targets], device=change.device)
    stream = model.recording.sites["resid_post", model.recording.n_layers - 1][positions]
    final = model.subject.normed(stream + change[:, positions], model.subject.final_norm)
    recorded = model.recording.final[positions]
    moved = recorded - final
    logits = torch.einsum("ctd,td->ct", moved, directions.to(moved))
    before, *after = _probabilities(model, graph, torch.cat([recorded[None], final]))
    return Prediction(lost=lost.T, logits=logits.double().cpu(), before=before, probabilities=torch.stack(after))


def _final_change(
    model: LocalModel, graph: Graph, gone: Float[Tensor, "node case"]
) -> Float[Tensor, "case pos d_model"]:
    """How the stream before the final norm changes, to first order."""
    dictionary, sources = model.dictionary, model.sources
    gone = gone.to(sources.dtype).to(sources.device)
    written = _unwritten(model, graph, gone)
    registers: dict[str, Tensor] = {}
    reads: dict[int, Tensor] = {}
    for step in model.full_steps[:-3]:  # all but the final norm and the unembedding
        match step:
            case Embed():
                shares = gone[graph.part("token")].T
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
                    if model.rest is not None:
                        registers[step.register] = registers[step.register] + model.rest.forward(step.layer, reads)
                if step.name == dictionary.read_site:
                    reads[step.layer] = registers[step.register]
            case Affine():
                registers[step.target] = registers[step.source] * step.weight
            case NormalizeJacobian() | AttendJacobian():
                registers[step.target] = step.forward(registers[step.source])
    return registers["stream"]


def _unwritten(
    model: LocalModel, graph: Graph, gone: Float[Tensor, "node case"]
) -> list[Float[Tensor, "case pos d_model"]]:
    """What is no longer written to every layer's output."""
    sources, columns = model.sources, model.columns(graph)
    shares = gone.new_zeros(sources.n_nodes, gone.shape[1])
    shares[columns] = gone[: len(columns)]
    lost = [sources.errors.new_zeros(gone.shape[1], *errors.shape) for errors in sources.errors]
    for layer, whole in enumerate(lost):
        written = sources.written(layer)
        for position, span in enumerate(sources.spans(layer)):
            part = shares[span.first_column : span.last_column]
            whole[:, position] = -part.T @ written[span.first_row : span.last_row]
    return lost


def _probabilities(
    model: LocalModel, graph: Graph, final: Float[Tensor, "case target d_model"]
) -> Float[Tensor, "case target"]:
    """The targets' probabilities, of a contrast as it is read; NaN where a target is a difference or a direction."""
    found = torch.full(final.shape[:2], torch.nan, dtype=torch.float64)
    for rank, target in enumerate(graph.targets):
        if target.token is None and not target.plus:
            continue
        values = model.subject.probabilities(model.subject.unembed(final[:, rank].to(model.subject.dtype)))
        plus, minus = (((target.token, 1.0),), ()) if target.token is not None else (target.plus, target.minus)
        found[:, rank] = Readout(name=target.label, plus=plus, minus=minus).probability(values)
    return found
