"""What the page is sent of long work: jobs, their events, and their results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clew.web.schema.base import NameKind, View
from clew.web.schema.circuits import CircuitView, SwapView
from clew.web.schema.graphs import GraphMade

JobKind = Literal["trace", "circuit", "swap", "edit", "generate", "audit", "harvest", "study"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

# --- results --------------------------------------------------------------------------------------------------------


class EffectOutput(View):
    token_id: int
    token: str
    before: float
    predicted: float | None
    measured: float


class EffectChange(View):
    """A feature's activation at one position: without edits, as predicted, as measured."""

    node: str
    feature: str
    label: str
    label_kind: NameKind
    before: float
    predicted: float | None
    measured: float


class EffectView(View):
    kind: Literal["edit"] = "edit"
    tokens: list[str]
    edits: list[str]
    idle: list[str]
    """Edits that act on generated tokens only, so that they changed nothing here, where nothing is generated."""
    through: int | None
    """The last layer whose MLP output was clamped."""
    prediction: str | None
    outputs: list[EffectOutput]
    """Probabilities of the likeliest next tokens before or after."""
    n_outputs: int
    """How many next tokens there are."""
    edited: list[EffectChange]
    """Activations of the edited features themselves."""
    changes: list[EffectChange]
    """Other features, the largest measured change first."""
    n_changes: int
    """All other features that changed, those that `changes` has no room for included."""


class GeneratedView(View):
    kind: Literal["generate"] = "generate"
    prompt: str
    default: str
    edited: str


class Spread(View):
    """A statistic and its interval; null where it has no meaning."""

    value: float | None
    low: float | None
    high: float | None


class AgreementView(View):
    pairs: int
    spearman: Spread
    slope: Spread
    sign_errors: Spread


class AuditLine(View):
    name: str
    outputs: AgreementView
    features: AgreementView


class AuditPoints(View):
    """Pairs as columns."""

    predicted: list[float]
    measured: list[float]
    layers: list[int]
    is_output: list[bool]


class AuditView(View):
    kind: Literal["audit"] = "audit"
    graph: str
    nodes: int
    verdict: str
    lines: list[AuditLine]
    points: AuditPoints
    null_points: AuditPoints
    """The same pairs with the prediction of a graph whose edges were shuffled."""
    n_points: int
    seconds: float


class HarvestMade(View):
    kind: Literal["harvest"] = "harvest"
    atlas: str
    features: int
    dead: int
    positions: int
    used: bool
    """Whether cards are taken from it now; the kit's own atlas stays when it was made from more text."""


class StudyMade(View):
    kind: Literal["study"] = "study"
    result: str
    """The id of the result in the workspace."""


Result = Annotated[
    GraphMade | CircuitView | SwapView | EffectView | GeneratedView | AuditView | HarvestMade | StudyMade,
    Field(discriminator="kind"),
]

# --- jobs -----------------------------------------------------------------------------------------------------------


class JobProgress(View):
    done: int
    total: int
    note: str


class Job(View):
    id: str
    kind: JobKind
    state: JobState
    title: str
    """For a person: the prompt that is worked on."""
    date: str
    progress: JobProgress
    error: str | None
    result: Result | None


class JobList(View):
    jobs: list[Job]


class StepView(View):
    """One generated token."""

    token_id: int
    position: int
    text: str
    probability: float
    end: Literal["eos", "tokens", "context"] | None


class StepPair(View):
    """One step of both texts; null for one that has ended."""

    default: StepView | None
    edited: StepView | None


class JobEvents(View):
    """The data of server-sent events, by the event's name."""

    progress: JobProgress
    step: StepPair
    end: Job
