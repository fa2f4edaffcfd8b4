"""What stands behind a graph's numbers: effects of its nodes, heads and steps of its edges, why a head looks somewhere.

Each needs the model, for well under a second of a small one, so the answers wait for the lock of the model; the latest
are kept, because a reader goes back and forth between a few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clew.attribution.add_effects import add_effects
from clew.attribution.edge_parts import EdgeParts, edge_parts
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel, check_traced_with
from clew.attribution.looks import find_look, layer_pattern
from clew.attribution.nodes import TargetNode
from clew.attribution.room import check_recording
from clew.attribution.trace_look import trace_look
from clew.errors import InputError
from clew.intervention.doubt import estimated_losses
from clew.intervention.live_effects import live_effects
from clew.intervention.look_effects import measured_contrast, strongest_ablations
from clew.memory import check_room
from clew.subject.recording import Recording
from clew.web.errors import NotFoundError, RefusedError
from clew.web.schema.explanations import EdgeDetail, LayerAttention, LookView, NodeEffects, PatternView
from clew.web.views.explanations import attention_view, edge_view, effects_view, look_view, pattern_view
from clew.web.workbench.latest_values import LatestValues
from clew.web.workbench.open_kit import OpenKit

MOST_ABLATIONS = 8
_KEPT_GRAPHS, _KEPT_PARTS, _KEPT_LOOKS, _KEPT_PATTERNS = 2, 4, 8, 1
MOST_WEIGHTS = 1 << 23  # of attention in one answer: 16 MiB, 22 MB as they are sent


@dataclass(frozen=True)
class _Effects:
    graph: Graph
    live: Tensor


@dataclass
class _Explained:
    """A look, with what was measured of it so far."""

    graph: Graph
    ablations: tuple[list[int], Tensor]
    measured: list[float] | None = None


class WorkbenchExplanations:
    """Explanations of the graphs of an open kit.

    Every method raises NotFoundError for a graph or node that there is not, and RefusedError for a graph of another
    kit; other errors are those of the library.
    """

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit, self.subject, self.dictionary = open_kit, open_kit.subject, open_kit.dictionary
        self._effects: LatestValues[_Effects] = LatestValues(_KEPT_GRAPHS)
        self._parts: LatestValues[EdgeParts] = LatestValues(_KEPT_PARTS)
        self._looks: LatestValues[_Explained] = LatestValues(_KEPT_LOOKS)
        self._patterns: LatestValues[dict[int, Tensor]] = LatestValues(_KEPT_PATTERNS)

    def effects(self, graph: str, id: str, limit: int) -> NodeEffects:
        """What outputs lose with a node, by effects and by the model; found here for a graph that has no effects."""
        traced = self._traced(graph)
        index = _index(traced, id)
        with self.open_kit.model_lock.short():
            both = self._effects.get((graph,), lambda: self._with_effects(traced))
            estimated = torch.full((len(traced.targets),), torch.nan)
            if index < traced.n_features:
                estimated = estimated_losses(self.subject, self.dictionary, traced, [index])[0]
        return effects_view(both.graph, both.live, estimated, index, limit)

    def _with_effects(self, graph: Graph) -> _Effects:
        check_recording(self.subject, graph.n_tokens, effects=True)
        if graph.effect_rows is None:
            check_room(2 * graph.rows.nbytes, "the effects of this graph", "trace it with a lower max_features")
        whole = add_effects(self.subject, self.dictionary, graph)
        return _Effects(whole, live_effects(self.subject, self.dictionary, whole))

    def edge(self, graph: str, source: str, target: str) -> EdgeDetail:
        """Which heads carry an edge, and which steps make its effect of its value."""
        traced = self._traced(graph)
        start, end = _index(traced, source), _index(traced, target)
        if isinstance(traced.node(start), TargetNode):
            raise InputError(f"{source} is an output, and nothing reads it: give a feature, an error or a token")
        with self.open_kit.model_lock.short():
            parts = self._parts.get((graph, end), lambda: self._taken_apart(traced, end))
        return edge_view(traced, parts, start, end, self.open_kit.names_in)

    def _taken_apart(self, graph: Graph, node: int) -> EdgeParts:
        check_recording(self.subject, graph.n_tokens, effects=True)
        return edge_parts(LocalModel.of_graph(self.subject, self.dictionary, graph), graph, node)

    def pattern(self, graph: str, layer: int, head: int, query: int) -> PatternView:
        """How a head divides its attention at a position; InputError for a layer, head or position that is none."""
        traced = self._traced(graph)
        check_traced_with(self.subject, self.dictionary, traced)
        with self.open_kit.model_lock.short():
            recording = self._recorded(traced)
        look = find_look(self.subject, recording, layer, head, query, None, traced.first_position)
        return pattern_view(look, recording.patterns())

    def attention(self, graph: str, layer: int, head: int | None) -> LayerAttention:
        """What all heads of a layer, or one, look at from every position.

        InputError for a layer or head that is none, and where that would be more than `MOST_WEIGHTS` weights.
        """
        traced = self._traced(graph)
        check_traced_with(self.subject, self.dictionary, traced)
        with self.open_kit.model_lock.short():
            patterns = self._patterns.get((graph,), lambda: self._recorded(traced).patterns())
        pattern = layer_pattern(self.subject, patterns, layer, head)
        heads = list(range(len(pattern))) if head is None else [head]
        a_head = traced.n_tokens * (traced.n_tokens + 1) // 2
        if len(heads) * a_head > MOST_WEIGHTS:
            raise InputError(
                f"{len(heads)} heads on {traced.n_tokens:,} tokens are {len(heads) * a_head:,} weights, and at most "
                f"{MOST_WEIGHTS:,} are sent at once: "
                + ("trace a shorter prompt" if len(heads) == 1 else "give a head")
            )
        return attention_view(traced, layer % self.subject.n_layers, heads, pattern[heads], self.subject.n_layers)

    def _recorded(self, graph: Graph) -> Recording:
        check_recording(self.subject, graph.n_tokens, effects=False)
        with torch.no_grad():
            return self.subject.record(torch.tensor(graph.token_ids, device=self.subject.device))

    def look(self, graph: str, layer: int, head: int, query: int, key: int | None, *, measure: bool) -> LookView:
        """Why a head looks from one position to another; InputError for what is not there, or stands behind the query.

        With `measure`, the features that are predicted to matter most are ablated in the model.
        """
        traced = self._traced(graph)
        check_traced_with(self.subject, self.dictionary, traced)
        with self.open_kit.model_lock.short():
            explained = self._looks.get(
                (graph, layer, head, query, key), lambda: self._explained(traced, layer, head, query, key)
            )
            ablated, _ = explained.ablations
            if measure and ablated and explained.measured is None:
                lost = measured_contrast(self.subject, self.dictionary, explained.graph, ablated)
                explained.measured = lost.tolist()
        return look_view(explained.graph, explained.ablations, explained.measured, self.open_kit.names_in)

    def _explained(self, traced: Graph, layer: int, head: int, query: int, key: int | None) -> _Explained:
        graph = trace_look(
            self.subject,
            self.dictionary,
            list(traced.token_ids),
            layer=layer,
            head=head,
            query=query,
            key=key,
            leave_out_first=traced.first_position > 0,
        )
        return _Explained(_sides_only(graph), strongest_ablations(graph, MOST_ABLATIONS))

    def _traced(self, graph: str) -> Graph:
        open_graph, of_kit = self.open_kit.graph(graph)
        if not of_kit:
            raise RefusedError(f"graph {graph} was not traced with {self.dictionary.name!r}: open its own kit")
        return open_graph.graph


def _sides_only(graph: Graph) -> Graph:
    """The graph of a look without the rows of its features, which take as much memory as a whole trace."""
    rows = (graph.row_nodes >= graph.target_range.start).nonzero()[:, 0]
    names = ("rows", "effect_rows", "row_nodes", "row_offsets", "input_mass")
    return replace(graph, **{name: getattr(graph, name)[rows] for name in names})


def _index(graph: Graph, id: str) -> int:
    """NotFoundError when a graph has no such node."""
    try:
        return graph.index(id)
    except InputError as error:
        raise NotFoundError(str(error)) from error
