"""How an attention finds its pattern: what a recorded pattern depends on, for everything that does not hold it fixed.

Scores are S[q, k] = cap(c (R_q W_Q x_q) . (R_k W_K x_k)), where x is what the attention reads, R turns pairs of
directions by the position (rotary), c is the attention's scale and cap(s) = t tanh(s / t) where a model has one. Which
keys a query sees (causal, sliding window) is taken from the recorded pattern: it is zero where a key is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class QueryKey:
    """The maps of one attention from what it reads to its scores. Heads that share a key head are neighbours."""

    query: Float[Tensor, "head d_model d_head"]
    query_bias: Float[Tensor, "head d_head"] | None
    key: Float[Tensor, "key_head d_model d_head"]
    key_bias: Float[Tensor, "key_head d_head"] | None
    scale: float
    cap: float | None = None
    rotary: Rotary | None = None
    tolerance: float = 1e-5
    """The largest difference between the recorded pattern and `pattern` that counts as the model's own rounding."""

    def queries(self, x: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case head pos d_head"]:
        return self._projected(x, self.query, self.query_bias)

    def keys(self, x: Float[Tensor, "*case pos d_model"]) -> Float[Tensor, "*case head pos d_head"]:
        """One for each head: those that share a key head have the same."""
        return self._projected(x, self.key, self.key_bias).repeat_interleave(len(self.query) // len(self.key), -3)

    def _projected(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made = torch.matmul(x.unsqueeze(-3), weight)
        made = made if bias is None else made + bias[:, None]
        return made if self.rotary is None else self.rotary.forward(made)

    def scores(self, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "head pos pos"]:
        """Scores of all pairs, row = query position, whether the key is seen or not."""
        scores = self.scale * torch.matmul(self.queries(x), self.keys(x).mT)
        return scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)

    def pattern(self, x: Float[Tensor, "pos d_model"], recorded: Float[Tensor, "head pos pos"]) -> Tensor:
        """The pattern anew, over the keys that have a weight in the recorded one and with its sum in every row."""
        scores = self.scores(x).masked_fill(recorded == 0, -torch.inf)
        return scores.softmax(-1) * recorded.sum(-1, keepdim=True)
