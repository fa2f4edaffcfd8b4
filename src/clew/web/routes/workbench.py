"""The workbench that is open, and a text as tokens."""

from __future__ import annotations

from fastapi import APIRouter, Response

from clew.web.responses import send
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.bodies import TokensBody
from clew.web.schema.workbench import KitChoices, Tokens, WorkbenchView
from clew.web.workbench.kit_choices import kit_choices

routes = APIRouter(prefix="/api", tags=["workbench"])


@routes.get("/workbench", response_model=WorkbenchView)
def workbench(workbench: OpenWorkbench) -> Response:
    """The kit that is open, examples to try, and limits."""
    return send(workbench.view())


@routes.get("/kits", response_model=KitChoices)
def kits(workbench: OpenWorkbench) -> Response:
    """Kits that could be served here, and the command that serves each."""
    return send(kit_choices(workbench.open_kit))


@routes.post("/tokens", response_model=Tokens)
def tokens(workbench: OpenWorkbench, body: TokensBody) -> Response:
    """A text as the model reads it."""
    return send(workbench.open_kit.tokens(body.prompt, add_bos=body.add_bos))
