"""Views as answers: written by pydantic in one go, not walked through a second time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Response
from pydantic import BaseModel

from clew.web.schema.export import LeftOut

LEFT_OUT = "Clew-Left-Out"


def send(view: BaseModel, *, status: int = 200, short: bool = False) -> Response:
    """A view as JSON; with `short`, fields that were never set are left out."""
    content = view.model_dump_json(exclude_unset=short)
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")


@dataclass(frozen=True)
class File:
    """A file to be saved."""

    content: bytes
    kind: str
    name: str
    left_out: LeftOut | None = None


def send_file(file: File) -> Response:
    """A file to be saved; its name keeps letters, digits and dots, and a header says what it had no room for."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", file.name).strip("-.") or "graph"
    head = {"Content-Disposition": f'attachment; filename="{plain}"', "Cache-Control": "no-store"}
    if file.left_out is not None:
        head[LEFT_OUT] = ", ".join(f"{what}={count}" for what, count in file.left_out.model_dump().items())
    return Response(file.content, 200, head, media_type=file.kind)
