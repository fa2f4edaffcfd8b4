"""Long work: started, watched by its events, cancelled."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from clew.web.responses import send
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.bodies import JobBody
from clew.web.schema.jobs import Job, JobList

routes = APIRouter(prefix="/api/jobs", tags=["jobs"])


def _event(name: str, model: str) -> dict[str, Any]:
    """The schema of one kind of server-sent event, whose data is a view as JSON."""
    view = {"$ref": f"#/components/schemas/{model}"}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": view}
    fields = {"id": {"type": "string", "pattern": "^[0-9]+$"}, "event": {"const": name}, "data": data}
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


_EVENT = {"oneOf": [_event("progress", "JobProgress"), _event("step", "StepPair"), _event("end", "Job")]}
_EVENTS = {
    200: {
        "description": "Server-sent events `progress`, `step` and `end`: see JobEvents",
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
    }
}


@routes.post("", response_model=Job, status_code=202)
def start(workbench: OpenWorkbench, body: JobBody) -> Response:
    """Ask for long work; it waits until what was asked for before is done."""
    return send(workbench.start(body), status=202)


@routes.get("", response_model=JobList)
def jobs(workbench: OpenWorkbench) -> Response:
    """Jobs of this server, the latest first."""
    return send(JobList(jobs=workbench.jobs.all()))


@routes.get("/{job}", response_model=Job)
def job(workbench: OpenWorkbench, job: str) -> Response:
    """One job; what it came to is kept in the workspace."""
    return send(workbench.job(job))


@routes.get("/{job}/events", response_class=StreamingResponse, responses=_EVENTS)  # type: ignore[arg-type]
async def events(
    workbench: OpenWorkbench, job: str, last_event_id: Annotated[str | None, Header(max_length=20)] = None
) -> StreamingResponse:
    """What happens to a job, from the event after `Last-Event-ID`; ends with the job."""
    after = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdecimal() else 0
    stream = workbench.jobs.events(job, after)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@routes.delete("/{job}", response_model=Job)
def cancel(workbench: OpenWorkbench, job: str) -> Response:
    """Cancel: at once while it waits, at its next progress report while it runs."""
    return send(workbench.jobs.cancel(job))
