"""`evaluate_methods`: how good explanations are, each method beside maps that know nothing of the model.

1. Where causes are planted: AUROC, AUPRC, AUP and AUR of every method.
2. Always: deletion and insertion; the rank correlation with the same method on a net with random weights (a method that
   explains the model has a low one; Adebayo et al. 2018); the rank correlation between seeds.
3. Beside them: random maps, |x|, the distance from the nearest unlike neighbour, and the truth itself (oracle).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from clew import files
from clew.displays import Displayed
from clew.errors import InputError
from clew.progress import Progress, Report, silent
from clew.stats import Interval, mean_interval
from clew.timeseries.answers import Attribution
from clew.timeseries.explain_series import ExplainSettings, asked, explain_with
from clew.timeseries.map_scores import curve, mean_rank_correlation, truth_scores
from clew.timeseries.methods import method_named
from clew.timeseries.models import SeriesModel, classifier, regressor
from clew.timeseries.neighbours import neighbours_of
from clew.timeseries.planted_series import PlantedSeries
from clew.timeseries.question import SeriesQuestion
from clew.timeseries.series import as_series

NULLS = ("random", "|x|", "nearest unlike neighbour", "oracle")


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """One method, or one null."""

    name: str
    null: bool
    truth: dict[str, float] | None
    """AUP, AUR, AUROC and AUPRC, where causes are planted."""
    deletion: Interval
    """The area under the deletion curve in units of the output, low where the map is right."""
    insertion: Interval
    randomised: float | None = None
    """The rank correlation with the maps of the net with random weights; None where there is no module."""
    stability: float | None = None
    """The rank correlation between two seeds; 1 for what draws nothing."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name, "null": self.null, "truth": self.truth, "deletion": self.deletion.to_json(),
            "insertion": self.insertion.to_json(), "randomised": _number(self.randomised),
            "stability": _number(self.stability),
        }  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


@dataclass(frozen=True, kw_only=True)
class SeriesEvaluation(Displayed):
    """Methods beside nulls on one batch."""

    name: str
    """What was explained."""
    unit: str
    cases: int
    scores: tuple[MethodScore, ...]
    seed: int
    skipped: dict[str, str] = field(default_factory=dict)
    """Methods that the model does not take, and why."""
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> MethodScore:
        """The score of a method or null; KeyError for one that is not there."""
        return {score.name: score for score in self.scores}[name]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name, "unit": self.unit, "cases": self.cases, "seed": self.seed,
            "scores": [score.to_json() for score in self.scores], "skipped": self.skipped,
            "provenance": self.provenance,
        }  # fmt: skip


def evaluate_methods(
    model: Any,
    X: Any,
    methods: Sequence[str],
    *,
    truth: Bool[np.ndarray, "case channel time"] | None = None,
    name: str = "series",
    report: Report = silent,
    **settings: Any,
) -> SeriesEvaluation:
    """Evaluate methods on series; `settings` are those of `explain`.

    A method that the model does not take is skipped, with the reason; InputError when none is left, or one finds
    counterfactuals.
    """
    reader = classifier(model)
    shared = ExplainSettings(**settings)
    X = as_series(X, shared.axes, gaps=shared.gaps, unequal=shared.unequal)
    if truth is not None and truth.shape != X.shape:
        raise InputError(f"the truth has shape {truth.shape}, X {X.shape}: give the same")
    reader, random = reader.known(X), _randomised(reader, shared.seed)
    question = asked(reader, X, method_named("feature-ablation"), shared)
    scores, skipped = [], {}
    for number, method in enumerate(methods):
        chosen = replace(shared, method=method)
        if method_named(method).kind != "attribution":
            raise InputError(f"{method} finds counterfactuals: their evaluation stands in their summary")
        try:
            maps = _maps(reader, X, chosen)
        except InputError as error:
            skipped[method] = str(error)
            continue
        again = _maps(reader, X, replace(chosen, seed=shared.seed + 1))
        other = None if random is None else _maps(random, X, replace(chosen, target=list(maps.target)))
        scores.append(
            replace(
                _score(method_named(method).name, maps.values, question, truth, signed=maps.signed),
                randomised=None if other is None else mean_rank_correlation(maps.values, other.values),
                stability=mean_rank_correlation(maps.values, again.values),
            )
        )
        report(Progress(what="evaluating", done=number + 1, of=len(methods), unit="methods"))
    if not scores:
        raise InputError(f"{reader.name} takes none of these methods: {next(iter(skipped.values()), 'none was given')}")
    for null, values in _null_maps(question, truth).items():
        scores.append(replace(_score(null, values, question, truth, signed=False), null=True))
    return SeriesEvaluation(
        name=name, unit=question.unit, cases=len(X), scores=tuple(scores), seed=shared.seed, skipped=skipped,
        provenance=files.provenance(model=reader.name),
    )  # fmt: skip


def _maps(model: SeriesModel, X: np.ndarray, settings: ExplainSettings) -> Attribution:
    answer = explain_with(model, X, settings)
    assert isinstance(answer, Attribution)
    return answer


def _null_maps(question: SeriesQuestion, truth: np.ndarray | None) -> dict[str, Float[np.ndarray, "case channel time"]]:
    """Maps that know nothing of the model, and the one that knows the truth."""
    maps = {"random": question.generator().random(question.X.shape), "|x|": np.abs(question.X)}
    if question.reference is not None and question.model.task == "classification":
        other = np.argsort(-question.model.scores(question.X), axis=1, kind="stable")
        unlike = np.where(other[:, 0] == question.targets, other[:, 1], question.targets)
        try:
            series, _ = neighbours_of(replace(question, targets=unlike))
            maps["nearest unlike neighbour"] = np.abs(series - question.X)
        except InputError:  # the model never predicts the other class
            pass
    if truth is not None:
        maps["oracle"] = truth.astype(float)
    return maps


def _score(
    name: str, values: np.ndarray, question: SeriesQuestion, truth: np.ndarray | None, *, signed: bool
) -> MethodScore:
    """The scores of some maps; cases without a planted cause say nothing of the truth, and are left out of it."""
    areas: dict[bool, list[float]] = {False: [], True: []}
    for number, (case, baseline, order) in enumerate(zip(question.X, question.baseline, values, strict=True)):
        target = int(question.targets[number])
        for insert, found in areas.items():
            line = curve(partial(question.outputs, target=target), case, baseline, order, insert=insert)
            found.append(float(np.trapezoid(line, dx=1 / (len(line) - 1))))
    marked, sizes = None if truth is None else truth.any((1, 2)), np.abs(values) if signed else values
    return MethodScore(
        name=name, null=False,
        truth=None if truth is None or marked is None else truth_scores(sizes[marked], truth[marked]),
        deletion=mean_interval(areas[False]), insertion=mean_interval(areas[True]),
    )  # fmt: skip


def _randomised(model: SeriesModel, seed: int) -> SeriesModel | None:
    """The same net with the weights that it would begin its training with; None where there is no module."""
    if model.module is None or not list(model.module.parameters()):
        return None
    module = copy.deepcopy(model.module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            reset: Any = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
    return model.with_module(module)


def evaluate_planted(
    data: PlantedSeries, methods: Sequence[str], *, report: Report = silent, cases: int = 20, **settings: Any
) -> SeriesEvaluation:
    """Evaluate methods on a planted set: its own model, or a small net trained on the other cases.

    The first `cases` cases with a cause are explained. InputError for hidden-markov, whose labels stand at every time
    (`evaluate_states`).
    """
    from clew.timeseries.nets import train_net

    if data.labels.ndim > 1:
        raise InputError(f"{data.name} has a label at every time: use evaluate_states")
    caused = np.flatnonzero(data.truth.any((1, 2)))[:cases]
    rest = np.setdiff1d(np.arange(len(data.values)), caused)
    if data.module is not None:
        model = regressor(data.module)
    else:
        net = train_net(data.values[rest], tuple(str(label) for label in data.labels[rest]), report=report)
        model = classifier(net)
        settings.setdefault("reference", data.values[rest])
    return evaluate_methods(
        model, data.values[caused], methods, truth=data.truth[caused], name=data.name, report=report, **settings
    )
