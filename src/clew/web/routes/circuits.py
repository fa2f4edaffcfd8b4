"""Circuits of a graph that a person saved, claims and rivals. They are found, changed and swapped as jobs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from clew.web.responses import send, send_file
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.base import Problem
from clew.web.schema.bodies import ClaimBody, RivalBody, SaveCircuitBody
from clew.web.schema.circuits import AblationClaimView, CircuitList, CircuitView, RivalView

routes = APIRouter(prefix="/api/graphs/{graph}", tags=["circuits"])
_FILE = {
    200: {
        "description": "The circuit, as `clew.Circuit.load` reads it",
        "content": {"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
    }
}
_TAKEN: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "Another circuit of the graph has this name"}
}


@routes.get("/circuits", response_model=CircuitList)
def circuits(workbench: OpenWorkbench, graph: str) -> Response:
    """The saved circuits of a graph, the latest first."""
    return send(workbench.circuits.all(graph))


@routes.post("/circuits", response_model=CircuitView, status_code=201, responses=_TAKEN)
async def save_circuit(workbench: OpenWorkbench, graph: str, body: SaveCircuitBody) -> Response:
    """Keep a circuit under a name. One that has the name already stays, unless `replace` is set: then 409."""
    return send(await workbench.open_kit.model_lock.in_thread(workbench.circuits.save, graph, body), status=201)


@routes.get("/circuits/{circuit}", response_model=CircuitView)
def saved_circuit(workbench: OpenWorkbench, graph: str, circuit: str) -> Response:
    """A saved circuit, with the numbers that it was saved with."""
    return send(workbench.circuits.get(graph, circuit))


@routes.delete("/circuits/{circuit}", status_code=204)
def remove_circuit(workbench: OpenWorkbench, graph: str, circuit: str) -> Response:
    """Remove a saved circuit."""
    workbench.circuits.remove(graph, circuit)
    return Response(status_code=204)


@routes.get("/circuits/{circuit}/file", response_class=Response, responses=_FILE)  # type: ignore[arg-type]
def circuit_file(workbench: OpenWorkbench, graph: str, circuit: str) -> Response:
    """A saved circuit as a file of its own."""
    return send_file(workbench.circuits.file(graph, circuit))


@routes.post("/claim", response_model=AblationClaimView)
async def claim(workbench: OpenWorkbench, graph: str, body: ClaimBody) -> Response:
    """Check a claim about features in the model: without them an output falls, or rises, so far."""
    return send(await workbench.open_kit.model_lock.in_thread(workbench.circuits.claim, graph, body))


@routes.post("/rival", response_model=RivalView)
async def rival(workbench: OpenWorkbench, graph: str, body: RivalBody) -> Response:
    """Say which groups of a circuit hold another token down."""
    return send(await workbench.open_kit.model_lock.in_thread(workbench.circuits.rival, graph, body))
