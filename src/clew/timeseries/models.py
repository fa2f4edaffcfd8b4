"""One adapter for every model of series: torch modules, aeon, sktime and scikit-learn estimators, functions.

A model's classes are its own: those of `classes_`, those given, or the numbers of its outputs. They are never fitted to
the cases that are explained. A model that returns labels only is refused, since nothing can be attributed to a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clew.errors import InputError

Outputs = Literal["auto", "logits", "probabilities", "values"]
"""What a torch module gives out; "auto" tells logits from probabilities by their sums, a single column is a logit of
the second of two classes."""
Unit = Literal["probability", "logit", "value"]
_LAYOUTS = ("case channel time", "case time channel")
_BATCH = 512
_SUM = 1e-3  # how far probabilities may sum from 1
_ARRAYS = {"aeon": "case channel time", "sktime": "case channel time", "tslearn": "case time channel"}


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesModel:
    """A classifier or regressor of series (case, channel, time), whatever library it comes from."""

    name: str
    task: Literal["classification", "regression"]
    labels: tuple[str, ...] | None
    """The model's own classes in the order of its outputs, None until they are known (`known`)."""
    call: Callable[[Tensor], Tensor]
    """From (case, channel, time) to the model's raw outputs (case, output)."""
    outputs: Outputs
    module: nn.Module | None = None
    """The torch module, where there is one: gradients and activations are its."""
    layout: str = "case channel time"
    """The order of axes that the module reads."""

    def __repr__(self) -> str:
        classes = "classes not known yet" if self.labels is None else f"{len(self.labels)} outputs"
        return f"SeriesModel({self.name!r}, {self.task}, {classes})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes as text; InputError when neither model nor caller says them."""
        if self.labels is None:
            raise InputError(
                f"the classes of {self.name} are not known: say classes=[...], in the order of its outputs"
            )
        return self.labels

    def known(self, X: Float[np.ndarray, "case channel time"]) -> SeriesModel:
        """The same model with classes: those it has, else the numbers of its outputs for a case of X.

        InputError when the number of outputs is not that of the classes, or the model does not take X.
        """
        width = int(self.scores(X[:1]).shape[1])
        if self.labels is None:
            names = ("value",) if self.task == "regression" and width == 1 else tuple(str(n) for n in range(width))
            return replace(self, labels=names)
        if len(self.labels) != width:
            raise InputError(f"{self.name} has {width} outputs, classes= names {len(self.labels)}: name them all")
        return self

    def with_module(self, module: nn.Module) -> SeriesModel:
        """The same reading of another module, such as the same net with other weights."""
        return replace(self, module=module, call=_module_call(module, self.layout))

    def probabilities(self, X: Float[np.ndarray, "case channel time"]) -> Float[np.ndarray, "case class"]:
        """The probability of every class; InputError for a regressor, and for outputs that are no probabilities."""
        if self.task == "regression":
            raise InputError(f"{self.name} predicts values, no classes: ask for its scores")
        return self.scores(X)

    def scores(self, X: Float[np.ndarray, "case channel time"], unit: Unit = "probability") -> np.ndarray:
        """Probabilities (or logits, log-probabilities where the model has none) or values, (case, output)."""
        parts = []
        with evaluating(self.module), torch.no_grad():
            for start in range(0, len(X), _BATCH):
                parts.append(self.forward(self.tensor(X[start : start + _BATCH]), unit).double().cpu().numpy())
        return np.concatenate(parts)

    def predicted(self, X: Float[np.ndarray, "case channel time"]) -> np.ndarray:
        """The number of the most probable class of every case; zeros for a regressor."""
        return self.scores(X).argmax(1)

    def tensor(self, X: np.ndarray | Tensor) -> Tensor:
        """Series with the dtype and on the device of the module, in float64 where there is none."""
        like = None if self.module is None else next(self.module.parameters(), None)
        dtype, device = (torch.float64, "cpu") if like is None else (like.dtype, like.device)
        return torch.as_tensor(np.asarray(X) if not isinstance(X, Tensor) else X).to(device=device, dtype=dtype)

    def forward(self, x: Float[Tensor, "case channel time"], unit: Unit = "probability") -> Float[Tensor, "case out"]:
        """The outputs in a unit, differentiable where the model is a module; its mode is the caller's to set."""
        try:
            raw = self.call(x)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shape = f"{len(x)} cases, {x.shape[1]} channels, {x.shape[2]} times"
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            raise InputError(
                f"{self.name} does not take X of {shape} ({reason}); if channels and times are swapped say axes=, if "
                "the model reads (case, time, channel) say layout='case time channel'"
            ) from error
        if not isinstance(raw, Tensor):
            raise InputError(f"{self.name} returns a {type(raw).__name__}, no tensor of (case, output)")
        return self._in_unit(self._columns(raw, len(x)), unit)

    def _columns(self, raw: Tensor, n: int) -> Tensor:
        if raw.ndim == 1 and len(raw) == n:
            raw = raw[:, None]
        if raw.ndim != 2 or len(raw) != n:
            raise InputError(f"{self.name} returns shape {tuple(raw.shape)} for {n} cases: (case, output) is wanted")
        if not torch.isfinite(raw).all():
            raise InputError(f"{self.name} returns NaN or infinity: look at its weights and at the scale of X")
        return raw

    def _in_unit(self, raw: Tensor, unit: Unit) -> Tensor:
        if self.task == "regression" or self.outputs == "values":
            return raw
        if raw.shape[1] == 1:  # one logit, or one probability, of the second class
            if self.outputs != "probabilities":
                probability = torch.sigmoid(raw)
                return torch.cat([1 - probability, probability], 1) if unit != "logit" else torch.cat([-raw, raw], 1)
            raw = torch.cat([1 - raw, raw], 1)
        if self.outputs == "logits" or (self.outputs == "auto" and not sums_to_one(raw)):
            return raw if unit == "logit" else torch.softmax(raw, 1)
        if not sums_to_one(raw):
            raise InputError(
                f"{self.name} does not return probabilities: a row sums to {raw.sum(1)[0].item():.3g}, not 1"
            )
        return raw.clamp_min(torch.finfo(raw.dtype).tiny).log() if unit == "logit" else raw


def sums_to_one(raw: Tensor) -> bool:
    """Whether all rows are probabilities."""
    return bool((raw >= -_SUM).all() and ((raw.sum(1) - 1).abs() < _SUM).all())


def classifier(
    model: Any,
    classes: Sequence[Any] | np.ndarray | None = None,
    *,
    layout: str = _LAYOUTS[0],
    outputs: Outputs = "auto",
) -> SeriesModel:
    """Read a model of any library, a regressor too where the library says so.

    `layout` is the order of axes that a torch module reads; estimators get that of their library (scikit-learn one row
    a case). `outputs` says what a module gives out. A function takes an array (case, channel, time) and returns
    probabilities. InputError for a model that returns labels only, that is not fitted, or for an unknown layout.
    """
    if isinstance(model, SeriesModel):
        return model if classes is None else replace(model, labels=_texts(classes))
    if layout not in _LAYOUTS or outputs not in get_args(Outputs):
        raise InputError(
            f"layout={layout!r} and outputs={outputs!r}: give a layout of {_LAYOUTS}, outputs of {get_args(Outputs)}"
        )
    if isinstance(model, nn.Module):
        return _module_model(model, classes, layout, outputs)
    if hasattr(model, "predict_proba") or hasattr(model, "predict"):
        return _estimator_model(model, classes)
    if not callable(model):
        raise InputError(f"a {type(model).__name__} is no model: give a torch module, an estimator or a function")
    name = getattr(model, "__name__", type(model).__name__)
    call = _numpy_call(model, name)
    return SeriesModel(
        name=name, task="classification", labels=_texts(classes), call=call, outputs="probabilities",
    )  # fmt: skip


def regressor(model: Any, *, layout: str = _LAYOUTS[0]) -> SeriesModel:
    """Read a model whose outputs are values: a torch module, an estimator with `predict`, or a function."""
    if isinstance(model, nn.Module):
        return replace(classifier(model, layout=layout, outputs="values"), task="regression")
    name = getattr(model, "__name__", type(model).__name__)
    if hasattr(model, "predict"):
        model = _reading(model.predict, model)
    call = _numpy_call(model, name, labels=False)
    return SeriesModel(name=name, task="regression", labels=None, call=call, outputs="values")


def _texts(classes: Sequence[Any] | np.ndarray | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(str(label) for label in classes)


def _module_model(
    model: nn.Module, classes: Sequence[Any] | np.ndarray | None, layout: str, outputs: Outputs
) -> SeriesModel:
    if classes is None:
        classes = getattr(model, "classes", None)
    return SeriesModel(
        name=type(model).__name__, task="regression" if outputs == "values" else "classification",
        labels=_texts(classes), call=_module_call(model, layout), outputs=outputs, module=model, layout=layout,
    )  # fmt: skip


def _module_call(module: nn.Module, layout: str) -> Callable[[Tensor], Tensor]:
    return module if layout == _LAYOUTS[0] else lambda x: module(x.transpose(1, 2))


def _estimator_model(model: Any, classes: Sequence[Any] | np.ndarray | None) -> SeriesModel:
    name, labels = type(model).__name__, getattr(model, "classes_", classes)
    if not hasattr(model, "predict_proba"):
        if labels is not None or _is_classifier(model):
            raise InputError(
                f"{name} returns labels only: give a model with predict_proba (CalibratedClassifierCV gives it one), "
                "or a function to probabilities"
            )
        return replace(regressor(model), name=name)
    if labels is None:
        raise InputError(f"{name} has no classes_ yet: fit it before it is explained")
    if classes is not None and _texts(classes) != _texts(labels):
        raise InputError(f"{name} has the classes {', '.join(map(str, labels))}: leave classes= out")
    call = _numpy_call(_reading(model.predict_proba, model), name)
    return SeriesModel(
        name=name, task="classification", labels=_texts(labels), call=call, outputs="probabilities",
    )  # fmt: skip


def _is_classifier(model: Any) -> bool:
    return getattr(model, "_estimator_type", "") == "classifier" or any(
        "Classifier" in base.__name__ for base in type(model).__mro__
    )


def _reading(function: Callable[[Any], Any], model: Any) -> Callable[[np.ndarray], Any]:
    """A function of (case, channel, time) made of an estimator's, in the layout of its library."""
    steps = getattr(model, "steps", None)
    first = steps[0][1] if steps else model
    layout = _ARRAYS.get(type(first).__module__.partition(".")[0])

    def read(X: np.ndarray) -> Any:
        if layout is None:
            return function(X.reshape(len(X), -1))
        return function(X if layout == _LAYOUTS[0] else X.transpose(0, 2, 1))

    return read


def _numpy_call(function: Callable[[np.ndarray], Any], name: str, *, labels: bool = True) -> Callable[[Tensor], Tensor]:
    """A function of arrays as one of tensors; InputError when it returns labels where probabilities are wanted."""

    def call(x: Tensor) -> Tensor:
        given = function(x.detach().cpu().double().numpy())
        values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
        if labels and (values.ndim < 2 or values.dtype.kind not in "fiub"):
            raise InputError(
                f"{name} returns {'labels' if values.dtype.kind in 'OUSiub' else 'one number a case'} only, shape "
                f"{values.shape}: return a probability of every class, (case, class)"
            )
        return torch.as_tensor(values.astype(np.float64), device=x.device)

    return call


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[None]:
    """Let a module be in evaluation mode; every part gets its own mode back.

    cuDNN has no gradients for recurrent nets in this mode, so torch's own kernels run meanwhile.
    """
    if module is None:
        yield
        return
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not is_recurrent(module)):
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module has a recurrent part (GRU, LSTM, RNN)."""
    return any(isinstance(part, nn.RNNBase) for part in module.modules())
