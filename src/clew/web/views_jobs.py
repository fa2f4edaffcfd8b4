"""What long work came to, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from clew.errors import InputError
from clew.features.names import Name
from clew.ids import FeatureId
from clew.intervention.agreement import Agreement, Interval
from clew.intervention.audit import Audit
from clew.intervention.edit import Edit
from clew.intervention.generate import Step
from clew.intervention.run import Effect
from clew.subject.subject import Subject
from clew.web.bodies import EditBody
from clew.web.models_jobs import (
    AgreementView,
    AuditLine,
    AuditPoints,
    AuditView,
    EffectChange,
    EffectOutput,
    EffectView,
    Spread,
    StepView,
)
from clew.web.views import short

MOST_OUTPUTS, MOST_CHANGES, MOST_POINTS = 20, 500, 4000


def edit_of(body: EditBody) -> Edit:
    """The edit that was asked for; InputError when it is impossible."""
    return Edit.from_json(body.model_dump(exclude_none=True))


def effect_view(
    effect: Effect, subject: Subject, names: Callable[[Iterable[FeatureId]], Mapping[FeatureId, Name]]
) -> EffectView:
    """What edits did. InputError when they made the model answer in no numbers."""
    outputs = effect.top_tokens(-1, MOST_OUTPUTS)
    tokens = subject.token_strings([token for token, *_ in outputs])
    changes = effect.changes[:MOST_CHANGES]
    named = names([change.node.feature for change in changes])
    for value in (x for _, *values in outputs for x in values if x is not None):
        if not math.isfinite(value):
            raise InputError("these edits push the model's numbers beyond their range: give smaller strengths")

    def change_view(change: Any) -> EffectChange:
        name = named[change.node.feature]
        return EffectChange(
            node=str(change.node),
            feature=str(change.node.feature),
            label=name.text,
            label_kind=name.kind,  # type: ignore[arg-type]
            before=short(change.before),
            predicted=None if change.predicted is None else short(change.predicted),
            measured=short(change.measured),
        )

    return EffectView(
        tokens=list(effect.tokens),
        edits=[str(edit) for edit in effect.edits],
        through=effect.through,
        prediction=effect.prediction,
        outputs=[
            EffectOutput(
                token_id=id,
                token=token,
                before=short(before),
                predicted=None if predicted is None else short(predicted),
                measured=short(measured),
            )
            for (id, before, predicted, measured), token in zip(outputs, tokens, strict=True)
        ],
        changes=[change_view(change) for change in changes],
        n_changes=len(effect.changes),
    )


def step_view(step: Step | None) -> StepView | None:
    if step is None:
        return None
    return StepView(
        token_id=step.token_id,
        position=step.position,
        text=step.text,
        probability=short(step.probability),
        end=step.end,
    )


def audit_view(graph: str, audit: Audit) -> AuditView:
    """An audit with as many of its pairs as a picture needs, drawn evenly."""
    n = len(audit.pairs)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:MOST_POINTS].sort().values
    pairs = audit.pairs[chosen]
    return AuditView(
        graph=graph,
        nodes=audit.nodes,
        verdict=audit.verdict,
        lines=[
            AuditLine(name=name, outputs=_agreement(line.outputs), features=_agreement(line.features))
            for name, line in audit.lines.items()
        ],
        points=_points(pairs[:, 0], pairs),
        null_points=_points(audit.shuffled[chosen], pairs),
        n_points=n,
        seconds=short(audit.seconds),
    )


def _points(predicted: Tensor, pairs: Tensor) -> AuditPoints:
    known = predicted.isfinite() & pairs.isfinite().all(1)
    return AuditPoints(
        predicted=[short(value) for value in predicted[known].tolist()],
        measured=[short(value) for value in pairs[known, 1].tolist()],
        layers=pairs[known, 2].long().tolist(),
        is_output=(pairs[known, 3] != 0).tolist(),
    )


def _agreement(value: Agreement) -> AgreementView:
    return AgreementView(
        pairs=value.pairs,
        spearman=_spread(value.spearman),
        slope=_spread(value.slope),
        sign_errors=_spread(value.sign_errors),
    )


def _spread(interval: Interval) -> Spread:
    value, low, high = interval.to_json()
    return Spread(value=value, low=low, high=high)
