"""The steps of a Recording with their full derivative: what changes in a run when something upstream changes.

A Recording's own steps hold attention patterns and norm scales fixed, so that they add up to the run. Here a norm's
scale and a pattern follow their input, to first order at the recorded run:

1. *Norm*, y = r (x - mean): g -> centre(r (g - y (y . g) / d)), exact with eps in r.
2. *Attention*: beside the values, gP[q, k] = (W_O g_q) . v_k, gS = P (gP - sum_k P gP), times the slope of a soft-cap;
   gS goes to the queries through the keys and to the keys through the queries, and through rotary positions and
   projections back to what the attention reads. A pattern whose rows do not sum to one (sinks) has the same form.

`linearized` refuses a recording whose pattern is not found again from its queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.errors import UnsupportedModelError
from clew.subject.query_key import QueryKey
from clew.subject.recording import Affine, Attend, Normalize, Recording, Registers, SiteAt, Step, advance

_TOLERANCE = {torch.float64: 1e-5, torch.float32: 2e-3}
"""The largest difference between a recorded pattern and the one found again."""


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
        n_pos = len(g)
        y, scale = self.output[:n_pos], self.scale[:n_pos, None, None]
        along = torch.bmm((y / y.shape[1])[:, None], g)
        back = torch.baddbmm(g, y[:, :, None], along, alpha=-1) * scale
        return back - back.mean(1, keepdim=True) if self.centred else back

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
    def read(self) -> Float[Tensor, "d_model mixed"]:
        """From values, queries and keys of all heads back to what is read: values first."""
        parts = (self.attend.value, self.query_key.query, self.query_key.key)
        whole = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
        return whole if self.weight is None else whole * self.weight[:, None]

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """How the output changes with the input, to first order."""
        maps, pattern = self.query_key, self.attend.pattern
        x = x if self.norm is None or self.weight is None else self.norm.forward(x) * self.weight
        queries, keys = torch.matmul(x.unsqueeze(-3), maps.query), torch.matmul(x.unsqueeze(-3), maps.key)
        if maps.rotary is not None:
            queries, keys = maps.rotary.forward(queries), maps.rotary.forward(keys)
        keys = keys.repeat_interleave(len(maps.query) // len(maps.key), -3)
        values = torch.matmul(x.unsqueeze(-3), self.attend.value).repeat_interleave(self.attend.group, -3)
        scores = self.slope * (torch.matmul(queries, self.keys.mT) + torch.matmul(self.queries, keys.mT))
        turned = pattern * (scores - (pattern * scores).sum(-1, keepdim=True))
        mixed = torch.matmul(turned, self.values) + torch.matmul(pattern, values)
        return torch.matmul(mixed, self.attend.output).sum(-3)

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        n_pos, d_model, n_targets = g.shape
        heads, d_head = self.attend.output.shape[:2]
        split = torch.matmul(self.attend.output.view(-1, d_model), g).view(n_pos, heads, d_head, n_targets)
        mixed = _Mixed(self, g.new_zeros(n_pos, self.read.shape[1], n_targets))
        for head in range(heads):
            of_head, pattern = split[:, head], self.attend.pattern[head, :n_pos, :n_pos]
            through = torch.matmul(self.values[head, :n_pos], of_head)  # [query, key, target]
            through -= torch.bmm(pattern[:, None], through)
            through *= (pattern * self.slope[head, :n_pos, :n_pos])[:, :, None]
            mixed.values(head).addmm_(pattern.T, of_head.flatten(1))
            mixed.queries(head).add_(torch.matmul(self.keys[head, :n_pos].T, through))
            mixed.keys(head).add_(torch.matmul(self.queries[head, :n_pos].T, through.transpose(0, 1)))
        return self._read(mixed)

    def transpose_at(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"], n_pos: int
    ) -> Float[Tensor, "pos d_model target"]:
        """`transpose` of gradients of one position each, on the first `n_pos` positions: far cheaper."""
        heads, d_head, d_model = self.attend.output.shape
        n_targets, members = len(g), torch.arange(len(g), device=g.device)
        split = torch.matmul(self.attend.output.view(-1, d_model), g.T).view(heads, d_head, n_targets)
        mixed = _Mixed(self, g.new_zeros(n_pos, self.read.shape[1], n_targets))
        for head in range(heads):
            of_head = split[head]
            pattern = self.attend.pattern[head, positions, :n_pos].T  # [key, target]
            through = torch.matmul(self.values[head, :n_pos], of_head)
            through -= (pattern * through).sum(0)
            through *= pattern * self.slope[head, positions, :n_pos].T
            mixed.values(head).view(n_pos, d_head, n_targets).addcmul_(of_head, pattern[:, None])
            mixed.queries(head)[positions, :, members] += (self.keys[head, :n_pos].T @ through).T
            mixed.keys(head).addcmul_(self.queries[head, positions].T, through[:, None])
        return self._read(mixed)

    def through_pattern(self, g: Float[Tensor, "pos d_model"], head: int, side: str) -> Float[Tensor, "pos d_model"]:
        """What of `transpose` goes through one head's pattern, by its queries (`query`) or its keys (`key`).

        These are gradients of what the attention reads, whether its norm is part of it or not.
        """
        n_pos, heads = len(g), len(self.attend.output)
        pattern = self.attend.pattern[head, :n_pos, :n_pos]
        through = (g @ self.attend.output[head].T) @ self.values[head, :n_pos].T
        through = pattern * (through - (pattern * through).sum(1, keepdim=True)) * self.slope[head, :n_pos, :n_pos]
        if side == "query":
            back, weight = through @ self.keys[head, :n_pos], self.query_key.query[head]
        else:
            shared = heads // len(self.query_key.key)
            back, weight = through.T @ self.queries[head, :n_pos], self.query_key.key[head // shared]
        rotary = self.query_key.rotary
        if rotary is not None:
            back = rotary.transpose_points(torch.arange(n_pos, device=back.device), back)
        return back @ weight.T

    def _read(self, mixed: _Mixed) -> Tensor:
        back = torch.matmul(self.read, mixed.whole())
        return back if self.norm is None else self.norm.transpose(back)


class _Mixed:
    """Gradients of the values, queries and keys of all heads at every position, in one tensor."""

    def __init__(self, step: AttendJacobian, whole: Float[Tensor, "pos mixed target"]) -> None:
        self.step, self._whole = step, whole
        self.d_head = step.attend.output.shape[1]
        self.group = len(step.query_key.query) // len(step.query_key.key)
        self.n_values, self.n_heads = len(step.attend.value), len(step.attend.output)

    def _part(self, place: int) -> Tensor:
        return self._whole[:, place * self.d_head : (place + 1) * self.d_head]

    def values(self, head: int) -> Tensor:
        return self._part(head // self.step.attend.group).flatten(1)

    def queries(self, head: int) -> Tensor:
        return self._part(self.n_values + head)

    def keys(self, head: int) -> Tensor:
        return self._part(self.n_values + self.n_heads + head // self.group)

    def whole(self) -> Float[Tensor, "pos mixed target"]:
        """All of it, queries and keys turned back from their positions."""
        rotary = self.step.query_key.rotary
        if rotary is not None:
            turned = self._whole[:, self.n_values * self.d_head :]
            n_pos, _, n_targets = turned.shape
            turned.copy_(rotary.transpose(turned.reshape(n_pos, -1, self.d_head, n_targets)).flatten(1, 2))
        return self._whole


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
    if not difference <= _TOLERANCE[x.dtype]:
        raise UnsupportedModelError(
            f"effects need the attention pattern of layer {attend.layer} found again from its queries and keys, and it "
            f"differs by {difference:.1e}: trace without effects"
        )
