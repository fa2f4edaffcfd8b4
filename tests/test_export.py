"""The HTML file holds everything, runs nothing but its own script, and shows what the graph holds."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import MAKES, Make, capital_graph, random_graph
from hypothesis import given, settings

from clew.attribution.graph import Graph
from clew.attribution.influence import cumulative_share, edge_influence, inflow, influence
from clew.files import read_text
from clew.web.export import MOST_EDGES, export_html, graph_view, is_whole, render_html

PAYLOAD = "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">{{script}}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def hostile(graph: Graph) -> Graph:
    """Markup in the prompt, in a token, in every label and in an output."""
    tokens = (PAYLOAD, *graph.tokens[1:])
    targets = (replace(graph.targets[0], label=PAYLOAD), *graph.targets[1:])
    labels = dict.fromkeys(graph.labels, PAYLOAD)
    return replace(graph, prompt=PAYLOAD, tokens=tokens, targets=targets, labels=labels, subject=PAYLOAD)


# --- one file, nothing outside ------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    export_html(capital_graph(), tmp_path / "x.html")
    page = read_text(tmp_path / "x.html")
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", page)
    assert not re.search(r"<(link|iframe|object|embed|base|img)\b", page)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts|eval|innerHTML)\b", page)
    assert len(page) < 200_000


def test_the_policy_names_exactly_the_style_and_the_script() -> None:
    page = render_html(capital_graph())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    for found in (style, script):
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_text_from_outside_is_data_and_never_markup() -> None:
    page = render_html(hostile(capital_graph()), title=PAYLOAD)
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "<img" not in page
    view = data_of(page)
    assert view["prompt"] == view["tokens"][0] == PAYLOAD
    assert {node["label"] for node in view["nodes"] if node.get("label")} >= {PAYLOAD}


# --- what it holds ------------------------------------------------------------------------------------------------


def test_a_whole_graph_is_pruned_and_its_own_scores_stay() -> None:
    graph = capital_graph()
    view, pruned = data_of(render_html(graph)), graph.prune()
    assert [node["id"] for node in view["nodes"]] == [str(node.id) for node in pruned.nodes]
    for name, scored in (("whole", graph.scores()), ("shown", pruned.scores())):
        assert view["scores"][name] == pytest.approx([scored.replacement, scored.completeness], abs=1e-4)
    assert view["counts"]["whole"] == [graph.n_nodes, int((graph.rows != 0).sum())]
    again = data_of(render_html(pruned))
    assert [node["id"] for node in again["nodes"]] == [node["id"] for node in view["nodes"]]
    everything = data_of(render_html(graph, pruned=False))
    assert len(everything["nodes"]) == graph.n_nodes
    assert is_whole(graph)
    assert not is_whole(pruned)


@settings(max_examples=25, deadline=None)
@given(MAKES)
def test_edges_offsets_and_influence_are_those_of_the_graph(make: Make) -> None:
    graph = make()
    view = graph_view(graph)
    found = torch.zeros_like(graph.adjacency)
    edges = view["edges"]
    for source, target, weight in zip(edges["source"], edges["target"], edges["weight"], strict=True):
        found[target, source] = weight
    torch.testing.assert_close(found, graph.adjacency, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(
        torch.tensor([n["influence"] for n in view["nodes"]], dtype=found.dtype),
        influence(graph),
        rtol=1e-4,
        atol=1e-12,
    )
    assert edges["held"] == sorted(edges["held"])
    for index in graph.row_nodes.tolist():
        node = view["nodes"][index]
        known = sum(w for t, w in zip(edges["target"], edges["weight"], strict=True) if t == index)
        assert known + sum(node["offsets"]) == pytest.approx(node["value"], abs=1e-3)
    json.dumps(view, allow_nan=False)


def test_too_many_edges_are_cut_by_influence_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(3)
    monkeypatch.setattr("clew.web.export.MOST_EDGES", 30)
    view = graph_view(graph)
    assert view["counts"] == {"shown": [graph.n_nodes, 30], "whole": [graph.n_nodes, int((graph.rows != 0).sum())]}
    carried = edge_influence(graph)
    rows = {node: row for row, node in enumerate(graph.row_nodes.tolist())}
    cols = {node: col for col, node in enumerate(graph.col_nodes.tolist())}
    ends = zip(view["edges"]["target"], view["edges"]["source"], strict=True)
    kept = sorted((float(carried[rows[t], cols[s]]) for t, s in ends), reverse=True)
    assert kept == pytest.approx(carried.flatten().sort(descending=True).values[:30].tolist())
    assert MOST_EDGES >= 50_000


def test_shares_of_errors_lost_edges_and_offsets() -> None:
    graph = random_graph(3)
    pruned = graph.prune(0.7, 0.9)
    entering = inflow(pruned)
    whole = graph.adjacency.abs().sum(1)
    kept = pruned.adjacency.abs()
    for index in pruned.row_nodes.tolist():
        mass = float(whole[graph.index(pruned.node(index))])
        error = float(kept[index, list(pruned.error_range)].sum())
        assert float(entering.error[index]) == pytest.approx(error / mass)
        assert float(entering.lost[index]) == pytest.approx(1 - float(kept[index].sum()) / mass, abs=1e-9)
        beside = float(pruned.offsets[index].abs().sum())
        assert float(entering.offset[index]) == pytest.approx(beside / (mass + beside))
    assert 0 < entering.mean_error < 1
    assert 0 < entering.mean_offset < 1


def test_cumulative_share_is_the_threshold_that_keeps_a_value() -> None:
    shares = cumulative_share(torch.tensor([1.0, 4.0, 0.0, 3.0, 2.0]))
    assert shares.tolist() == pytest.approx([1.0, 0.4, 1.0, 0.7, 0.9])
    assert cumulative_share(torch.zeros(2)).tolist() == [1, 1]
    assert cumulative_share(torch.zeros(0)).tolist() == []


@pytest.mark.parametrize("options", [{"n_tokens": 1, "n_features": 0}, {"n_layers": 1}, {"density": 0.0}])
def test_small_and_empty_graphs_are_written(options: dict[str, Any]) -> None:
    assert data_of(render_html(random_graph(3, **options)))["nodes"]


# --- in a browser -------------------------------------------------------------------------------------------------


def drawn(path: Path) -> str:
    """The page's markup after its script has run."""
    assert CHROMIUM
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, "--window-size=1280,720", "--virtual-time-budget=2000"]
    answer = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60)
    return answer.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_draws_every_node_and_runs_no_markup_from_a_label(tmp_path: Path) -> None:
    graph = hostile(capital_graph()).prune()
    export_html(graph, tmp_path / "x.html", title="as it was")
    markup = drawn(tmp_path / "x.html")
    assert "<title>as it was</title>" in markup
    assert '<img src="x"' not in markup
    marks = re.findall(r'id="node-(\d+)"', markup)
    assert len(marks) == graph.n_nodes
    assert re.search(r'data-edges="\d+"', markup)
