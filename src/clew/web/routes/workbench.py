"""What is open here, a text as tokens, and the page itself."""

from __future__ import annotations

from fastapi import APIRouter, Response

from clew.web.responses import send
from clew.web.routes.dependencies import Open
from clew.web.schema.bodies import TokensBody
from clew.web.schema.workbench import Tokens, Workbench

routes = APIRouter(prefix="/api", tags=["workbench"])


@routes.get("/workbench", response_model=Workbench)
def workbench(bench: Open) -> Response:
    """The kit that is open, examples to try, and limits."""
    return send(bench.about())


@routes.post("/tokens", response_model=Tokens)
def tokens(bench: Open, body: TokensBody) -> Response:
    """A text as the model reads it."""
    return send(bench.tokens(body.prompt))
