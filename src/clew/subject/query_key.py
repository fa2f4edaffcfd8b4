"""How an attention finds its pattern: what a recorded pattern depends on, for everything that does not hold it fixed.

Scores are S[q, k] = cap(c (R_q N(W_Q x_q)) . (R_k N(W_K x_k))), where x is what the attention reads, N norms queries
and keys where a model does, R turns pairs of directions by the position (rotary), c is the attention's scale and
cap(s) = t tanh(s / t) where a model has one. A sink is a score that every query of a head has beside those of its keys,
and whose share goes nowhere. Which keys a query sees (causal, sliding window) is taken from the recorded pattern: it is
zero where a key is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Turns the first entries of queries and keys by their position; entry i goes with entry i + half."""

    cos: Float[Tensor, "pos rotated"]
    sin: Float[Tensor, "pos rotated"]

    def forward(self, x: Float[Tensor, "*batch head pos d_head"]) -> Float[Tensor, "*batch head pos d_head"]:
        n = self.cos.shape[1]
        first, second = x[..., :n].chunk(2, -1)
        turned = x[..., :n] * self.cos + torch.cat([-second, first], -1) * self.sin
        return turned if n == x.shape[-1] else torch.cat([turned, x[..., n:]], -1)

    def transpose(self, g: Float[Tensor, "pos head d_head target"]) -> Float[Tensor, "pos head d_head target"]:
        """The transpose, on the first positions."""
        n_pos, n = len(g), self.cos.shape[1]
        cos, sin = (table[:n_pos, None, :, None] for table in (self.cos, self.sin))
        part = g[:, :, :n]
        first, second = (part * sin).chunk(2, 2)
        back = part * cos + torch.cat([second, -first], 2)
        return back if n == g.shape[2] else torch.cat([back, g[:, :, n:]], 2)

    def transpose_points(
        self, positions: Int[Tensor, " point"], g: Float[Tensor, "point d_head"]
    ) -> Float[Tensor, "point d_head"]:
        """The transpose of vectors of one position each."""
        n = self.cos.shape[1]
        first, second = (g[:, :n] * self.sin[positions]).chunk(2, 1)
        back = g[:, :n] * self.cos[positions] + torch.cat([second, -first], 1)
        return back if n == g.shape[1] else torch.cat([back, g[:, n:]], 1)


@dataclass(frozen=True, kw_only=True)
class HeadNorm:
    """A norm of queries or keys by their root mean square, that of each head or of all heads together."""

    weight: Float[Tensor, "head d_head"]
    eps: float
    together: bool = False

    def at(self, x: Float[Tensor, "*case head pos d_head"]) -> HeadNormAt:
        """The norm where it is given `x`."""
        mean = x.square().mean((-3, -1) if self.together else -1, keepdim=True)
        scale = torch.rsqrt(mean + self.eps).expand(*x.shape[:-1], 1)
        return HeadNormAt(output=x * scale, scale=scale, weight=self.weight, together=self.together)


@dataclass(frozen=True, kw_only=True)
class HeadNormAt:
    """A norm of queries or keys at one run, and its derivative there."""

    output: Float[Tensor, "*case head pos d_head"]
    """Before the weight."""
    scale: Float[Tensor, "*case head pos 1"]
    weight: Float[Tensor, "head d_head"]
    together: bool

    @property
    def weighted(self) -> Float[Tensor, "*case head pos d_head"]:
        return self.output * self.weight[:, None]

    @property
    def held(self) -> HeadNormAt:
        """The same with its scale held: the derivative is the map itself."""
        return replace(self, output=torch.zeros_like(self.output))

    def forward(self, x: Float[Tensor, "*batch head pos d_head"]) -> Float[Tensor, "*batch head pos d_head"]:
        """How the weighted output changes with the input, to first order."""
        along = (self.output * x).mean((-3, -1) if self.together else -1, keepdim=True)
        return (x - self.output * along) * self.scale * self.weight[:, None]

    def transpose(self, g: Float[Tensor, "pos head d_head target"]) -> Float[Tensor, "pos head d_head target"]:
        """The transpose of `forward`, on the first positions."""
        output, scale = (part[:, : len(g)].transpose(0, 1)[..., None] for part in (self.output, self.scale))
        g = g * self.weight[..., None]
        along = (output * g).mean((1, 2) if self.together else 2, keepdim=True)
        return (g - output * along) * scale

    def transpose_head(
        self, head: int, positions: Int[Tensor, " point"], g: Float[Tensor, "point d_head"]
    ) -> Float[Tensor, "reached point d_head"]:
        """`transpose` of gradients of one head, one position each, to the heads they reach: that head, or all."""
        reached = slice(None) if self.together else slice(head, head + 1)
        output, scale = self.output[reached][:, positions], self.scale[reached][:, positions]
        g = g * self.weight[head]
        along = (self.output[head, positions] * g).sum(1) / (len(output) * g.shape[1])
        back = -output * along[:, None]
        back[head if self.together else 0] += g
        return back * scale


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The map from what an attention reads to its queries or its keys, before rotary positions."""

    weight: Float[Tensor, "head d_model d_head"]
    bias: Float[Tensor, "head d_head"] | None = None
    norm: HeadNorm | None = None

    def forward(self, x: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case head pos d_head"]:
        norm = self.norm_at(x)
        return self._made(x) if norm is None else norm.weighted

    def norm_at(self, x: Float[Tensor, "*case pos d_model"]) -> HeadNormAt | None:
        """Its norm at a run that reads `x`; None where it has none."""
        return None if self.norm is None else self.norm.at(self._made(x))

    def _made(self, x: Tensor) -> Tensor:
        made = torch.matmul(x.unsqueeze(-3), self.weight)
        return made if self.bias is None else made + self.bias[:, None]

    def transpose_head(
        self,
        head: int,
        positions: Int[Tensor, " point"],
        g: Float[Tensor, "point d_head"],
        norm: HeadNormAt | None,
    ) -> tuple[Float[Tensor, "point d_model"], Float[Tensor, " point"]]:
        """From gradients of one head, one position each, to those of what is read, and what the bias gives along them.

        `norm` is the own one at the run.
        """
        reached, back = slice(head, head + 1), g[None]
        if norm is not None:
            reached, back = slice(None) if norm.together else reached, norm.transpose_head(head, positions, g)
        read = torch.matmul(back, self.weight[reached].mT).sum(0)
        constant = g.new_zeros(len(g)) if self.bias is None else (back * self.bias[reached][:, None]).sum((0, 2))
        return read, constant


@dataclass(frozen=True, kw_only=True)
class QueryKey:
    """The maps of one attention from what it reads to its scores. Heads that share a key head are neighbours."""

    query: Projection
    key: Projection
    scale: float
    cap: float | None = None
    rotary: Rotary | None = None
    sinks: Float[Tensor, " head"] | None = None
    tolerance: float = 1e-5
    """The largest difference between the recorded pattern and `pattern` that counts as the model's own rounding."""

    @property
    def group(self) -> int:
        """How many heads share a key head."""
        return len(self.query.weight) // len(self.key.weight)

    def queries(self, x: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case head pos d_head"]:
        return self._turned(self.query.forward(x))

    def keys(self, x: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case head pos d_head"]:
        """One for each head: those that share a key head have the same."""
        return self._turned(self.key.forward(x)).repeat_interleave(self.group, -3)

    def _turned(self, made: Tensor) -> Tensor:
        return made if self.rotary is None else self.rotary.forward(made)

    def scores(self, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "head pos pos"]:
        """Scores of all pairs, row = query position, whether the key is seen or not."""
        scores = self.scale * torch.matmul(self.queries(x), self.keys(x).mT)
        return scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)

    def pattern(self, x: Float[Tensor, "pos d_model"], recorded: Float[Tensor, "head pos pos"]) -> Tensor:
        """The pattern anew, over the keys that have a weight in the recorded one."""
        scores = self.scores(x).masked_fill(recorded == 0, -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks[:, None, None].expand(-1, scores.shape[1], 1)
        return torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
