"""What the page is sent of graphs: lists, views at thresholds, nodes, arrangements."""

from __future__ import annotations

from typing import Literal

from clew.ids import NodeKind
from clew.web.schema.base import NameKind, Row, View


class ScorePair(View):
    replacement: float
    completeness: float


class Thresholds(View):
    node: float
    edge: float


class Output(View):
    label: str
    probability: float | None


class GraphEntry(View):
    id: str
    prompt: str
    tokens: list[str]
    date: str
    top: Output | None
    n_nodes: int
    scores: ScorePair
    subject: str
    dictionary: str
    of_kit: bool
    """Traced with the kit that is open: it can be edited and audited here."""
    add_bos: bool = True
    """Whether its prompt was read with what the kit's tokenizer puts in front; of another kit's graph always true."""
    shown: Row = None
    origin: Literal["trace", "import"]


class GraphList(View):
    total: int
    graphs: list[GraphEntry]


class GraphNode(View):
    """One node. Shares are of the whole graph; a field is left out where a node of this kind has none."""

    id: str
    kind: NodeKind
    position: int
    layer: int | None = None
    feature: str | None = None
    label: str | None = None
    label_kind: NameKind | None = None
    here: str | None = None
    """What a feature does at this place of the prompt, where its label says something else; empty where it fires for a
    reason that neither its label nor contexts like this one tell."""
    activation: float | None = None
    value: float | None = None
    """A feature's pre-activation, a target's centred logit: what edges and offsets add up to."""
    token_id: int | None = None
    weight: float | None = None
    probability: float | None = None
    influence: float
    held: float
    """The node threshold from which this node is shown."""
    error: float
    """Share of errors in its absolute input."""
    lost: float
    """Share of its absolute input that pruning removed."""
    mass: float | None = None
    """Its absolute input in the whole graph."""
    offsets: list[float]


class EdgeColumns(View):
    """Edges as columns, the most influential first; source and target are places in the list of nodes.

    At most 100,000, and fewer in a file: `counts` of the view says how many there are.
    """

    source: list[int]
    target: list[int]
    weight: list[float]
    held: list[float]
    """The share of the edges' influence up to and with each edge."""


class PathView(View):
    nodes: list[str]
    weight: float
    """Product of the edges' shares of their target's absolute input, with the product of their signs."""


class Count(View):
    nodes: int
    edges: int


class CountsView(View):
    shown: Count
    whole: Count


class WholeAndShown(View):
    whole: ScorePair
    shown: ScorePair


class Shares(View):
    error: float
    offset: float


class RolesView(View):
    inputs: list[str]
    """Features at least half of whose absolute input comes from tokens, the most influential first."""
    outputs: list[str]
    """Features at least half of whose influence goes straight to targets."""


class GraphView(View):
    id: str
    prompt: str
    tokens: list[str]
    shown: Row = None
    token_ids: list[int]
    n_layers: int
    first_position: int
    first_reason: str
    """Why the first position is left out, or is not; empty in graphs from before it was measured."""
    subject: str
    dictionary: str
    dictionary_kind: str
    of_kit: bool
    add_bos: bool = True
    """As in the list of graphs."""
    targets: list[str]
    """The outputs that the trace was asked to explain; empty where they are the likeliest tokens."""
    position: int
    """The position whose next token is explained; of several, the last."""
    thresholds: Thresholds
    scores: WholeAndShown
    shares: Shares
    counts: CountsView
    offset_names: list[str]
    next_tokens: list[Output]
    nodes: list[GraphNode]
    edges: EdgeColumns
    paths: list[PathView]
    roles: RolesView


class ScoresView(View):
    thresholds: Thresholds
    scores: WholeAndShown
    counts: CountsView


class Link(View):
    """An edge between the selected node and another."""

    id: str
    label: str
    label_kind: NameKind
    here: str | None = None
    """As in nodes."""
    weight: float
    share: float
    """Of the absolute input of the edge's target in the whole graph, with the edge's sign."""
    effect: float | None = None
    """Left out in a graph without effects."""
    influence: float
    shown: bool
    """Whether the other node is shown at these thresholds."""


class LeftOutLink(View):
    """What reaches the selected node from a shown one by way of nodes that are not shown."""

    id: str
    label: str
    label_kind: NameKind
    here: str | None = None
    """As in nodes."""
    direct: float
    """The edge itself."""
    through: float
    """The effect of removing the source that arrives over left-out features alone, in the units of the edge."""


class NodeDetail(View):
    node: GraphNode
    shown: bool
    inputs: list[Link]
    """By absolute weight in the whole graph; both signs."""
    n_inputs: int
    outputs: list[Link]
    n_outputs: int
    paths: list[PathView]
    """The strongest paths from tokens to targets through this node, among the nodes shown."""
    left_out: list[LeftOutLink]


class NodeGroup(View):
    id: str
    name: str
    nodes: list[str]
    note: str = ""


class Arrangement(View):
    """What a person did to a graph. `revision` rises by one with every change that is kept."""

    revision: int
    pins: list[str]
    groups: list[NodeGroup]
    positions: dict[str, tuple[float, float]]
    thresholds: Thresholds


class Conflict(View):
    """Somebody else has changed the arrangement since."""

    error: str
    newest: Arrangement


class Suggestions(View):
    groups: list[NodeGroup]


class GraphMade(View):
    kind: Literal["trace"] = "trace"
    graph: str


# --- comparing two graphs -------------------------------------------------------------------------------------------
