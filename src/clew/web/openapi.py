"""The OpenAPI document of the server, which `clew.web.write_openapi` writes.

The page's types are generated from it. A test fails when the written document is not what the server declares.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from clew.web.schema.export import Embedded
from clew.web.schema.features import FeatureView
from clew.web.schema.jobs import JobEvents

_MORE_VIEWS = (JobEvents, FeatureView, Embedded)  # sent, but not as the whole answer of any address


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the server, with the views that travel in events."""
    openapi = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = openapi["components"]["schemas"]
    _, more = models_json_schema(
        [(model, "serialization") for model in _MORE_VIEWS], ref_template="#/components/schemas/{model}"
    )
    for name, schema in more["$defs"].items():
        schemas.setdefault(name, schema)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    openapi["components"]["schemas"] = dict(sorted(schemas.items()))
    return openapi
