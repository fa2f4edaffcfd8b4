"""Attribution by gradients, by captum: integrated gradients, DeepLift, GradientShap; and what all are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clew.extras import needed_module
from clew.timeseries.question import SeriesQuestion, UnitModule

_ROWS = 2048  # series in one forward pass


def captum(use: str) -> Any:
    """captum's methods; InputError when the extra is not installed."""
    return needed_module("captum.attr", "timeseries", use)


def _batches(question: SeriesQuestion, rows_a_case: int) -> Iterator[tuple[SeriesQuestion, Tensor, Tensor, Tensor]]:
    """Parts of a question that fit into memory, with their series, baselines and targets as tensors."""
    step = max(1, _ROWS // max(1, rows_a_case))
    for start in range(0, len(question), step):
        cases = slice(start, start + step)
        tensor = question.model.tensor
        yield question, tensor(question.X[cases]), tensor(question.baseline[cases]), question.target_tensor()[cases]


def _array(parts: list[Tensor]) -> np.ndarray:
    return torch.cat([part.detach() for part in parts]).double().cpu().numpy()


def gradient(question: SeriesQuestion) -> np.ndarray:
    """d output / d x, times what lies between x and the baseline (Shrikumar et al. 2016)."""
    with question.seeded():
        return _array([q.gradients(x, targets) * (x - base) for q, x, base, targets in _batches(question, 1)])


def integrated_gradients(question: SeriesQuestion) -> np.ndarray:
    """The gradient along the straight line from the baseline, Gauss-Legendre steps (Sundararajan et al. 2017)."""
    method = captum("integrated-gradients").IntegratedGradients(lambda x: question.model.forward(x, question.unit))
    with question.seeded():
        return _array(
            [
                method.attribute(x, base, target=targets, n_steps=question.samples, method="gausslegendre")
                for _, x, base, targets in _batches(question, question.samples)
            ]
        )


def deep_lift(question: SeriesQuestion) -> np.ndarray:
    """Differences from the baseline, passed through each nonlinearity by their ratio (Shrikumar et al. 2017).

    Nonlinearities inside recurrent modules are passed by their gradient.
    """
    library = captum("deep-lift")
    with question.seeded(), _without_hook_warnings():
        method = library.DeepLift(UnitModule(question.model, question.unit).eval())
        return _array([method.attribute(x, base, target=targets) for _, x, base, targets in _batches(question, 2)])


def gradient_shap(question: SeriesQuestion) -> np.ndarray:
    """The mean over reference cases, or the baseline, of the gradient at a random place between (Erion et al. 2021)."""
    method = captum("gradient-shap").GradientShap(lambda x: question.model.forward(x, question.unit))
    with question.seeded():
        parts = []
        for _, x, base, targets in _batches(question, question.samples):
            pool = base if question.reference is None else question.model.tensor(question.reference)
            parts.append(method.attribute(x, pool, target=targets, n_samples=question.samples, stdevs=0.0))
        return _array(parts)


@contextmanager
def _without_hook_warnings() -> Iterator[None]:
    """captum says at every call of DeepLift that it registers hooks, which it removes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
