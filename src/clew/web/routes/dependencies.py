"""What routes are given: the server's workbench, and the thresholds of a graph from the query."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from clew.web.schema.graphs import Thresholds
from clew.web.workbench.workbench import Workbench

NodeShare = Annotated[float, Query(gt=0, le=1, allow_inf_nan=False, description="Share of the influence kept in nodes")]
EdgeShare = Annotated[float, Query(gt=0, le=1, allow_inf_nan=False, description="Share of theirs kept in edges")]


def _workbench(request: Request) -> Workbench:
    return request.app.state.workbench


def _thresholds(node: NodeShare = 0.8, edge: EdgeShare = 0.98) -> Thresholds:
    return Thresholds(node=node, edge=edge)


OpenWorkbench = Annotated[Workbench, Depends(_workbench)]
ShownAt = Annotated[Thresholds, Depends(_thresholds)]
