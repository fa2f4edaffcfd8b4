"""Training of a transformer of series: cross-entropy of the classes at the end of every series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clew.errors import InputError
from clew.progress import Progress
from clew.settings import accepts
from clew.timeseries.mechanisms.series_arrays import checked_labels, checked_series
from clew.timeseries.mechanisms.transformer import SeriesTransformer, TransformerSettings, build, class_logits

WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""


@accepts(TransformerSettings)
def train(series: Any, labels: Sequence[Any], settings: TransformerSettings) -> SeriesTransformer:
    """A transformer trained on series (case, channel, time) and the class of each.

    InputError for another shape, NaN, another number of labels than series, a single class, and patches longer than
    the series.
    """
    array = checked_series(series)
    names = checked_labels(labels, len(array))
    classes = sorted(set(names))
    if len(classes) < 2:
        raise InputError(f"every series is of class {classes[0]!r}: give series of at least two classes")
    if settings.patch > array.shape[2]:
        raise InputError(f"a patch of {settings.patch} steps is longer than the series, which have {array.shape[2]}")
    mean, std = array.mean((0, 2)), array.std((0, 2))
    std = np.where(std > 0, std, 1.0)  # a channel that never changes reads as zeros
    made = build(classes, n_times=array.shape[2], mean=mean, std=std, settings=settings)
    if settings.epochs:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 1)  # of dropout
            _fit(made, array, torch.tensor([classes.index(name) for name in names]), settings)
    return made


def _fit(made: SeriesTransformer, array: Any, wanted: torch.Tensor, settings: TransformerSettings) -> None:
    """Take all steps; the weights are changed in place."""
    model = made.loaded(array).train()
    rows = made.rows(len(array))
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    steps_each = -(-len(rows) // settings.batch)
    n_steps = settings.epochs * steps_each
    rise = max(1, round(WARMUP * n_steps))

    def height(step: int) -> float:
        return min((step + 1) / rise, (n_steps - step) / max(1, n_steps - rise))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, height)
    generator = torch.Generator().manual_seed(settings.seed)
    for epoch in range(settings.epochs):
        total = 0.0
        for part in torch.randperm(len(rows), generator=generator).split(settings.batch):
            loss = torch.nn.functional.cross_entropy(class_logits(model, rows[part]), wanted[part])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(part)
        note = f"loss {total / len(rows):.3f} nats"
        settings.report(Progress(what="training", done=epoch + 1, of=settings.epochs, unit="epochs", note=note))
    made.model.load_state_dict(model.state_dict())
