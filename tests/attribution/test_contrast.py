"""A contrast traced is the weighted mean of its tokens' rows; kept by a graph, it is measured as it was traced."""

import pytest
import torch

import clew
from clew.attribution.contrast import Contrast, readout
from clew.attribution.graph import Graph
from clew.attribution.targets import spec_of, target_biases, target_directions
from clew.attribution.trace import trace
from clew.errors import InputError
from tests import models
from tests.models import PROMPT

SOME = Contrast("some", plus={"w3": 2.0, 17: 1.0}, minus=["w5", 6])


@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "gemma2"])
def test_its_row_is_the_weighted_mean_of_its_tokens_rows(architecture) -> None:
    subject = models.subject(architecture)
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=[SOME])
    single = trace(subject, dictionary, PROMPT, targets=[3, 17, 5, 6])
    rows = single.adjacency[list(single.target_range), : single.n_features]
    expected = (2 * rows[0] + rows[1]) / 3 - (rows[2] + rows[3]) / 2
    [row] = graph.adjacency[list(graph.target_range), : graph.n_features]
    torch.testing.assert_close(row, expected)
    values = [target.value for target in single.targets]
    assert graph.targets[0].value == pytest.approx((2 * values[0] + values[1]) / 3 - (values[2] + values[3]) / 2)
    logits = subject.record(PROMPT).logits[-1]
    assert graph.targets[0].value == pytest.approx(float(SOME.readout(subject).logit(logits)))


def test_without_a_minus_the_mean_of_all_tokens_stands_there() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("plt", subject)
    one, token = (trace(subject, dictionary, PROMPT, targets=target) for target in (Contrast("three", [3]), 3))
    torch.testing.assert_close(one.adjacency, token.adjacency)
    logits = subject.record(PROMPT).logits[-1]
    assert float(readout(subject, "w3").logit(logits)) == pytest.approx(one.targets[0].value)


def test_a_graph_keeps_it_in_its_file_and_its_json(tmp_path) -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=[SOME, "w4"])
    graph.save(tmp_path / "x.graph")
    graph.to_json(tmp_path / "x.json")
    for read in (Graph.load(tmp_path / "x.graph"), Graph.from_json(tmp_path / "x.json")):
        assert read.targets == graph.targets
        assert read.targets[0].plus == ((3, 2.0), (17, 1.0))
        assert spec_of(read.targets[0]).readout(subject) == SOME.readout(subject)
        assert spec_of(read.targets[1]) == 4
        torch.testing.assert_close(target_directions(subject, read), target_directions(subject, graph))
        assert target_biases(subject, read).shape == (2,)


def test_predictions_and_audits_measure_the_contrast_that_was_traced() -> None:
    subject = models.subject("gpt2")
    kit = clew.Kit(subject, models.dictionary("plt", subject))
    graph = kit.trace(PROMPT, targets=[SOME], effects=True)
    reader = SOME.readout(subject)
    before = float(reader.probability(subject.record(PROMPT).probabilities[-1]))
    edit = clew.Edit.ablate(str(graph.node(0).id))
    predicted = kit.predict(graph, [edit])
    assert float(predicted.before[0]) == pytest.approx(before)
    measured = kit.edit(PROMPT, [edit]).measured.probabilities[-1]
    assert float(predicted.probabilities[0, 0]) == pytest.approx(float(reader.probability(measured)), abs=0.05)
    assert kit.audit(graph, nodes=5, take_apart=False).lines["total"].outputs.pairs > 0


@pytest.mark.parametrize(
    ("plus", "minus", "message"),
    [
        ([], ["w3"], "give at least one as plus"),
        (["w3", "w3"], [], "names a token twice"),
        (["w3", 3], [], "names token 3 twice"),
        (["w3"], ["w3"], "names token 'w3' twice"),
        (["elephants"], [], "is not one token"),
        ([997], [], "outside the vocabulary"),
        ({"w3": -1.0}, [], "give a positive number"),
        ({"w3": float("nan")}, [], "give a positive number"),
        ([2.5], [], "is no token"),
        (2.5, [], "is no list of tokens"),
    ],
)
def test_what_is_no_contrast_is_refused_in_one_line(plus, minus, message) -> None:
    subject = models.subject("gpt2")
    with pytest.raises(InputError, match=message):
        Contrast("some", plus, minus).readout(subject)


def test_two_sides_of_one_direction_are_no_target() -> None:
    subject = models.subject("gpt2")
    with torch.no_grad():
        subject.unembedding[4] = subject.unembedding[3]
    with pytest.raises(InputError, match="its two sides have one direction"):
        trace(subject, models.dictionary("plt", subject), PROMPT, targets=[Contrast("none", [3], [4])])
