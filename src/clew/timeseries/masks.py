"""Masks that are learned: DynaMask and ExtremalMask, from the papers. Both compare all outputs of the model.

1. DynaMask (Crabbé and van der Schaar 2021): a mask in [0, 1] fades points to the baseline; it is
   pushed towards a given area by the distance of its sorted values from a step, and the smallest area that keeps the
   prediction is chosen.
2. ExtremalMask (Enguehard 2023): mask and what stands for masked points, a recurrent net of the series, are learned
   together; both are kept small while the prediction is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clew.progress import Progress
from clew.timeseries.question import SeriesQuestion

_AREAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_KEPT = 1.1  # an error this much above the best of all areas still keeps the prediction
_ENOUGH = 1e-3  # an error this small keeps it too
_RATE, _MASK_RATE = 1e-2, 0.1
_WIDTH = 32  # of the net that stands for masked points


def _error(question: SeriesQuestion, wanted: Tensor, x: Tensor) -> Tensor:
    """How far predictions of (case, output) are from those wanted, a case: cross-entropy, squares for values."""
    given = question.model.forward(x, "probability")
    if question.model.task == "regression":
        return ((given - wanted) ** 2).mean(1)
    return -(wanted * given.clamp_min(1e-9).log()).sum(1)


def dynamask(question: SeriesQuestion) -> np.ndarray:
    """The mask of the smallest area that keeps the prediction about as well as the best."""
    with question.seeded():
        tensor = question.model.tensor
        x, base = tensor(question.X), tensor(question.baseline)
        wanted = question.model.forward(x, "probability").detach()
        masks, errors = _area_masks(question, x, base, wanted)
    enough = errors <= _KEPT * errors.min(0).values + _ENOUGH
    first = enough.to(torch.int).argmax(0)
    return masks[first, torch.arange(len(x), device=x.device)].double().cpu().numpy()


def _area_masks(question: SeriesQuestion, x: Tensor, base: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of (area, case, channel, time), all learned side by side, and how well each keeps the prediction."""
    areas, size = torch.tensor(_AREAS, device=x.device, dtype=x.dtype), x[0].numel()
    step = (torch.arange(size, device=x.device) >= ((1 - areas[:, None]) * size).round()).to(x.dtype)
    mask = x.new_full((len(_AREAS), *x.shape), 0.5).requires_grad_(True)
    repeated = wanted.repeat(len(_AREAS), 1)
    optimiser = torch.optim.Adam([mask], lr=_MASK_RATE)

    def error() -> Tensor:
        faded = (mask * x + (1 - mask) * base).flatten(0, 1)
        return _error(question, repeated, faded).view(len(_AREAS), len(x))

    for done in range(question.samples):
        strength = 0.1 * 1000 ** (done / question.samples)  # the area matters more and more
        optimiser.zero_grad()
        off = ((mask.flatten(2).sort(2).values - step[:, None]) ** 2).mean(2)
        (error() + strength * off).sum().backward()
        optimiser.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
        question.report(Progress(what="dynamask", done=done + 1, of=question.samples, unit="steps"))
    with torch.no_grad():
        return mask.detach(), error()


class _Stand(nn.Module):
    """What stands for masked points: a bidirectional GRU of the series."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(channels, _WIDTH, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * _WIDTH, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x.transpose(1, 2))[0]).transpose(1, 2)


def extremal_mask(question: SeriesQuestion) -> np.ndarray:
    """The smallest mask, with the smallest stand-in for what is masked, that keeps the prediction."""
    with question.seeded():
        x = question.model.tensor(question.X)
        wanted = question.model.forward(x, "probability").detach()
        stand = _Stand(x.shape[1]).to(device=x.device, dtype=x.dtype)
        mask = torch.full_like(x, 0.5).requires_grad_(True)
        optimiser = torch.optim.Adam([mask, *stand.parameters()], lr=_RATE)
        size = x[0].numel()
        for done in range(question.samples):
            optimiser.zero_grad()
            other = stand(x)
            error = _error(question, wanted, mask * x + (1 - mask) * other).sum()
            small = (mask.abs().sum() + other.abs().sum()) / size
            (error + small).backward()
            optimiser.step()
            with torch.no_grad():
                mask.clamp_(0, 1)
            question.report(Progress(what="extremal-mask", done=done + 1, of=question.samples, unit="steps"))
        return mask.detach().double().cpu().numpy()
