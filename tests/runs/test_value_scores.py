"""Chosen on one half, scored on the other: what tells a value scores high, what does not as shuffled labels do."""

import numpy as np
import pytest

import clew
from clew.ids import NodeId
from clew.organism.variables import ValueQuestion, Variables
from clew.organism.world import World
from clew.runs.feature_truth import feature_truth
from clew.runs.value_scores import activations_in, balanced, f1, source_scores, value_score


def question(n=48, **fields):
    holds = tuple(number % 3 == 0 for number in range(n))
    half = tuple((number // 3) % 2 == 1 for number in range(n))
    known = {
        "family": "f", "variable": "v", "value": "x", "prompt": "p", "sentences": ("",) * n, "holds": holds,
        "held_out": half, "other_templates": (False,) * n,
    }  # fmt: skip
    return ValueQuestion(**{**known, **fields})


def test_what_tells_the_value_is_found_among_noise_and_shuffled_labels_are_at_chance():
    asked, generator = question(), np.random.default_rng(0)
    values = generator.normal(size=(48, 5))
    values[:, 3] = np.where(asked.holds, 2.0, 1.0)
    score = value_score(asked, values, balanced, np.random.default_rng(1))
    assert (score.best, score.score) == (3, 1.0)
    assert 0.4 < score.null < 0.6
    assert np.isnan(score.other_templates)
    noise = value_score(asked, generator.normal(size=(48, 5)), balanced, np.random.default_rng(1))
    assert noise.score < 0.75


def test_a_source_that_never_changes_tells_nothing():
    score = value_score(question(), np.ones((48, 2)), balanced, np.random.default_rng(0))
    assert (score.score, score.null) == (0.5, 0.5)


def test_what_is_true_of_one_half_of_the_templates_alone_is_seen():
    asked = question(other_templates=tuple(number >= 24 for number in range(48)))
    values = np.where(asked.holds, 1.0, 0.0)[:, None]
    values[24:] = 1 - values[24:]
    assert value_score(asked, values, balanced, np.random.default_rng(0)).other_templates == 0.0


@pytest.mark.parametrize("measure", [balanced, f1])
def test_thresholds_are_the_best_there_are(measure):
    """Against every threshold, tried one by one."""
    generator, holds = np.random.default_rng(3), np.array(question().holds)
    half = np.array(question().held_out)
    values = generator.integers(0, 6, size=(48, 3)).astype(float)
    chosen_on, scored_on = source_scores(values, holds, half, measure)
    for source in range(3):
        tried = {}
        for cut in np.arange(-0.5, 6):
            above, truth = values[:, source] > cut, holds
            counts = [((above & truth & part).sum(), (above & ~truth & part).sum()) for part in (~half, half)]
            sizes = [((truth & part).sum(), (~truth & part).sum()) for part in (~half, half)]
            tried[cut] = [
                float(measure(*(np.array([each]) for each in count), *map(float, size))[0])
                for count, size in zip(counts, sizes, strict=True)
            ]
        usable = {cut: both for cut, both in tried.items() if cut >= 0}  # above all or none is no threshold
        assert chosen_on[source] == pytest.approx(max(both[0] for both in usable.values()))
        assert any(scored_on[source] == pytest.approx(both[1]) for both in usable.values())


@pytest.fixture(scope="module")
def minnow():
    return clew.load("minnow")


def test_features_are_read_at_the_end_or_where_they_are_highest(minnow):
    sentences = ["The capital of Italy is", "People like tea. The capital of France is"]
    nodes = [NodeId.parse(text) for text in ("L0/1278@5", "L0/2027@5", "L0/1278@4", "L3/7@4")]
    values = activations_in(minnow.subject, minnow.dictionary, sentences, nodes, 5)
    for row, each in enumerate(minnow.activations(sentences)):
        read = each.of([node.feature for node in nodes]).numpy()
        assert values[row, :2] == pytest.approx(read[-1, :2], abs=1e-5)
        assert values[row, 2:] == pytest.approx(read.max(0)[2:], abs=1e-5)


def test_features_of_a_circuit_tell_the_country_and_shuffled_labels_do_not(minnow):
    asked = [Variables(world=World()).of("The capital of France is")]
    truth = feature_truth(minnow.subject, minnow.dictionary, asked)
    assert truth.prompts == 1
    assert truth.best.value > 0.9 > 0.6 > truth.best_null
    assert truth.best.value >= truth.each.value > truth.each_null
    assert truth.to_json()["best"][0] == truth.best.value
