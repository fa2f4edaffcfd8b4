"""Counterfactuals that are searched for: Wachter's by gradients, TSEvo's by evolution.

1. Wachter et al. 2017: the least distance, over each channel's median absolute deviation, that brings the target's
   probability over one half; the weight of the prediction doubles until it does, and the nearest valid series is kept.
2. TSEvo (Höllig et al. 2022): NSGA-II over distance, share changed and the missing probability; series change by runs
   of reference cases of the target class, by their frequencies, and by noise of the channel's scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clew.extras import needed_module
from clew.timeseries.answers import UNCHANGED
from clew.timeseries.neighbours import is_target, unlike
from clew.timeseries.question import SeriesQuestion

_ROUNDS = 8  # doublings of the weight
_RATE = 0.02  # of Adam, in the channel's scale
_POPULATION = 40


def wachter(question: SeriesQuestion) -> np.ndarray:
    """The nearest series that gradients find, all cases side by side."""
    with question.seeded():
        tensor = question.model.tensor
        x, targets = tensor(question.X), question.target_tensor()
        scale = tensor(_scale(question))
        change = torch.zeros_like(x).requires_grad_(True)
        weight = torch.ones(len(x), device=x.device, dtype=x.dtype)
        best, nearest = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        optimiser = torch.optim.Adam([change], lr=_RATE)
        for _ in range(_ROUNDS):
            for _ in range(max(1, question.samples // _ROUNDS)):
                optimiser.zero_grad()
                p = question.model.forward(x + change * scale)
                size = change.abs().flatten(1).mean(1)
                (weight * (1 - p.gather(1, targets[:, None])[:, 0]) ** 2 + size).sum().backward()
                with torch.no_grad():
                    better = (p.argmax(1) == targets) & (size < nearest)
                    best[better] = (x + change * scale)[better]
                    nearest[better] = size[better]
                optimiser.step()
            weight = torch.where(torch.isinf(nearest), weight * 2, weight)
        best = torch.where(torch.isinf(nearest)[:, None, None], (x + change * scale).detach(), best)
    return best.double().cpu().numpy()


def _scale(question: SeriesQuestion) -> Float[np.ndarray, "1 channel 1"]:
    """The median absolute deviation of every channel, one for a constant channel."""
    X = question.X if question.reference is None else question.reference
    deviation = np.median(np.abs(X - np.median(X, (0, 2), keepdims=True)), (0, 2), keepdims=True)
    return np.where(deviation > 0, deviation, 1.0)


def tsevo(question: SeriesQuestion) -> np.ndarray:
    """The valid series of the last front with the least distance, one search a case."""
    needed_module("pymoo", "timeseries", "tsevo")
    with question.seeded():
        return np.stack([_evolved(q) for q in question.cases("tsevo")])


def _evolved(question: SeriesQuestion) -> Float[np.ndarray, "channel time"]:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.crossover import Crossover
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.optimize import minimize

    case, shape, target = question.X[0], question.X[0].shape, int(question.targets[0])
    guides, scale = unlike(question, target), _scale(question)[0]
    rng = question.generator()

    class Search(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=case.size, n_obj=3, xl=-np.inf, xu=np.inf)

        def _evaluate(self, rows: np.ndarray, out: dict[str, Any], *args: Any, **rest: Any) -> None:
            moved = np.abs(rows - case.ravel())
            changed = (moved > UNCHANGED * np.abs(case).max()).mean(1)
            out["F"] = np.stack([moved.mean(1), changed, 1 - question.outputs(rows.reshape(-1, *shape))], 1)

    class Points(Crossover):
        def __init__(self) -> None:
            super().__init__(2, 2)

        def _do(self, problem: Any, parents: np.ndarray, *args: Any, **rest: Any) -> np.ndarray:
            one, other = parents
            first = rng.random(one.shape) < 0.5
            return np.stack([np.where(first, one, other), np.where(first, other, one)])

    class Changes(Mutation):
        def _do(self, problem: Any, rows: np.ndarray, *args: Any, **rest: Any) -> np.ndarray:
            return np.stack([_mutated(row.reshape(shape), case, guides, scale, rng).ravel() for row in rows])

    start = np.stack([_mutated(case, case, guides, scale, rng).ravel() for _ in range(_POPULATION)])
    start[0] = guides[np.abs(guides - case).sum((1, 2)).argmin()].ravel()
    search = NSGA2(pop_size=_POPULATION, sampling=start, crossover=Points(), mutation=Changes())
    result = minimize(Search(), search, ("n_gen", question.samples), seed=question.seed, verbose=False)
    rows = result.pop.get("X").reshape(-1, *shape)
    valid = is_target(question, rows)
    distances = np.where(valid, np.abs(rows - case).sum((1, 2)), np.inf)
    return rows[distances.argmin() if valid.any() else question.outputs(rows).argmax()]


def _mutated(
    row: Float[np.ndarray, "channel time"],
    case: np.ndarray,
    guides: np.ndarray,
    scale: np.ndarray,
    rng: np.random.Generator,
) -> Float[np.ndarray, "channel time"]:
    """A run of one channel taken from a guide, from its frequencies, given noise, or put back as it was."""
    changed, times = row.copy(), row.shape[1]
    channel, length = int(rng.integers(len(row))), int(rng.integers(1, max(2, times // 4)))
    start = int(rng.integers(0, times - length + 1))
    run, guide = slice(start, start + length), guides[rng.integers(len(guides))]
    kind = rng.integers(4)
    if kind == 0:
        changed[channel, run] = guide[channel, run]
    elif kind == 1:
        band = int(rng.integers(1, times // 2 + 2))
        spectrum, other = np.fft.rfft(changed[channel]), np.fft.rfft(guide[channel])
        spectrum[band : band + 3] = other[band : band + 3]
        changed[channel] = np.fft.irfft(spectrum, times)
    elif kind == 2:
        changed[channel, run] += rng.normal(0, 0.1, length) * scale[channel]
    else:
        changed[channel, run] = case[channel, run]
    return changed
