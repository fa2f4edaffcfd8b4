"""What the page is sent of features: cards, labels, lists, activations on a text."""

from __future__ import annotations

from typing import Literal

from clew.web.schema.base import NameKind, Row, View

LabelKind = Literal["person", "model", "heuristic"]


class ScoreView(View):
    """How well a label predicts where its feature fires: balanced accuracy and its interval, beside a null."""

    test: str
    judge: str
    value: float
    low: float
    high: float
    null: float | None
    contexts: int


class LabelView(View):
    id: int
    feature: str
    text: str
    kind: LabelKind
    author: str
    method: str
    note: str
    date: str
    current: bool
    """Neither withdrawn nor replaced by its author."""
    replaced: bool
    """Its author has replaced it by a newer label."""
    scores: list[ScoreView]


class LabelConflict(View):
    """The author has written another label since, perhaps in another tab: nothing was kept."""

    error: str
    newest: LabelView | None
    """The author's label now; null when it was withdrawn."""


class FeatureName(View):
    feature: str
    text: str
    kind: NameKind


class FeatureNames(View):
    names: list[FeatureName]


# --- cards ----------------------------------------------------------------------------------------------------------


class ContextView(View):
    document: int
    position: int
    at: int
    """The index of that position in `tokens`."""
    token_ids: list[int]
    tokens: list[str]
    shown: Row = None
    activations: list[float]


class BandView(View):
    low: float
    high: float
    fired: int
    contexts: list[ContextView]


class HistogramView(View):
    edges: list[float]
    counts: list[int]


class TokenWeightView(View):
    token_id: int
    token: str
    weight: float


class RelatedView(View):
    feature: str
    value: float
    label: str = ""


class PlacesView(View):
    bounds: list[int]
    fired: list[float]
    everything: list[float]
    at_last: float
    everything_at_last: float


class CardView(View):
    """A feature over one corpus: see `clew.features.card.Card`."""

    feature: str
    positions: int
    documents: int
    fired: int
    fired_documents: int
    max_activation: float
    mean_activation: float
    dead: bool
    density: float
    document_density: float
    log_histogram: HistogramView
    linear_histogram: HistogramView
    places: PlacesView
    top: list[ContextView]
    bands: list[BandView]
    silent: list[ContextView]
    promoted: list[TokenWeightView]
    suppressed: list[TokenWeightView]
    logits: HistogramView
    nearest_decoder: list[RelatedView]
    nearest_encoder: list[RelatedView]
    together: list[RelatedView]
    inputs: list[RelatedView]
    outputs: list[RelatedView]


class FeatureView(View):
    feature: str
    name: str
    name_kind: NameKind
    reads: int
    writes: list[int]
    card: CardView | None
    """Null when there is no atlas."""
    labels: list[LabelView]
    """The label to show first, then other current ones, then those replaced or withdrawn."""


class ProbeView(View):
    """One feature on one text: its activation at every token, 0 at positions that carry no features."""

    feature: str
    tokens: list[str]
    shown: Row = None
    activations: list[float]
    first_position: int
    max_activation: float | None
    """The largest in the atlas' corpus."""


# --- lists ----------------------------------------------------------------------------------------------------------


class FeatureRow(View):
    feature: str
    label: str
    label_kind: NameKind
    density: float | None
    dead: bool | None
    max_activation: float | None
    why: str = ""
    """Why a search found it, in words."""
    strength: float | None = None
    """A cosine, an activation, a PMI: as `why` says."""


class FeatureList(View):
    total: int
    """All features that fit, or that a search found."""
    features: list[FeatureRow]


class Fire(View):
    feature: str
    label: str
    label_kind: NameKind
    position: int
    activation: float
    share: float | None
    """Of its largest activation in the atlas' corpus."""
    density: float | None


class FiresAt(View):
    position: int
    features: list[Fire]


class FiresView(View):
    tokens: list[str]
    shown: Row = None
    first_position: int
    by_token: list[FiresAt]
    by_feature: list[Fire]
