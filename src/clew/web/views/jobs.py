"""Results of long work, as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from clew.errors import InputError
from clew.ids import FeatureId, NodeId
from clew.intervention.agreement import Agreement, Interval
from clew.intervention.audit import Audit
from clew.intervention.edit import Edit
from clew.intervention.generate import Step
from clew.intervention.run import Change, Effect
from clew.labels.display_names import Name
from clew.subject.subject import Subject
from clew.web.schema.bodies import EditBody, EffectBody
from clew.web.schema.jobs import (
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
from clew.web.views.graphs import short

MOST_OUTPUTS, MOST_CHANGES, MOST_POINTS = 20, 500, 4000


def edit_of(body: EditBody) -> Edit:
    """The edit that a request describes; InputError when it is impossible."""
    return Edit.from_json(body.model_dump(exclude_none=True))


def effect_view(
    effect: Effect,
    subject: Subject,
    names: Callable[[Iterable[FeatureId]], Mapping[FeatureId, Name]],
    idle: Sequence[Edit] = (),
) -> EffectView:
    """What edits did, and which did nothing. InputError when the model's output is no longer finite."""
    edited_nodes = _edited_nodes(effect)
    edited = [change for change in effect.changes if change.node in edited_nodes]
    others = [change for change in effect.changes if change.node not in edited_nodes]
    named = names([change.node.feature for change in [*edited[:MOST_CHANGES], *others[:MOST_CHANGES]]])

    def views(changes: list[Change]) -> list[EffectChange]:
        return [_change(change, named[change.node.feature]) for change in changes[:MOST_CHANGES]]

    return EffectView(
        tokens=list(effect.tokens),
        edits=[str(edit) for edit in [*effect.edits, *idle]],
        idle=[str(edit) for edit in idle],
        through=effect.through,
        prediction=effect.prediction,
        outputs=_outputs(effect.top_tokens(-1, MOST_OUTPUTS), subject),
        n_outputs=effect.before.probabilities.shape[-1],
        edited=views(edited),
        changes=views(others),
        n_changes=len(others),
    )


def unedited_view(subject: Subject, body: EffectBody, idle: Sequence[Edit]) -> EffectView:
    """The effect of edits that act on generated tokens only: none, beside the model's next tokens."""
    ids, predict = subject.encode(body.prompt, add_bos=body.add_bos), body.predict
    with torch.no_grad():
        probabilities = subject.probabilities(subject.unembed(subject.run(ids[None]).final[0, -1]))
    likeliest = probabilities.topk(min(MOST_OUTPUTS, len(probabilities)))
    pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    return EffectView(
        tokens=list(subject.token_strings(ids.tolist())),
        edits=[str(edit) for edit in idle],
        idle=[str(edit) for edit in idle],
        through=None,
        prediction=predict,
        outputs=_outputs([(id, p, None if predict is None else p, p) for id, p in pairs], subject),
        n_outputs=len(probabilities),
        edited=[],
        changes=[],
        n_changes=0,
    )


def _edited_nodes(effect: Effect) -> set[NodeId]:
    """Features at the positions where edits set their activations."""
    n, nodes = len(effect.tokens), set[NodeId]()
    for edit in effect.edits:
        if edit.feature is not None and edit.verb != "steer":
            for position in edit.mask(0, n, n_prompt=n, first=0).nonzero()[:, 0].tolist():
                nodes.add(NodeId("feature", position, edit.feature.layer, edit.feature.index))
    return nodes


def _change(change: Change, name: Name) -> EffectChange:
    return EffectChange(
        node=str(change.node),
        feature=str(change.node.feature),
        label=name.text,
        label_kind=name.kind,  # type: ignore[arg-type]
        before=short(change.before),
        predicted=None if change.predicted is None else short(change.predicted),
        measured=short(change.measured),
    )


def _outputs(rows: Sequence[tuple[int, float, float | None, float]], subject: Subject) -> list[EffectOutput]:
    """Next tokens with their probabilities before, as predicted, as measured; InputError when one is not finite."""
    if not all(math.isfinite(value) for _, *values in rows for value in values if value is not None):
        raise InputError("these edits push the model's numbers beyond their range: give smaller strengths")
    tokens = subject.token_strings([token for token, *_ in rows])
    return [
        EffectOutput(
            token_id=id,
            token=token,
            before=short(before),
            predicted=None if predicted is None else short(predicted),
            measured=short(measured),
        )
        for (id, before, predicted, measured), token in zip(rows, tokens, strict=True)
    ]


def step_view(step: Step | None) -> StepView | None:
    """One generated token; None for a text that has ended."""
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
    """An audit with a random sample of its pairs, as many as a scatter plot needs."""
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
    finite = predicted.isfinite() & pairs.isfinite().all(1)
    return AuditPoints(
        predicted=[short(value) for value in predicted[finite].tolist()],
        measured=[short(value) for value in pairs[finite, 1].tolist()],
        layers=pairs[finite, 2].long().tolist(),
        is_output=(pairs[finite, 3] != 0).tolist(),
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
