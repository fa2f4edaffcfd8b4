"""What a feature is called at one place of a prompt, which features are nearly one, and equal names told apart."""

from dataclasses import replace

import pytest

import clew
from clew.attribution.summary import summarise
from clew.features.card import Related
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels.display_names import Name, Names
from clew.labels.in_prompt import PromptPlace, name_here, names_here, summary_here
from clew.labels.likeness import alike
from clew.labels.rules import heuristic_label
from clew.labels.store import LabelStore
from tests.cards import DULL, card
from tests.labels.test_rules import BEFORE, WORDS

PAINTS = [f"{n} [paints] {t} for {m}" for n, _, t, m, _ in WORDS[:9]]
WEAKLY = [f"{n} {v} to [wait] for {m}" for n, v, _, m, _ in WORDS[9:15]]
BOTH = card(PAINTS, DULL, bands=WEAKLY)
"""A feature that fires strongly at one word and less at another."""


def place(text: str, at: int, activation: float, follows: str = "") -> PromptPlace:
    tokens = tuple(f" {word}" if n else word for n, word in enumerate(text.split(" ")))
    return PromptPlace(tokens=tokens, position=at, activation=activation, follows=follows)


def test_a_general_name_that_holds_here_is_the_name_here():
    name = name_here(BOTH, place("we know that Ann paints", 4, 5.0), heuristic_label(BOTH))
    assert name.text == name.here == name.general
    assert '"paints"' in name.text


def test_where_the_general_name_does_not_hold_the_contexts_like_this_one_are_asked():
    rule = replace(heuristic_label(BOTH), text='the token "paints"')
    name = name_here(BOTH, place("we know that Ann has to wait", 6, 1.0), rule)
    assert name.text == 'here the token "wait"; else the token "paints"'
    assert name.score is not None
    assert 0.6 < name.score <= 1


@pytest.mark.parametrize(("activation", "text"), [(4.0, "here for another reason"), (0.5, "here weakly, for another")])
def test_where_they_agree_on_nothing_that_holds_here_the_name_says_so(activation, text):
    rule = replace(heuristic_label(BOTH), text='the token "paints"')
    name = name_here(BOTH, place("snow fell", 1, activation), rule)
    assert name.text.startswith(f'the token "paints"; {text}')
    assert name.score is None


def test_what_is_about_to_follow_is_read_where_the_prompt_ends():
    made = card(BEFORE, DULL)
    rule = heuristic_label(made)
    assert rule.text == 'before "because"'
    here = place("they sing", 1, 8.0, follows=" because")
    assert name_here(made, here, rule).here == rule.text
    assert name_here(made, replace(here, follows=" and"), rule).here == ""


def test_what_a_person_wrote_stays_wherever_the_feature_fires(tmp_path):
    kit = replace(clew.load("minnow"), labels=tmp_path / "labels.sqlite")
    graph = kit.trace("The capital of France is")
    mine, rest = FeatureId(0, 1278), FeatureId(0, 2027)
    before = {each.id: each.label for each in summarise(graph).input_features}
    assert before["L0/1278@5"] == 'says "Spanish"'
    told = summary_here(summarise(graph), graph, kit.atlas, kit.sourced_names)
    assert next(e.label for e in told.input_features if e.id == "L0/1278@5").startswith('here "is", says ')
    assert any(word.startswith('L0/1278@5 "is", says ') for path in told.paths for word in path.words)
    with LabelStore(kit.labels, kit.dictionary.fingerprint) as store:
        store.add([Label(feature=mine, text="promotes peace", kind="person", author="Ann")])
    graph = kit.trace("The capital of France is")
    told = summary_here(summarise(graph), graph, kit.atlas, kit.sourced_names)
    labels = {each.id: each.label for each in (*told.input_features, *told.strongest)}
    assert labels["L0/1278@5"] == "promotes peace"
    assert labels[f"{rest}@5"] == 'before a capital with "capital" before'
    assert summary_here(summarise(graph), graph, None, kit.sourced_names) == summarise(graph)


def test_a_negative_neuron_has_no_name_here():
    kit = clew.load("minnow")
    graph = kit.trace("The capital of France is")
    graph = replace(graph, activations=-graph.activations)
    assert names_here(kit.atlas, graph, [0, 1]) == {}


def test_features_that_fire_together_or_write_the_same_are_said_to_be_alike():
    one, two, three, far = (FeatureId(0, n) for n in range(1, 5))
    made = replace(card(PAINTS, DULL), fired=1000)  # at one position in a hundred
    density = {one: 0.01, two: 0.5, three: 0.01, far: 0.01}
    always = 4.6  # a PMI of -log(0.01): whenever it fires
    made = replace(
        made,
        together=(
            Related(feature=one, value=always),
            Related(feature=two, value=0.69),
            Related(feature=far, value=2.0),
        ),
        nearest_decoder=(Related(feature=one, value=0.97), Related(feature=three, value=0.92)),
    )
    first, second = alike(made, density.__getitem__)
    assert (first.feature, second.feature) == (one, three)
    assert first.together == pytest.approx(0.99, abs=0.02)
    assert first.text.endswith("and writes the same (0.97)")
    assert second.text == "writes the same (0.92)"


def test_equal_names_by_rule_are_told_apart_by_what_features_write():
    features = [FeatureId(0, n) for n in range(5)]
    names = Names.__new__(Names)  # without a model: the tokens are given
    tokens = dict(zip(features, ((" Paris",), (" Rome",), (" Rome",), (" Oslo",), (" Oslo",)), strict=True))
    names.promoted = lambda wanted: {f: tokens[f] for f in wanted}  # type: ignore[method-assign]
    rule, person = Name('after "of"', "heuristic", "clew"), Name("mine", "person", "me")
    told = names._told_apart(dict(zip(features, (rule, rule, rule, person, person), strict=True)))
    assert [told[f].text for f in features] == [
        'after "of", writes Paris', 'after "of", writes Rome', 'after "of", writes Rome', "mine", "mine"
    ]  # fmt: skip
    same = names._told_apart(dict.fromkeys(features[1:3], rule))
    assert {name.text for name in same.values()} == {'after "of"'}
