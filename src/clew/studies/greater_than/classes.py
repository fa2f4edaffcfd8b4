"""What kind of feature each is, by statistics with permutation nulls, at a false discovery rate of 5 %.

- *contribution*: the mean over start years of its direct effect on later years less that on the others. Null: start
  years exchanged. Significantly negative: a saboteur. Positive: it helps.
- *band*: the largest share of its activation in any quarter of the start years. Null: start years exchanged.
- *parity*: how much years of one parity differ from the mean of their neighbours, in its activation by start year or
  in its effect by end year; over threes that do not overlap and hold no multiple of ten, weighted so that slopes and
  curves cancel. Null: signs flipped.
- *multiples*: how much multiples of 10, or of 5, differ from the mean of their neighbours. Null: in every decade
  another last digit of the same parity.

A feature is the first of these that it is: saboteur, multiples, parity or contrast, narrow band (most of its activation
in a quarter of the start years), general (it helps, over a wide range), other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clew.stats import FALSE_DISCOVERY_RATE, discovered
from clew.studies.greater_than.prompts import YEARS

CLASSES = ("general", "narrow band", "parity or contrast", "multiples", "saboteur", "other")
RATE = FALSE_DISCOVERY_RATE
"""The false discovery rate."""
WIDTH = 25
"""Start years of a narrow band, and the share of its activation that must lie there."""
MASS = 0.8
_CHUNK = 250  # permutations at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """The class of every feature and what it was judged by."""

    names: tuple[str, ...]
    contribution: Float[np.ndarray, " node"]
    """Logits: later years less the others."""
    band: Float[np.ndarray, " node"]
    p: dict[str, Float[np.ndarray, " node"]]
    """Of each statistic: `helps`, `sabotages`, `band`, `parity`, `multiples`."""

    def of(self, name: str) -> list[int]:
        """The features of one class."""
        return [node for node, own in enumerate(self.names) if own == name]


def classify(
    activations: Float[np.ndarray, "node start"],
    starts: Int[np.ndarray, " start"],
    effects: Float[np.ndarray, "node traced year"],
    traced: Int[np.ndarray, " traced"],
    *,
    permutations: int,
    seed: int = 0,
) -> Classes:
    """The class of every feature, by its activation over start years and its effects on end years."""
    rng = np.random.default_rng(seed)
    contribution, helps, sabotages = _contribution(effects, traced, permutations, rng)
    share, band = _band(activations, starts, permutations, rng)
    whole = np.full((len(activations), YEARS), np.nan)
    whole[:, starts] = activations
    profile = effects.mean(1)
    parity = np.minimum(1, 2 * np.minimum(*(_parity(each, permutations, rng) for each in (whole, profile))))
    tests = [_multiples(each, last, permutations, rng) for each in (whole, profile) for last in ((0,), (0, 5))]
    multiples = np.minimum(1, len(tests) * np.min(tests, 0))
    p = {"helps": helps, "sabotages": sabotages, "band": band, "parity": parity, "multiples": multiples}
    found = {name: discovered(values) for name, values in p.items()}
    names = []
    for node in range(len(activations)):
        if found["sabotages"][node] and contribution[node] < 0:
            names.append("saboteur")
        elif found["multiples"][node]:
            names.append("multiples")
        elif found["parity"][node]:
            names.append("parity or contrast")
        elif found["band"][node] and share[node] >= MASS:
            names.append("narrow band")
        else:
            names.append("general" if found["helps"][node] else "other")
    return Classes(names=tuple(names), contribution=contribution, band=share, p=p)


def contributions(
    effects: Float[np.ndarray, "node traced year"], starts: Int[np.ndarray, " judged"]
) -> Float[np.ndarray, "node traced judged"]:
    """Mean effect on later years less that on the others, of each row judged by each start year."""
    later = np.arange(YEARS)[None] > starts[:, None]
    weights = later / np.maximum(later.sum(1, keepdims=True), 1) - ~later / np.maximum(
        (~later).sum(1, keepdims=True), 1
    )
    found: np.ndarray = effects @ weights.T
    return found


def _contribution(
    effects: np.ndarray, traced: np.ndarray, permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The contribution, and how rarely exchanged start years give as much, or as little."""
    table, n = contributions(effects, traced), len(traced)
    own = np.diagonal(table, axis1=1, axis2=2).mean(1)
    above, below = np.ones(len(own)), np.ones(len(own))
    slack = 1e-9 * np.abs(table).max(initial=0)
    for orders in _orders(n, permutations, rng):
        drawn = table[:, np.arange(n)[None], orders].mean(2)
        above += (drawn >= own[:, None] - slack).sum(1)
        below += (drawn <= own[:, None] + slack).sum(1)
    return own, above / (permutations + 1), below / (permutations + 1)


def _orders(n: int, permutations: int, rng: np.random.Generator) -> Iterator[Int[np.ndarray, "draw n"]]:
    for begin in range(0, permutations, _CHUNK):
        yield rng.permuted(np.tile(np.arange(n), (min(_CHUNK, permutations - begin), 1)), axis=1)


def band_share(activations: Float[np.ndarray, "*node start"], width: int) -> Float[np.ndarray, "*node"]:
    """The largest share of the activation in `width` neighbouring start years; 0 where there is none."""
    sums = np.cumsum(np.concatenate([np.zeros((*activations.shape[:-1], 1)), activations], -1), -1)
    width = min(width, activations.shape[-1])
    most = (sums[..., width:] - sums[..., :-width]).max(-1)
    share: np.ndarray = most / np.maximum(sums[..., -1], 1e-12)
    return share


def _band(
    activations: np.ndarray, starts: np.ndarray, permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    width = max(1, round(WIDTH * len(starts) / YEARS))
    own, above = band_share(activations, width), np.ones(len(activations))
    for orders in _orders(len(starts), permutations, rng):
        for order in orders:
            above += band_share(activations[:, order], width) >= own - 1e-9
    return own, above / (permutations + 1)


def _bent(profile: np.ndarray) -> np.ndarray:
    """By how much every year differs from the mean of its neighbours; NaN at the ends and beside what is missing."""
    bent = np.full_like(profile, np.nan)
    bent[:, 1:-1] = profile[:, 1:-1] - (profile[:, :-2] + profile[:, 2:]) / 2
    return bent


def _parity(profile: Float[np.ndarray, "node year"], permutations: int, rng: np.random.Generator) -> np.ndarray:
    """How rarely flipped signs give as strong an alternation; of the digits 1 to 9, in threes."""
    decades = 10 * np.arange(YEARS // 10)[:, None]
    terms = np.nan_to_num(_bent(profile)[:, (decades + np.array([2, 5, 8])).ravel()])
    terms = terms * np.tile([0.5, -1.0, 0.5], len(decades))
    flips = rng.choice([-1.0, 1.0], size=(permutations, terms.shape[1]))
    return _rarely(np.abs(terms @ flips.T), np.abs(terms.sum(1)))


def _multiples(
    profile: Float[np.ndarray, "node year"], last: Sequence[int], permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """How rarely other last digits of the same parity stand out as much as these, another one in every decade."""
    bent = np.nan_to_num(_bent(profile)).reshape(len(profile), -1, 10)[:, 1:]
    decades = np.arange(bent.shape[1])
    own, draws = np.zeros(len(profile)), np.zeros((len(profile), permutations))
    for digit in last:
        other = digit % 2 + 2 * rng.integers(0, 5, size=(permutations, len(decades)))
        own += bent[:, :, digit].sum(1)
        draws += bent[:, decades, other].sum(2)
    return _rarely(np.abs(draws), np.abs(own))


def _rarely(draws: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The share of draws that reach the own value, which counts among them."""
    reached = (draws >= own[:, None] - 1e-12 - 1e-9 * own[:, None]).sum(1)
    share: np.ndarray = (1 + reached) / (1 + draws.shape[1])
    return share
