"""Which predictions not to trust: those that the model itself, taken to second order, contradicts.

A graph's effects are a first derivative of the replacement model. The live model's own first and second derivative
along the removal of one node say what a quadratic would lose. Where a prediction and that estimate are far apart,
either what the dictionary misses responds, or the effect bends before the node is gone. No edited run is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import check_traced_with
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.run import rows_at_once
from clew.subject.recording import SiteAt
from clew.subject.sites import Change, Seen
from clew.subject.subject import Subject

FACTOR = 1.5  # measured, see `make bench-audit`: with these marked predictions hold most of the misses
FLOOR = 0.05  # of a logit: below it neither a prediction nor an estimate says much


def doubtful(predicted: Float[Tensor, "*n"], estimated: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
    """Whether predictions differ from the model's estimate in sign, or by more than FACTOR, beyond FLOOR.

    False where either is NaN.
    """
    return missed(predicted, estimated, FACTOR)


def missed(predicted: Float[Tensor, "*n"], real: Float[Tensor, "*n"], factor: float = 2.0) -> Bool[Tensor, "*n"]:
    """Whether predictions have the wrong sign or are more than a factor off, where one of both exceeds FLOOR."""
    sizes = torch.stack([predicted.abs(), real.abs()])
    large, small = sizes.max(0).values, sizes.min(0).values
    return (large > FLOOR) & ((predicted * real <= 0) | (large > factor * small))


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What the marks of doubt are worth, measured on predictions of outputs. Shares are NaN of nothing."""

    marked: float
    """Share of the predictions that are marked."""
    misses: float
    """Share of them that miss: wrong in sign or more than twice off, beyond FLOOR."""
    misses_held: float
    """Share of the misses that are marked."""
    error_held: float
    """Share of all squared error that is in marked predictions."""


def marks_of(
    predicted: Float[Tensor, " pair"], estimated: Float[Tensor, " pair"], measured: Float[Tensor, " pair"]
) -> Marks:
    """How many misses, and how much of the error, marked predictions hold; pairs without an estimate do not count."""
    known = ~torch.isnan(predicted + estimated + measured)
    predicted, estimated, measured = (column[known].double() for column in (predicted, estimated, measured))
    marks, misses = doubtful(predicted, estimated), missed(predicted, measured)
    error = (predicted - measured).square()
    return Marks(
        marked=float(marks.double().mean()),
        misses=float(misses.double().mean()),
        misses_held=float(marks[misses].double().mean()),
        error_held=float(error[marks].sum() / error.sum()),
    )


@dataclass(frozen=True)
class LiveEffect:
    """What the live model loses of a target with a feature, beside a prediction of it."""

    first: float
    """To first order: the live effect (see `clew.intervention.live_effects`)."""
    second: float
    """To second order."""
    doubtful: bool
    """Whether the prediction is not to be trusted."""


def beside_live(
    subject: Subject, dictionary: Dictionary, graph: Graph, nodes: Sequence[int], predicted: Sequence[float]
) -> list[LiveEffect | None]:
    """The live effects of features on the first target, beside what is predicted of each; None where there is none."""
    first, second = (each[:, 0] for each in _derivatives(subject, dictionary, graph, nodes))
    estimated = first + second / 2
    marks = doubtful(torch.tensor(predicted, dtype=estimated.dtype), estimated)
    known = zip(first.tolist(), estimated.tolist(), marks.tolist(), strict=True)
    return [None if math.isnan(numbers[0]) else LiveEffect(*numbers) for numbers in known]


def estimated_losses(
    subject: Subject, dictionary: Dictionary, graph: Graph, nodes: Sequence[int]
) -> Float[Tensor, "node target"]:
    """What every target's centred logit loses with each feature, by the live model's derivatives up to the second.

    As in an edit, a feature's own layer is clamped: its decoder into that layer acts, everything after it is live. NaN
    for a feature that does not write to its own layer. InputError for a node that is no feature or a target that the
    graph does not keep, MismatchError for a graph of another Dictionary or model.
    """
    first, second = _derivatives(subject, dictionary, graph, nodes)
    return first + second / 2


def _derivatives(
    subject: Subject, dictionary: Dictionary, graph: Graph, nodes: Sequence[int]
) -> tuple[Float[Tensor, "node target"], Float[Tensor, "node target"]]:
    """The first and the second derivative of what targets lose, by the share of each node that is removed."""
    check_traced_with(subject, dictionary, graph)
    if not all(0 <= node < graph.n_features for node in nodes):
        raise InputError(f"only features are removed: give nodes from 0 to {graph.n_features - 1}")
    directions = target_directions(subject, graph)
    found = torch.full((2, len(nodes), len(graph.targets)), torch.nan, dtype=torch.float64)
    keys, sizes = graph.feature_keys[list(nodes)], graph.activations[list(nodes)]
    writes = [place for place, (layer, _, _) in enumerate(keys.tolist()) if layer in dictionary.written_layers(layer)]
    together = max(1, rows_at_once(subject, graph.n_tokens) // 2)
    for part in (writes[start : start + together] for start in range(0, len(writes), together)):
        found[:, part] = _both(subject, dictionary, graph, keys[part], sizes[part], directions)
    return found[0], found[1]


def _both(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    keys: Int[Tensor, "row 3"],
    sizes: Tensor,
    directions: Tensor,
) -> Float[Tensor, "2 row target"]:
    """One copy of the prompt a feature, of which a share (a leaf) is removed: both derivatives by that share."""
    device, dtype = subject.device, subject.dtype
    ids = torch.tensor([graph.token_ids], device=device).expand(len(keys), -1)
    share = torch.zeros(len(keys), dtype=dtype, device=device, requires_grad=True)
    change: dict[SiteAt, Change] = {}
    for layer in torch.unique(keys[:, 0]).tolist():
        rows = (keys[:, 0] == layer).nonzero()[:, 0]
        slot = list(dictionary.written_layers(layer)).index(layer)
        decoders = dictionary.decoder_rows(layer, keys[rows, 2].to(device))[:, slot].to(dtype)
        written = decoders * sizes[rows].to(decoders)[:, None]
        change[dictionary.write_site, layer] = partial(_less, share, rows.to(device), keys[rows, 1].to(device), written)
    found = []
    with torch.enable_grad():
        final = subject.run(ids, change=change, reads=[], eager=True).final
        for target, direction in zip(graph.targets, directions, strict=True):
            value = -(final[:, target.position].to(direction) @ direction).sum()
            (first,) = torch.autograd.grad(value, share, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), share, retain_graph=True)
            found.append(torch.stack([first.detach(), second]).double().cpu())
    return torch.stack(found, 2)


def _less(share: Tensor, rows: Tensor, positions: Tensor, written: Tensor, value: Tensor, seen: Seen) -> Tensor:
    """A layer's output in which some rows, each at one position, lack a share of what a feature writes."""
    lack = torch.zeros_like(value).index_put((rows, positions), share[rows, None].to(value) * written)
    return value - lack
