"""Attribution by perturbation, by captum: what the output loses when points or segments go to the baseline.

An effect of a segment is spread evenly over its points, so that values of all segmentations count the same thing and
sum over a segment to its effect.
"""

from __future__ import annotations

import warnings
from math import comb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clew.errors import InputError
from clew.timeseries.gradient import captum
from clew.timeseries.question import SeriesQuestion

_ROWS = 256  # perturbed series in one forward pass


def _forward(question: SeriesQuestion) -> Any:
    return lambda x: question.model.forward(x, question.unit).detach()


def _tensors(question: SeriesQuestion) -> dict[str, Any]:
    tensor = question.model.tensor
    return {
        "inputs": tensor(question.X),
        "baselines": tensor(question.baseline),
        "target": question.target_tensor(),
    }


def _spread(question: SeriesQuestion, values: Tensor) -> np.ndarray:
    """Every segment's value over its number of points."""
    sizes = np.stack([np.bincount(row.ravel())[row] for row in question.segments])
    return values.detach().double().cpu().numpy() / sizes


def _mask(question: SeriesQuestion) -> Tensor:
    return torch.as_tensor(question.segments, device=question.target_tensor().device)


def occlusion(question: SeriesQuestion) -> np.ndarray:
    """A window that slides over every channel goes to the baseline; a point has the mean of its windows (Zeiler 2014).

    The window is as long as a uniform segment, a fifteenth of the series unless said; with segments="points" one point.
    """
    width = max(1, question.X.shape[2] // len(np.unique(question.segments[0, 0])))
    method = captum("occlusion").Occlusion(_forward(question))
    with question.seeded(), torch.no_grad():
        values = method.attribute(
            **_tensors(question), sliding_window_shapes=(1, width), perturbations_per_eval=_share(question)
        )
    return values.double().cpu().numpy() / width


def _share(question: SeriesQuestion) -> int:
    return max(1, _ROWS // len(question))


def feature_ablation(question: SeriesQuestion) -> np.ndarray:
    """One segment after the other goes to the baseline."""
    method = captum("feature-ablation").FeatureAblation(_forward(question))
    values = []
    with question.seeded(), torch.no_grad():
        for q in question.cases("feature-ablation"):
            values.append(method.attribute(**_tensors(q), feature_mask=_mask(q), perturbations_per_eval=_ROWS))
    return _spread(question, torch.cat(values))


def shapley_sampling(question: SeriesQuestion) -> np.ndarray:
    """What a segment adds behind those before it, mean over random orders (Castro et al. 2009).

    Where all subsets are no more series than the orders need, it is the exact Shapley value.
    """
    return np.concatenate([_shapley_case(q) for q in question.cases("shapley-sampling")])


def _shapley_case(question: SeriesQuestion) -> np.ndarray:
    count = int(question.segments.max()) + 1
    with question.seeded(), torch.no_grad():
        if 2**count <= question.samples * count:
            return exact_shapley(question)
        method = captum("shapley-sampling").ShapleyValueSampling(_forward(question))
        values = method.attribute(
            **_tensors(question), feature_mask=_mask(question), n_samples=question.samples,
            perturbations_per_eval=_ROWS,
        )  # fmt: skip
    return _spread(question, values)


def exact_shapley(question: SeriesQuestion) -> np.ndarray:
    """The Shapley values of one case's segments over all 2^n subsets (Shapley 1953)."""
    count = int(question.segments.max()) + 1
    subsets = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    present = subsets[:, question.segments[0]].astype(bool)
    outputs = question.outputs(np.where(present, question.X[0], question.baseline[0]))
    sizes, values = subsets.sum(1), np.zeros(count)
    for segment in range(count):
        without = np.flatnonzero(subsets[:, segment] == 0)
        weights = 1 / (count * np.array([comb(count - 1, int(size)) for size in sizes[without]]))
        values[segment] = (weights * (outputs[without + 2**segment] - outputs[without])).sum()
    return _spread(question, torch.as_tensor(values[question.segments]))


def lime(question: SeriesQuestion) -> np.ndarray:
    """A sparse linear model of the output around a case, segments there or not (Ribeiro et al. 2016).

    The penalty (Lasso) is a ten-thousandth, small beside probabilities; captum's own would leave nothing of them.
    """
    from captum._utils.models.linear_model import SkLearnLasso

    return _surrogate(question, "lime", "Lime", interpretable_model=SkLearnLasso(alpha=1e-4))


def kernel_shap(question: SeriesQuestion) -> np.ndarray:
    """A linear model weighted so that it estimates Shapley values (Lundberg and Lee 2017)."""
    return _surrogate(question, "kernel-shap", "KernelShap")


def _surrogate(question: SeriesQuestion, name: str, kind: str, **options: Any) -> np.ndarray:
    method, values = getattr(captum(name), kind)(_forward(question), **options), []
    with question.seeded(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the regression says what an all-zero fit is
        for q in question.cases(name):
            if q.segments.max() == 0:
                raise InputError(f"{name} needs two segments or more, there is one: say segments=10")
            values.append(
                method.attribute(
                    **_tensors(q), feature_mask=_mask(q), n_samples=q.samples, perturbations_per_eval=_ROWS
                )
            )
    return _spread(question, torch.cat(values))
