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
from hypothesis import given, settings

from clew.attribution.graph import Graph
from clew.attribution.influence import edge_influence, inflow, influence
from clew.features.label import Label
from clew.files import read_text
from clew.ids import FeatureId
from clew.kit import Kit, load
from clew.labels.store import LabelStore
from clew.web.export import STATIC, embedded, export_html, is_whole, page_of, render_html
from clew.web.schema.export import Embedded
from clew.web.schema.features import FeatureView, LabelView
from clew.web.schema.graphs import Arrangement, NodeGroup, Thresholds
from clew.web.views.graphs import MOST_EDGES, graph_view
from clew.web.views.open_graph import OpenGraph
from tests.graphs import MAKES, Make, capital_graph, random_graph

PAYLOAD = "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">{{script}}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="clew-data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match[1])


def graph_of(page: str) -> dict[str, Any]:
    return data_of(page)["graph"]


def view_of(graph: Graph) -> dict[str, Any]:
    """The whole graph's view."""
    thresholds = Thresholds(node=1, edge=1)
    return graph_view("", OpenGraph(graph), thresholds, lambda *_: {}, of_kit=False).model_dump(mode="json")


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
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML", "http://www.w3.org/1999/xhtml"}
    assert set(re.findall(r"https?:[^\"'`\s)]*", page)) <= names  # names of kinds of elements, never asked for
    assert not re.search(r"@import|url\(|<(link|iframe|object|embed|base|img)\b", page)
    assert not re.search(r"\b(XMLHttpRequest|WebSocket|importScripts|eval)\b", page)
    assert "default-src 'none'" in page  # nothing can be fetched: what the page asks of a server it cannot ask here
    assert len(page) < 600_000  # two languages


def test_no_source_of_the_page_writes_markup() -> None:
    for path in (STATIC.parents[3] / "web" / "src").rglob("*.ts*"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|new Function|\beval\(", read_text(path)
        ), path


def test_the_policy_names_exactly_the_style_and_the_script() -> None:
    page = render_html(capital_graph())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    for text in (style, script):
        assert text
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_text_from_outside_is_data_and_never_markup() -> None:
    page = render_html(hostile(capital_graph()), title=PAYLOAD)
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "<img" not in page
    view = graph_of(page)
    assert view["prompt"] == view["tokens"][0] == PAYLOAD
    assert {node["label"] for node in view["nodes"] if node.get("label")} >= {PAYLOAD}


# --- what it holds ------------------------------------------------------------------------------------------------


def test_a_whole_graph_is_pruned_and_its_own_scores_stay() -> None:
    graph = capital_graph()
    view, pruned = graph_of(render_html(graph)), graph.prune()
    assert [node["id"] for node in view["nodes"]] == [str(node.id) for node in pruned.nodes]
    for name, scored in (("whole", graph.scores()), ("shown", pruned.scores())):
        pair = view["scores"][name]
        assert pair == pytest.approx(vars(scored), abs=1e-4)
    assert view["counts"]["whole"] == {"nodes": graph.n_nodes, "edges": int((graph.rows != 0).sum())}
    again = graph_of(render_html(pruned))
    assert [node["id"] for node in again["nodes"]] == [node["id"] for node in view["nodes"]]
    everything = graph_of(render_html(graph, pruned=False))
    assert len(everything["nodes"]) == graph.n_nodes
    few = graph_of(render_html(graph, thresholds=(0.4, 0.9)))
    assert len(few["nodes"]) < len(view["nodes"])
    assert is_whole(graph)
    assert not is_whole(pruned)


def test_a_node_in_the_file_knows_its_strongest_edges_in_the_whole_graph() -> None:
    graph = capital_graph()
    value = data_of(render_html(graph))
    assert set(value["nodes"]) == {node["id"] for node in value["graph"]["nodes"]}
    for id, detail in value["nodes"].items():
        into = graph.inputs(id)
        strongest = into[into.abs().argsort(descending=True, stable=True)][: len(detail["inputs"])]
        assert [link["weight"] for link in detail["inputs"]] == pytest.approx(strongest.tolist(), rel=1e-4)
        assert detail["n_inputs"] == int((into != 0).sum())


def test_pins_and_groups_travel_with_the_file() -> None:
    nodes = [str(node.id) for node in capital_graph().nodes[:2]]
    groups = [NodeGroup(id="g1", name="</script>", nodes=nodes)]
    thresholds = Thresholds(node=0.8, edge=0.98)
    arranged = Arrangement(
        revision=3, pins=nodes[:1], groups=groups, positions={nodes[0]: (1, 2)}, thresholds=thresholds
    )
    value = data_of(render_html(capital_graph(), arrangement=arranged))["arrangement"]
    assert value["pins"] == nodes[:1]
    assert value["groups"][0]["nodes"] == nodes
    assert value["positions"] == {nodes[0]: [1, 2]}


@pytest.fixture(scope="module")
def minnow() -> Kit:
    return load("minnow")


def test_a_file_with_its_cards_stays_under_three_megabytes(minnow: Kit, tmp_path: Path) -> None:
    graph = minnow.trace("The war lasted from the year 1711 to 17")
    export_html(graph, tmp_path / "x.html", kit=minnow)
    page = read_text(tmp_path / "x.html")
    assert len(page.encode()) < 3_000_000
    value = data_of(page)
    assert value["cards"]
    assert minnow.atlas is not None
    for feature, view in value["cards"].items():
        card = minnow.atlas[FeatureId.parse(feature)].to_json()
        assert view["card"]["max_activation"] == card["max_activation"]
        assert [each["activations"] for each in view["card"]["top"]] == [list(c["activations"]) for c in card["top"]]


def wordy(feature: FeatureId) -> FeatureView:
    """What is known of a feature, in many words, markup and Cyrillic letters."""
    text = "слово <b> & " * 800
    label = LabelView(
        id=1, feature=str(feature), text="x", kind="person", author="me", method="", note=text, date="", current=True,
        replaced=False, scores=[],
    )  # fmt: skip
    return FeatureView(feature=str(feature), name="", name_kind="", reads=0, writes=[], card=None, labels=[label])


@pytest.mark.parametrize("with_cards", [True, False])
def test_the_file_of_a_large_graph_is_bounded_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, with_cards: bool
) -> None:
    monkeypatch.setattr("clew.web.export.NODE_BYTES", 30_000)  # each node takes a while
    graph = random_graph(1, n_layers=4, n_tokens=40, n_features=800, density=0.9)
    page = render_html(graph, thresholds=(1.0, 1.0), card=wordy if with_cards else None)
    assert 2_700_000 < len(page.encode()) < 3_000_000
    value = data_of(page)
    view, left = value["graph"], value["left_out"]
    assert len(view["nodes"]) == graph.n_nodes
    assert left["nodes"] == 0
    assert left["edges"] == view["counts"]["shown"]["edges"] - len(view["edges"]["weight"]) > 0
    assert left["details"] == len(view["nodes"]) - len(value["nodes"]) > 0
    features = {node["feature"] for node in view["nodes"] if node.get("feature")}
    assert left["cards"] == (len(features) - len(value["cards"]) if with_cards else 0)
    assert bool(value["cards"]) == with_cards
    lost = min(view["edges"]["held"][-1], 1.0)  # the weakest edges went
    assert view["edges"]["held"] == sorted(view["edges"]["held"])
    assert 0 < lost < 1


def test_where_the_nodes_alone_have_no_room_the_least_influential_go(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(2, n_features=60)
    bare = len(render_html(graph, thresholds=(0.4, 0.9)).encode())
    monkeypatch.setattr("clew.web.export.NODE_BYTES", 2000)
    monkeypatch.setattr("clew.web.export.MOST_BYTES", bare)
    page = render_html(graph, thresholds=(1.0, 1.0))
    assert len(page.encode()) <= bare
    value = data_of(page)
    thresholds = value["graph"]["thresholds"]
    assert thresholds["node"] < 1
    assert [node["id"] for node in value["graph"]["nodes"]] == [str(n.id) for n in graph.prune(**thresholds).nodes]
    assert value["left_out"]["nodes"] == graph.n_nodes - len(value["graph"]["nodes"])


def test_a_file_with_room_for_everything_says_so() -> None:
    value = data_of(render_html(capital_graph()))
    assert value["left_out"] == {"cards": 0, "details": 0, "edges": 0, "nodes": 0}


def test_what_the_file_carries_is_a_view_that_the_page_has_a_type_of() -> None:
    carried = embedded(capital_graph(), title="</script>")
    assert Embedded.model_validate(data_of(page_of(carried)) | {"arrangement": None}) == carried


def test_a_file_goes_by_the_users_labels_and_needs_no_atlas(minnow: Kit, tmp_path: Path) -> None:
    graph = minnow.trace("The capital of France is", max_features=40)
    strongest = FeatureId(*graph.feature_keys[int(influence(graph)[: graph.n_features].argmax())][[0, 2]].tolist())
    with LabelStore(tmp_path / "l.sqlite", minnow.dictionary.fingerprint) as store:
        store.add([Label(feature=strongest, text="my own name", kind="person", author="Ann")])
    kit = replace(minnow, labels=tmp_path / "l.sqlite")
    export_html(kit.trace("The capital of France is", max_features=40), tmp_path / "x.html", kit=kit)
    value = data_of(read_text(tmp_path / "x.html"))
    (node,) = [each for each in value["graph"]["nodes"] if each.get("feature") == str(strongest)]
    assert (node["label"], node["label_kind"]) == ("my own name", "person")
    assert value["cards"][str(strongest)]["labels"][0]["author"] == "Ann"
    bare = Kit(minnow.subject, minnow.dictionary)
    export_html(graph, tmp_path / "y.html", kit=bare)
    assert data_of(read_text(tmp_path / "y.html"))["graph"]["nodes"]


@settings(max_examples=25, deadline=None)
@given(MAKES)
def test_edges_offsets_and_influence_are_those_of_the_graph(make: Make) -> None:
    graph = make()
    view = view_of(graph)
    adjacency = torch.zeros_like(graph.adjacency)
    edges = view["edges"]
    for source, target, weight in zip(edges["source"], edges["target"], edges["weight"], strict=True):
        adjacency[target, source] = weight
    torch.testing.assert_close(adjacency, graph.adjacency, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(
        torch.tensor([n["influence"] for n in view["nodes"]], dtype=adjacency.dtype),
        influence(graph),
        rtol=1e-4,
        atol=1e-12,
    )
    assert edges["held"] == sorted(edges["held"])
    for index in graph.row_nodes.tolist():
        node = view["nodes"][index]
        assert node["mass"] == pytest.approx(float(graph.adjacency[index].abs().sum()), rel=1e-4)
        known = sum(w for t, w in zip(edges["target"], edges["weight"], strict=True) if t == index)
        assert known + sum(node["offsets"]) == pytest.approx(node["value"], abs=1e-3)
    json.dumps(view, allow_nan=False)


def test_too_many_edges_are_cut_by_influence_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(3)
    monkeypatch.setattr("clew.web.views.graphs.MOST_EDGES", 30)
    view = view_of(graph)
    assert len(view["edges"]["weight"]) == 30
    assert view["counts"]["shown"] == {"nodes": graph.n_nodes, "edges": int((graph.rows != 0).sum())}
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


@pytest.mark.parametrize("options", [{"n_tokens": 1, "n_features": 0}, {"n_layers": 1}, {"density": 0.0}])
def test_small_and_empty_graphs_are_written(options: dict[str, Any]) -> None:
    assert graph_of(render_html(random_graph(3, **options)))["nodes"]


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
    marks = re.findall(r'id="node-[^"]+"', markup.split("<script")[0])
    assert len(marks) == graph.n_nodes
    assert re.search(r'data-links="\d+"', markup)
