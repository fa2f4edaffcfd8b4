"""A view takes so many nodes and no more, and so many views are made at once."""

import asyncio
import threading
import time

import pytest
import torch

from clew.errors import ClewError
from clew.web.errors import BusyError, status_of
from clew.web.schema.graphs import Thresholds
from clew.web.views import open_graph as open_graph_module
from clew.web.views.graphs import graph_view, node_view
from clew.web.views.open_graph import OpenGraph
from clew.web.workbench import graph_reads, graphs
from clew.web.workbench.graph_reads import GraphReads
from tests.graphs import random_graph
from tests.workbench import traced

ALL = Thresholds(node=1, edge=1)


def nameless(graph, features):
    return {}


def test_a_view_of_more_nodes_than_it_takes_is_refused_with_their_number_and_a_smaller_one_is_not(monkeypatch):
    open_graph = OpenGraph(random_graph(0, n_features=60))
    n = open_graph.graph.n_nodes
    rows = len(open_graph.graph.rows)
    monkeypatch.setattr(open_graph_module, "MOST_SHOWN", rows * (n - 2))
    assert len(graph_view("", open_graph, ALL, nameless, of_kit=False).nodes) == n
    monkeypatch.setattr(open_graph_module, "MOST_SHOWN", rows * (n - 2) - 1)
    for view in (
        lambda: graph_view("", open_graph, ALL, nameless, of_kit=False),
        lambda: node_view(open_graph, 0, ALL, nameless, 5),
    ):
        with pytest.raises(
            ClewError, match=f"{n} nodes hold 1 of this graph's influence.*lower node threshold"
        ) as refused:
            view()
        assert status_of(refused.value) == 413
    smaller = graph_view("", open_graph, Thresholds(node=0.5, edge=1), nameless, of_kit=False)
    assert 0 < len(smaller.nodes) < n


def test_over_http_it_is_one_line_and_a_lower_threshold_helps(bench, monkeypatch):
    graph = traced(bench)
    entries = bench.app.state.workbench.open_kit.graph_cache[graph].graph.rows.numel()
    monkeypatch.setattr(open_graph_module, "MOST_SHOWN", entries - 1)
    for ask in ("", "/scores", "/export?as=json", "/export?as=html", "/node?id=T@1"):
        answer = bench.get(f"/api/graphs/{graph}{ask}{'&' if '?' in ask else '?'}node=1&edge=1")
        assert answer.status_code == 413, ask
        assert "lower node threshold" in answer.json()["error"]
    assert bench.get(f"/api/graphs/{graph}?node=.5").status_code == 200
    content = bench.get(f"/api/graphs/{graph}/export?as=graph").content  # the file itself is no view
    monkeypatch.setattr(open_graph_module, "MOST_SHOWN", 10)
    total = bench.get("/api/graphs").json()["total"]
    refused = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/octet-stream"})
    assert refused.status_code == 413
    assert bench.get("/api/graphs").json()["total"] == total


def test_graph_json_of_more_edges_than_other_programs_take_is_refused(bench, monkeypatch):
    graph = traced(bench)
    monkeypatch.setattr(graphs, "_MOST_JSON_EDGES", 500)
    refused = bench.get(f"/api/graphs/{graph}/export?as=json&node=.9&edge=.99")
    assert refused.status_code == 413
    assert "lower thresholds" in refused.json()["error"]
    assert bench.get(f"/api/graphs/{graph}/export?as=json&node=.3&edge=.5").status_code == 200


def test_prunings_that_are_kept_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(open_graph_module, "MOST_PRUNED", 4000)
    open_graph = OpenGraph(random_graph(0, n_features=60))
    for node in (0.9, 0.95, 0.97, 0.99, 1.0):
        open_graph.shown(node, 1.0)
        kept = [shown.graph.rows.numel() for shown in open_graph._prunings.values()]
        assert len(kept) == 1 or sum(kept) <= 4000
    assert open_graph.shown(1.0, 1.0).graph.n_nodes == open_graph.graph.n_nodes


def test_so_many_views_are_made_at_once_and_so_many_wait(monkeypatch):
    monkeypatch.setattr(graph_reads, "MOST_WAITING", 3)
    at_once, most, go_on = [0], [0], threading.Event()

    def view():
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        go_on.wait(10)
        at_once[0] -= 1
        return "made"

    async def asking():
        reads = GraphReads()
        tasks = [asyncio.create_task(reads.in_thread(view)) for _ in range(graph_reads.AT_ONCE + 3)]
        await asyncio.sleep(0.2)
        with pytest.raises(BusyError, match="3 views of graphs wait already"):
            await reads.in_thread(view)
        go_on.set()
        answers = await asyncio.gather(*tasks)
        return [*answers, await reads.in_thread(view)]

    assert set(asyncio.run(asking())) == {"made"}
    assert most[0] == graph_reads.AT_ONCE


def test_plain_requests_are_answered_while_views_wait(bench, monkeypatch):
    graph, go_on = traced(bench), threading.Event()
    monkeypatch.setattr(graphs.WorkbenchGraphs, "scores", lambda *arguments: go_on.wait(20) and 1 / 0)
    threads = [threading.Thread(target=bench.get, args=(f"/api/graphs/{graph}/scores",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.2)
        began = time.monotonic()
        assert bench.get("/api/graphs").status_code == 200
        assert bench.get("/api/features/L0/1").status_code == 200
        assert time.monotonic() - began < 10
    finally:
        go_on.set()
        for thread in threads:
            thread.join()


@pytest.mark.long
@pytest.mark.alone
def test_a_graph_of_nine_thousand_nodes_is_shown_whole():
    graph = random_graph(
        0, n_layers=12, n_tokens=12, n_features=8800, density=0.5, dtype=torch.float32, d_features=4096
    )
    began = time.monotonic()
    view = graph_view("", OpenGraph(graph), ALL, nameless, of_kit=False)
    assert len(view.nodes) == graph.n_nodes
    assert len(view.edges.weight) == 100_000
    assert view.paths
    assert time.monotonic() - began < 120
