"""One frozen run of a model as an ordered list of linear steps between named registers.

A register holds one vector a position: `stream` (the residual stream), `normed`, `mixed` (an attention's output), `out`
(an MLP's output). Each step maps its source register to its target register, knows its constant part (biases, learned
positions) and its transpose. Serial and parallel blocks, norms before and after a sublayer are different lists of the
same steps. The MLP is not linear: the list has a gap between its input and its output (`Mlp`), which holds the recorded
output. What explains that output is the concern of attribution.

`replay` runs the list forwards. A list that does not give back the model's own residual stream and logits is wrong, and
`Subject.record` refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.kernels.wide_rows import mean_row
from clew.subject.query_key import QueryKey

SiteName = Literal["resid_pre", "resid_mid", "resid_post", "mlp_normalized", "mlp_in", "mlp_raw_out", "mlp_out"]
SiteAt = tuple[SiteName, int]
"""A site in one layer."""
READ_SITES: tuple[SiteName, ...] = ("resid_pre", "resid_mid", "resid_post", "mlp_normalized", "mlp_in")
WRITE_SITES: tuple[SiteName, ...] = ("mlp_raw_out", "mlp_out")

Registers = dict[str, Tensor]


@runtime_checkable
class Linear(Protocol):
    """A step from one register to another: forward(x) = linear(x) + constant, transpose(g) = linear^T(g).

    `transpose` carries many gradients at once, one a target, along the last axis.
    """

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]: ...
    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]: ...
    def constant(self) -> Float[Tensor, "*pos d_model"] | None: ...


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Token embeddings (scaled as the model scales them) plus learned position embeddings where it has them."""

    target: str
    tokens: Float[Tensor, "pos d_model"]
    positions: Float[Tensor, "pos d_model"] | None


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """Division by the frozen standard deviation (or root mean square), after centring where the norm centres."""

    source: str
    target: str
    scale: Float[Tensor, " pos"]  # 1 / sigma
    centred: bool

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return x * self.scale[:, None]

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        g = g * self.scale[: len(g), None, None]
        return g - g.mean(1, keepdim=True) if self.centred else g

    def transpose_points(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"]
    ) -> Float[Tensor, "target d_model"]:
        """`transpose` of gradients of one position each."""
        g = g * self.scale[positions, None]
        return g - g.mean(-1, keepdim=True) if self.centred else g

    def constant(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A norm's elementwise weight and bias."""

    source: str
    target: str
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        return x * self.weight if self.bias is None else torch.addcmul(self.bias, x, self.weight)

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        return g * self.weight[:, None]

    def transpose_points(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"]
    ) -> Float[Tensor, "target d_model"]:
        """`transpose` of gradients of one position each."""
        return g * self.weight

    def constant(self) -> Float[Tensor, " d_model"] | None:
        return self.bias


@dataclass(frozen=True, kw_only=True)
class Attend:
    """Attention with its pattern frozen: mix positions by the pattern, map by value and output weights.

    Heads that share a value head (grouped queries) are `group` neighbours: head h uses value head h // group.
    """

    source: str
    target: str
    layer: int
    pattern: Float[Tensor, "head pos pos"]  # row = query position, column = key position
    value: Float[Tensor, "value_head d_model d_head"]
    value_bias: Float[Tensor, "value_head d_head"] | None
    output: Float[Tensor, "head d_head d_model"]
    output_bias: Float[Tensor, "*pos d_model"] | None
    query_key: QueryKey | None = None
    """How the pattern is found; None where the architecture does not say."""

    @property
    def group(self) -> int:
        return len(self.output) // len(self.value)

    def forward(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        values = torch.matmul(x.unsqueeze(-3), self.value)
        mixed = torch.matmul(self.pattern, values.repeat_interleave(self.group, -3))
        out = torch.matmul(mixed, self.output).sum(-3)
        constant = self.constant()
        return out if constant is None else out + constant

    def transpose(self, g: Float[Tensor, "pos d_model target"]) -> Float[Tensor, "pos d_model target"]:
        n_pos, d_model, n_targets = g.shape
        heads, d_head = self.output.shape[:2]
        split = torch.matmul(self.output.view(-1, d_model), g).view(n_pos, heads, -1)
        mixed = g.new_empty(n_pos, len(self.value), d_head * n_targets)
        for head in range(heads):
            out, pattern = mixed[:, head // self.group], self.pattern[head, :n_pos, :n_pos].T
            torch.addmm(out, pattern, split[:, head], beta=int(head % self.group > 0), out=out)
        value = self.value.transpose(0, 1).reshape(d_model, -1)
        return torch.matmul(value, mixed.view(n_pos, -1, n_targets))

    def transpose_at(
        self, positions: Int[Tensor, " target"], g: Float[Tensor, "target d_model"], n_pos: int
    ) -> Float[Tensor, "pos d_model target"]:
        """`transpose` of gradients of one position each, on the first `n_pos` positions: far cheaper."""
        d_head, d_model = self.output.shape[1:]
        split = torch.matmul(self.output.view(-1, d_model), g.T).view(len(self.value), self.group, d_head, -1)
        pattern = (
            self.pattern[:, positions, :n_pos]
            .permute(2, 0, 1)
            .contiguous()
            .view(n_pos, len(self.value), self.group, -1)
        )
        mixed = torch.mul(split[:, 0], pattern[:, :, 0, None], out=g.new_empty(n_pos, len(self.value), d_head, len(g)))
        for member in range(1, self.group):
            mixed.addcmul_(split[:, member], pattern[:, :, member, None])
        value = self.value.transpose(0, 1).reshape(d_model, -1)
        return torch.matmul(value, mixed.view(n_pos, -1, len(g)))

    def through_head(self, g: Float[Tensor, "pos d_model"], head: int) -> Float[Tensor, "pos d_model"]:
        """What of `transpose` goes through the values of one head."""
        n_pos = len(g)
        mixed = self.pattern[head, :n_pos, :n_pos].T @ (g @ self.output[head].T)
        return mixed @ self.value[head // self.group].T

    def after(self, normalize: Normalize, affine: Affine) -> Attend:
        """The same attention with the norm before it folded into its weights: it reads what the norm reads."""
        weighted = self.value * affine.weight[:, None]
        value = weighted - weighted.mean(1, keepdim=True) if normalize.centred else weighted
        value_bias = self.value_bias
        if affine.bias is not None:
            norm_bias = torch.matmul(affine.bias, self.value)
            value_bias = norm_bias if value_bias is None else norm_bias + value_bias
        constant = replace(self, value_bias=value_bias).constant()
        pattern = self.pattern * normalize.scale
        return replace(
            self,
            source=normalize.source,
            pattern=pattern,
            value=value,
            value_bias=None,
            output_bias=constant,
            query_key=None,
        )

    def constant(self) -> Float[Tensor, "pos d_model"] | None:
        constant = None
        if self.value_bias is not None:
            mixed_bias = self.pattern.sum(-1)[:, :, None] * self.value_bias.repeat_interleave(self.group, 0)[:, None]
            constant = torch.matmul(mixed_bias, self.output).sum(0)
        if self.output_bias is not None:
            bias = self.output_bias.expand(self.pattern.shape[1], -1)
            constant = bias if constant is None else constant + bias
        return constant


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """The gap: the MLP's recorded output, before a post-norm."""

    layer: int
    source: str
    target: str
    output: Float[Tensor, "pos d_model"]


@dataclass(frozen=True, kw_only=True)
class Add:
    """Add one register to another, which stays."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """A name for what a register holds at this point of the list."""

    name: SiteName
    layer: int
    register: str


@dataclass(frozen=True, kw_only=True)
class Unembed:
    """The map from the final normed stream to logits before a final soft-cap."""

    source: str
    target: str
    weight: Float[Tensor, "vocab d_model"]  # in the model's own dtype
    bias: Float[Tensor, " vocab"] | None

    @cached_property
    def mean(self) -> Float[Tensor, " d_model"]:
        """The mean row, in float32 at least: taken once for all targets, since it reads the whole matrix."""
        return mean_row(self.weight, torch.promote_types(self.weight.dtype, torch.float32))

    def forward(self, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos vocab"]:
        logits = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight).to(x.dtype)
        return logits if self.bias is None else logits + self.bias


Step = Embed | Normalize | Affine | Attend | Mlp | Add | Site | Unembed


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The steps of one run, and what each site holds when they are replayed.

    `logits` are before a final soft-cap, `probabilities` after it. Site values come from the replay, so that they agree
    with the steps to rounding even where the model itself rounds more coarsely.
    """

    ids: Int[Tensor, " pos"]
    steps: tuple[Step, ...]
    sites: Mapping[SiteAt, Float[Tensor, "pos d_model"]]
    final: Float[Tensor, "pos d_model"]  # the final normed stream, which the unembedding reads
    logits: Float[Tensor, "pos vocab"]
    probabilities: Float[Tensor, "pos vocab"]
    n_layers: int

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        width, vocabulary = self.final.shape[1], self.logits.shape[1]
        return (
            f"Recording({len(self):,} positions, {len(self.steps)} steps of {self.n_layers} layers, width {width}, "
            f"{vocabulary:,} tokens)"
        )

    def patterns(self) -> dict[int, Float[Tensor, "head pos pos"]]:
        """The attention patterns by layer."""
        return {step.layer: step.pattern for step in self.steps if isinstance(step, Attend)}


def advance(registers: Registers, sites: dict[SiteAt, Tensor], step: Step) -> None:
    """Apply one step to the registers, in place."""
    match step:
        case Embed():
            registers[step.target] = step.tokens if step.positions is None else step.tokens + step.positions
        case Mlp():
            registers[step.target] = step.output
        case Add():
            registers[step.target] = registers[step.target] + registers[step.source]
        case Site():
            sites[step.name, step.layer] = registers[step.register]
        case _:
            registers[step.target] = step.forward(registers[step.source])


def replay(steps: tuple[Step, ...]) -> tuple[dict[SiteAt, Tensor], Tensor]:
    """Run all steps forwards; returns what each site holds, and the logits before a final soft-cap."""
    registers: Registers = {}
    sites: dict[SiteAt, Tensor] = {}
    for step in steps:
        advance(registers, sites, step)
    return sites, registers["logits"]
