"""What a method gets: a model, cases, what is asked of each, and what stands for "nothing"; and a row of the table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew.errors import InputError
from clew.progress import Progress, Report, silent
from clew.timeseries.models import SeriesModel, Unit, evaluating


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesQuestion:
    """One batch, as every method takes it."""

    model: SeriesModel
    X: Float[np.ndarray, "case channel time"]
    targets: Int[np.ndarray, " case"]
    """The number of the class or output that is asked about."""
    unit: Unit
    baseline: Float[np.ndarray, "case channel time"]
    """What stands for a point that is not there."""
    segments: Int[np.ndarray, "case channel time"]
    samples: int
    """Steps of a path or an optimisation, or perturbed series a case."""
    seed: int
    reference: Float[np.ndarray, "sample channel time"] | None = None
    reference_classes: Int[np.ndarray, " sample"] | None = None
    """What the model predicts of the reference cases."""
    report: Report = silent

    def __len__(self) -> int:
        return len(self.X)

    def case(self, number: int) -> SeriesQuestion:
        """The same question of one case."""
        kept = slice(number, number + 1)
        return replace(
            self, X=self.X[kept], targets=self.targets[kept], baseline=self.baseline[kept], segments=self.segments[kept]
        )

    def cases(self, what: str) -> Iterator[SeriesQuestion]:
        """One case after the other, with progress."""
        for number in range(len(self)):
            yield self.case(number)
            self.report(Progress(what=what, done=number + 1, of=len(self), unit="cases"))

    def generator(self) -> np.random.Generator:
        """The random numbers of this question."""
        return np.random.default_rng(self.seed)

    def outputs(self, X: Float[np.ndarray, "row channel time"], target: int | None = None) -> Float[np.ndarray, " row"]:
        """The output of many series for a target, of the first case unless it is named, without gradients."""
        return self.model.scores(X, self.unit)[:, int(self.targets[0]) if target is None else target]

    def target_tensor(self) -> Tensor:
        """The targets where the model is."""
        return torch.as_tensor(self.targets, device=self.model.tensor(self.X[:1]).device)

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Evaluation mode, and the seed in every global generator that a library may draw from; all are put back."""
        numpy_state, python_state = np.random.get_state(), random.getstate()
        device = self.model.tensor(self.X[:1]).device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), evaluating(self.model.module):
            torch.manual_seed(self.seed)
            np.random.seed(self.seed % 2**32)
            random.seed(self.seed)
            try:
                yield
            finally:
                np.random.set_state(numpy_state)
                random.setstate(python_state)

    def gradients(self, x: Tensor, targets: Tensor) -> Tensor:
        """The gradient of every row's output for its target with respect to the row."""
        x = x.detach().requires_grad_(True)
        out = self.model.forward(x, self.unit)
        return torch.autograd.grad(out.gather(1, targets[:, None]).sum(), x)[0]


Kind = Literal["attribution", "counterfactual"]
Needs = Literal["function", "gradient", "activations"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table of methods."""

    name: str
    run: Callable[[SeriesQuestion], np.ndarray]
    """From a question to values, or to changed series, of (case, channel, time)."""
    summary: str
    paper: str
    kind: Kind = "attribution"
    needs: Needs = "function"
    """Probabilities alone, gradients of a torch module, or activations of a torch module."""
    signed: bool = True
    units: str = ""
    """What a value counts; the unit of the output where this is empty."""
    additive: bool = False
    """Whether values sum to the output less that at the baseline."""
    samples: int = 0
    segments: str = "points"
    """The segments that it has unless others are asked for."""
    reference: bool = False
    """Whether it needs reference cases."""

    def check(self, model: SeriesModel, has_reference: bool) -> None:
        """InputError when the model, or what is given, does not suffice."""
        if self.needs != "function" and model.module is None:
            raise InputError(
                f"{self.name} needs the {self.needs.replace('gradient', 'gradients')} of a torch module, {model.name} "
                "is none: use feature-ablation, shapley-sampling or another that needs probabilities only"
            )
        if self.kind == "counterfactual" and model.task == "regression":
            raise InputError(f"{self.name} looks for another class, {model.name} predicts values: give a classifier")
        if self.reference and not has_reference:
            raise InputError(f"{self.name} needs reference cases, such as the training set: say reference=")


class UnitModule(nn.Module):
    """A model as a module whose last step, softmax or sigmoid, is a module too, as rules for modules need it."""

    def __init__(self, model: SeriesModel, unit: Unit) -> None:
        super().__init__()
        self.inner = model.module
        self.softmax = nn.Softmax(dim=1)
        self.model, self.unit = model, unit

    def forward(self, x: Tensor) -> Tensor:
        logits: Any = self.model.forward(x, "logit")
        if self.unit != "probability" or self.model.task == "regression":
            return logits
        if self.model.outputs != "probabilities" and logits.shape[1] == 2 and self._single():
            return self.softmax(logits / 2)  # (-z, z) are the halves of one logit z
        return self.softmax(logits)

    def _single(self) -> bool:
        """Whether the module gives out one column."""
        last = [part for part in self.modules() if isinstance(part, nn.Linear)]
        return bool(last) and last[-1].out_features == 1
