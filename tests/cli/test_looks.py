"""`clew looks` as a user meets it."""

import json

import pytest
import torch

import clew
from clew.attribution.influence import total_effect
from clew.intervention.doubt import doubtful

PROMPT = "Again: 14 93 97 button fence book clay 58; 14 93 97 button"


def test_a_look_is_told_with_both_sides_and_what_was_measured(run):
    code, out, err = run("looks", PROMPT, "--layer", 4, "--head", 0, "--measure", 2)
    assert (code, err) == (0, "")
    assert "Head 0 of layer 4 at ' button' (15) gives 100% of its attention to ' fence' (7)" in out
    for title in ("What at the query", "What at the keys", "What the score loses when it is ablated"):
        assert title in out
    code, out, err = run("looks", PROMPT, "--layer", 4, "--head", 0, "--measure", 2, "--json")
    found = json.loads(out)
    assert (found["query"], found["key"], len(found["ablations"])) == (15, 7, 2)
    strongest = found["sides"]["query side"][0]
    assert (strongest["at"], strongest["effect"] > 1) == (" button", True)
    for each in found["ablations"]:
        assert each["measured"] == pytest.approx(each["predicted"], rel=0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--layer", "9", "--head", "0"), "no layer 9"),
        (("--layer", "1", "--head", "7"), "no head 7"),
        (("--layer", "1", "--head", "0", "--query", "3", "--key", "5"), "key position 5 lies behind query position 3"),
        (("--layer", "0", "--head", "0", "--measure", "3"), "no feature stands before this head"),
        (("--layer", "1", "--head", "0", "--measure", "-1"), "--measure is -1"),
    ],
)
def test_mistakes_are_one_line(run, arguments, words):
    code, out, err = run("looks", PROMPT, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_trace_with_effects_shows_them_beside_what_the_model_itself_loses(run):
    code, out, err = run("trace", "The capital of Spain is", "--effects")
    assert (code, err) == (0, "")
    assert "activation influence effect live" in " ".join(out.split())
    assert "live: by the model's own derivative" in out
    found = json.loads(run("trace", "The capital of Spain is", "--effects", "--json")[1])
    kit = clew.load("minnow")
    graph = kit.trace("The capital of Spain is", effects=True)
    target, live = graph.target_range.start, kit.live_effects(graph)[:, 0]
    for feature in found["output_features"]:
        place = graph.index(feature["id"])
        assert feature["effect"] == pytest.approx(float(total_effect(graph.effects, [place])[target, 0]), abs=1e-4)
        assert feature["live_effect"] == pytest.approx(float(live[place]), abs=1e-4)
        estimated = kit.estimated_losses(graph, [place])[0, 0]
        assert feature["estimated_loss"] == pytest.approx(float(estimated), abs=1e-4)
        assert feature["doubtful"] is bool(doubtful(torch.tensor(feature["effect"]), estimated))
    marked = [feature for feature in found["output_features"] if feature["doubtful"]]
    assert 0 < len(marked) < len(found["output_features"])
    assert all(f"?{feature['effect']:+.2f}" in out for feature in marked)
    plain = json.loads(run("trace", "The capital of Spain is", "--json")[1])["output_features"][0]
    assert (plain["effect"], "live_effect" in plain) == (None, False)


def test_a_feature_whose_own_layer_is_not_written_has_no_live_effect(run, monkeypatch):
    """Its live effect is NaN, which is no JSON: null there, a dash in the table."""
    from clew.intervention import doubt as module

    derivatives = module._derivatives

    def without_last_layers(subject, dictionary, graph, nodes):
        first, second = derivatives(subject, dictionary, graph, nodes)
        late = graph.feature_keys[nodes, 0] >= 4
        return first.masked_fill(late[:, None], torch.nan), second.masked_fill(late[:, None], torch.nan)

    monkeypatch.setattr(module, "_derivatives", without_last_layers)
    code, out, err = run("trace", "The capital of France is", "--effects", "--json")
    assert (code, err) == (0, "")
    assert "NaN" not in out
    for feature in (features := json.loads(out))["input_features"] + features["output_features"]:
        assert (feature["live_effect"] is None) == (feature["id"] >= "L4")
        assert feature["effect"] is not None
    code, out, err = run("trace", "The capital of France is", "--effects")
    assert (code, err, "nan" in out.casefold()) == (0, "", False)
    assert "activation influence effect live" in " ".join(out.split())
    assert any("–" in line for line in out.splitlines() if line.lstrip().startswith("L4/"))
