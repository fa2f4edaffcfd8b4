"""Models with a label at every time, and how well methods find what made each: the hidden-Markov truth.

An output at time t is explained in the window that ends there, and its value at t is kept, as Time Interpret's forward
tunnel does with whole prefixes; a recurrent net forgets what lies further back. Masks are learned over whole series,
for the outputs at all times together. The first times, whose window is not whole, are left out for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clew.progress import Progress, Report, silent
from clew.timeseries.explain_series import ExplainSettings, asked, explain
from clew.timeseries.map_scores import truth_scores
from clew.timeseries.methods import method_named
from clew.timeseries.models import SeriesModel, classifier, regressor
from clew.timeseries.planted_series import PlantedSeries
from clew.timeseries.temporal import ConditionalGaussian, fit_importance

WINDOW = 20
"""Times that a window of a recurrent net has."""


class LastTime(nn.Module):
    """The output at the last time of a net that has one at every time, as one logit of the second class."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case 1"]:
        return self.net(x)[:, -1:]


class EveryTime(nn.Module):
    """The probabilities at all times, as values of a regressor."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case time"]:
        return torch.sigmoid(self.net(x))


def state_maps(
    net: nn.Module, X: Float[np.ndarray, "case channel time"], method: str, *, window: int = WINDOW, **settings: Any
) -> Float[np.ndarray, "case channel kept"]:
    """What made the output at every time from `window` - 1 on; `settings` are those of `explain`.

    InputError for a method that the net does not take.
    """
    if method in ("dynamask", "extremal-mask"):
        answer: Any = explain(regressor(EveryTime(net)), X, method=method, target="0", **settings)
        return answer.values[:, :, window - 1 :]
    views = np.lib.stride_tricks.sliding_window_view(X, window, axis=2)  # (case, channel, start, time)
    windows = np.ascontiguousarray(views.transpose(0, 2, 1, 3)).reshape(-1, X.shape[1], window)
    model = classifier(LastTime(net), ("0", "1"))
    last = np.zeros((X.shape[1], window), dtype=int)
    last[:, -1] = 1 + np.arange(X.shape[1])  # the column that is asked about point by point, the past as one segment
    if method == "fit":
        values = _fit_last(model, windows, settings)
    else:
        answer = explain(model, windows, method=method, segments=last, **{"target": "1", **settings})
        values = answer.values[:, :, -1]
    return values.reshape(len(X), -1, X.shape[1]).transpose(0, 2, 1)


def _fit_last(model: SeriesModel, windows: np.ndarray, settings: dict[str, Any]) -> Float[np.ndarray, "row channel"]:
    shared = ExplainSettings(**{"reference": windows[::10], **settings})
    question = asked(model.known(windows), windows, method_named("fit"), shared)
    generator = ConditionalGaussian.fitted(windows[::10])
    final = range(windows.shape[2] - 1, windows.shape[2])
    return np.stack([fit_importance(q, generator, final)[:, 0] for q in question.cases("fit")])


def evaluate_states(
    net: nn.Module,
    data: PlantedSeries,
    methods: Sequence[str],
    *,
    window: int = WINDOW,
    report: Report = silent,
    **settings: Any,
) -> dict[str, dict[str, float]]:
    """AUP, AUR, AUROC and AUPRC of methods on states, and of the nulls random, |x| and oracle."""
    truth = data.truth[:, :, window - 1 :]
    rows = {}
    for number, method in enumerate(methods):
        maps = state_maps(net, data.values, method, window=window, **settings)
        rows[method] = truth_scores(np.abs(maps) if method_named(method).signed else maps, truth)
        report(Progress(what="evaluating", done=number + 1, of=len(methods), unit="methods"))
    random = np.random.default_rng(settings.get("seed", 0)).random(truth.shape)
    nulls = {"random": random, "|x|": np.abs(data.values[:, :, window - 1 :]), "oracle": truth.astype(float)}
    return rows | {name: truth_scores(values, truth) for name, values in nulls.items()}
