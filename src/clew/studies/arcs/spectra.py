"""Spectra of trajectories, and what they are where nothing is to be seen.

1. Rows are centred: every trajectory has the mean zero over its positions. The components are those of the rows
   together (singular value decomposition, Reagan et al. 2016); their shares of the sum of squares are the spectrum.
2. *White noise* of n positions has n - 1 equal shares.
3. *A random walk* has the shares 3 / ((n^2 - 1)(1 - cos(pi k / n))), k = 1 .. n - 1, and the shapes
   cos(pi k (t + 1/2) / n): 60.8, 15.2, 6.8, 3.8 % of a long one (Antognini and Sohl-Dickstein 2018 have the limit).
4. *A moving average* over w of white noise has the covariance max(0, 1 - |tau| / w), row-centred.

Smooth trajectories have cosines as their shapes whatever they are about, so that only the spectrum can say something,
and only beside text in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clew.errors import InputError
from clew.stats import COVERAGE

WHITE, WALK, MOVING, SHUFFLED = "white noise", "random walk", "moving average", "shuffled text"
FEWEST_POSITIONS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """Components from the largest to the smallest: n - 1 of them, since rows are centred."""

    shares: Float[np.ndarray, " component"]
    """Of the sum of squares."""
    shapes: Float[np.ndarray, "component pos"]
    """Unit vectors; a sign is arbitrary, and made so that the last position is above the first."""

    def reach(self, count: int) -> float:
        """What so many components have together."""
        return float(self.shares[:count].sum())


def grams(trajectories: Float[np.ndarray, "trajectory pos d"]) -> Float[np.ndarray, "trajectory pos pos"]:
    """The products of positions in every centred trajectory, summed over its d coordinates."""
    centred = trajectories - trajectories.mean(1, keepdims=True)
    products: np.ndarray = np.einsum("tpd,tqd->tpq", centred, centred)
    return products


def spectrum_of(gram: Float[np.ndarray, "pos pos"]) -> Spectrum:
    """The spectrum of centred rows by the sum of their products; InputError where nothing varies."""
    values, vectors = np.linalg.eigh(gram)
    if not values[-1] > 0:
        raise InputError("no trajectory varies over its positions, so there is no spectrum: follow something that does")
    shapes = vectors.T[:0:-1]
    signs = np.where(shapes[:, -1] < shapes[:, 0], -1.0, 1.0)
    return Spectrum(shares=shares_of(gram), shapes=shapes * signs[:, None])


def shares_of(gram: Float[np.ndarray, "*draw pos pos"]) -> Float[np.ndarray, "*draw component"]:
    """The shares alone, of many sums of products at once."""
    values = np.linalg.eigvalsh(gram)[..., :0:-1].clip(min=0)
    shares: np.ndarray = values / values.sum(-1, keepdims=True)
    return shares


def centred_spectrum(covariance: Float[np.ndarray, "pos pos"]) -> Spectrum:
    """The spectrum of rows with a covariance, after each is centred."""
    centre = np.eye(len(covariance)) - 1 / len(covariance)
    return spectrum_of(centre @ covariance @ centre)


def random_walk_shares(n: int) -> Float[np.ndarray, " component"]:
    """The exact shares of a centred random walk of n positions."""
    k = np.arange(1, n)
    shares: np.ndarray = 3 / ((n**2 - 1) * (1 - np.cos(np.pi * k / n)))
    return shares


def moving_average_covariance(n: int, width: int) -> Float[np.ndarray, "pos pos"]:
    """The covariance of n positions of a moving average over `width` of white noise, with unit variance."""
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariance: np.ndarray = np.maximum(0.0, 1 - lags / width)
    return covariance


def cosines(n: int, count: int) -> Float[np.ndarray, "component pos"]:
    """The shapes of a random walk: unit cosines of 1/2, 1, 3/2, ... periods."""
    places = (np.arange(n) + 0.5) / n
    waves = np.cos(np.pi * np.outer(np.arange(1, count + 1), places))
    unit: np.ndarray = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    return unit


def overlaps(
    shapes: Float[np.ndarray, "component pos"], others: Float[np.ndarray, "component pos"]
) -> Float[np.ndarray, " component"]:
    """The absolute cosine of each shape with the other of its rank."""
    count = min(len(shapes), len(others))
    products: np.ndarray = np.abs((shapes[:count] * others[:count]).sum(1))
    return products


def span_overlap(shapes: Float[np.ndarray, "component pos"], others: Float[np.ndarray, "component pos"]) -> float:
    """The mean squared canonical correlation of two spans of as many unit shapes: 1 where they are the same.

    Unlike single shapes it does not change where components of nearly equal shares are mixed.
    """
    return float(np.square(shapes @ others.T).sum() / len(shapes))


def operator(length: int, window: int, points: int) -> Float[np.ndarray, "pos step"]:
    """The map from a series of `length` steps to its means over windows, set on so many points by straight lines.

    InputError when the series has fewer than two windows.
    """
    n_windows = length - window + 1
    if n_windows < 2:
        raise InputError(f"a series of {length} steps has no two windows of {window}: give a smaller window")
    means = np.stack([np.eye(length)[start : start + window].mean(0) for start in range(n_windows)])
    places = np.linspace(0, n_windows - 1, points)
    left = np.minimum(places.astype(int), n_windows - 2)
    part = (places - left)[:, None]
    lines: np.ndarray = means[left] * (1 - part) + means[left + 1] * part
    return lines


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumNull:
    """A spectrum beside those of draws in which nothing is to be seen, as many trajectories a draw as were given."""

    found: Spectrum
    draws: Mapping[str, Float[np.ndarray, "draw component"]]
    """Shares by null."""
    shapes: Mapping[str, Float[np.ndarray, "draw component pos"]]
    exact: Mapping[str, Float[np.ndarray, " component"]] = field(default_factory=dict)
    """The shares that a null has when there are many trajectories, where a formula gives them."""

    @cached_property
    def above(self) -> dict[str, int]:
        """By null, how many components in a row, from the first, exceed 95 % of its draws (parallel analysis)."""
        counts = {}
        for name, draws in self.draws.items():
            exceeding = self.found.shares > np.quantile(draws, COVERAGE, axis=0)
            counts[name] = int(np.cumprod(exceeding).sum())
        return counts

    def reach(self, name: str, count: int) -> tuple[float, ...]:
        """What so many components have together, in every draw of a null."""
        return tuple(self.draws[name][:, :count].sum(1).tolist())


def spectrum_null(
    trajectories: Float[np.ndarray, "trajectory pos"] | Float[np.ndarray, "trajectory pos d"],
    *,
    window: int = 1,
    lengths: Sequence[int] | Int[np.ndarray, " trajectory"] | None = None,
    shuffled: Sequence[Float[np.ndarray, "trajectory pos"] | Float[np.ndarray, "trajectory pos d"]] = (),
    draws: int = 200,
    seed: int = 0,
) -> SpectrumNull:
    """The spectrum of any trajectories beside white noise, random walks, moving averages and shuffled text.

    With d coordinates (a model's hidden states, one vector a position) each coordinate is a row. `window` is over how
    many steps each position is a mean, and `lengths` of how many steps each trajectory was made: white noise is put
    through the same for the moving average. `shuffled` are trajectories of the same texts in another order.

    InputError for fewer than three positions, no trajectory, entries that are not finite, or none that varies.
    """
    whole = _three_axes(trajectories)
    count, n, width = whole.shape
    steps = [n + window - 1] * count if lengths is None else [int(each) for each in lengths]
    if len(steps) != count:
        raise InputError(f"{len(steps)} lengths are given for {count} trajectories: give one each")
    generator = np.random.default_rng(seed)
    maps = {length: operator(length, window, n) for length in set(steps)}
    shares: dict[str, list[np.ndarray]] = {WHITE: [], WALK: [], MOVING: []}
    shapes: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for _ in range(draws):
        noise = generator.standard_normal((count, n, width))
        moving = np.stack([maps[length] @ generator.standard_normal((length, width)) for length in steps])
        walk = generator.standard_normal((count, n, width)).cumsum(1)
        for name, each in ((WHITE, noise), (WALK, walk), (MOVING, moving)):
            _note(shares, shapes, name, each)
    for each in shuffled:
        _note(shares, shapes, SHUFFLED, _three_axes(each))
    exact = {WHITE: np.full(n - 1, 1 / (n - 1)), WALK: random_walk_shares(n)}
    covariances = [maps[length] @ maps[length].T for length in steps]
    exact[MOVING] = centred_spectrum(np.mean(covariances, 0)).shares
    return SpectrumNull(
        found=spectrum_of(grams(whole).sum(0)),
        draws={name: np.stack(each) for name, each in shares.items()},
        shapes={name: np.stack(each) for name, each in shapes.items()},
        exact=exact,
    )


def _note(
    shares: dict[str, list[np.ndarray]], shapes: dict[str, list[np.ndarray]], name: str, each: np.ndarray
) -> None:
    drawn = spectrum_of(grams(each).sum(0))
    shares.setdefault(name, []).append(drawn.shares)
    shapes.setdefault(name, []).append(drawn.shapes)


def _three_axes(trajectories: np.ndarray) -> np.ndarray:
    """Trajectories with an axis of coordinates; InputError as for `spectrum_null`."""
    whole = trajectories[..., None] if trajectories.ndim == 2 else trajectories
    if not len(whole) or whole.shape[1] < FEWEST_POSITIONS:
        raise InputError(
            f"{len(whole)} trajectories of {whole.shape[1]} positions have no spectrum: give at least one, of at least "
            f"{FEWEST_POSITIONS}"
        )
    if not np.isfinite(whole).all():
        raise InputError("trajectories hold entries that are not finite: leave them out, or fill them")
    return whole
