"""Training for responses: ablate a feature, and the dictionary's answer must be the model's.

A dictionary that reconstructs every output can still answer a change wrongly: its error moves too, and the graph holds
errors fixed. So a step of fine-tuning ablates features, one in every row of some documents:

1. Run the model on the rows, draw one active feature of each (all layers but the last are as likely), and run the model
   again without what these features write to their own layer; everything after that is live.
2. Ask the dictionary for its answer on both streams. What it says of the difference, with the ablated feature gone from
   every layer that it writes to, less the model's own difference, is the *response error* of each later layer.
3. Weigh it by what it would do to predictions: the *sensitivity* of a layer is the mean of g g^T, g the gradient of a
   drawn token's centred logit at that layer's output. Errors that no prediction reads cost nothing.
4. Divide by the response itself, a row at a time, plus the median row's, so that neither the largest answers nor those
   of nothing rule the loss; move the weights along its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import linear

from clew.errors import InputError
from clew.kernels.types import Adam, Pairs
from clew.subject.recording import SiteAt
from clew.subject.sites import Change, Seen, plus
from clew.subject.subject import Subject
from clew.training.activations import drawn_rows
from clew.training.config import FineTuneConfig
from clew.training.documents import Documents
from clew.training.objective import Terms
from clew.training.run_state import RunState
from clew.training.selection import Active, candidate
from clew.training.step import backward, plain_terms

SENSED = 60  # batches of rows over which sensitivity is a mean
RESPONSE_SEED = 1 << 31  # draws of ablations lie behind those of the other steps

Sensitivity = Float[Tensor, "layer d_model d_model"]
"""Of predictions to every layer's output, in the units of training."""
Streams = Mapping[SiteAt, Tensor]


def sensitivity(
    run: RunState, subject: Subject, documents: Documents, rows: Int[Tensor, " n"], generator: torch.Generator
) -> Sensitivity:
    """Mean over rows of the gradient's outer product at every layer's output, summed over positions.

    The gradient is that of the centred logit of a token, drawn from what the model predicts at a position of the row.
    """
    ids, counted = documents.padded(rows)
    write, d = run.config.sites()[1], run.d_model
    leaves = [
        torch.zeros(*ids.shape, d, dtype=subject.dtype, device=subject.device, requires_grad=True)
        for _ in range(run.n_layers)
    ]
    change: dict[SiteAt, Change] = {(write, layer): plus(leaf) for layer, leaf in enumerate(leaves)}
    at = torch.multinomial(counted.float(), 1, generator=generator)[:, 0]
    with torch.enable_grad():
        final = subject.run(ids.to(subject.device), change=change, reads=[]).final
        logits = subject.unembed(final[torch.arange(len(ids)), at]).float()
        token = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator).to(logits.device)
        gradients = torch.autograd.grad((logits.gather(1, token)[:, 0] - logits.mean(1)).sum(), leaves)
    inside = counted.to(subject.device)
    found = torch.zeros(run.n_layers, d, d, device=run.device)
    for layer, gradient in enumerate(gradients):
        g = gradient[inside].float() * run.scales["output_scale"][layer]
        found[layer] = g.T @ g / len(ids)
    return found


class Responses:
    """Response steps on rows of like length, drawn anew; the sensitivity is found at the first step."""

    def __init__(self, run: RunState, subject: Subject, documents: Documents, config: FineTuneConfig) -> None:
        self.run, self.subject, self.documents, self.config = run, subject, documents, config
        self.generator = torch.Generator().manual_seed((run.config.seed << 32) + RESPONSE_SEED)
        self.rows = drawn_rows(documents, config.positions, self.generator)

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """A mean over SENSED batches, taken once: it is the model's, not the dictionary's."""
        drawn = (next(self.rows) for _ in range(SENSED))
        batches = [sensitivity(self.run, self.subject, self.documents, rows, self.generator) for rows in drawn]
        return torch.stack(batches).mean(0)

    def step(self, cut: float, adam: Adam) -> float:
        """One `response_step` on the next rows."""
        weights, padded = self.sensitivity, self.documents.padded(next(self.rows))
        return response_step(self.run, self.subject, padded, cut, weights, adam, self.generator, self.config.responses)


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """One ablated feature a row; rows without an active feature have `has` off."""

    layer: Int[Tensor, " row"]
    place: Int[Tensor, " row"]
    """Row times positions of a row plus position."""
    feature: Int[Tensor, " row"]
    activation: Float[Tensor, " row"]
    has: Bool[Tensor, " row"]

    def of(self, layer: int) -> Int[Tensor, " n"]:
        """The rows that ablate a feature of a layer."""
        return (self.has & (self.layer == layer)).nonzero()[:, 0]


@torch.no_grad()
def response_step(
    run: RunState,
    subject: Subject,
    padded: tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]],
    cut: float,
    weights: Sensitivity,
    adam: Adam | None,
    generator: torch.Generator,
    weight: float = 1.0,
) -> float:
    """Move the run's weights along the gradient of `weight` times the response error; returns the mean error of a row.

    `padded` are rows as `Documents.padded` gives them. Without `adam` the error is measured alone. NaN when no row has
    an active feature; InputError when it is infinite or NaN otherwise.
    """
    ids, counted = (tensor.to(subject.device) for tensor in padded)
    read, write = run.config.sites()
    keep: list[SiteAt] = [(site, layer) for site in (read, write) for layer in range(run.n_layers)]
    base: Streams = subject.run(ids, keep=keep).kept
    ablations = _drawn(run, base, counted, cut, generator)
    if not bool(ablations.has.any()):
        return float("nan")
    change: dict[SiteAt, Change] = {
        (write, layer): partial(_without, run, ablations, layer) for layer in range(run.n_layers - 1)
    }
    step = _Step(run, ablations, counted, base, subject.run(ids, change=change, keep=keep).kept, cut)
    loss, slope = step.loss(weights)
    if not torch.isfinite(loss):
        raise InputError(f"the response error became {float(loss)}: lower the learning rate")
    if adam is not None:
        step.backward(weight * slope, adam)
    return float(loss)


def _drawn(run: RunState, base: Streams, counted: Bool[Tensor, "row pos"], cut: float, generator: torch.Generator
           ) -> Ablations:  # fmt: skip
    """One active feature of every row, of a layer drawn first."""
    n_rows, n_pos = counted.shape
    device = counted.device
    layers = torch.randint(max(1, run.n_layers - 1), (n_rows,), generator=generator).to(device)
    place, feature = (torch.zeros(n_rows, dtype=torch.long, device=device) for _ in range(2))
    activation, has = torch.zeros(n_rows, device=device), torch.zeros(n_rows, dtype=torch.bool, device=device)
    for layer in range(run.n_layers - 1):
        places = (counted & (layers == layer)[:, None]).flatten().nonzero()[:, 0]
        if not len(places):
            continue
        active, on = _active(run, layer, _read(run, base, layer, places), cut)
        fires = on.gate > 0
        pairs, where = active.pairs, places[active.pairs.position[fires]]
        row = where // n_pos
        lot = torch.rand(len(row), generator=generator).to(device)
        drawn = lot == lot.new_full((n_rows,), -1).scatter_reduce(0, row, lot, "amax")[row]
        place[row[drawn]], feature[row[drawn]] = where[drawn], pairs.index[fires][drawn]
        activation[row[drawn]], has[row[drawn]] = on.activation[fires][drawn].float(), True
    return Ablations(layer=layers, place=place, feature=feature, activation=activation, has=has)


def _read(run: RunState, streams: Streams, layer: int, places: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
    """What a layer's features read at some places, in the units of training."""
    return run.input_of(layer, streams[run.config.sites()[0], layer].reshape(-1, run.d_model)[places])


def _active(run: RunState, layer: int, x: Float[Tensor, "n d_model"], cut: float) -> tuple[Active, Terms]:
    active = candidate(run, layer, x, float(run.config.k), cut)
    return active, plain_terms(run, layer, active)


def _without(run: RunState, ablations: Ablations, layer: int, real: Tensor, seen: Seen) -> Tensor:
    """A layer's output without what the ablated features of that layer write to it."""
    rows, d = ablations.of(layer), run.d_model
    written = run.layers[layer].decoder.weight[ablations.feature[rows], :d] * ablations.activation[rows, None]
    lost = (-written * run.scales["output_scale"][layer]).to(real)
    return real.reshape(-1, d).index_add(0, ablations.place[rows], lost).view_as(real)


class _Step:
    """The response error of one batch of ablations at the places from each ablation on, and its gradient."""

    def __init__(
        self, run: RunState, ablations: Ablations, counted: Bool[Tensor, "row pos"], base: Streams, new: Streams,
        cut: float,
    ) -> None:  # fmt: skip
        self.run, self.ablations = run, ablations
        n_rows, n_pos = counted.shape
        every = torch.arange(n_rows * n_pos, device=counted.device)
        row = every // n_pos
        after = counted.flatten() & ablations.has[row] & (every >= ablations.place[row])
        self.places = after.nonzero()[:, 0]
        self.row = row[self.places]
        self.n_rows = n_rows
        own = ablations.layer[self.row]
        self.later = torch.arange(run.n_layers, device=own.device)[None] > own[:, None]  # [place, layer]
        self.response = self._responses(base, new)
        self.index = torch.zeros_like(every)
        self.index[self.places] = torch.arange(len(self.places), device=every.device)
        self.parts: list[tuple[Tensor, Active, Terms, Tensor, Tensor]] = []
        self.skipped: list[tuple[Tensor, Tensor]] = []
        answer = torch.zeros_like(self.response).flatten(1)
        for layer in range(run.n_layers):
            self._answer(layer, base, new, cut, answer)
        self.error = (answer.view_as(self.response) - self.response) * self.later[:, :, None]

    def _responses(self, base: Streams, new: Streams) -> Float[Tensor, "place layer d_model"]:
        """What the model's later layers add where a feature is ablated."""
        run, write = self.run, self.run.config.sites()[1]
        moved = []
        for layer in range(run.n_layers):
            before, after = (side[write, layer].reshape(-1, run.d_model)[self.places].float() for side in (base, new))
            moved.append((after - before) / run.scales["output_scale"][layer])
        return torch.stack(moved, 1) * self.later[:, :, None]

    def _answer(self, layer: int, base: Streams, new: Streams, cut: float, answer: Tensor) -> None:
        """Add what a layer's features answer: after the ablation less before; the ablated one is gone for good."""
        run, ablations, features = self.run, self.ablations, self.run.layers[layer]
        moved, mine = self.later[:, layer].nonzero()[:, 0], ablations.of(layer)
        here = self.places[moved]
        sides = [_read(run, base, layer, here), _read(run, new, layer, here)]
        x = torch.cat([*sides, _read(run, base, layer, ablations.place[mine])])
        active = candidate(run, layer, x[: 2 * len(here)], float(run.config.k), cut)
        counts = torch.cat([active.pairs.starts.diff(), torch.ones_like(mine)])
        pairs = Pairs.of_counts(
            counts, torch.cat([active.pairs.index, ablations.feature[mine]]), active.pairs.n_features
        )
        active = Active(pairs=pairs, value=torch.cat([active.value, ablations.activation[mine].to(active.value)]))
        on, columns = plain_terms(run, layer, active), run.columns(layer)
        written = x.new_zeros(len(x), columns.stop - columns.start)
        run.kernels.decode(pairs, on.activation, features.decoder.weight, written)
        to = torch.cat([moved, moved, self.index[ablations.place[mine]]])
        sign = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        sign[: len(here)], sign[2 * len(here) :] = -1, -1
        answer[:, columns].index_add_(0, to, written * sign)
        if run.config.skip:
            own, change = slice(layer * run.d_model, (layer + 1) * run.d_model), sides[1] - sides[0]
            answer[:, own].index_add_(0, moved, linear(change, run.skip_of(layer)))
            self.skipped.append((moved, change))
        self.parts.append((x, active, on, to, sign))

    def loss(self, weights: Sensitivity) -> tuple[Tensor, Float[Tensor, "place written"]]:
        """Mean over rows of error over response, and its gradient by the answer."""
        weighed = torch.einsum("pld,lde->ple", self.error, weights)
        error, response = (self._by_row(a, b) for a, b in (
            (weighed, self.error), (torch.einsum("pld,lde->ple", self.response, weights), self.response)
        ))  # fmt: skip
        has = self.ablations.has
        size = response + response[has].median().clamp_min(1e-12)
        slope = 2 / int(has.sum()) * weighed / size[self.row][:, None, None]
        return (error / size)[has].mean(), slope.flatten(1)

    def _by_row(self, a: Tensor, b: Tensor) -> Float[Tensor, " row"]:
        return a.new_zeros(self.n_rows).index_add(0, self.row, (a * b).sum((1, 2)))

    def backward(self, slope: Float[Tensor, "place written"], adam: Adam) -> None:
        """Take the optimizer's step, layer by layer."""
        run = self.run
        for layer, (x, active, on, to, sign) in enumerate(self.parts):
            own = (slope[to][:, run.columns(layer)] * sign).contiguous()
            backward(run, layer, x, own, active, on, adam)
        if run.config.skip:
            by_layer = slope.view(len(slope), run.n_layers, run.d_model)
            slopes = torch.cat([by_layer[at, layer].T @ moved for layer, (at, moved) in enumerate(self.skipped)])
            adam.apply(run.skip.weight, run.skip.mean, run.skip.square, slopes)
