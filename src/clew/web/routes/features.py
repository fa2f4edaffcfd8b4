"""Features: lists and searches, cards, activations on a text, labels."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool

from clew.web.responses import send
from clew.web.routes.dependencies import Open
from clew.web.schema.bodies import FiresBody, LabelBody, ProbeBody
from clew.web.schema.features import FeatureList, FeatureView, FiresView, LabelConflict, LabelView, Names, ProbeView
from clew.web.views.features import Search
from clew.web.workbench.workbench import Bench

routes = APIRouter(prefix="/api", tags=["features"])
Layer = Annotated[str, Path(pattern=r"^L[0-9]{1,4}$", description="As in the feature's id: L3 of L3/1207")]
Index = Annotated[int, Path(ge=0, le=999_999_999)]
Density = Query(ge=0, le=1, allow_inf_nan=False)


@routes.get("/features", response_model=FeatureList)
async def features(
    bench: Open,
    how: Literal["browse", "words", "meaning", "promotes", "fires", "alike"] = "browse",
    query: Annotated[str, Query(max_length=2000, description="Words, a meaning, a token, a text, or a feature")] = "",
    layer: Annotated[int | None, Query(ge=0, le=9999)] = None,
    min_density: Annotated[float, Density] = 0.0,
    max_density: Annotated[float, Density] = 1.0,
    dead: Literal["hide", "show", "only"] = "hide",
    sort: Literal["feature", "density", "max_activation"] = "feature",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Browse features (`sort` applies), or search them (the best come first)."""
    search = Search(
        how=how,
        query=query,
        layer=layer,
        min_density=min_density,
        max_density=max_density,
        dead=dead,
        sort=sort,
        descending=descending,
        offset=offset,
        limit=limit,
    )
    if how in ("fires", "meaning"):
        return await bench.gate.ask(_found, bench, search)
    return await run_in_threadpool(_found, bench, search)


def _found(bench: Bench, search: Search) -> Response:
    return send(bench.cards.found(search))


@routes.get("/features/names", response_model=Names)
def names(
    bench: Open,
    ids: Annotated[
        str,
        Query(max_length=12_000, pattern=r"^[L0-9/, ]*$", description="Features with commas between them; at most 500"),
    ],
) -> Response:
    """Names to show: the label to show, else the tokens that a feature promotes."""
    return send(bench.cards.names(ids))


@routes.post("/features/fires", response_model=FiresView)
async def fires(bench: Open, body: FiresBody) -> Response:
    """Which features fire on a text, by token and by feature."""
    return send(await bench.gate.ask(bench.cards.fires, body))


@routes.get("/features/{layer}/{index}", response_model=FeatureView)
def feature(bench: Open, layer: Layer, index: Index) -> Response:
    """All that is known of a feature: its card and its labels with their history."""
    return send(bench.cards.feature(layer, index))


@routes.post("/features/{layer}/{index}/test", response_model=ProbeView)
async def test(bench: Open, layer: Layer, index: Index, body: ProbeBody) -> Response:
    """A feature's activation at every token of a text."""
    return send(await bench.gate.ask(bench.cards.probe, layer, index, body.text))


@routes.post(
    "/features/{layer}/{index}/labels",
    response_model=LabelView,
    status_code=201,
    responses={409: {"model": LabelConflict}},
)
def label(bench: Open, layer: Layer, index: Index, body: LabelBody) -> Response:
    """Keep a person's label; an earlier one by the same author stays among the feature's labels, as replaced."""
    found = bench.cards.add_label(layer, index, body)
    return send(found, status=409 if isinstance(found, LabelConflict) else 201)


@routes.delete("/labels/{label}", status_code=204)
def withdraw(bench: Open, label: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
    """Show a label no more; it stays in the history."""
    bench.cards.withdraw(label)
    return Response(status_code=204)
