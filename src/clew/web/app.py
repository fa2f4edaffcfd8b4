"""The server: its addresses, its guard and the page, put together by `make_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from clew.kit import Kit, load
from clew.version import __version__
from clew.web.built_page import show_page
from clew.web.errors import STATUSES, handle_errors
from clew.web.openapi import document
from clew.web.routes import circuits as routes_circuits
from clew.web.routes import explanations as routes_explanations
from clew.web.routes import features as routes_features
from clew.web.routes import graphs as routes_graphs
from clew.web.routes import jobs as routes_jobs
from clew.web.routes import notes_and_lists as routes_notes
from clew.web.routes import studies as routes_studies
from clew.web.routes import workbench as routes_workbench
from clew.web.security import Guard, is_loopback, token_for
from clew.web.workbench.workbench import Workbench

_READERS = 4  # threads that answer requests: each takes its share of the interpreter from a trace that runs beside it


def declared() -> FastAPI:
    """All addresses, without a workbench behind them."""
    app = FastAPI(
        title="Clew",
        version=__version__,
        description="The workbench on your own machine.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=STATUSES,
        generate_unique_id_function=lambda route: route.name,
    )
    of_graphs = (routes_graphs, routes_circuits, routes_explanations)
    for part in (routes_workbench, routes_jobs, *of_graphs, routes_features, routes_notes, routes_studies):
        app.include_router(part.routes)
    handle_errors(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def make_app(
    workspace: Path | str, kit: Kit | None = None, *, host: str = "127.0.0.1", token: str | None = None
) -> FastAPI:
    """The server of one workspace and one kit (the bundled one if none is given), listening at `host`.

    With a token, every request needs it; where others can reach the server and none is given, one is made up. It is
    `app.state.token`. When the application ends, its jobs end. FileError when the workspace cannot be written,
    InputError for an empty token.
    """
    app = declared()
    app.state.token = token_for(host, token)
    workbench = Workbench(load() if kit is None else kit, workspace)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _READERS
        yield
        workbench.close()

    app.state.workbench, app.state.folders = workbench, workbench.folders
    app.router.lifespan_context = lifespan
    show_page(app)
    if not is_loopback(host):  # on this machine itself, compressing takes longer than sending
        app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=3)
    app.add_middleware(Guard, host=host, token=app.state.token)
    return app
