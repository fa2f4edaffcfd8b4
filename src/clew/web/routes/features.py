"""Features: lists and searches, cards, activations on a text, labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool

from clew.web.responses import send
from clew.web.routes.dependencies import OpenWorkbench
from clew.web.schema.bodies import FeatureQuery, FiresBody, LabelBody, ProbeBody
from clew.web.schema.features import (
    FeatureList,
    FeatureNames,
    FeatureView,
    FiresView,
    LabelConflict,
    LabelView,
    ProbeView,
)

routes = APIRouter(prefix="/api", tags=["features"])
Layer = Annotated[str, Path(pattern=r"^L[0-9]{1,4}$", description="As in the feature's id: L3 of L3/1207")]
Index = Annotated[int, Path(ge=0, le=999_999_999)]


@routes.get("/features", response_model=FeatureList)
async def features(workbench: OpenWorkbench, query: Annotated[FeatureQuery, Query()]) -> Response:
    """Browse features (`sort` applies), or search them (the best come first)."""
    if query.how in ("fires", "meaning"):  # these wait for the model, or for labels to be read
        return send(await workbench.open_kit.model_lock.in_thread(workbench.features.search, query))
    return send(await run_in_threadpool(workbench.features.search, query))


@routes.get("/features/names", response_model=FeatureNames)
def names(
    workbench: OpenWorkbench,
    ids: Annotated[
        str,
        Query(max_length=12_000, pattern=r"^[L0-9/, ]*$", description="Features with commas between them; at most 500"),
    ],
) -> Response:
    """Names to show: the label to show, else the tokens that a feature promotes."""
    return send(workbench.features.names(ids))


@routes.post("/features/fires", response_model=FiresView)
async def fires(workbench: OpenWorkbench, body: FiresBody) -> Response:
    """Which features fire on a text, by token and by feature."""
    return send(await workbench.open_kit.model_lock.in_thread(workbench.features.fires, body))


@routes.get("/features/{layer}/{index}", response_model=FeatureView)
def feature(workbench: OpenWorkbench, layer: Layer, index: Index) -> Response:
    """All that is known of a feature: its card and its labels with their history."""
    return send(workbench.features.view(layer, index))


@routes.post("/features/{layer}/{index}/test", response_model=ProbeView)
async def test(workbench: OpenWorkbench, layer: Layer, index: Index, body: ProbeBody) -> Response:
    """A feature's activation at every token of a text."""
    features = workbench.features
    return send(await workbench.open_kit.model_lock.in_thread(features.probe, layer, index, body))


@routes.post(
    "/features/{layer}/{index}/labels",
    response_model=LabelView,
    status_code=201,
    responses={409: {"model": LabelConflict}},
)
def label(workbench: OpenWorkbench, layer: Layer, index: Index, body: LabelBody) -> Response:
    """Keep a person's label; an earlier one by the same author stays among the feature's labels, as replaced."""
    answer = workbench.features.add_label(layer, index, body)
    return send(answer, status=409 if isinstance(answer, LabelConflict) else 201)


@routes.delete("/labels/{label}", status_code=204)
def withdraw(workbench: OpenWorkbench, label: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
    """Show a label no more; it stays in the history."""
    workbench.features.withdraw_label(label)
    return Response(status_code=204)
