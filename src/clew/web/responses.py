"""Views as answers: pydantic writes the JSON directly, which is far faster than FastAPI's own encoder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Response
from pydantic import BaseModel

from clew.web.schema.export import LeftOut

LEFT_OUT = "Clew-Left-Out"


def send(view: BaseModel, *, status: int = 200, short: bool = False) -> Response:
    """A view as JSON; with `short`, without the fields that were never set."""
    content = view.model_dump_json(exclude_unset=short)
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")


@dataclass(frozen=True)
class Download:
    """A file that the browser saves."""

    content: bytes
    kind: str
    name: str
    left_out: LeftOut | None = None


def send_file(file: Download) -> Response:
    """A file to be saved. Its name keeps letters, digits and dots; a header names what the file had no room for."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.name).strip("-.") or "graph"
    head = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    if file.left_out is not None:
        head[LEFT_OUT] = ", ".join(f"{what}={count}" for what, count in file.left_out.model_dump().items())
    return Response(file.content, 200, head, media_type=file.kind)
