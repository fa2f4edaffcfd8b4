"""What stands behind the numbers of a graph: effects, heads and steps of an edge, where a head looks and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from clew.web.responses import send
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.bodies import NODE
from clew.web.schema.explanations import EdgeDetail, LayerAttention, LookView, NodeEffects, PatternView

routes = APIRouter(prefix="/api/graphs/{graph}", tags=["explanations"])
Node = Annotated[str, Query(pattern=NODE)]
Layer = Annotated[int, Query(ge=-9999, le=9999)]
Head = Annotated[int, Query(ge=0, le=9999, description="Counted from 0")]
Position = Annotated[int, Query(ge=-1_000_000, le=1_000_000, description="-1 is the last")]


@routes.get("/effects", response_model=NodeEffects)
async def effects(
    workbench: OpenWorkbench,
    graph: str,
    id: Node,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most inputs, and most outputs")] = 200,
) -> Response:
    """What the outputs lose with a node: by the graph's effects, by the model's own derivative, and what parts the two.

    Effects are found for a graph that was traced without them.
    """
    return send(await workbench.open_kit.model_lock.in_thread(workbench.explanations.effects, graph, id, limit))


@routes.get("/edge", response_model=EdgeDetail)
async def edge(workbench: OpenWorkbench, graph: str, source: Node, target: Node) -> Response:
    """Which heads carry an edge's value, and which steps make its effect of it."""
    explanations = workbench.explanations
    return send(await workbench.open_kit.model_lock.in_thread(explanations.edge, graph, source, target))


@routes.get("/pattern", response_model=PatternView)
async def pattern(workbench: OpenWorkbench, graph: str, layer: Layer, head: Head, query: Position = -1) -> Response:
    """What a head looks at from a position."""
    explanations = workbench.explanations
    return send(await workbench.open_kit.model_lock.in_thread(explanations.pattern, graph, layer, head, query))


@routes.get("/attention", response_model=LayerAttention)
async def attention(
    workbench: OpenWorkbench,
    graph: str,
    layer: Layer,
    head: Annotated[int | None, Query(ge=0, le=9999, description="Else all heads of the layer")] = None,
) -> Response:
    """What the heads of a layer look at from every position of the prompt."""
    explanations = workbench.explanations
    return send(await workbench.open_kit.model_lock.in_thread(explanations.attention, graph, layer, head), short=True)


@routes.get("/look", response_model=LookView)
async def look(
    workbench: OpenWorkbench,
    graph: str,
    layer: Layer,
    head: Head,
    query: Position = -1,
    key: Annotated[int | None, Query(ge=-1_000_000, le=1_000_000, description="Else where it looks most")] = None,
    measure: Annotated[bool, Query(description="Ablate the features that are predicted to matter most")] = False,
) -> Response:
    """Why a head looks from one position to another: what at the query, and what at the keys, makes it."""

    def answer() -> LookView:
        return workbench.explanations.look(graph, layer, head, query, key, measure=measure)

    return send(await workbench.open_kit.model_lock.in_thread(answer))
