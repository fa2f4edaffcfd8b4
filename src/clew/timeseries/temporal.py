"""Attribution that treats time apart: temporal integrated gradients, temporal saliency rescaling, FIT. From the papers.

1. Temporal integrated gradients: points come in time after time; the path from the baseline runs along x_t alone, with
   earlier times at their values and later ones at the baseline (after Enguehard 2023, whose path is of growing
   prefixes). The values still sum to the difference of the outputs.
2. Temporal saliency rescaling: how much a saliency map moves when one time goes, times how much it moves when one
   channel of that time goes (Ismail et al. 2020).
3. FIT: how much a new column moves the prediction, less what it does when only one channel of it is known and the
   others are drawn given the past (Tonekaboni et al. 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.timeseries.question import SeriesQuestion

_ROWS = 4096  # series in one forward pass
_LAGS = 3  # times that the generator of FIT looks back
_RIDGE = 1e-2


def temporal_integrated_gradients(question: SeriesQuestion) -> np.ndarray:
    """Integrated gradients along a path that fills one time after the other."""
    nodes, weights = np.polynomial.legendre.leggauss(question.samples)
    shares, weights = (nodes + 1) / 2, weights / 2
    times = question.X.shape[2]
    values = np.zeros_like(question.X)
    with question.seeded():
        for number, q in enumerate(question.cases("temporal-integrated-gradients")):
            x, base = q.model.tensor(q.X[0]), q.model.tensor(q.baseline[0])
            before = torch.arange(times)[None, :] < torch.arange(times)[:, None]  # (step, time)
            stairs = torch.where(before.to(x.device)[:, None], x, base)  # (step, channel, time)
            here = torch.eye(times, dtype=torch.bool, device=x.device)[:, None]
            for share, weight in zip(shares, weights, strict=True):
                rows = torch.where(here, base + share * (x - base), stairs)
                slopes = _gradients(q, rows)[torch.arange(times), :, torch.arange(times)]  # (time, channel)
                values[number] += weight * slopes.T.double().cpu().numpy() * (q.X[0] - q.baseline[0])
    return values


def _gradients(question: SeriesQuestion, rows: Tensor) -> Tensor:
    """Gradients of many variants of one case."""
    targets = question.target_tensor()
    return torch.cat([question.gradients(part, targets.expand(len(part))) for part in rows.split(_ROWS)])


def temporal_saliency_rescaling(question: SeriesQuestion) -> np.ndarray:
    """|gradient x difference| maps rescaled by how they move without a time, and without a channel of it."""
    values = np.zeros_like(question.X)
    with question.seeded():
        for number, q in enumerate(question.cases("temporal-saliency-rescaling")):
            values[number] = _rescaled(q)
    return values


def _rescaled(question: SeriesQuestion) -> np.ndarray:
    x, base = question.model.tensor(question.X[0]), question.model.tensor(question.baseline[0])
    channels, times = x.shape

    def saliency(rows: Tensor) -> Tensor:
        steps = torch.linspace(1 / question.samples, 1, question.samples, device=x.device, dtype=x.dtype)
        total = sum((_gradients(question, base + step * (rows - base)) for step in steps), torch.zeros_like(rows))
        return (total / question.samples * (rows - base)).abs()

    whole = saliency(x[None])
    here = torch.eye(times, dtype=torch.bool, device=x.device)
    by_time = (saliency(torch.where(here[:, None], base, x)) - whole).abs().sum((1, 2))
    by_channel = torch.zeros_like(x)
    strong = by_time > by_time.mean()
    for channel in range(channels):
        only = torch.zeros(channels, 1, dtype=torch.bool, device=x.device)
        only[channel] = True
        rows = torch.where(here[strong][:, None] & only, base, x)
        by_channel[channel, strong] = (saliency(rows) - whole).abs().sum((1, 2))
    return (by_channel * by_time).double().cpu().numpy()


def fit(question: SeriesQuestion) -> np.ndarray:
    """FIT of every time; later times stand at the baseline, so that a model of whole series reads a prefix."""
    generator = ConditionalGaussian.fitted(question.reference if question.reference is not None else question.X)
    values = np.zeros_like(question.X)
    for number, q in enumerate(question.cases("fit")):
        values[number] = fit_importance(q, generator, range(q.X.shape[2]))
    return values


def fit_importance(
    question: SeriesQuestion, generator: ConditionalGaussian, times: range
) -> Float[np.ndarray, "channel t"]:
    """KL(p(y | X_0:t) || p(y | X_0:t-1)) - KL(p(y | X_0:t) || p(y | X_0:t-1, x_i,t)) in nats, for the given times."""
    rng, x, base = question.generator(), question.X[0], question.baseline[0]
    channels, draws, rows = len(x), question.samples, []
    for t in times:
        now = base.copy()
        now[:, : t + 1] = x[:, : t + 1]
        variants = np.repeat(now[None], 1 + draws * (channels + 1), 0)
        variants[1 : 1 + draws, :, t] = generator.draw(x[:, :t], None, x[:, t], draws, rng)
        for channel in range(channels):
            start = 1 + draws * (channel + 1)
            variants[start : start + draws, :, t] = generator.draw(x[:, :t], channel, x[:, t], draws, rng)
        rows.append(variants)
    p = question.model.scores(np.concatenate(rows)).clip(1e-9, 1).reshape(len(rows), 1 + draws * (channels + 1), -1)
    means = p[:, 1:].reshape(len(rows), channels + 1, draws, -1).mean(2)
    divergence = (p[:, :1] * np.log(p[:, :1] / means)).sum(2)  # (time, nothing known and each channel known)
    return (divergence[:, :1] - divergence[:, 1:]).T


class ConditionalGaussian:
    """A column of a series given the last three: linear in them, errors Gaussian, so conditionals are exact."""

    def __init__(self, weights: np.ndarray, covariance: np.ndarray) -> None:
        self.weights, self.covariance = weights, covariance

    @classmethod
    def fitted(cls, X: Float[np.ndarray, "case channel time"]) -> ConditionalGaussian:
        """By ridge regression on all columns; columns before the first are the first."""
        pasts = np.concatenate([_past(X[:, :, :t]) for t in range(X.shape[2])])
        columns = np.concatenate([X[:, :, t] for t in range(X.shape[2])])
        weights = np.linalg.solve(pasts.T @ pasts + _RIDGE * np.eye(pasts.shape[1]), pasts.T @ columns)
        errors = columns - pasts @ weights
        return cls(weights, errors.T @ errors / len(errors) + 1e-9 * np.eye(X.shape[1]))

    def draw(
        self, past: np.ndarray, known: int | None, column: np.ndarray, count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "draw channel"]:
        """Columns given the past and, unless None, one channel's value."""
        mean, covariance = (_past(past[None]) @ self.weights)[0], self.covariance
        if known is not None:
            gain = covariance[:, known] / covariance[known, known]
            mean = mean + gain * (column[known] - mean[known])
            covariance = covariance - np.outer(gain, covariance[known])
        values, vectors = np.linalg.eigh(covariance)
        noise = rng.standard_normal((count, len(mean))) * np.sqrt(values.clip(0))
        return mean + noise @ vectors.T


def _past(X: Float[np.ndarray, "case channel time"]) -> Float[np.ndarray, "case lag"]:
    """The last columns and a one; zeros before the first."""
    n, channels, times = X.shape
    lags = [X[:, :, times - lag] if times >= lag else np.zeros((n, channels)) for lag in range(1, _LAGS + 1)]
    return np.concatenate([*lags, np.ones((n, 1))], 1)
