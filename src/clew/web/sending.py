"""Views as answers: written by pydantic in one go, not walked through a second time."""

from __future__ import annotations

import re

from fastapi import Response
from pydantic import BaseModel


def send(view: BaseModel, *, status: int = 200, short: bool = False) -> Response:
    """A view as JSON; with `short`, fields that were never set are left out."""
    content = view.model_dump_json(exclude_unset=short)
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")


def named_file(content: bytes, kind: str, name: str) -> Response:
    """A file to be saved; its name keeps letters, digits and dots."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "graph"
    head = {"Content-Disposition": f'attachment; filename="{plain}"', "Cache-Control": "no-store"}
    return Response(content, 200, head, media_type=kind)
