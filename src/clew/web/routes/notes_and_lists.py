"""A person's lists of features, and notes on graphs and features."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from clew.web.responses import send
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.routes.features import Index, Layer
from clew.web.schema.bodies import ListBody, NoteBody
from clew.web.schema.notes import Lists, Note, NoteConflict

routes = APIRouter(prefix="/api", tags=["notes"])
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": NoteConflict}}


@routes.get("/lists", response_model=Lists)
def lists(workbench: OpenWorkbench) -> Response:
    """The lists of features that a person keeps, by name."""
    return send(workbench.notes_and_lists.lists())


@routes.post("/lists", response_model=Lists)
def change_list(workbench: OpenWorkbench, body: ListBody) -> Response:
    """Put features into a list, which begins with its first one, and take others out of it."""
    return send(workbench.notes_and_lists.change_list(body))


@routes.get("/graphs/{graph}/note", response_model=Note)
def graph_note(workbench: OpenWorkbench, graph: str) -> Response:
    """What a person wrote on a graph."""
    return send(workbench.notes_and_lists.graph_note(graph))


@routes.put("/graphs/{graph}/note", response_model=Note, responses=_CONFLICT)
def write_graph_note(workbench: OpenWorkbench, graph: str, body: NoteBody) -> Response:
    """Keep a note on a graph, unless it has been changed since: then the newest comes back with 409."""
    return _sent(workbench.notes_and_lists.write_graph_note(graph, body))


@routes.get("/features/{layer}/{index}/note", response_model=Note)
def feature_note(workbench: OpenWorkbench, layer: Layer, index: Index) -> Response:
    """What a person wrote on a feature."""
    return send(workbench.notes_and_lists.feature_note(layer, index))


@routes.put("/features/{layer}/{index}/note", response_model=Note, responses=_CONFLICT)
def write_feature_note(workbench: OpenWorkbench, layer: Layer, index: Index, body: NoteBody) -> Response:
    """Keep a note on a feature, unless it has been changed since: then the newest comes back with 409."""
    return _sent(workbench.notes_and_lists.write_feature_note(layer, index, body))


def _sent(answer: Note | NoteConflict) -> Response:
    return send(answer, status=409 if isinstance(answer, NoteConflict) else 200)
