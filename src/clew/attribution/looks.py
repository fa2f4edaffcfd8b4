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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import TargetInfo
from clew.attribution.sweep import Block, Readers
from clew.errors import InputError
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian
from clew.subject.query_key import QueryKey
from clew.subject.recording import Affine, Attend, Normalize, Recording, SiteAt
from clew.subject.subject import Subject

SIDES = ("query side", "key side")
_TOGETHER = 64
"""Keys that are swept together."""


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
    pattern = layer_pattern(subject, recording.patterns(), layer, head)
    for name, position in (("query", query), ("key", key)):
        if position is not None and not -n_pos <= position < n_pos:
            raise InputError(f"{name} position {position} is outside the prompt's {n_pos} tokens")
    query %= n_pos
    seen = _seen(pattern, query)
    counted = [position for position in seen if position >= first_position] or list(seen)
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


def layer_pattern(
    subject: Subject, patterns: Mapping[int, Float[Tensor, "head pos pos"]], layer: int, head: int | None = None
) -> Float[Tensor, "head pos pos"]:
    """The patterns of a layer, which may count from the end; InputError for a layer or a head that there is not."""
    n_layers = subject.n_layers
    if not -n_layers <= layer < n_layers:
        raise InputError(f"there is no layer {layer}: {subject.name} has layers 0 to {n_layers - 1}")
    pattern = patterns[layer % n_layers]
    if head is not None and not 0 <= head < len(pattern):
        raise InputError(f"there is no head {head}: layer {layer % n_layers} has heads 0 to {len(pattern) - 1}")
    return pattern


def _seen(pattern: Float[Tensor, "head pos pos"], query: int) -> range:
    """The keys that a query sees: as far back as any query of the layer looks, in a sliding window or without one.

    One key's zero does not say that it is not seen: a sure head's pattern rounds to zero, soonest in half precision.
    """
    _, queries, keys = pattern.nonzero().T
    return range(max(0, query - int((queries - keys).max())), query + 1)


class LookRows:
    """The rows of a look's two sides."""

    def __init__(self, model: LocalModel, look: Look, tokens: tuple[str, ...]) -> None:
        self.look = look
        self.site: SiteAt = ("resid_pre", look.layer)
        attend, self._norm, self._affine = attention_of(model.recording, look.layer)
        if attend.query_key is None:
            raise InputError("looks need the queries and keys of every attention, which are not known for this model")
        x = read_by(model.subject, model.recording.sites[self.site], look.layer)
        self._held, self._following = (_readers(attend.query_key, x, look, held=held) for held in (True, False))
        value = float(self._held.directions[0] @ x[look.query] + self._held.biases[0])
        names = f"L{look.layer}H{look.head} at {tokens[look.query]!r} looks at {tokens[look.key]!r}"
        self.infos = tuple(
            TargetInfo(label=f"{names}: {side}", position=look.query, weight=1.0, value=value) for side in SIDES
        )

    def fill(self, model: LocalModel, rows: Tensor, offsets: Tensor, effects: Tensor | None) -> int:
        """Fill the two rows (and those of effects) and their offsets; returns the last position that they reach."""
        for side, block in self._blocks(self._held, self._norm):
            found, constant = model.rows(block)
            rows.index_add_(0, side, found)
            offsets.index_add_(0, side, constant)
        if effects is not None:
            attends = (step for step in model.full_steps if isinstance(step, AttendJacobian))
            full = next(step for step in attends if step.attend.layer == self.look.layer)
            for side, block in self._blocks(self._following, full.norm):
                found = effects.new_zeros(block.n_readers, effects.shape[1])
                model.fill_effects(block, found)
                effects.index_add_(0, side, found)
        return self.look.query

    def _blocks(
        self, readers: Readers, norm: Normalize | NormalizeJacobian | None
    ) -> Iterator[tuple[Int[Tensor, " reader"], Block]]:
        """Readers of the stream in front of the norm, some at a time, and the side whose row each belongs to."""
        directions, positions, biases = readers.directions, readers.positions, readers.biases
        if self._affine is not None:
            if self._affine.bias is not None:
                biases = biases + directions @ self._affine.bias
            directions = directions * self._affine.weight
        if norm is not None:
            directions = norm.transpose_points(positions, directions)
        sides = torch.ones_like(positions)
        sides[0] = 0
        for part in torch.arange(len(sides), device=sides.device).split(_TOGETHER):
            yield sides[part], Block(Readers(directions[part], positions[part], biases[part]), [], self.site)


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
    norm = subject.modules.get(("attention_norm", layer))
    return stream if norm is None else subject.normed(stream, norm)


def contrasts(maps: QueryKey, x: Float[Tensor, "*case pos d_model"], look: Look) -> Float[Tensor, " *case"]:
    """The contrast of a look, of one run or several."""
    queries = maps.queries(x)[..., look.head, look.query, :]
    keys = maps.keys(x)[..., look.head, :, :]
    scores = maps.scale * torch.einsum("...d,...kd->...k", queries, keys)
    others = torch.tensor(look.others, device=scores.device)
    against = scores[..., others].mean(-1) if look.others else 0.0
    return scores[..., look.key] - against


def _readers(maps: QueryKey, x: Float[Tensor, "pos d_model"], look: Look, *, held: bool) -> Readers:
    """What of the contrast is read of what the attention reads: at the query, and at every key.

    Norms of queries and keys are held, or follow what they read: then constant parts mean nothing.
    """
    keys = [look.key, *look.others]
    share = x.new_full((len(keys),), -1 / max(1, len(look.others)))
    share[0] = 1
    positions = torch.tensor([look.query, *keys], device=x.device)
    query, key = maps.queries(x)[look.head, look.query], maps.keys(x)[look.head, positions[1:]]
    met = maps.scale * torch.cat([(share @ key)[None], share[:, None] * query])  # by the query, and by each key
    if maps.rotary is not None:
        met = maps.rotary.transpose_points(positions, met)
    directions, biases = torch.empty(len(met), x.shape[1], dtype=x.dtype, device=x.device), met.new_zeros(len(met))
    for side, head, points in (
        (maps.query, look.head, slice(0, 1)),
        (maps.key, look.head // maps.group, slice(1, None)),
    ):
        norm = side.norm_at(x)
        norm = norm.held if norm is not None and held else norm
        directions[points], biases[points] = side.transpose_head(head, positions[points], met[points], norm)
    return Readers(directions, positions, biases)
