"""Studies: which there are, and the results in the workspace. They are run as jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response

from clew.web.responses import send, send_file
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.studies import StudyList, StudyResult

routes = APIRouter(prefix="/api/studies", tags=["studies"])
ResultId = Annotated[str, Path(pattern=r"^[a-z][a-z-]{0,40}-[0-9a-f]{12}$")]
_PNG = {
    200: {"description": "The figure", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
_PAGE = {200: {"description": "The report as a page", "content": {"text/html": {"schema": {"type": "string"}}}}}


@routes.get("", response_model=StudyList)
def studies(workbench: OpenWorkbench) -> Response:
    """The studies that there are, and the results in the workspace, the latest first."""
    return send(workbench.studies.all())


@routes.get("/results/{result}", response_model=StudyResult)
def study_result(workbench: OpenWorkbench, result: ResultId) -> Response:
    """What a study found; of long tables the first rows."""
    return send(workbench.studies.result(result))


@routes.get("/results/{result}/figures/{case}/{figure}", response_class=Response, responses=_PNG)  # type: ignore[arg-type]
def study_figure(
    workbench: OpenWorkbench,
    result: ResultId,
    case: Literal["found", "absent"],
    figure: Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,60}$")],
) -> Response:
    """A figure as PNG."""
    content = workbench.studies.figure(result, case, figure)
    return Response(content, 200, {"Cache-Control": "no-store"}, media_type="image/png")


@routes.get("/results/{result}/report", response_class=Response, responses=_PAGE)  # type: ignore[arg-type]
def study_report(workbench: OpenWorkbench, result: ResultId) -> Response:
    """The report, one page that opens anywhere."""
    return send_file(workbench.studies.report(result))
