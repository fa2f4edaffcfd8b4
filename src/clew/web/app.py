"""The server: addresses, guards and the page, put together by `make_app`."""

from __future__ import annotations

from fastapi import FastAPI

from clew import __version__
from clew.web import routes_features, routes_graphs, routes_jobs, routes_workbench
from clew.web.openapi import document
from clew.web.refusals import STATUSES, handle_errors


def declared() -> FastAPI:
    """All addresses, with nothing behind them yet."""
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
    for part in (routes_workbench, routes_jobs, routes_graphs, routes_features):
        app.include_router(part.routes)
    handle_errors(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app
