"""What the page is sent of effects, edges and looks: what stands behind a number of a graph."""

from __future__ import annotations

from clew.web.schema.base import NameKind, Row, View


class TargetEffect(View):
    """What an output's centred logit loses when a node goes."""

    target: str
    label: str
    total: float
    """By the graph's effects, over all paths."""
    live: float | None
    """By the model's own derivative; null for what is no feature, and for a feature that its own layer does not write.
    """
    errors: float | None
    """`live` less `total`: what goes through the dictionary's errors."""
    estimated: float | None
    """By the model's first and second derivative; null where `live` is."""
    doubtful: bool
    """Whether `total` is not to be trusted: it is far from `estimated`, in sign or size."""


class NodeEffects(View):
    id: str
    targets: list[TargetEffect]
    """Empty for an output itself."""
    inputs: dict[str, float]
    """Effects of edges into it by their sources, of those with the largest values."""
    outputs: dict[str, float]
    """Effects of edges out of it by their targets."""


class NamedNode(View):
    id: str
    label: str
    label_kind: NameKind


class HeadLoading(View):
    layer: int
    head: int
    value: float


class LayerStream(View):
    layer: int
    value: float


class EdgeStep(View):
    """What an edge's effect gains when a step follows: a head's pattern by its query or its key, or a norm's scale."""

    name: str
    layer: int | None = None
    """Of a head's step; so are the next two."""
    head: int | None = None
    side: str | None = None
    value: float


class EdgeDetail(View):
    """One edge taken apart: `value` passes heads and the stream, and `value` and all steps add up to `effect`."""

    source: NamedNode
    target: NamedNode
    query: int
    """The position of the target."""
    key: int
    """The position of the source."""
    value: float
    effect: float
    heads: list[HeadLoading]
    """The share of the value that passes each head, the largest first."""
    stream: list[LayerStream]
    """By layer that it passes: the rest, which passes the heads by."""
    steps: list[EdgeStep]
    """The largest first."""


class PatternView(View):
    """How a head divides its attention at one position."""

    layer: int
    head: int
    query: int
    weights: list[float]
    """By position; 0 behind the query."""
    most: int
    """The position that it looks at most; a left-out first position is passed over."""
    n_heads: list[int]
    """Of every layer."""


class LayerAttention(View):
    """What heads of one layer look at from every position of a prompt."""

    layer: int
    n_layers: int
    heads: list[int]
    """Whose weights follow: all of the layer, or the one that was asked for."""
    tokens: list[str]
    shown: Row = None
    weights: str
    """Base64 of unsigned 16-bit numbers, the lower byte first; 65535 is all of the attention. Head by head, and in each
    query by query its keys from the first to the query itself: query * (query + 1) / 2 + key."""


class LookSource(View):
    id: str
    label: str
    label_kind: NameKind
    value: float
    effect: float


class LookSide(View):
    """What at one side of a score speaks for it. Sources, `rest` and offsets add up to the contrast."""

    sources: list[LookSource]
    """By absolute effect."""
    n_sources: int
    rest: float
    """The values of the sources that are not listed."""
    offsets: list[float]


class LookAblation(View):
    """What the contrast loses without a feature."""

    id: str
    label: str
    label_kind: NameKind
    predicted: float
    measured: float | None
    """In the model; null until it is asked for."""


class LookView(View):
    layer: int
    head: int
    query: int
    key: int
    weight: float
    """How much of the head's attention goes there."""
    n_others: int
    """Other keys, with whose mean score this one's is compared."""
    contrast: float
    query_side: LookSide
    key_side: LookSide
    ablations: list[LookAblation]
    """Features in front of the head, the largest prediction first."""
