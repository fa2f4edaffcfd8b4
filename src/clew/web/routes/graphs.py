"""Graphs: history, views at thresholds, a node, arrangements, groups, import and export, comparison."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from clew.web.responses import LEFT_OUT, send, send_file
from clew.web.routes.dependencies import Open
from clew.web.schema.bodies import NODE, ArrangementBody, CompareBody
from clew.web.schema.graphs import (
    Arrangement,
    CompareView,
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
NodeShare = Annotated[float, Query(gt=0, le=1, allow_inf_nan=False, description="Share of the influence kept in nodes")]
EdgeShare = Annotated[float, Query(gt=0, le=1, allow_inf_nan=False, description="Share of theirs kept in edges")]
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
    bench: Open,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Graphs in the workspace, the latest first."""
    return send(bench.history(offset, limit))


@routes.post("/graphs/import", response_model=GraphMade, status_code=201, openapi_extra=_IMPORT)
async def import_graph(bench: Open, request: Request) -> Response:
    """Keep a graph: graph JSON as Neuronpedia and circuit-tracer write it, or Clew's own file."""
    return send(await bench.take_in(await request.body()), status=201)


@routes.get("/graphs/{graph}", response_model=GraphView)
def graph(bench: Open, graph: str, node: NodeShare = 0.8, edge: EdgeShare = 0.98) -> Response:
    """A graph pruned at these thresholds; 1 and 1 is the whole."""
    return send(bench.graph_view(graph, node, edge), short=True)


@routes.delete("/graphs/{graph}", status_code=204)
def remove(bench: Open, graph: str) -> Response:
    """Remove a graph and what was made of it; `restore` brings the last twenty back while the server runs."""
    bench.remove(graph)
    return Response(status_code=204)


@routes.post("/graphs/{graph}/restore", response_model=GraphEntry)
def restore(bench: Open, graph: str) -> Response:
    """Bring back a graph that was removed, with its arrangement and what was made of it."""
    return send(bench.restored(graph))


@routes.get("/graphs/{graph}/scores", response_model=ScoresView)
def scores(bench: Open, graph: str, node: NodeShare = 0.8, edge: EdgeShare = 0.98) -> Response:
    """Scores and counts at these thresholds."""
    return send(bench.scores(graph, node, edge))


@routes.get("/graphs/{graph}/node", response_model=NodeDetail)
def node_detail(
    bench: Open,
    graph: str,
    id: Annotated[str, Query(pattern=NODE)],
    node: NodeShare = 0.8,
    edge: EdgeShare = 0.98,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most inputs, and most outputs")] = 200,
) -> Response:
    """What goes into a node and out of it in the whole graph, and what of it is shown at these thresholds."""
    return send(bench.node_detail(graph, id, node, edge, limit), short=True)


@routes.get("/graphs/{graph}/export", response_class=Response, responses=_FILE)  # type: ignore[arg-type]
def export(
    bench: Open,
    graph: str,
    as_: Annotated[Literal["html", "json", "graph"], Query(alias="as")] = "html",
    node: NodeShare = 0.8,
    edge: EdgeShare = 0.98,
) -> Response:
    """A graph as a file: a page that opens anywhere, graph JSON for other tools, or Clew's own (whole).

    The page stays under 3 MB: cards, then the weakest edges, then nodes that have no room are left out.
    """
    return send_file(bench.exported(graph, as_, node, edge))


@routes.get("/graphs/{graph}/arrangement", response_model=Arrangement)
def arrangement(bench: Open, graph: str) -> Response:
    """What a person did to a graph."""
    return send(bench.arrangement(graph))


@routes.put("/graphs/{graph}/arrangement", response_model=Arrangement, responses={409: {"model": Conflict}})
def arrange(bench: Open, graph: str, body: ArrangementBody) -> Response:
    """Keep what a person did, unless it has been changed since: then the newest comes back with 409."""
    kept, newest = bench.arrange(graph, body)
    if kept:
        return send(newest)
    line = f"the arrangement has been changed elsewhere: revision {newest.revision} is the newest, not {body.revision}"
    return send(Conflict(error=line, newest=newest), status=409)


@routes.post("/graphs/{graph}/groups/suggest", response_model=Suggestions)
def suggest(
    bench: Open,
    graph: str,
    by: Literal["token", "label"] = "label",
    node: NodeShare = 0.8,
    edge: EdgeShare = 0.98,
) -> Response:
    """Groups of shown features at one position that go by the same label, or promote the same token most."""
    return send(bench.suggested(graph, by, node, edge))


@routes.post("/compare", response_model=CompareView)
def compare(bench: Open, body: CompareBody) -> Response:
    """Two graphs side by side, aligned by position and by feature."""
    return send(bench.compared(body.a, body.b), short=True)
