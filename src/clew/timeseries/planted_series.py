"""Series whose causes are known, drawn from a law, and one where there is none.

1. hidden-markov: two states, three channels; the label at every time is drawn by the channel that the state names
   (Tonekaboni et al. 2020; the parameters are Time Interpret's, which take twice the channel as logit).
2. rare-feature, rare-time: ARMA noise; the output is the sum of squares over few channels, or few times (Crabbé and van
   der Schaar 2021). The model is that sum itself.
3. arma-cause: ARMA noise of three channels; the second class has a pulse in channel 1, anywhere.
4. two-cause: noise of six channels; the second class has a pulse in each of two channels at different times (dCAM's
   first type), with `together` both classes have two, the second at one time (its second type; Boniol et al. 2022).
5. absent: pulses as in arma-cause, in half of the cases, and labels that are drawn without looking at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clew.errors import InputError

_MEANS = np.array([[0.1, 1.6, 0.5], [-0.1, -0.4, -1.5]])
_VARIANCE, _COVARIANCE, _NUGGET = 0.8, 0.01, 1e-3
_STAY = 0.95
_AR, _MA = (0.25, 0.1, 0.05), 2.0  # as the usual planted sets have them, the lag polynomial divided by two
_PULSE = 10  # times
_HEIGHT = 2.5  # standard deviations


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedSeries:
    """Series of a law, which points are causes, and the labels."""

    name: str
    values: Float[np.ndarray, "case channel time"]
    truth: Bool[np.ndarray, "case channel time"]
    """Which points the label depends on."""
    labels: np.ndarray
    """A label a case, or for hidden-markov one at every time of a case."""
    module: nn.Module | None = None
    """The law's own model, where the truth is of one."""

    def __repr__(self) -> str:
        n, channels, times = self.values.shape
        return f"PlantedSeries({self.name!r}, {n:,} cases, {channels} channels, {times:,} times)"


def hidden_markov(cases: int = 200, times: int = 200, *, seed: int = 0) -> PlantedSeries:
    """Labels at every time; the truth is the channel of the state at that time."""
    rng = np.random.default_rng(seed)
    state, stayed = rng.integers(0, 2, cases), np.zeros(cases)
    states, X = np.zeros((cases, times), dtype=int), np.zeros((cases, 3, times))
    factors = [np.linalg.cholesky(_state_covariance(number)) for number in (0, 1)]
    for t in range(times):
        up = np.where(state == 1, _STAY - stayed / 500, 1 - _STAY)
        after = (rng.random(cases) < up).astype(int)
        stayed = np.where(after == state, stayed + 1, 0)
        state = states[:, t] = after
        noise = rng.standard_normal((cases, 3))
        X[:, :, t] = _MEANS[state] + np.where(state[:, None] == 1, noise @ factors[1].T, noise @ factors[0].T)
    truth = np.stack([np.zeros_like(states), states == 0, states == 1], 1).astype(bool)
    cause = np.where(states == 0, X[:, 1], X[:, 2])
    labels = (rng.random((cases, times)) < 1 / (1 + np.exp(-2 * cause))).astype(int)
    return PlantedSeries(name="hidden-markov", values=X, truth=truth, labels=labels)


def _state_covariance(state: int) -> Float[np.ndarray, "3 3"]:
    """In each state the first channel is a little correlated with the one that counts."""
    covariance = np.eye(3) * (_VARIANCE + _NUGGET)
    covariance[0, 1 + state] = covariance[1 + state, 0] = _COVARIANCE
    return covariance


def arma(cases: int, channels: int, times: int, rng: np.random.Generator) -> Float[np.ndarray, "case channel time"]:
    """ARMA(3, 0) noise, x_t = e_t - .25 x_t-1 - .1 x_t-2 - .05 x_t-3."""
    burn = 20
    x = rng.standard_normal((cases, channels, times + burn))
    for t in range(len(_AR), times + burn):
        for lag, weight in enumerate(_AR, 1):
            x[:, :, t] -= weight * x[:, :, t - lag]
    return x[:, :, burn:]


class SquaredSum(nn.Module):
    """The sum of squares of some points of every case, the law of rare causes."""

    points: Tensor

    def __init__(self, points: Bool[np.ndarray, "case channel time"]) -> None:
        super().__init__()
        self.register_buffer("points", torch.as_tensor(points[0], dtype=torch.float32))

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case 1"]:
        return (x**2 * self.points.to(x.dtype)).sum((1, 2))[:, None]


def rare(
    which: str, cases: int = 20, channels: int = 50, times: int = 50, *, few: int = 5, seed: int = 0
) -> PlantedSeries:
    """Few channels in the middle half of times ("feature"), or few times in the middle half of channels ("time")."""
    rng = np.random.default_rng(seed)
    points = np.zeros((1, channels, times), dtype=bool)
    if which == "feature":
        points[:, rng.permutation(channels)[:few], times // 4 : 3 * times // 4] = True
    else:
        points[:, channels // 4 : 3 * channels // 4, rng.permutation(times)[:few]] = True
    truth = np.repeat(points, cases, 0)
    X = arma(cases, channels, times, rng)
    labels = (X**2 * truth).sum((1, 2))
    return PlantedSeries(name=f"rare-{which}", values=X, truth=truth, labels=labels, module=SquaredSum(points))


def arma_cause(cases: int = 200, times: int = 100, *, caused: bool = True, seed: int = 0) -> PlantedSeries:
    """A pulse in channel 1 of the second class; without `caused` labels do not depend on it."""
    rng = np.random.default_rng(seed)
    X = arma(cases, 3, times, rng)
    pulsed = rng.integers(0, 2, cases)
    truth = np.zeros(X.shape, dtype=bool)
    for case in np.flatnonzero(pulsed):
        _plant(X, truth, int(case), 1, int(rng.integers(0, times - _PULSE + 1)))
    labels = pulsed if caused else rng.integers(0, 2, cases)
    return PlantedSeries(name="arma-cause" if caused else "absent", values=X, truth=truth, labels=labels)


def two_cause(
    cases: int = 200, channels: int = 6, times: int = 100, *, together: bool = False, seed: int = 0
) -> PlantedSeries:
    """Two pulses in channels drawn for every case; their being there, or being at one time, makes the class."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((cases, channels, times))
    labels, truth = rng.integers(0, 2, cases), np.zeros(X.shape, dtype=bool)
    for case, label in enumerate(labels):
        one, other = rng.permutation(channels)[:2]
        first, second = _two_places(times, rng)
        if together and label:
            second = first
        if label or together:
            _plant(X, truth, case, int(one), first)
            _plant(X, truth, case, int(other), second, turned=True)
    return PlantedSeries(name="together" if together else "two-cause", values=X, truth=truth, labels=labels)


def _two_places(times: int, rng: np.random.Generator) -> tuple[int, int]:
    """Starts of two pulses that do not meet."""
    while True:
        first, second = (int(place) for place in rng.integers(0, times - _PULSE + 1, 2))
        if abs(first - second) >= 2 * _PULSE:
            return first, second


def _plant(X: np.ndarray, truth: np.ndarray, case: int, channel: int, start: int, *, turned: bool = False) -> None:
    shape = _HEIGHT * np.sin(np.linspace(0, np.pi, _PULSE)) * (-1 if turned else 1)
    X[case, channel, start : start + _PULSE] += shape
    truth[case, channel, start : start + _PULSE] = True


PLANTED: dict[str, Callable[..., PlantedSeries]] = {
    "hidden-markov": hidden_markov,
    "rare-feature": partial(rare, "feature"),
    "rare-time": partial(rare, "time"),
    "arma-cause": arma_cause,
    "two-cause": two_cause,
    "together": partial(two_cause, together=True),
    "absent": partial(arma_cause, caused=False),
}
"""Every planted set, by its name."""


def planted(name: str, *, seed: int = 0, **sizes: int) -> PlantedSeries:
    """Draw a planted set; InputError for a name that is not one."""
    if name not in PLANTED:
        raise InputError(f"{name!r} is no planted set: give one of {', '.join(PLANTED)}")
    return PLANTED[name](seed=seed, **sizes)
