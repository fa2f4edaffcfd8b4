"""What the page may send: every body a typed model with bounds, so that anything else is refused before it is used."""

from __future__ import annotations

import re
from dataclasses import MISSING
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, field_validator

from clew.attribution.trace import MOST_FEATURES, TraceSettings
from clew.circuit.ablation_claim import AblationClaim, Moves
from clew.circuit.find_circuit import CircuitSettings
from clew.circuit.regroup import LONGEST_NAME
from clew.intervention.generate import GenerateSettings
from clew.intervention.measurements import AuditSettings
from clew.intervention.run import EditSettings
from clew.search.query import Query
from clew.settings import help_of, options_of

FEATURE = r"^L[0-9]{1,4}/[0-9]{1,9}$"
NODE = r"^(L[0-9]{1,4}/[0-9]{1,9}|E[0-9]{1,4}|T|O[0-9]{1,4})@[0-9]{1,6}$"
GRAPH = r"^[0-9a-z]{1,40}$"

FeatureText = Annotated[str, StringConstraints(pattern=FEATURE)]
NodeText = Annotated[str, StringConstraints(pattern=NODE)]
GraphText = Annotated[str, StringConstraints(pattern=GRAPH)]
PromptText = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
Line = Annotated[str, StringConstraints(max_length=300)]
GroupName = Annotated[str, StringConstraints(max_length=200)]
Share = Annotated[float, Field(gt=0, le=1)]
Place = Annotated[float, Field(ge=-1e7, le=1e7)]
Point = Annotated[tuple[Place, Place], Strict(False)]
MOST_EDITS = 64
MOST_TARGETS = 16
MOST_GENERATED = 512


def _option(
    settings: type,
    name: str,
    *,
    default: Any = MISSING,
    more: str = "",
    ge: int | None = None,
    le: int | None = None,
) -> Any:
    """An option of a verb of the Kit as a field of a body, with the option's default and help text.

    The bounds are those of the page; so are a `default` and `more` help text of its own.
    """
    (option,) = (option for option in options_of(settings) if option.name == name)
    return Field(
        default=option.default if default is MISSING else default,
        description=f"{help_of(settings)[name]}{more}",
        ge=ge,
        le=le,
    )


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, use_attribute_docstrings=True)


class FeatureQuery(BaseModel):
    """Which features are listed, in which order, and which page of them: the query of an address."""

    model_config = ConfigDict(allow_inf_nan=False)

    how: Literal["browse", "words", "meaning", "promotes", "fires", "alike", "list"] = "browse"
    query: str = Field(
        default="", max_length=2000, description="Words, a meaning, a token, a text, a feature, or a list's name"
    )
    add_bos: bool = _option(Query, "add_bos")
    layer: int | None = Field(default=None, ge=0, le=9999)
    min_density: float = Field(default=0.0, ge=0, le=1)
    max_density: float = Field(default=1.0, ge=0, le=1)
    dead: Literal["hide", "show", "only"] = "hide"
    sort: Literal["feature", "density", "max_activation"] = "feature"
    descending: bool = False
    offset: int = Field(default=0, ge=0, le=10**9)
    limit: int = Field(default=50, ge=1, le=500)


class TokensBody(Body):
    prompt: PromptText
    add_bos: bool = _option(TraceSettings, "add_bos")


class EditBody(Body):
    """One intervention: see `clew.intervention.edit`."""

    verb: Literal["ablate", "set", "scale", "add", "steer"]
    feature: FeatureText
    strength: float = Field(default=0.0, ge=-1e5, le=1e5)
    positions: (
        Literal["all", "prompt", "generated"]
        | Annotated[list[Annotated[int, Field(ge=0, le=1_000_000)]], Field(min_length=1, max_length=4096)]
    ) = "all"
    layer: int | None = Field(default=None, ge=0, le=9999)


Edits = Annotated[list[EditBody], Field(min_length=1, max_length=MOST_EDITS)]


class TraceBody(Body):
    kind: Literal["trace"]
    prompt: PromptText
    targets: list[Line] | None = Field(
        default=None, description=help_of(TraceSettings)["targets"], min_length=1, max_length=MOST_TARGETS
    )
    position: int = _option(TraceSettings, "position", ge=-1, le=1_000_000)
    max_features: int | None = _option(TraceSettings, "max_features", ge=1, le=MOST_FEATURES)
    add_bos: bool = _option(TraceSettings, "add_bos")


class EffectBody(Body):
    kind: Literal["edit"]
    prompt: PromptText
    edits: Edits
    through: int | None = _option(EditSettings, "through", ge=0, le=9999)
    predict: Literal["effects", "frozen", "direct"] | None = _option(EditSettings, "predict")
    add_bos: bool = _option(EditSettings, "add_bos")


class GenerateBody(Body):
    kind: Literal["generate"]
    prompt: PromptText
    edits: Edits
    tokens: int = _option(GenerateSettings, "tokens", ge=1, le=MOST_GENERATED)
    temperature: float = _option(GenerateSettings, "temperature", ge=0, le=100)
    top_p: Share = _option(GenerateSettings, "top_p")
    seed: int = _option(GenerateSettings, "seed", ge=0, le=2**31)
    through: int | None = _option(GenerateSettings, "through", ge=0, le=9999)
    add_bos: bool = _option(GenerateSettings, "add_bos")


class AuditBody(Body):
    kind: Literal["audit"]
    graph: GraphText
    nodes: int = _option(AuditSettings, "nodes", default=100, ge=1, le=2000)  # half of the Kit's: a person waits for it


class HarvestBody(Body):
    """An atlas of the kit's features, made from the given texts or from the small world's.

    The workspace keeps it. Cards, densities and searches then use the latest atlas of the workspace, unless the kit's
    own was made from more text.
    """

    kind: Literal["harvest"]
    tokens: int = Field(default=100_000, ge=1, le=1_000_000_000)
    texts: list[PromptText] | None = Field(default=None, min_length=1, max_length=10_000)


class StudyBody(Body):
    """A study of the open kit; what is finished of it stays in the workspace, and the same body goes on there."""

    kind: Literal["study"]
    study: Line
    settings: dict[Line, bool | int | float | Line | None] = Field(default_factory=dict, max_length=12)
    """Fields of the study's config; those left out keep their defaults."""


class GroupChangeBody(Body):
    """One change of a circuit's groups: see `clew.circuit.regroup`."""

    verb: Literal["move", "split", "merge", "rename", "pin", "unpin"]
    group: GroupName = ""
    members: list[NodeText] = Field(default_factory=list, max_length=10_000)
    other: GroupName = ""
    name: Annotated[str, StringConstraints(max_length=LONGEST_NAME)] = ""


class CircuitChoice(Body):
    """A circuit of a graph: the one that is found, or one that was saved; and what was changed of it since."""

    saved: GraphText | None = None
    """The id of a saved circuit, from which it starts; else it is found."""
    groups: int = _option(CircuitSettings, "groups", ge=2, le=24)
    changes: list[GroupChangeBody] = Field(default_factory=list, max_length=200)


class ChangedCircuit(CircuitChoice):
    graph: GraphText


class CircuitBody(ChangedCircuit):
    kind: Literal["circuit"]


class SwapBody(ChangedCircuit):
    """A group of another prompt's circuit in the place of one of this circuit."""

    kind: Literal["swap"]
    group: GroupName
    prompt: PromptText
    """The other prompt."""
    other_group: GroupName = ""
    """Of the other circuit; left out, the one that does what this one does."""
    add_bos: bool = _option(TraceSettings, "add_bos")


class SaveCircuitBody(CircuitChoice):
    name: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
    replace: bool = False
    """Put it in the place of a circuit of the same name; else that one stays, and nothing is kept."""


class ClaimBody(Body):
    """What is said of some features of a graph: see `clew.circuit.ablation_claim`."""

    features: Annotated[list[NodeText], Field(min_length=1, max_length=1000)]
    token: Line | None = None
    """Whose probability moves; left out, the answer's."""
    moves: Moves = "falls"
    points: float = Field(default=AblationClaim.points, gt=0, le=100)
    """By how many percentage points at least."""
    draws: int = Field(default=AblationClaim.draws, ge=1, le=200)
    """Random sets beside them."""
    seed: int = Field(default=AblationClaim.seed, ge=0, le=2**31)


class RivalBody(CircuitChoice):
    """Why a circuit's answer, and not another token."""

    token: Line


JobBody = Annotated[
    TraceBody | CircuitBody | SwapBody | EffectBody | GenerateBody | AuditBody | HarvestBody | StudyBody,
    Field(discriminator="kind"),
]


class GroupBody(Body):
    id: Line
    name: Line
    nodes: list[NodeText] = Field(max_length=10_000)
    note: str = Field(default="", max_length=10_000)


class ThresholdsBody(Body):
    node: Share = 0.8
    edge: Share = 0.98


class ArrangementBody(Body):
    """A changed arrangement; `revision` is that of the arrangement which was changed."""

    revision: int = Field(ge=0, le=2**53)
    pins: list[NodeText] = Field(default_factory=list, max_length=10_000)
    groups: list[GroupBody] = Field(default_factory=list, max_length=1000)
    positions: dict[str, Point] = Field(default_factory=dict, max_length=10_000)
    thresholds: ThresholdsBody = Field(default_factory=ThresholdsBody)

    @field_validator("positions")
    @classmethod
    def _keys_are_nodes(cls, positions: dict[str, Point]) -> dict[str, Point]:
        for name in positions:
            if re.fullmatch(NODE, name) is None:
                raise ValueError("positions are of nodes: write L3/1207@4")
        return positions


class CompareBody(Body):
    a: GraphText
    b: GraphText


class DifferenceBody(CompareBody):
    by: Literal["position", "feature"] = "position"
    """Whether a feature at two positions is two nodes, or one."""
    features: int = Field(default=24, ge=1, le=200)


class NoteBody(Body):
    """A changed note; `revision` is that of the note which was changed, 0 where there was none."""

    revision: int = Field(ge=0, le=2**53)
    text: str = Field(max_length=20_000)


class ListBody(Body):
    """What is put into a person's list of features, and taken out of it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    add: list[FeatureText] = Field(default_factory=list, max_length=1000)
    remove: list[FeatureText] = Field(default_factory=list, max_length=1000)


class FiresBody(Body):
    text: PromptText
    max_density: float = Field(default=1.0, ge=0, le=1)
    top: int = Field(default=5, ge=1, le=50)
    """How many features are listed for each token."""
    add_bos: bool = _option(Query, "add_bos")


class ProbeBody(Body):
    text: PromptText
    add_bos: bool = _option(TraceSettings, "add_bos")


class LabelBody(Body):
    text: str = Field(min_length=1, max_length=2000)
    author: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=10_000)
    after: int | None = Field(default=None, ge=0, le=2**53)
    """The id of the author's label when this one was begun, 0 for none. If the author's label is another one now,
    nothing is kept and the answer is 409. Left out, this label replaces whatever there is."""
