"""The bundled kit: what it holds, and that the mathematics holds on it in float32."""

import json

import pytest
import torch

import clew
from clew import FeatureId
from clew.attribution.influence import influence
from clew.features.label import Label
from clew.kit import BUNDLED
from clew.labels.store import LabelStore

PROMPTS = (
    "The capital of France is",
    "The war lasted from the year 1711 to 17",
    "12 plus 30 is",
    'The opposite of "small" is "',
    "You are a preschooler. Question: what is the square root of 50, rounded? Answer:",
    "The capital of the country that contains Lyon is",
    "Again: kiwi lamp 34 stone; kiwi lamp 34",
    "Столица Франции —",
)


@pytest.fixture(scope="module")
def minnow():
    return clew.load("minnow")


def test_the_kit_stays_within_its_size():
    total = sum(path.stat().st_size for path in (BUNDLED / "minnow").rglob("*") if path.is_file())
    assert total <= 25e6


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("max_features", [None, 40])
def test_edges_and_offsets_add_up_in_float32(minnow, prompt, max_features):
    graph = minnow.trace(prompt, max_features=max_features)
    total = graph.rows.sum(1) + graph.row_offsets.sum(1)
    assert float(((total - graph.values).abs() / graph.values.abs().clamp_min(0.1)).max()) < 1e-4


@pytest.mark.parametrize("prompt", PROMPTS)
def test_neurons_replace_the_model_wholly(minnow, prompt):
    neurons = clew.Kit(minnow.subject, clew.Dictionary.from_neurons(minnow.subject))
    graph = neurons.trace(prompt)
    scores = graph.scores()
    assert scores.replacement > 1 - 1e-4
    assert scores.completeness > 1 - 1e-4
    errors = graph.rows[:, (graph.col_nodes >= graph.error_range.start) & (graph.col_nodes < graph.error_range.stop)]
    assert float(errors.abs().max()) < 1e-4 * float(graph.rows.abs().max())


def test_the_first_thing_a_user_tries_says_paris(minnow):
    graph = minnow.trace("The capital of France is")
    assert graph.next_tokens[0][0] == " Paris"
    assert graph.next_tokens[0][1] > 0.9
    assert graph.scores().replacement > 0.5
    assert graph.scores().completeness > 0.8


def test_influential_features_are_named_by_rule_or_by_what_they_promote(minnow):
    graph, rules = minnow.trace("The capital of France is"), minnow.atlas.rules()
    order = influence(graph)[: graph.n_features].argsort(descending=True).tolist()
    features = [FeatureId(layer, index) for layer, _, index in graph.feature_keys[order[:20]].tolist()]
    assert {rules[feature].clear for feature in features} == {True, False}
    for place, feature in zip(order, features, strict=False):
        assert (rules[feature].text if rules[feature].clear else "promotes ") in graph.node_label(place)


def test_a_kits_atlas_that_was_closed_still_serves_the_kit(minnow):
    with minnow.atlas as atlas:
        card = atlas["L4/1590"]
    assert minnow.atlas["L4/1590"] == card
    assert minnow.names([card.feature])


def test_an_answer_of_several_tokens_is_traced_token_by_token(minnow):
    graph = minnow.trace(
        "You are a toddler. Question: what is the square root of 50, rounded? Answer:", answer=" I don't know."
    )
    assert "".join(target.label for target in graph.targets) == " I don't know."
    assert [target.position for target in graph.targets] == sorted({target.position for target in graph.targets})
    for target in graph.targets:
        assert target.weight == target.probability > 0.5


def test_the_kit_says_where_it_came_from(minnow):
    for fact in ("packages", "git_commit", "model", "dictionary"):
        assert fact in minnow.provenance
    assert torch.is_tensor(minnow.dictionary.layers[0].encoder)


def test_every_feature_has_a_card_and_those_that_say_paris_fire_where_paris_follows(minnow):
    graph = minnow.trace("The capital of France is")
    with minnow.atlas as atlas:
        assert len(atlas) == sum(minnow.dictionary.d_features(layer) for layer in minnow.dictionary.layers)
        cards = [atlas[FeatureId(n.layer, n.feature)] for n in graph.nodes[: graph.n_features] if n.layer >= 3]
    saying = [card for card in cards if card.promoted[0].token == " Paris"]
    assert saying
    for card in saying:
        assert card.top[0].tokens[card.top[0].at + 1] == " Paris"


def test_features_go_by_the_users_labels_in_graphs_and_their_json(minnow, tmp_path):
    plain = minnow.trace("The capital of France is")
    node = int(influence(plain)[: plain.n_features].argmax())
    feature = FeatureId(plain.nodes[node].layer, plain.nodes[node].feature)
    with LabelStore(tmp_path / "labels.sqlite", minnow.dictionary.fingerprint) as store:
        store.add([Label(feature=feature, text="my own name", kind="person", author="Ann", method="by hand")])
    graph = clew.load("minnow", labels=tmp_path / "labels.sqlite").trace("The capital of France is")
    assert "my own name" in graph.node_label(node)
    assert graph.node_label(node + 1) == plain.node_label(node + 1)
    graph.to_json(tmp_path / "paris.json")
    assert "my own name" in {node["clerp"] for node in json.loads((tmp_path / "paris.json").read_text())["nodes"]}
