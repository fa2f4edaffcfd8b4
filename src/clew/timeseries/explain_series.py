"""`explain`: what in a series made a model's answer, by any method of the table, as a value.

1. Series are read into (case, channel, time), the model gets its classes, targets become numbers of outputs.
2. A baseline and segments are made for every case.
3. The method runs, from one seed; the answer gets units, what a sum misses, and notes of what a reader must know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Int

from clew import files
from clew.errors import InputError
from clew.settings import HIDDEN, Settings, accepts
from clew.timeseries.answers import Attribution, Counterfactual
from clew.timeseries.methods import method_named
from clew.timeseries.models import SeriesModel, Unit, classifier
from clew.timeseries.neighbours import neighbours_of
from clew.timeseries.question import Method, SeriesQuestion
from clew.timeseries.segments import segment_labels
from clew.timeseries.series import Gaps, Unequal, as_series, constant_channels

BASELINES = ("mean", "zero", "reference")
_CLOSE = 1e-9
_ALIKE = 0.02  # of a probability
_DRAWS = 10  # of a pattern of points at random places


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(Settings):
    """How series are explained."""

    method: str = "integrated-gradients"
    """A method of the table (`clew series explain --help` lists them)."""
    target: Any = field(default=None, metadata=HIDDEN)
    """The class or output that is asked about, one or one a case; the predicted class, for counterfactuals the most
    probable other, when left out."""
    baseline: Any = field(default="mean", metadata=HIDDEN)
    """What stands for a point that is not there: the mean of its case and channel, zero, the mean of the reference
    cases at its time ("reference"), a number, or an array (channel, time) or (case, channel, time)."""
    segments: Any = field(default=None, metadata=HIDDEN)
    """Points, a count of uniform segments, changes:8, shapelets:20, or an array of numbers (channel, time)."""
    unit: str = "probability"
    """What the output counts: probability or logit."""
    samples: int | None = None
    """Steps of a path or search, or perturbed series a case; the method's own number when left out."""
    seed: int = 0
    """All that is random comes from this number."""
    reference: Any = field(default=None, repr=False, metadata=HIDDEN)
    """Cases of the data, such as the training set, in the same form as X."""
    axes: str | None = field(default=None, metadata=HIDDEN)
    """The order of X's axes, such as "case time channel"."""
    gaps: Gaps = "refuse"
    """What is done about NaN: refuse or interpolate."""
    unequal: Unequal = "refuse"
    """What is done about cases of unequal lengths: refuse, pad, cut or stretch."""


@accepts(ExplainSettings)
def explain(model: Any, X: Any, settings: ExplainSettings) -> Attribution | Counterfactual:
    """Explain what a model says of series; `clew.timeseries.models.classifier` says what is a model.

    InputError for what cannot be used: an unknown method, class or unit, series or models that do not fit, a model
    without what the method needs.
    """
    return explain_with(model, X, settings)


def explain_with(model: Any, X: Any, settings: ExplainSettings) -> Attribution | Counterfactual:
    """`explain` with its settings as one value."""
    method = method_named(settings.method)
    series = as_series(X, settings.axes, gaps=settings.gaps, unequal=settings.unequal)
    reader = classifier(model)
    _checked(settings, reader)
    reader = reader.known(series)
    question = asked(reader, series, method, settings)
    values = method.run(question)
    if method.kind == "counterfactual":
        return _counterfactual(question, method, settings, values)
    return _attribution(question, method, settings, values)


def _checked(settings: ExplainSettings, model: SeriesModel) -> None:
    if settings.unit not in get_args(Unit):
        raise InputError(f"unit={settings.unit!r} is not known: give probability or logit")
    if settings.samples is not None and settings.samples < 1:
        raise InputError(f"samples={settings.samples}: give at least one")
    if settings.seed < 0:
        raise InputError(f"seed={settings.seed}: give a number from 0")


def asked(model: SeriesModel, X: np.ndarray, method: Method, settings: ExplainSettings) -> SeriesQuestion:
    """What the method gets, checked."""
    reference = None if settings.reference is None else _reference(settings, X)
    method.check(model, reference is not None)
    classes = None if reference is None else model.predicted(reference)
    chosen = chosen_segments(method, settings, X.shape[2])
    segments = segment_labels(X, chosen, reference=reference, reference_classes=classes)
    unit: Unit = "value" if model.task == "regression" else settings.unit  # type: ignore[assignment]
    return SeriesQuestion(
        model=model, X=X, targets=_targets(model, X, method, settings.target), unit=unit,
        baseline=_baseline(X, settings.baseline, reference), segments=segments,
        samples=settings.samples or method.samples,
        seed=settings.seed, reference=reference, reference_classes=classes, report=settings.report,
    )  # fmt: skip


def chosen_segments(method: Method, settings: ExplainSettings, times: int) -> Any:
    """The segments that are asked for, or the method's own, of which a short series has fewer."""
    if settings.segments is not None:
        return settings.segments
    kind, _, number = method.segments.partition(":")
    return f"{kind}:{min(int(number), times)}" if number else kind


def _reference(settings: ExplainSettings, X: np.ndarray) -> Float[np.ndarray, "case channel time"]:
    reference = as_series(settings.reference, settings.axes, gaps=settings.gaps, unequal=settings.unequal)
    if reference.shape[1:] != X.shape[1:]:
        raise InputError(
            f"reference cases have {reference.shape[1]} channels and {reference.shape[2]} times, X has {X.shape[1]} "
            f"and {X.shape[2]}: give the same"
        )
    return reference


def _targets(model: SeriesModel, X: np.ndarray, method: Method, target: Any) -> Int[np.ndarray, " case"]:
    """Numbers of outputs; InputError for a class that the model does not have."""
    if target is None:
        scores = model.scores(X)
        if method.kind == "counterfactual":
            return np.argsort(-scores, axis=1, kind="stable")[:, 1]
        return scores.argmax(1)
    several = isinstance(target, Sequence | np.ndarray) and not isinstance(target, str)
    names = [str(label) for label in (target if several else [target] * len(X))]
    if len(names) != len(X):
        raise InputError(f"target has {len(names)} entries for {len(X)} cases: give one, or one a case")
    for name in names:
        if name not in model.classes:
            raise InputError(f"the model has no class {name!r}: its classes are {', '.join(model.classes)}")
    numbers = np.array([model.classes.index(name) for name in names])
    if method.kind == "counterfactual" and (same := np.flatnonzero(model.predicted(X) == numbers)).size:
        raise InputError(
            f"the model puts case {same[0]} into class {names[same[0]]!r} already: give another target, or leave it out"
        )
    return numbers


def _baseline(X: np.ndarray, baseline: Any, reference: np.ndarray | None) -> Float[np.ndarray, "case channel time"]:
    if isinstance(baseline, str) and baseline in BASELINES:
        if baseline == "mean":
            return np.broadcast_to(X.mean(2, keepdims=True), X.shape).copy()
        if baseline == "zero":
            return np.zeros_like(X)
        if reference is None:
            raise InputError("baseline='reference' is the mean of the reference cases: say reference=")
        return np.broadcast_to(reference.mean(0), X.shape).copy()
    try:
        values = np.asarray(baseline, dtype=float)
        filled = np.broadcast_to(values, X.shape).copy()
    except (TypeError, ValueError):
        raise InputError(
            f"baseline={str(baseline)[:40]!r} is not known: give {', '.join(BASELINES)}, a number, or an array of "
            f"(channel, time) {X.shape[1:]}"
        ) from None
    if not np.isfinite(filled).all():
        raise InputError("the baseline has NaN or infinity: give finite numbers")
    return filled


def _attribution(
    question: SeriesQuestion, method: Method, settings: ExplainSettings, values: np.ndarray
) -> Attribution:
    model, rows = question.model, np.arange(len(question))
    scores = model.scores(question.X, question.unit)[rows, question.targets]
    residual = None
    if method.additive:
        start = model.scores(question.baseline, question.unit)[rows, question.targets]
        residual = scores - start - values.sum((1, 2))
    given = chosen_segments(method, settings, question.X.shape[2])
    deleted, null = _deletions(question, values)
    return Attribution(
        method=method.name, classes=model.classes, target=tuple(model.classes[n] for n in question.targets),
        seed=settings.seed, notes=_notes(question, method), provenance=_provenance(question, settings),
        values=values, series=question.X, scores=scores, residual=residual,
        predicted=tuple(model.classes[n] for n in model.predicted(question.X)), units=method.units or question.unit,
        signed=method.signed, deleted=deleted, deleted_null=null, baseline=_name(settings.baseline),
        segments=_name(given),
    )  # fmt: skip


def _deletions(question: SeriesQuestion, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs without the tenth of points that speaks most for the target, and without as many elsewhere."""
    n, channels, times = values.shape
    count, rng = max(1, channels * times // 10), question.generator()
    flat = values.reshape(n, -1)
    marks = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(marks, np.argsort(-flat, axis=1, kind="stable")[:, :count], True, axis=1)
    chosen = marks.reshape(values.shape)
    moved = [
        np.roll(chosen[:, rng.permutation(channels)], int(rng.integers(1, max(2, times))), axis=2)
        for _ in range(_DRAWS)
    ]
    rows = np.arange(n)
    outputs = [
        question.model.scores(np.where(points, question.baseline, question.X), question.unit)[rows, question.targets]
        for points in (chosen, *moved)
    ]
    return outputs[0], np.mean(outputs[1:], 0)


def _counterfactual(
    question: SeriesQuestion, method: Method, settings: ExplainSettings, series: np.ndarray
) -> Counterfactual:
    model = question.model
    neighbour, said = neighbours_of(question)
    return Counterfactual(
        method=method.name, classes=model.classes, target=tuple(model.classes[n] for n in question.targets),
        seed=settings.seed, notes=_notes(question, method), provenance=_provenance(question, settings),
        original=question.X, series=series, origin=tuple(model.classes[n] for n in model.predicted(question.X)),
        probabilities=model.probabilities(series), neighbour=neighbour, neighbour_valid=said == question.targets,
    )  # fmt: skip


def _notes(question: SeriesQuestion, method: Method) -> tuple[str, ...]:
    """What a reader must know of the input and the model."""
    notes = []
    if flat := constant_channels(question.X):
        case, channel = flat[0]
        more = f" and {len(flat) - 1} more" if len(flat) > 1 else ""
        notes.append(f"channel {channel} of case {case}{more} is constant")
    if method.kind == "attribution":
        same = np.abs(question.X - question.baseline).max((1, 2)) <= _CLOSE
        if same.any():
            notes.append(f"case {int(same.argmax())} equals its baseline: nothing of it can be attributed")
        notes += _baseline_notes(question, same) if method.additive else []
    if question.model.task == "classification":
        scores = question.model.scores(question.X)
        seen = set(scores.argmax(1).tolist()) | set(
            [] if question.reference_classes is None else question.reference_classes.tolist()
        )
        never = sorted({question.model.classes[n] for n in question.targets if n not in seen})
        if never:
            notes.append(f"the model predicts {', '.join(never)} for none of these cases")
        if len(scores) > 1 and np.isin(scores, (0.0, 1.0)).all():
            notes.append("the model's probabilities are all 0 or 1, labels in effect: most points will show nothing")
    if method.name in ("cam", "grad-cam") and question.X.shape[1] > 1:
        notes.append(f"{method.name} has no channels: every channel shows the same share")
    return tuple(notes)


def _baseline_notes(question: SeriesQuestion, same: np.ndarray) -> list[str]:
    """Where the baseline has the case's output already, so that a difference has little to show."""
    rows = np.arange(len(question))
    before, after = (
        question.model.scores(X, question.unit)[rows, question.targets] for X in (question.baseline, question.X)
    )
    alike = np.flatnonzero((np.abs(after - before) < _ALIKE) & ~same)
    if question.unit != "probability" or not len(alike):
        return []
    more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
    return [
        f"the baseline of case {alike[0]}{more} already gives {before[alike[0]]:.3f}: the values say little, another "
        "baseline (reference, zero) or the unit logit says more"
    ]


def _provenance(question: SeriesQuestion, settings: ExplainSettings) -> dict[str, Any]:
    return files.provenance(
        model=question.model.name, samples=question.samples, unit=question.unit, gaps=settings.gaps,
        unequal=settings.unequal,
    )  # fmt: skip


def _name(value: Any) -> str:
    if isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return "given array"
    return f"uniform:{value}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
