"""A named set of tokens against another, each token with a weight: something to trace and something to measure.

    later = Contrast("later years", plus=[f"{year:02d}" for year in range(18, 100)], minus=["00", "01"])

Its *logit* is the weighted mean logit of `plus` less that of `minus`: a direction on the final normed stream, so that a
graph can explain it. Without `minus` the mean of all tokens stands there, as it does for a single token. Its
*probability* is the weighted sum over `plus` less that over `minus`: with weights of 1, a difference of masses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.named_tokens import difference, token_of
from clew.errors import InputError
from clew.subject.subject import Subject
from clew.subject.text import as_id

Weighted = tuple[tuple[str | int, float], ...]


@dataclass(frozen=True)
class Contrast:
    """Tokens that speak for something and tokens that speak against it, by name or id.

    Each side is a list of tokens, or tokens with their weights. InputError for a side that is neither, a weight that is
    not positive, a token that is given twice, and when `plus` is empty.
    """

    name: str
    plus: Weighted
    minus: Weighted = ()

    def __init__(self, name: str, plus: Any, minus: Any = ()) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "plus", _side(name, plus))
        object.__setattr__(self, "minus", _side(name, minus))
        if not self.plus:
            raise InputError(f"the contrast {name!r} has no tokens that speak for it: give at least one as plus")

    def readout(self, subject: Subject) -> Readout:
        """The contrast by token ids; InputError for a token that is none, and for one on both sides."""
        n_vocab = len(subject.unembedding)
        sides: list[dict[int, float]] = []
        for side in (self.plus, self.minus):
            weights: dict[int, float] = {}
            for token, weight in side:
                number = token if isinstance(token, int) else token_of(subject, token)
                if not 0 <= number < n_vocab:
                    raise InputError(f"{self.name!r}: token id {number} is outside the vocabulary 0..{n_vocab - 1}")
                if number in weights or (sides and number in sides[0]):
                    raise InputError(f"{self.name!r} names token {token!r} twice: a token stands on one side, once")
                weights[number] = weight
            sides.append(weights)
        return Readout(name=self.name, plus=tuple(sides[0].items()), minus=tuple(sides[1].items()))


def _side(name: str, tokens: Any) -> Weighted:
    """One side as pairs of token and weight."""
    if isinstance(tokens, str | int):
        tokens = [tokens]
    if not isinstance(tokens, Iterable):
        raise InputError(f"{name!r}: {tokens!r:.40} is no list of tokens")
    pairs: list[tuple[str | int, float]] = []
    for entry in tokens.items() if isinstance(tokens, Mapping) else tokens:
        token, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
        number = as_id(token)
        if number is None and not isinstance(token, str):
            raise InputError(f"{name!r}: {token!r:.40} is no token: give its name or its id")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise InputError(f"{name!r}: the weight of {token!r} is {weight!r:.40}, give a positive number")
        pairs.append((token if number is None else number, float(weight)))
    if len({token for token, _ in pairs}) < len(pairs):
        raise InputError(f"{name!r} names a token twice: a token stands on one side, once")
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class Readout:
    """A contrast by token ids: what reads it off logits and probabilities."""

    name: str
    plus: tuple[tuple[int, float], ...]
    minus: tuple[tuple[int, float], ...] = ()

    def logit(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
        """The weighted mean of plus less that of minus, or less the mean of all where there is no minus."""
        below = _sum(self.minus, logits, mean=True) if self.minus else logits.mean(-1)
        return _sum(self.plus, logits, mean=True) - below

    def probability(self, probabilities: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
        """The weighted sum of plus less that of minus."""
        above = _sum(self.plus, probabilities)
        return above - _sum(self.minus, probabilities) if self.minus else above

    def mass(self, probabilities: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
        """The probability of all its tokens together, whatever their weights."""
        ids = torch.tensor([token for token, _ in (*self.plus, *self.minus)], device=probabilities.device)
        return probabilities[..., ids].sum(-1)

    def of_rows(
        self, rows: Float[Tensor, "vocab *d"], mean: Float[Tensor, "*d"], dtype: torch.dtype
    ) -> Float[Tensor, "*d"]:
        """What `logit` makes of one value a token, such as its unembedding row; `mean` is that of all tokens."""
        sides = []
        for side in (self.plus, self.minus):
            ids, weights = _tensors(side, rows.device, dtype)
            sides.append(torch.tensordot(weights / weights.sum(), rows[ids].to(dtype), 1) if side else mean.to(dtype))
        return sides[0] - sides[1]


def _tensors(
    side: tuple[tuple[int, float], ...], device: torch.device, dtype: torch.dtype
) -> tuple[Int[Tensor, " token"], Float[Tensor, " token"]]:
    ids = torch.tensor([token for token, _ in side], dtype=torch.long, device=device)
    return ids, torch.tensor([weight for _, weight in side], dtype=dtype, device=device)


def _sum(side: tuple[tuple[int, float], ...], values: Tensor, *, mean: bool = False) -> Tensor:
    ids, weights = _tensors(side, values.device, torch.promote_types(values.dtype, torch.float32))
    return values[..., ids].to(weights) @ (weights / weights.sum() if mean else weights)


def readout(subject: Subject, target: object) -> Readout:
    """What reads a target off logits: of a contrast, a token or its id, or a difference such as "Paris - Berlin".

    InputError for a direction, which reads no logits, and for what is no token.
    """
    if isinstance(target, Readout):
        return target
    if isinstance(target, Contrast):
        return target.readout(subject)
    number = as_id(target)
    if number is None and not isinstance(target, str):
        raise InputError(f"{target!r:.60} is not read off next tokens: give a token, a difference or a Contrast")
    if number is not None:
        return Contrast(f"#{number}", [number]).readout(subject)
    text = str(target)
    pair = difference(subject, text)
    plus, minus = (token_of(subject, text), None) if pair is None else pair
    return Contrast(text, [plus], [] if minus is None else [minus]).readout(subject)
