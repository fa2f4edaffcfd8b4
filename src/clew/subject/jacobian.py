"""The steps of a Recording with their full derivative: what changes in a run when something upstream changes.

A Recording's own steps hold attention patterns and norm scales fixed, so that they add up to the run. Here a norm's
scale and a pattern follow their input, to first order at the recorded run:

1. *Norm*, y = r (x - mean): g -> centre(r (g - y (y . g) / d)), exact with eps in r.
2. *Attention*: beside the values, gP[q, k] = (W_O g_q) . v_k, gS = P (gP - sum_k P gP), times the slope of a soft-cap;
   gS goes to the queries through the keys and to the keys through the queries, and through rotary positions, the norms
   of queries and keys and projections back to what the attention reads. With sinks, where a pattern's rows do not sum
   to one, the form is the same.

`linearized` refuses a recording whose pattern is not found again from its queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.errors import UnsupportedModelError
from clew.subject.query_key import HeadNormAt, QueryKey
from clew.subject.recording import Affine, Attend, Normalize, Recording, Registers, SiteAt, Step, advance

_MOST_DRAWN = 1 << 22
"""Entries of the maps of one attention at every position, where rotary and norm are drawn into them."""
_MOST_SCORES = 1 << 21
"""Entries of the gradients of scores, queries by heads by keys by targets, that are held at once."""


@dataclass(frozen=True, kw_only=True)
class NormalizeJacobian:
    """A norm whose scale follows its input."""

    source: str
    target: str
    scale: Float[Tensor, " pos"]
    centred: bool
    output: Float[Tensor, "pos d_model"]

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """How the output changes with the input, to first order."""
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return (x - self.output * (self.output * x).mean(-1, keepdim=True)) * self.scale[:, None]

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        return self.transpose_(g.clone())

    def transpose_(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        """`transpose` in place."""
        y, scale = self.output[: len(g)], self.scale[: len(g), None, None]
        along = torch.bmm((y / y.shape[1])[:, None], g)
        g.baddbmm_(y[:, :, None], along, alpha=-1).mul_(scale)
        return g.sub_(g.mean(1, keepdim=True)) if self.centred else g

    def transpose_points(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"]
    ) -> Float[Tensor, "target d_model"]:
        """`transpose` of gradients of one position each."""
        y = self.output[positions]
        back = (g - y * (y * g).mean(1, keepdim=True)) * self.scale[positions, None]
        return back - back.mean(1, keepdim=True) if self.centred else back


@dataclass(frozen=True, kw_only=True)
class AttendJacobian:
    """An attention whose pattern follows what it reads, and the norm in front of it if there is one."""

    attend: Attend
    query_key: QueryKey
    norm: NormalizeJacobian | None
    weight: Float[Tensor, " d_model"] | None
    """The norm's."""
    input: Float[Tensor, "pos d_model"]
    """What the attention reads."""

    @property
    def source(self) -> str:
        return self.attend.source if self.norm is None else self.norm.source

    @property
    def target(self) -> str:
        return self.attend.target

    @cached_property
    def queries(self) -> Float[Tensor, "head pos d_head"]:
        return self.query_key.queries(self.input)

    @cached_property
    def keys(self) -> Float[Tensor, "head pos d_head"]:
        return self.query_key.keys(self.input)

    @cached_property
    def values(self) -> Float[Tensor, "head pos d_head"]:
        made = torch.matmul(self.input, self.attend.value)
        made = made if self.attend.value_bias is None else made + self.attend.value_bias[:, None]
        return made.repeat_interleave(self.attend.group, 0)

    @cached_property
    def slope(self) -> Float[Tensor, "head pos pos"]:
        """The scale of the scores, less where a soft-cap flattens them."""
        cap, scale = self.query_key.cap, self.query_key.scale
        if cap is None:
            return self.attend.pattern.new_tensor(scale).expand_as(self.attend.pattern)
        return scale * (1 - (self.query_key.scores(self.input) / cap).square())

    @cached_property
    def weighted(self) -> Float[Tensor, "pos head pos"]:
        """The pattern times the slope of the scores, query positions first."""
        return (self.attend.pattern * self.slope).transpose(0, 1).contiguous()

    @cached_property
    def norms(self) -> tuple[None, HeadNormAt | None, HeadNormAt | None]:
        """The norms of queries and keys, in the places of `reads`."""
        return None, self.query_key.query.norm_at(self.input), self.query_key.key.norm_at(self.input)

    @cached_property
    def reads(self) -> tuple[Tensor, Tensor, Tensor]:
        """From values, queries and keys of all heads back to what is read, [d_model, head x d_head] each."""
        parts = (self.attend.value, self.query_key.query.weight, self.query_key.key.weight)
        whole = (part.transpose(0, 1).flatten(1) for part in parts)
        values, queries, keys = (each if self.weight is None else each * self.weight[:, None] for each in whole)
        return values, queries, keys

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """How the output changes with the input, to first order."""
        maps, pattern = self.query_key, self.attend.pattern
        x = x if self.norm is None or self.weight is None else self.norm.forward(x) * self.weight
        queries = self._turned(1, torch.matmul(x.unsqueeze(-3), maps.query.weight))
        keys = self._turned(2, torch.matmul(x.unsqueeze(-3), maps.key.weight)).repeat_interleave(maps.group, -3)
        values = torch.matmul(x.unsqueeze(-3), self.attend.value).repeat_interleave(self.attend.group, -3)
        scores = self.slope * (torch.matmul(queries, self.keys.mT) + torch.matmul(self.queries, keys.mT))
        turned = pattern * (scores - (pattern * scores).sum(-1, keepdim=True))
        mixed = torch.matmul(turned, self.values) + torch.matmul(pattern, values)
        return torch.matmul(mixed, self.attend.output).sum(-3)

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        n_pos, d_model, n_targets = g.shape
        heads, d_head = self.attend.output.shape[:2]
        split = torch.matmul(self.attend.output.view(-1, d_model), g).view(n_pos, heads, d_head, n_targets)
        values, pattern = g.new_empty(n_pos, len(self.attend.value), d_head * n_targets), self.attend.pattern
        flat = split.flatten(2)
        for head in range(heads):
            place, first = head // self.attend.group, head % self.attend.group == 0
            turned = pattern[head, :n_pos, :n_pos].T
            torch.addmm(values[:, place], turned, flat[:, head], beta=int(not first), out=values[:, place])
        values = values.unflatten(2, (d_head, n_targets))
        step = max(1, _MOST_SCORES // (heads * n_pos * n_targets))
        if self.from_scores is not None and step >= n_pos:
            return self._read_scores(values, self._to_scores(split, 0, n_pos))
        queries, keys = torch.empty_like(split), torch.zeros_like(split)
        for start in range(0, n_pos, step):
            stop = min(start + step, n_pos)  # and no query sees a key behind it
            through = self._to_scores(split, start, stop)
            queries[start:stop] = torch.matmul(self.keys[:, :stop].mT, through)
            keys[:stop] += torch.matmul(self.queries[:, start:stop].mT, through.transpose(0, 2).contiguous())
        return self._read(values, queries, keys)

    def _to_scores(
        self, split: Float[Tensor, "pos head d_head target"], start: int, stop: int
    ) -> Float[Tensor, "query head key target"]:
        """Gradients of the scores of some queries, from those of the heads' mixed values."""
        through = torch.matmul(self.values[:, :stop], split[start:stop])
        through -= torch.matmul(self.attend.pattern[:, start:stop, :stop].transpose(0, 1)[:, :, None], through)
        return through.mul_(self.weighted[start:stop, :, :stop, None])

    def _read_scores(
        self, values: Float[Tensor, "pos value_head d_head target"], through: Float[Tensor, "pos head pos target"]
    ) -> Float[Tensor, "pos d_model target"]:
        """What is read, from gradients of values and scores."""
        assert self.at_positions is not None
        assert self.from_scores is not None
        n_pos = len(through)
        own = self._shared(values, self.reads[0]).flatten(1, 2)
        back = torch.bmm(self.at_positions[0][:n_pos], own)
        for maps, scores in zip(self.from_scores, (through, through.transpose(0, 2)), strict=True):
            part = maps[:n_pos, :, :, :n_pos].flatten(2)
            back.baddbmm_(part, scores.reshape(n_pos, -1, scores.shape[3]))
        return back

    def transpose_at(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"], n_pos: int
    ) -> Float[Tensor, "pos d_model target"]:
        """`transpose` of gradients of one position each, on the first `n_pos` positions: far cheaper."""
        heads, d_head, d_model = self.attend.output.shape
        n_targets, members = len(g), torch.arange(len(g), device=g.device)
        split = torch.matmul(self.attend.output.view(-1, d_model), g.T).view(heads, d_head, n_targets)
        through = torch.matmul(self.values[:, :n_pos], split)  # [head, key, target]
        pattern = self.attend.pattern[:, positions, :n_pos].mT
        through -= (pattern * through).sum(1, keepdim=True)
        through *= self.weighted[positions, :, :n_pos].permute(1, 2, 0)
        queries = torch.matmul(self.keys[:, :n_pos].mT, through)  # [head, d_head, target], each at its own position
        keys = through.transpose(0, 1)[:, :, None] * self.queries[:, positions].transpose(1, 2)
        values = pattern.transpose(0, 1)[:, :, None] * split
        if self.at_positions is None:
            whole = g.new_zeros(n_pos, heads, d_head, n_targets)
            whole[positions, :, :, members] = queries.permute(2, 0, 1)
            return self._read(values, whole, keys)
        back, flat = self._read(values, None, keys), queries.flatten(0, 1)
        for position in torch.unique(positions).tolist():
            own = (positions == position).nonzero()[:, 0]
            back[position].index_add_(1, own, self.at_positions[1][position] @ flat[:, own])
        return back

    def through_pattern(self, g: Float[Tensor, "pos d_model"], head: int, side: str) -> Float[Tensor, "pos d_model"]:
        """What of `transpose` goes through one head's pattern, by its queries (`query`) or its keys (`key`).

        These are gradients of what the attention reads, whether its norm is part of it or not.
        """
        n_pos, heads = len(g), len(self.attend.output)
        pattern = self.attend.pattern[head, :n_pos, :n_pos]
        through = (g @ self.attend.output[head].T) @ self.values[head, :n_pos].T
        through = pattern * (through - (pattern * through).sum(1, keepdim=True)) * self.slope[head, :n_pos, :n_pos]
        if side == "query":
            back, own, norm = through @ self.keys[head, :n_pos], self.query_key.query, self.norms[1]
        else:
            back, own, norm = through.T @ self.queries[head, :n_pos], self.query_key.key, self.norms[2]
        positions, rotary = torch.arange(n_pos, device=back.device), self.query_key.rotary
        back = back if rotary is None else rotary.transpose_points(positions, back)
        return own.transpose_head(head * len(own.weight) // heads, positions, back, norm)[0]

    def _turned(self, place: int, made: Float[Tensor, "*batch head pos d_head"]) -> Tensor:
        """How queries (place 1) or keys (2) change with what the projection gives, to first order."""
        norm, rotary = self.norms[place], self.query_key.rotary
        made = made if norm is None else norm.forward(made)
        return made if rotary is None else rotary.forward(made)

    def _turned_back(self, place: int, g: Float[Tensor, "pos head d_head target"]) -> Tensor:
        """The transpose of `_turned`, on the first positions."""
        norm, rotary = self.norms[place], self.query_key.rotary
        g = g if rotary is None else rotary.transpose(g)
        return g if norm is None else norm.transpose(g)

    def _read(self, values: Tensor, queries: Tensor | None, keys: Tensor) -> Float[Tensor, "pos d_model target"]:
        """What is read, from gradients `pos head d_head target` of values, queries (if any) and keys."""
        parts = [
            (place, self._shared(part, weight).flatten(1, 2))
            for place, (part, weight) in enumerate(zip((values, queries, keys), self.reads, strict=True))
            if part is not None
        ]
        (_, first), *rest = parts
        if self.at_positions is not None:
            back = torch.bmm(self.at_positions[0][: len(first)], first)
            for place, part in rest:
                back.baddbmm_(self.at_positions[place][: len(part)], part)
            return back
        back = torch.matmul(self.reads[0], first)
        for place, part in rest:
            part = self._turned_back(place, part.unflatten(1, (-1, keys.shape[2]))).flatten(1, 2)
            back.baddbmm_(self.reads[place].expand(len(part), -1, -1), part)
        return back if self.norm is None else self.norm.transpose_(back)

    def _shared(self, part: Tensor, weight: Tensor) -> Float[Tensor, "pos head d_head target"]:
        """Heads that share their values or keys are neighbours, and their gradients are added."""
        shared = part.shape[1] * part.shape[2] // weight.shape[1]
        return part if shared == 1 else part.unflatten(1, (-1, shared)).sum(2)

    @cached_property
    def at_positions(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """`reads` at each position, rotary and norm drawn in, [pos, d_model, head x d_head]; None for long prompts."""
        n_pos, d_model = self.input.shape
        if n_pos * d_model * sum(weight.shape[1] for weight in self.reads) > _MOST_DRAWN:
            return None
        drawn, d_head = [], self.attend.output.shape[1]
        for place, weight in enumerate(self.reads):
            turned = weight.T.unflatten(0, (-1, d_head)).expand(n_pos, -1, -1, -1)
            if place:  # W N^T R^T: each row of W is normed and turned as a query or key is, forwards
                turned = self._turned(place, turned.permute(3, 1, 0, 2)).permute(2, 1, 3, 0)
            whole = turned.flatten(1, 2).mT.contiguous()
            drawn.append(whole if self.norm is None else self.norm.transpose_(whole))
        return drawn[0], drawn[1], drawn[2]

    @cached_property
    def from_scores(self) -> tuple[Tensor, Tensor] | None:
        """From gradients of scores straight to what a query reads, and what a key, [pos, d_model, head, other pos].

        In a short prompt this is less than to queries and keys first. None for a longer one.
        """
        n_pos, d_model = self.input.shape
        heads, d_head = self.attend.output.shape[:2]
        less = n_pos * d_model <= (n_pos + d_model) * d_head
        if self.at_positions is None or not less or n_pos * n_pos * d_model * heads > _MOST_DRAWN:
            return None
        queries, keys = (part.unflatten(2, (-1, d_head)) for part in self.at_positions[1:])
        keys = keys.repeat_interleave(self.query_key.group, 2)
        pairs = (queries, self.keys), (keys, self.queries)
        to_query, to_key = (torch.einsum("pdhe,hoe->pdho", own, other) for own, other in pairs)
        return to_query, to_key


FullStep = Step | NormalizeJacobian | AttendJacobian


def linearized(recording: Recording, *, fold: bool = True) -> list[FullStep]:
    """The steps of a recording, norms and attentions with their full derivative.

    An attention's own norm is part of it, unless `fold` is off: then steps are those of the recording, one for one.
    UnsupportedModelError, naming the layer, where the recorded pattern is not found again from queries and keys.
    """
    registers: Registers = {}
    sites: dict[SiteAt, Tensor] = {}
    steps: list[FullStep] = []
    for step in recording.steps:
        before = registers.get(getattr(step, "source", ""))
        advance(registers, sites, step)
        match step:
            case Normalize():
                steps.append(
                    NormalizeJacobian(
                        source=step.source,
                        target=step.target,
                        scale=step.scale,
                        centred=step.centred,
                        output=registers[step.target],
                    )
                )
            case Attend():
                assert before is not None
                _check(step, before)
                assert step.query_key is not None
                norm, weight = _norm_of(steps, step) if fold else (None, None)
                steps.append(
                    AttendJacobian(attend=step, query_key=step.query_key, norm=norm, weight=weight, input=before)
                )
            case _:
                steps.append(step)
    return steps


def _norm_of(steps: list[FullStep], attend: Attend) -> tuple[NormalizeJacobian | None, Tensor | None]:
    """Take the norm that this attention alone reads off the end of the steps, if that is where it stands."""
    match steps[-2:]:
        case [NormalizeJacobian() as norm, Affine() as affine] if (
            attend.source == affine.target == affine.source == norm.target != norm.source
        ):
            del steps[-2:]
            return norm, affine.weight
    return None, None


def _check(attend: Attend, x: Tensor) -> None:
    if attend.query_key is None:
        raise UnsupportedModelError(
            f"effects need the queries and keys of every attention, and those of layer {attend.layer} are not known "
            "for this architecture: trace without effects"
        )
    difference = float((attend.query_key.pattern(x, attend.pattern) - attend.pattern).abs().max())
    if not difference <= attend.query_key.tolerance:
        raise UnsupportedModelError(
            f"effects need the attention pattern of layer {attend.layer} found again from its queries and keys, and it "
            f"differs by {difference:.1e}: trace without effects"
        )
