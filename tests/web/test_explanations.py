"""What stands behind a graph's numbers, as the server says it: the library's values, and one line for a mistake."""

import base64
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clew.attribution.add_effects import add_effects
from clew.attribution.influence import total_effect
from clew.errors import UnsupportedModelError
from clew.intervention.doubt import doubtful
from clew.intervention.look_effects import measured_contrast, strongest_ablations
from clew.labels.display_names import Name
from clew.web.schema.graphs import Thresholds
from clew.web.views.graphs import node_view
from clew.web.views.open_graph import OpenGraph
from tests.workbench import FRANCE, minnow, strongest, traced


def near(value):
    return pytest.approx(value, rel=1e-3, abs=1e-4)


@pytest.fixture(scope="module")
def whole():
    kit = minnow()
    return add_effects(kit.subject, kit.dictionary, kit.trace(FRANCE))


def asked(bench, graph, what, **query):
    answer = bench.get(f"/api/graphs/{graph}/{what}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_nodes_effects_are_the_graphs_and_the_models_and_their_difference_passes_through_errors(bench, graph, whole):
    node = strongest(bench, graph)["id"]
    view, place = asked(bench, graph, "effects", id=node), whole.index(node)
    target = whole.target_range.start
    (effect,) = view["targets"]
    assert effect["target"] == "O0@5"
    assert effect["total"] == near(float(total_effect(whole.effects, [place])[target, 0]))
    assert effect["live"] == near(float(minnow().live_effects(whole)[place, 0]))
    assert effect["errors"] == near(effect["live"] - effect["total"])
    estimated = minnow().estimated_losses(whole, [place])[0, 0]
    assert effect["estimated"] == near(float(estimated))
    assert effect["doubtful"] is bool(doubtful(torch.tensor(effect["total"]), estimated))
    for side, weights in (("inputs", whole.effects.inputs(place)), ("outputs", whole.effects.outputs(place))):
        assert view[side]
        assert view[side] == {id: near(float(weights[whole.index(id)])) for id in view[side]}
    detail = asked(bench, graph, "node", id=node)
    for side in ("inputs", "outputs"):
        assert set(view[side]) == {link["id"] for link in detail[side]}
        assert not any("effect" in link for link in detail[side])  # the graph itself was traced without


def test_an_error_has_a_total_effect_and_no_live_one_and_an_output_has_neither(bench, graph, whole):
    error = str(whole.node(whole.n_features).id)
    (effect,) = asked(bench, graph, "effects", id=error)["targets"]
    assert effect["total"] == near(float(total_effect(whole.effects, [whole.n_features])[whole.target_range.start, 0]))
    assert (effect["live"], effect["errors"], effect["estimated"], effect["doubtful"]) == (None, None, None, False)
    view = asked(bench, graph, "effects", id="O0@5")
    assert (view["targets"], view["outputs"]) == ([], {})
    assert view["inputs"]


def test_a_live_effect_that_there_is_not_is_null(bench, graph, monkeypatch, whole):
    from clew.web.views import explanations

    view = explanations.effects_view(whole, torch.full((whole.n_features, 1), math.nan), torch.tensor([math.nan]), 3, 5)
    assert (view.targets[0].live, view.targets[0].errors, view.targets[0].estimated) == (None, None, None)
    assert view.targets[0].total != 0


def test_links_of_a_graph_with_effects_have_them(whole):
    place = whole.target_range.start

    def naming(graph, features):
        return {feature: Name("", "") for feature in features}

    for graph in (whole, replace(whole, effect_rows=None)):
        detail = node_view(OpenGraph(graph), place, Thresholds(node=0.8, edge=0.98), naming, 20)
        for link in detail.inputs:
            effect = (
                None if graph.effect_rows is None else near(float(whole.effects.inputs(place)[whole.index(link.id)]))
            )
            assert link.effect == effect


def test_an_edges_heads_and_steps_are_the_librarys_and_add_up(bench, graph, whole):
    source = strongest(bench, graph)["id"]
    parts = minnow().parts(whole, "O0@5")
    view, place = asked(bench, graph, "edge", source=source, target="O0@5"), whole.index(source)
    assert (view["source"]["id"], view["target"]["id"]) == (source, "O0@5")
    assert (view["query"], view["key"]) == (5, int(source.partition("@")[2]))
    assert (view["value"], view["effect"]) == (near(float(parts.value[place])), near(float(parts.effect[place])))
    assert view["value"] == near(float(whole.inputs(whole.target_range.start)[place]))
    assert view["value"] + sum(step["value"] for step in view["steps"]) == near(view["effect"])
    for head in view["heads"]:
        assert head["value"] == near(float(parts.loadings[head["layer"], head["head"]][place]))
    for stream in view["stream"]:
        carried = sum(head["value"] for head in view["heads"] if head["layer"] == stream["layer"])
        assert stream["value"] + carried == near(view["value"])
    for step in view["steps"]:
        assert step["value"] == near(float(parts.parts[step["name"]][place]))
        if step["side"]:
            assert step["name"] == f"L{step['layer']}H{step['head']} {step['side']}"
    sizes = [abs(head["value"]) for head in view["heads"]]
    assert sizes == sorted(sizes, reverse=True)


def test_an_edge_from_a_token_passes_heads_where_it_moves(bench, graph, whole):
    parts = minnow().parts(whole, "O0@5")
    view, place = asked(bench, graph, "edge", source="T@4", target="O0@5"), whole.index("T@4")
    assert view["heads"]
    assert view["heads"][0]["value"] == near(max((float(load[place]) for load in parts.loadings.values()), key=abs))


def test_from_another_position_nothing_passes_the_first_layers_heads_by(bench, graph):
    node = strongest(bench, graph)["id"]
    assert (node.startswith("L0/"), node.endswith("@5")) == (True, True)
    view = asked(bench, graph, "edge", source="T@4", target=node)
    assert view["stream"] == [{"layer": 0, "value": 0.0}]  # and no residue of rounding


def test_a_pattern_is_the_recorded_one_and_says_where_the_head_looks_most(bench, graph):
    subject = minnow().subject
    pattern = subject.record(subject.encode(FRANCE)).patterns()[2][1]
    view = asked(bench, graph, "pattern", layer=2, head=1, query=4)
    assert view["weights"] == near(pattern[4].tolist())
    assert view["weights"][5] == 0
    assert view["most"] == 1 + int(pattern[4, 1:].argmax())
    assert view["n_heads"] == [4] * 6
    assert asked(bench, graph, "pattern", layer=2, head=1)["query"] == 5


def test_a_layers_attention_is_the_recorded_one_of_every_head_and_query(bench, graph):
    subject = minnow().subject
    pattern = subject.record(subject.encode(FRANCE)).patterns()[2]
    view = asked(bench, graph, "attention", layer=2)
    assert (view["layer"], view["n_layers"], view["heads"]) == (2, 6, [0, 1, 2, 3])
    assert view["tokens"][4] == " France"
    n_tokens = len(view["tokens"])
    weights = np.frombuffer(base64.b64decode(view["weights"]), dtype="<u2").reshape(4, -1) / 65535
    assert weights.shape[1] == n_tokens * (n_tokens + 1) // 2
    for query in range(n_tokens):
        row = weights[:, query * (query + 1) // 2 :][:, : query + 1]
        assert row == pytest.approx(pattern[:, query, : query + 1].numpy(), abs=1e-5)
    alone = asked(bench, graph, "attention", layer=2, head=3)
    assert alone["heads"] == [3]
    assert base64.b64decode(view["weights"]).endswith(base64.b64decode(alone["weights"]))


def test_more_attention_than_an_answer_holds_is_refused_with_what_to_ask_for(bench, graph, monkeypatch):
    from clew.web.workbench import explanations

    monkeypatch.setattr(explanations, "MOST_WEIGHTS", 30)
    answer = bench.get(f"/api/graphs/{graph}/attention", params={"layer": 0})
    assert (answer.status_code, "give a head" in answer.json()["error"]) == (400, True)
    assert asked(bench, graph, "attention", layer=0, head=1)["heads"] == [1]


def test_a_look_is_the_librarys_and_its_sides_add_up_to_the_contrast(bench, graph):
    kit = minnow()
    look = kit.looks(FRANCE, layer=4, head=1, query=5, key=4)
    view = asked(bench, graph, "look", layer=4, head=1, query=5, key=4)
    assert (view["layer"], view["head"], view["query"], view["key"]) == (4, 1, 5, 4)
    assert (view["contrast"], view["n_others"]) == (near(look.targets[0].value), 4)
    assert view["weight"] == near(look.settings["look"]["weight"])
    for side, target in zip(("query_side", "key_side"), look.target_range, strict=True):
        sources, values, effects = view[side]["sources"], look.inputs(target), look.effects.inputs(target)
        assert sources
        for source in sources:
            place = look.index(source["id"])
            assert (source["value"], source["effect"]) == (near(float(values[place])), near(float(effects[place])))
        parts = sum(source["value"] for source in sources) + view[side]["rest"] + sum(view[side]["offsets"])
        assert parts == pytest.approx(view["contrast"], abs=2e-3 * max(1, abs(view["contrast"])))
    ablated, predicted = strongest_ablations(look, 8)
    assert [each["id"] for each in view["ablations"]] == [str(look.node(node).id) for node in ablated]
    assert [each["predicted"] for each in view["ablations"]] == near(predicted.tolist())
    assert {each["measured"] for each in view["ablations"]} == {None}
    measured = asked(bench, graph, "look", layer=4, head=1, query=5, key=4, measure=True)["ablations"]
    expected = measured_contrast(kit.subject, kit.dictionary, look, ablated)
    assert [each["measured"] for each in measured] == near(expected.tolist())


def test_in_front_of_the_first_layers_heads_there_is_nothing_to_ablate(bench, graph):
    view = asked(bench, graph, "look", layer=0, head=0, measure=True)
    assert view["ablations"] == []
    assert view["query_side"]["sources"]


@pytest.mark.parametrize(
    ("what", "query", "status", "line"),
    [
        ("pattern", {"layer": 9, "head": 0}, 400, "there is no layer 9: minnow has layers 0 to 5"),
        ("attention", {"layer": 9}, 400, "there is no layer 9: minnow has layers 0 to 5"),
        ("attention", {"layer": 1, "head": 7}, 400, "there is no head 7: layer 1 has heads 0 to 3"),
        ("look", {"layer": 9, "head": 0}, 400, "there is no layer 9: minnow has layers 0 to 5"),
        ("pattern", {"layer": 1, "head": 7}, 400, "there is no head 7: layer 1 has heads 0 to 3"),
        ("look", {"layer": 1, "head": 7}, 400, "there is no head 7: layer 1 has heads 0 to 3"),
        ("pattern", {"layer": 1, "head": 0, "query": 6}, 400, "query position 6 is outside the prompt's 6 tokens"),
        ("look", {"layer": 1, "head": 0, "query": 3, "key": 5}, 400, "key position 5 lies behind query position 3"),
        ("look", {"layer": 1, "head": -1}, 422, "head must be at least 0"),
        ("effects", {"id": "L0/99999@4"}, 404, "L0/99999@4"),
        ("effects", {"id": "nonsense"}, 422, "must be written like L3/1207@4"),
        ("edge", {"source": "T@4", "target": "T@5"}, 400, "T@5 has no inputs"),
        ("edge", {"source": "O0@5", "target": "O0@5"}, 400, "O0@5 is an output"),
        ("edge", {"source": "T@99", "target": "O0@5"}, 404, "T@99"),
    ],
)
def test_mistakes_are_one_line(bench, graph, what, query, status, line):
    answer = bench.get(f"/api/graphs/{graph}/{what}", params=query)
    assert (answer.status_code, line in answer.json()["error"]) == (status, True), answer.text
    assert bench.get(f"/api/graphs/zz/{what}", params=query).status_code in (404, 422)


def test_a_model_whose_patterns_are_not_found_again_is_refused_with_the_reason(bench, monkeypatch):
    from clew.web.workbench import explanations

    def refused(*_):
        raise UnsupportedModelError("effects need the queries and keys of layer 3")

    monkeypatch.setattr(explanations, "add_effects", refused)
    other = traced(bench, "The capital of Germany is")
    answer = bench.get(f"/api/graphs/{other}/effects", params={"id": "O0@5"})
    assert (answer.status_code, answer.json()["error"]) == (400, "effects need the queries and keys of layer 3")


def test_what_was_found_once_is_not_found_again(bench, graph, monkeypatch):
    from clew.web.workbench import explanations

    asked(bench, graph, "effects", id="O0@5")
    asked(bench, graph, "edge", source="T@4", target="O0@5")
    asked(bench, graph, "look", layer=3, head=0, query=5)
    for name in ("add_effects", "edge_parts", "trace_look"):
        monkeypatch.setattr(explanations, name, None)
    asked(bench, graph, "effects", id="T@4")
    asked(bench, graph, "edge", source="T@3", target="O0@5")
    asked(bench, graph, "look", layer=3, head=0, query=5, measure=True)


def test_a_graph_of_another_kit_is_refused(bench, whole):
    graph = replace(whole, dictionary_fingerprint="another").to_json()
    other = bench.post("/api/graphs/import", json=graph).json()["graph"]
    for what, query in (("effects", {"id": "O0@5"}), ("pattern", {"layer": 0, "head": 0})):
        answer = bench.get(f"/api/graphs/{other}/{what}", params=query)
        assert (answer.status_code, "open its own kit" in answer.json()["error"]) == (400, True)


def test_a_look_that_was_taken_in_is_refused_where_outputs_are_needed(bench):
    look = minnow().looks(FRANCE, layer=2, head=0).to_json()
    graph = bench.post("/api/graphs/import", json=look).json()["graph"]
    target = bench.get(f"/api/graphs/{graph}").json()["nodes"][-1]["id"]
    answer = bench.get(f"/api/graphs/{graph}/edge", params={"source": "T@4", "target": target})
    assert (answer.status_code, "this graph explains a look" in answer.json()["error"]) == (400, True)
    assert bench.get(f"/api/graphs/{graph}/effects", params={"id": "T@4"}).status_code == 400
