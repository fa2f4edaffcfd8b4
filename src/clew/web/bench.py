"""What is open on the workbench."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request


class Bench:
    """Stub."""

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


def _open(request: Request) -> Any:
    return request.app.state.bench


Open = Annotated[Bench, Depends(_open)]
