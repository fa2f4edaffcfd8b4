"""Studies and their results, as the page shows them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from clew.kit import Kit
from clew.settings import help_of
from clew.stats import Interval
from clew.studies.case_findings import CaseFindings, Table
from clew.studies.claim import Claim
from clew.studies.result import Result
from clew.studies.study import Study
from clew.web.schema.jobs import Spread
from clew.web.schema.studies import (
    Cell,
    ClaimView,
    FindingsView,
    StudyFigure,
    StudyResult,
    StudySetting,
    StudyTable,
    StudyView,
)

MOST_ROWS = 200
_KINDS: dict[Any, Any] = {bool: "switch", int: "integer", float: "number", str: "text"}


def study_view(study: Study[Any], kit: Kit) -> StudyView:
    """A study, its settings, and what a kit lacks for it."""
    return StudyView(
        name=study.name,
        question=study.question,
        source=study.source,
        settings=settings_of(study.config),
        lacking=study.needs(kit, study.configured()),
    )


def settings_of(config: Any) -> list[StudySetting]:
    """The settings that can be written in a form: numbers, texts and switches."""
    hints, settings = get_type_hints(config), []
    for field in fields(config):
        parts = [part for part in (get_args(hints[field.name]) or (hints[field.name],)) if part is not type(None)]
        if len(parts) == 1 and parts[0] in _KINDS:
            default: Any = field.default
            optional = len(parts) < len(get_args(hints[field.name]))
            settings.append(
                StudySetting(
                    name=field.name,
                    kind=_KINDS[parts[0]],
                    help=help_of(config)[field.name],
                    default=default,
                    optional=optional,
                )
            )
    return settings


def result_view(id: str, result: Result) -> StudyResult:
    """A result; of long tables the first rows."""
    return StudyResult(
        id=id,
        study=result.study,
        question=result.question,
        source=result.source,
        kit=str(result.kit["name"]),
        dictionary=str(result.kit["dictionary"]),
        config=dict(result.config),
        found=_findings(result.found),
        neurons=[_claim(other) for _, other in result.side_by_side],
        absent=_findings(result.absent),
        why_absent=result.why_absent,
        false_effects=[claim.text for claim in result.false_effects],
    )


def _findings(findings: CaseFindings) -> FindingsView:
    return FindingsView(
        claims=[_claim(claim) for claim in findings.claims],
        tables=[_table(name, table) for name, table in findings.tables.items()],
        figures=[StudyFigure(name=name, title=p.title, text=p.text) for name, p in findings.figures.items()],
    )


def _claim(claim: Claim) -> ClaimView:
    return ClaimView(
        text=claim.text,
        verdict=claim.verdict,
        value=_spread(claim.value),
        unit=claim.unit,
        bar=str(claim.bar),
        null=_spread(claim.null.range),
        null_what=str(claim.null),
        null_bar=str(claim.null_bar),
        reference=claim.reference,
        effect=claim.effect,
    )


def _table(name: str, table: Table) -> StudyTable:
    rows = [[_cell(value) for value in row] for row in table.rows()[:MOST_ROWS]]
    return StudyTable(
        name=name, title=table.title, note=table.note, columns=list(table.columns), rows=rows, n_rows=len(table)
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _spread(interval: Interval) -> Spread:
    value, low, high = interval.to_json()
    return Spread(value=value, low=low, high=high)
