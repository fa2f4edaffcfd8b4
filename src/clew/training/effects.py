"""Training for effects: what a feature does to a prediction must be the same by the dictionary as by the model.

`clew.training.responses` ablates one feature a row. To first order what every feature of a row does to one logit costs
two reverse passes together:

1. The model's derivative of a drawn token's centred logit by every MLP output. What a feature writes to its own layer
   times that derivative is its *live effect*.
2. The derivative by every activation where the dictionary stands in for the MLPs at the recorded run, errors and the
   active set held: through all layers that the feature writes to, and through all later features. That is the total
   effect of a graph with effects.
3. The loss is the difference, absolute beyond the row's mean effect and square below it, over the row's sum of live
   effects. A third reverse pass gives its gradient by encoders and decoders.
4. Features before `from_layer` keep their encoders and what they write to layers before it: what is gained there is
   little, and reconstruction would pay for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.kernels.types import Adam, Rows
from clew.subject.recording import SiteAt
from clew.subject.sites import Change, Seen, plus
from clew.subject.subject import Subject
from clew.training.activations import drawn_rows
from clew.training.config import FineTuneConfig
from clew.training.documents import Documents
from clew.training.run_state import RunState
from clew.training.selection import candidate

EFFECT_SEED = 3 << 30  # draws lie behind those of the other steps
SOFT = 0.2  # of the row's mean effect: below it errors count by their square


@dataclass(frozen=True, kw_only=True, eq=False)
class ActiveRows:
    """One layer's active features in a batch, with gathered weights that carry gradients."""

    place: Int[Tensor, " pair"]
    """Row times positions of a row plus position."""
    index: Int[Tensor, " pair"]
    encoder: Float[Tensor, "pair d_model"]
    decoder: Float[Tensor, "pair written"]
    activation: Float[Tensor, " pair"]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One logit of every row: of which position and token, less the mean of all."""

    subject: Subject
    position: Int[Tensor, " row"]
    token: Int[Tensor, " row"]

    def of(self, final: Float[Tensor, "row pos d_model"]) -> Float[Tensor, ""]:
        """The sum over rows, which do not see each other."""
        logits = self.subject.unembed(final[torch.arange(len(final), device=final.device), self.position]).float()
        return (logits.gather(1, self.token[:, None])[:, 0] - logits.mean(1)).sum()


@torch.no_grad()
def drawn_aim(
    subject: Subject,
    ids: Int[Tensor, "row pos"],
    counted: Bool[Tensor, "row pos"],
    last: bool,
    generator: torch.Generator,
) -> Aim:
    """A token drawn from the prediction at the last position of each row, or at a drawn one."""
    columns = torch.arange(ids.shape[1], device=ids.device)
    if last:
        position = torch.where(counted, columns, 0).amax(1)
    else:
        position = torch.multinomial(counted.float().cpu(), 1, generator=generator)[:, 0].to(ids.device)
    final = subject.run(ids).final[torch.arange(len(ids), device=ids.device), position]
    chances = subject.probabilities(subject.unembed(final)).float().cpu()
    token = torch.multinomial(chances, 1, generator=generator)[:, 0]
    return Aim(subject=subject, position=position, token=token.to(ids.device))


def live_derivatives(
    run: RunState, subject: Subject, ids: Int[Tensor, "row pos"], aim: Aim
) -> list[Float[Tensor, "place d_model"]]:
    """The model's derivative of the aim by every layer's output, in the units of training."""
    shape = (*ids.shape, run.d_model)
    leaves = [
        torch.zeros(shape, dtype=subject.dtype, device=run.device, requires_grad=True) for _ in range(run.n_layers)
    ]
    site = run.config.sites()[1]
    change: dict[SiteAt, Change] = {(site, layer): plus(leaf) for layer, leaf in enumerate(leaves)}
    with torch.enable_grad():
        aimed = aim.of(subject.run(ids, change=change, reads=[], eager=True).final)
        gradients = torch.autograd.grad(aimed, leaves)
    scale = run.scales["output_scale"]
    return [g.reshape(-1, run.d_model).float() * scale[layer] for layer, g in enumerate(gradients)]


@dataclass(eq=False)
class StandIn:
    """The replacement model at the recorded run: errors and the active set held, everything else responds."""

    run: RunState
    inside: Int[Tensor, " place"]
    """The places whose outputs are the dictionary's."""
    cut: float
    parts: list[ActiveRows] = field(default_factory=list)
    _written: dict[int, Tensor] = field(default_factory=dict)

    def changes(self) -> dict[SiteAt, Change]:
        """What stands in for every MLP's output in a run."""
        site = self.run.config.sites()[1]
        return {(site, layer): partial(self._output, layer) for layer in range(self.run.n_layers)}

    def _output(self, layer: int, real: Tensor, seen: Seen) -> Tensor:
        """The recorded output; only its derivative is that of what features write."""
        run, d = self.run, self.run.d_model
        x = run.input_of(layer, seen(run.config.sites()[0], layer).reshape(-1, d)[self.inside])
        part = self._part(layer, x)
        self.parts.append(part)
        moved = part.activation - part.activation.detach()
        empty = torch.zeros(real.shape[0] * real.shape[1], part.decoder.shape[1], device=real.device)
        written = empty.index_add(0, part.place, moved[:, None] * part.decoder)
        if run.config.skip:
            passed = torch.zeros_like(empty[:, :d]).index_add(0, self.inside, (x - x.detach()) @ run.skip_of(layer).T)
            written = torch.cat([written[:, :d] + passed, written[:, d:]], 1)
        for slot, out in enumerate(run.written(layer)):
            share = written[:, slot * d : (slot + 1) * d] * run.scales["output_scale"][out]
            self._written[out] = self._written[out] + share if out in self._written else share
        return real.detach() + self._written.pop(layer).view_as(real).to(real.dtype)

    def _part(self, layer: int, x: Float[Tensor, "place d_model"]) -> ActiveRows:
        features = self.run.layers[layer]
        with torch.no_grad():
            active = candidate(self.run, layer, x.detach(), float(self.run.config.k), self.cut)
            value, threshold = active.value, features.threshold
            on = value > 0 if threshold is None else value > threshold[active.pairs.index]
        position, index = active.pairs.position[on], active.pairs.index[on]
        encoder = features.encoder.weight[index].requires_grad_()
        decoder = features.decoder.weight[index].requires_grad_()
        activation = (x[position] * encoder).sum(1) + features.bias.weight[index, 0]
        place = self.inside[position]
        return ActiveRows(place=place, index=index, encoder=encoder, decoder=decoder, activation=activation)


def effects(
    run: RunState,
    subject: Subject,
    padded: tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]],
    cut: float,
    aim: Aim,
) -> tuple[list[ActiveRows], Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Of every active feature but the last layer's, in order of parts: its effect by the dictionary and its live one.

    Both carry gradients by the gathered weights of the parts.
    """
    ids, counted = padded
    live = live_derivatives(run, subject, ids, aim)
    stand_in = StandIn(run, counted.flatten().nonzero()[:, 0], cut)
    reads: list[SiteAt] = [(run.config.sites()[0], layer) for layer in range(run.n_layers)]
    with torch.enable_grad():
        aimed = aim.of(subject.run(ids, change=stand_in.changes(), reads=reads, eager=True).final)
        activations = [part.activation for part in stand_in.parts]
        slopes = torch.autograd.grad(aimed, activations, create_graph=True)
        ours, theirs = [], []
        for part, slope, gradient in zip(stand_in.parts[:-1], slopes, live, strict=False):
            size = part.activation.detach()
            ours.append(size * slope)
            theirs.append(size * (part.decoder[:, : run.d_model] * gradient[part.place]).sum(1))
        return stand_in.parts, torch.cat(ours), torch.cat(theirs)


def effect_loss(
    ours: Float[Tensor, " pair"], live: Float[Tensor, " pair"], row: Int[Tensor, " pair"], n_rows: int
) -> Float[Tensor, ""]:
    """Mean over rows of the error over the sum of live effects; NaN where no row has an effect."""

    def by_row(values: Tensor) -> Float[Tensor, " row"]:
        return values.new_zeros(n_rows).index_add(0, row, values)

    size = by_row(live.detach().abs())
    soft = SOFT * (size / by_row(torch.ones_like(live)).clamp_min(1))[row] + 1e-9
    error = by_row(((ours - live).square() + soft.square()).sqrt() - soft)
    has = size > 0
    return (error[has] / size[has]).mean()


def effect_step(
    run: RunState,
    subject: Subject,
    padded: tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]],
    cut: float,
    aim: Aim,
    adam: Adam | None,
    weight: float = 1.0,
    from_layer: int = 0,
) -> float:
    """Move the run's weights along the gradient of `weight` times the effect error; returns the error.

    Without `adam` the error is measured alone. NaN when no row has an effect; InputError when it is NaN or infinite
    otherwise.
    """
    parts, ours, live = effects(run, subject, padded, cut, aim)
    n_rows, n_pos = padded[0].shape
    row = torch.cat([part.place for part in parts[:-1]]) // n_pos
    with torch.enable_grad():
        loss = effect_loss(ours, live, row, n_rows)
    error, any_effect = float(loss.detach()), bool((live != 0).any())
    if any_effect and not math.isfinite(error):
        raise InputError(f"the effect error became {error}: lower the learning rate")
    if adam is not None and any_effect:
        leaves = [tensor for part in parts for tensor in (part.encoder, part.decoder)]
        gradients = torch.autograd.grad(weight * loss, leaves, allow_unused=True)
        for layer, part in enumerate(parts):
            _move(run, layer, part, gradients[2 * layer : 2 * layer + 2], from_layer, adam)
    return error


def _move(
    run: RunState, layer: int, part: ActiveRows, gradients: tuple[Tensor | None, ...], from_layer: int, adam: Adam
) -> None:
    """The optimizer's step on one layer's active features."""
    features, (encoder, decoder) = run.layers[layer], gradients
    ids, place = torch.unique(part.index, return_inverse=True)

    def apply(rows: Rows, gradient: Tensor) -> None:
        whole = gradient.new_zeros(len(ids), gradient.shape[1]).index_add(0, place, gradient)
        adam.apply_rows(rows, ids, whole)

    if encoder is not None and layer >= from_layer:
        apply(features.encoder, encoder)
    if decoder is not None:
        kept = max(0, min(from_layer, run.written(layer).stop) - layer) * run.d_model
        before = features.decoder.weight[ids, :kept]
        apply(features.decoder, torch.cat([torch.zeros_like(decoder[:, :kept]), decoder[:, kept:]], 1))
        features.decoder.weight[ids, :kept] = before
        features.norm[ids] = features.decoder.weight[ids].norm(dim=1)


class EffectSteps:
    """Effect steps on rows of like length, drawn anew: prompts, at whose ends predictions matter, or documents."""

    def __init__(
        self, run: RunState, subject: Subject, documents: Documents, prompts: Documents | None, config: FineTuneConfig
    ) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.documents, self.last = (documents, False) if prompts is None else (prompts, True)
        self.generator = torch.Generator().manual_seed((run.config.seed << 32) + EFFECT_SEED)
        self.rows = drawn_rows(self.documents, config.positions, self.generator)

    def step(self, cut: float, adam: Adam) -> float:
        """One `effect_step` on the next rows."""
        ids, counted = (t.to(self.subject.device) for t in self.documents.padded(next(self.rows)))
        aim = drawn_aim(self.subject, ids, counted, self.last, self.generator)
        config = self.config
        return effect_step(self.run, self.subject, (ids, counted), cut, aim, adam, config.effects, config.from_layer)
