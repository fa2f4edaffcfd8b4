"""What the page is sent of studies: which there are, and what one found."""

from __future__ import annotations

from typing import Literal

from clew.web.schema.base import View
from clew.web.schema.jobs import Spread

Cell = str | int | float | bool | None
Verdict = Literal["holds", "fails", "cannot say"]


class StudySetting(View):
    name: str
    kind: Literal["integer", "number", "text", "switch"]
    help: str
    default: Cell
    optional: bool
    """Whether it may be left empty."""


class StudyView(View):
    name: str
    question: str
    source: str
    settings: list[StudySetting]
    lacking: str
    """What the open kit lacks to answer it; empty where nothing is missing."""


class StudyEntry(View):
    """A result in the workspace."""

    id: str
    study: str
    kit: str
    dictionary: str
    date: str
    verdicts: list[Verdict]
    config: dict[str, Cell]


class StudyList(View):
    studies: list[StudyView]
    results: list[StudyEntry]
    """The latest first."""


class ClaimView(View):
    text: str
    verdict: Verdict
    value: Spread
    unit: str
    bar: str
    null: Spread
    """The mean of the null's draws and where 95 % of them lie."""
    null_what: str
    """What is drawn, how often, and how large each draw and the set under test are."""
    null_bar: str
    reference: str
    effect: bool


class StudyTable(View):
    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[list[Cell]]
    n_rows: int


class StudyFigure(View):
    name: str
    title: str
    text: str


class FindingsView(View):
    claims: list[ClaimView]
    tables: list[StudyTable]
    figures: list[StudyFigure]


class StudyResult(View):
    id: str
    study: str
    question: str
    source: str
    kit: str
    dictionary: str
    config: dict[str, Cell]
    found: FindingsView
    neurons: list[ClaimView]
    """The claims of `found` in their order, measured by the model's own neurons; none where these were left out."""
    absent: FindingsView
    why_absent: str
    false_effects: list[str]
    """Effects that hold in the absent case, where none must."""
