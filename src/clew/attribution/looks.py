"""Why an attention head looks from one token to another: a graph whose outputs are the two sides of a score.

The raw score of head h is S[q, k] = c (R_q W_Q x_q) . (R_k W_K x_k), bilinear in what the attention reads at the query
and at the keys. What is explained is its *contrast*: S[q, k] less the mean score of the other keys that q sees (a
left-out first position is none of them). It is not the logarithm of the pattern, whose derivative vanishes where the
head is sure.

1. *Query side*: the keys held, the contrast is a direction of x_q.
2. *Key side*: the query held, it is a direction of x_k, and of every other x_j with weight -1 over their number.

Each side's values and offsets add up to the contrast. Something that stands on both sides acts through both, so that
the effects of a source on the two sides are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import TargetInfo
from clew.attribution.sweep import Block, Readers
from clew.errors import InputError
from clew.subject.hooks import normalized
from clew.subject.jacobian import AttendJacobian, linearized
from clew.subject.query_key import QueryKey
from clew.subject.recording import Affine, Attend, Normalize, Recording, SiteAt
from clew.subject.subject import Subject

SIDES = ("query side", "key side")


@dataclass(frozen=True)
class Look:
    """One head, and the two positions; `others` are the keys that the score is compared with."""

    layer: int
    head: int
    query: int
    key: int
    others: tuple[int, ...]
    weight: float
    """The pattern's entry: how much of the head's attention goes there."""


def find_look(
    subject: Subject, recording: Recording, layer: int, head: int, query: int, key: int | None, first_position: int
) -> Look:
    """A look of the recorded run; without a key, the one that the head looks at most.

    InputError, in one line, for a layer, head or position that does not exist, and for a key that the query does not
    see.
    """
    n_layers, n_pos = recording.n_layers, len(recording)
    if not -n_layers <= layer < n_layers:
        raise InputError(f"there is no layer {layer}: {subject.name} has layers 0 to {n_layers - 1}")
    pattern = recording.patterns()[layer % n_layers]
    if not 0 <= head < len(pattern):
        raise InputError(f"there is no head {head}: layer {layer % n_layers} has heads 0 to {len(pattern) - 1}")
    for name, position in (("query", query), ("key", key)):
        if position is not None and not -n_pos <= position < n_pos:
            raise InputError(f"{name} position {position} is outside the prompt's {n_pos} tokens")
    query %= n_pos
    seen = (pattern[head, query] > 0).nonzero()[:, 0].tolist()
    counted = [position for position in seen if position >= first_position] or seen
    if key is None:
        key = max(counted, key=lambda position: float(pattern[head, query, position]))
    key %= n_pos
    if key > query:
        raise InputError(
            f"key position {key} lies behind query position {query}: a token sees only what stands before it"
        )
    if key not in seen:
        raise InputError(f"at position {query} head {head} of layer {layer} does not see position {key}")
    others = tuple(position for position in counted if position != key)
    return Look(layer % n_layers, head, query, key, others, float(pattern[head, query, key]))


class LookRows:
    """The rows of a look's two sides."""

    def __init__(self, model: LocalModel, look: Look, tokens: tuple[str, ...]) -> None:
        self.look = look
        self.site: SiteAt = ("resid_pre", look.layer)
        self._attend, self._norm, self._affine = attention_of(model.recording, look.layer)
        maps = self._attend.query_key
        if maps is None:
            raise InputError("looks need the queries and keys of every attention, which are not known for this model")
        self._x = read_by(model.subject, model.recording.sites[self.site], look.layer)
        self._directions, self._positions, self._biases = _readers(maps, self._x, look)
        value = float((self._directions[0] @ self._x[look.query].to(self._directions)) + self._biases[0])
        names = f"L{look.layer}H{look.head} at {tokens[look.query]!r} looks at {tokens[look.key]!r}"
        self.infos = tuple(
            TargetInfo(label=f"{names}: {side}", position=look.query, weight=1.0, value=value) for side in SIDES
        )

    def fill(self, model: LocalModel, rows: Tensor, offsets: Tensor, effects: Tensor | None) -> int:
        """Fill the two rows (and those of effects) and their offsets; returns the last position that they reach."""
        directions, weight = self._directions, self._affine
        scale = directions if weight is None else directions * weight.weight
        biases = self._biases
        if weight is not None and weight.bias is not None:
            biases = biases + directions @ weight.bias
        values = scale if self._norm is None else self._norm.transpose_points(self._positions, scale)
        found, constant = model.rows(self._block(values, biases))
        rows += self._joined(found)
        offsets += self._joined(constant)
        if effects is not None:
            full = next(
                step for step in linearized(model.recording)
                if isinstance(step, AttendJacobian) and step.attend.layer == self.look.layer
            )  # fmt: skip
            turned = scale if full.norm is None else full.norm.transpose_points(self._positions, scale)
            changed = torch.zeros_like(found)
            model.fill_effects(self._block(turned, biases), changed)
            effects += self._joined(changed)
        return self.look.query

    def _block(self, directions: Tensor, biases: Tensor) -> Block:
        return Block(Readers(directions, self._positions, biases), [], target_site=self.site)

    def _joined(self, rows: Float[Tensor, "reader col"]) -> Float[Tensor, "side col"]:
        """The query's row, and the sum of the keys'."""
        return torch.stack([rows[0], rows[1:].sum(0)])


def attention_of(recording: Recording, layer: int) -> tuple[Attend, Normalize | None, Affine | None]:
    """The attention of a layer, and the norm in front of it if there is one."""
    place = next(i for i, s in enumerate(recording.steps) if isinstance(s, Attend) and s.layer == layer)
    attend = recording.steps[place]
    assert isinstance(attend, Attend)
    match recording.steps[place - 2 : place]:
        case [Normalize() as norm, Affine() as affine] if attend.source == affine.target == norm.target:
            return attend, norm, affine
    return attend, None, None


def read_by(subject: Subject, stream: Float[Tensor, "*case pos d_model"], layer: int) -> Tensor:
    """What the attention of a layer reads of the stream at the beginning of its block, in any run."""
    norm: Any = subject.modules.get(("attention_norm", layer))
    if norm is None:
        return stream
    weight = norm.weight.detach().to(stream) + (1 if subject.family.one_plus_weight else 0)
    bias = getattr(norm, "bias", None)
    scaled = normalized(stream, norm, subject.family.centred)[0] * weight
    return scaled if bias is None else scaled + bias.detach().to(stream)


def contrasts(maps: QueryKey, x: Float[Tensor, "*case pos d_model"], look: Look) -> Float[Tensor, " *case"]:
    """The contrast of a look, of one run or several."""
    queries = maps.queries(x)[..., look.head, look.query, :]
    keys = maps.keys(x)[..., look.head, :, :]
    scores = maps.scale * torch.einsum("...d,...kd->...k", queries, keys)
    against = scores[..., list(look.others)].mean(-1) if look.others else 0.0
    return scores[..., look.key] - against


def _readers(
    maps: QueryKey, x: Float[Tensor, "pos d_model"], look: Look
) -> tuple[Float[Tensor, "reader d_model"], Int[Tensor, " reader"], Float[Tensor, " reader"]]:
    """Directions of what the attention reads: the query's, then the keys'; their positions and constant parts."""
    keys = [look.key, *look.others]
    share = x.new_full((len(keys),), -1 / max(1, len(look.others)))
    share[0] = 1
    group = len(maps.query) // len(maps.key)
    query, key = maps.queries(x)[look.head, look.query], maps.keys(x)[look.head, keys]
    towards = maps.scale * (share @ key)  # what the turned query meets
    met = maps.scale * share[:, None] * query  # what each turned key meets
    positions = torch.tensor([look.query, *keys], device=x.device)
    turned = torch.cat([towards[None], met])
    back = turned if maps.rotary is None else maps.rotary.transpose_points(positions, turned)
    weights = [maps.query[look.head]] + [maps.key[look.head // group]] * len(keys)
    zero = x.new_zeros(maps.query.shape[2])
    query_bias = zero if maps.query_bias is None else maps.query_bias[look.head]
    key_bias = zero if maps.key_bias is None else maps.key_bias[look.head // group]
    directions = torch.stack([weight @ vector for weight, vector in zip(weights, back, strict=True)])
    biases = torch.stack([back[0] @ query_bias, *(back[1:] @ key_bias)])
    return directions, positions, biases
