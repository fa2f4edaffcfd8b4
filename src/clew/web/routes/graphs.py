"""Graphs: history, views at thresholds, a node, arrangements, groups, import and export, comparison."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from clew.web.responses import LEFT_OUT, send, send_file
from clew.web.routes.dependencies import OpenWorkbench, ShownAt
from clew.web.schema.bodies import NODE, ArrangementBody, CircuitChoice, CompareBody, DifferenceBody
from clew.web.schema.comparisons import CompareView, DifferenceView
from clew.web.schema.graphs import (
    Arrangement,
    Conflict,
    GraphEntry,
    GraphList,
    GraphMade,
    GraphView,
    NodeDetail,
    ScoresView,
    Suggestions,
)

routes = APIRouter(prefix="/api", tags=["graphs"])
_FILE = {
    200: {
        "description": "The graph as a file",
        "headers": {
            LEFT_OUT: {
                "description": "Of a page: how many cards, details of nodes, edges and nodes had no room in it",
                "schema": {"type": "string", "pattern": "^cards=[0-9]+, details=[0-9]+, edges=[0-9]+, nodes=[0-9]+$"},
            }
        },
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"type": "object", "additionalProperties": True}},
        },
    }
}
_PAGE = {200: {**_FILE[200], "content": {"text/html": {"schema": {"type": "string"}}}}}
_IMPORT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "additionalProperties": True}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@routes.get("/graphs", response_model=GraphList)
def graphs(
    workbench: OpenWorkbench,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Graphs in the workspace, the latest first."""
    return send(workbench.graphs.history(offset, limit))


@routes.post("/graphs/import", response_model=GraphMade, status_code=201, openapi_extra=_IMPORT)
async def import_graph(workbench: OpenWorkbench, request: Request) -> Response:
    """Keep a graph: graph JSON as Neuronpedia and circuit-tracer write it, Clew's own file, or its exported page."""
    content = await request.body()
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.take_in(content), status=201))


@routes.get("/graphs/{graph}", response_model=GraphView)
async def graph(workbench: OpenWorkbench, graph: str, thresholds: ShownAt) -> Response:
    """A graph pruned at these thresholds; 1 and 1 is the whole."""
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.view(graph, thresholds), short=True))


@routes.delete("/graphs/{graph}", status_code=204)
def remove(workbench: OpenWorkbench, graph: str) -> Response:
    """Remove a graph and what was made of it; `restore` brings the last twenty back, for a day.

    On a full disk it is deleted for good, with all that could have been brought back.
    """
    workbench.graphs.remove(graph)
    return Response(status_code=204)


@routes.post("/graphs/{graph}/restore", response_model=GraphEntry)
def restore(workbench: OpenWorkbench, graph: str) -> Response:
    """Bring back a graph that was removed, with its arrangement and what was made of it."""
    return send(workbench.graphs.restore(graph))


@routes.get("/graphs/{graph}/scores", response_model=ScoresView)
async def scores(workbench: OpenWorkbench, graph: str, thresholds: ShownAt) -> Response:
    """Scores and counts at these thresholds."""
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.scores(graph, thresholds)))


@routes.get("/graphs/{graph}/node", response_model=NodeDetail)
async def node_detail(
    workbench: OpenWorkbench,
    graph: str,
    id: Annotated[str, Query(pattern=NODE)],
    thresholds: ShownAt,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most inputs, and most outputs")] = 200,
) -> Response:
    """What goes into a node and out of it in the whole graph, and what of it is shown at these thresholds."""
    return await workbench.graph_reads.in_thread(
        lambda: send(workbench.graphs.node(graph, id, thresholds, limit), short=True)
    )


@routes.get("/graphs/{graph}/export", response_class=Response, responses=_FILE)  # type: ignore[arg-type]
async def export(
    workbench: OpenWorkbench,
    graph: str,
    thresholds: ShownAt,
    as_: Annotated[Literal["html", "json", "graph"], Query(alias="as")] = "html",
) -> Response:
    """A graph as a file: a page that opens anywhere, graph JSON for other tools, or Clew's own (whole).

    The page stays under 3 MB: cards, then the weakest edges, then nodes that have no room are left out.
    """
    return await workbench.graph_reads.in_thread(lambda: send_file(workbench.graphs.export(graph, as_, thresholds)))


@routes.post("/graphs/{graph}/export", response_class=Response, responses=_PAGE)  # type: ignore[arg-type]
async def export_explained(workbench: OpenWorkbench, graph: str, thresholds: ShownAt, body: CircuitChoice) -> Response:
    """A graph as a page that opens anywhere, with its explanation, changed or not."""
    explained = await workbench.open_kit.model_lock.in_thread(workbench.circuits.exported, graph, body)
    return await workbench.graph_reads.in_thread(
        lambda: send_file(workbench.graphs.export(graph, "html", thresholds, explained))
    )


@routes.get("/graphs/{graph}/arrangement", response_model=Arrangement)
def arrangement(workbench: OpenWorkbench, graph: str) -> Response:
    """What a person did to a graph."""
    return send(workbench.graphs.arrangement(graph))


@routes.put("/graphs/{graph}/arrangement", response_model=Arrangement, responses={409: {"model": Conflict}})
def arrange(workbench: OpenWorkbench, graph: str, body: ArrangementBody) -> Response:
    """Keep what a person did, unless it has been changed since: then the newest comes back with 409."""
    is_kept, newest = workbench.graphs.arrange(graph, body)
    if is_kept:
        return send(newest)
    line = f"the arrangement has been changed elsewhere: revision {newest.revision} is the newest, not {body.revision}"
    return send(Conflict(error=line, newest=newest), status=409)


@routes.post("/graphs/{graph}/groups/suggest", response_model=Suggestions)
async def suggest(
    workbench: OpenWorkbench,
    graph: str,
    thresholds: ShownAt,
    by: Literal["token", "label"] = "label",
) -> Response:
    """Groups of shown features at one position that go by the same label, or promote the same token most."""
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.suggest(graph, by, thresholds)))


@routes.post("/compare", response_model=CompareView)
async def compare(workbench: OpenWorkbench, body: CompareBody) -> Response:
    """Two graphs side by side, aligned by position and by feature."""
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.compare(body.a, body.b), short=True))


@routes.post("/compare/graph", response_model=DifferenceView)
async def difference(workbench: OpenWorkbench, body: DifferenceBody) -> Response:
    """Two graphs drawn as one: what both have, what went from a, what came in b, with signed changes."""
    return await workbench.graph_reads.in_thread(lambda: send(workbench.graphs.difference(body)))
