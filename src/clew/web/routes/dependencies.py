"""What routes are handed: the workbench that the server has open."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from clew.web.workbench.workbench import Bench


def _open(request: Request) -> Bench:
    return request.app.state.bench


Open = Annotated[Bench, Depends(_open)]
