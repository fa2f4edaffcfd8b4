"""Edits predicted by a graph's effects, against the edited model."""

import pytest
import torch

import clew
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.edit import Edit
from clew.intervention.predict_edits import predict_edits
from clew.intervention.run import effect
from tests import models
from tests.models import DISTINCT, KINDS, PROMPT

TARGETS = [3, 17]


@pytest.fixture(scope="module")
def neurons():
    subject = models.subject("gpt2")
    dictionary = Dictionary.from_neurons(subject)
    return subject, dictionary, trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)


def test_small_edits_together_do_what_the_graph_of_neurons_predicts(neurons):
    subject, dictionary, graph = neurons
    early, late = (graph.node(int((graph.feature_keys[:, 0] == layer).nonzero()[2])).id for layer in (0, 1))
    edits = [Edit.scale(str(early), 0.998), Edit.scale(str(late), 1.003)]
    found = predict_edits(subject, dictionary, graph, edits)
    after = effect(subject, dictionary, PROMPT, edits, through=1, predict=None)
    moved = after.measured.probabilities[-1][TARGETS].double() - found.before
    torch.testing.assert_close(found.probabilities[0] - found.before, moved, rtol=0.03, atol=1e-8)


@pytest.mark.usefixtures("exact_softmax")
@models.in_turn("architecture", DISTINCT, "kind", KINDS)
def test_an_edit_shows_what_a_graph_predicts_of_it(architecture, kind):
    """One forward derivative of the replacement model says what the rows of a graph do."""
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    early, late = (graph.node(int((graph.feature_keys[:, 0] == layer).nonzero()[2])).id for layer in (0, 1))
    for edits in ([Edit.ablate(str(early))], [Edit.scale(str(early), 1.5), Edit.ablate(str(late))]):
        wanted, shown = predict_edits(subject, dictionary, graph, edits), effect(subject, dictionary, PROMPT, edits)
        moved = shown.predicted.probabilities[-1][TARGETS] - shown.before.probabilities[-1][TARGETS]
        torch.testing.assert_close(moved, wanted.probabilities[0] - wanted.before, rtol=1e-7, atol=1e-12)
        assert float(moved.abs().max()) > 1e-5
        last = max(edit.feature.layer for edit in edits)
        free = (graph.feature_keys[:, 0] > last).nonzero()[:, 0]
        layers, positions, features = graph.feature_keys[free].T
        reads = [shown.predicted.reads[layer] - shown.before.reads[layer] for layer in layers.tolist()]
        encoders = [dictionary.encoder_rows(*pair)[0] for pair in zip(layers.tolist(), features[:, None], strict=True)]
        lost = [-read[at] @ row for read, at, row in zip(reads, positions.tolist(), encoders, strict=True)]
        torch.testing.assert_close(torch.stack(lost), wanted.lost[0, free], rtol=1e-7, atol=1e-12)


def test_what_no_graph_holds_is_predicted_too(neurons):
    subject, dictionary, _ = neurons
    steered = Edit.steer([1e-6 * (-1) ** i for i in range(subject.d_model)], 1.0, layer=0)
    for edit in (steered, Edit.add("L0/1", 1e-6)):
        shown = effect(subject, dictionary, PROMPT, [edit])
        moved = [side.logits[-1] - shown.before.logits[-1] for side in (shown.predicted, shown.measured)]
        assert float(moved[1].abs().max()) > 1e-9
        torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-11)


def test_ablate_set_scale_and_add_say_the_same_of_the_same_change(neurons):
    subject, dictionary, graph = neurons
    node = graph.node(5)
    name, size = str(node.id), float(node.activation)
    same = [Edit.ablate(name), Edit.set(name, 0.0), Edit.scale(name, 0.0), Edit.add(name, -size)]
    lost = [predict_edits(subject, dictionary, graph, [edit]).lost for edit in same]
    for each in lost[1:]:
        torch.testing.assert_close(each, lost[0])
    twice = predict_edits(subject, dictionary, graph, [Edit.scale(name, 2.0)]).lost
    torch.testing.assert_close(twice, -lost[0])


def test_what_the_graph_does_not_say_is_refused(neurons):
    subject, dictionary, graph = neurons
    keys = graph.feature_keys.tolist()
    layer, position, index = next(k for k in keys if sum(o[::2] == k[::2] for o in keys) < len(PROMPT) - 1)
    name = f"L{layer}/{index}"
    silent = next(p for p in range(1, 9) if [layer, p, index] not in keys)
    for edit, message in (
        (Edit.set(f"{name}@{silent}", 2.0), f"not in the graph at position {silent}.*clew edit"),
        (Edit.steer(name, 1.0), "steering changes no feature of the graph"),
        (Edit.ablate("L9/3"), "no layer 9"),
    ):
        with pytest.raises(InputError, match=message):
            predict_edits(subject, dictionary, graph, [edit])
    with pytest.raises(InputError, match="no edit"):
        predict_edits(subject, dictionary, graph, [])
    plain = trace(subject, dictionary, PROMPT, targets=TARGETS)
    with pytest.raises(InputError, match="no effects"):
        predict_edits(subject, dictionary, plain, [Edit.ablate(f"{name}@{position}")])
    assert predict_edits(subject, dictionary, graph, [Edit.ablate(f"{name}@{silent}")]).lost.abs().max() == 0


def test_a_kit_predicts_and_takes_edges_apart():
    kit = clew.load("minnow")
    graph = kit.trace("The capital of France is", effects=True)
    strongest = int(graph.effects.inputs(graph.target_range[0])[: graph.n_features].argmax())
    found = kit.predict(graph, [Edit.ablate(str(graph.node(strongest).id))])
    assert found.before[0] > 0.9
    assert found.probabilities[0, 0] < found.before[0]
    parts = kit.parts(graph, graph.target_range[0])
    torch.testing.assert_close(parts.effect, graph.effects.inputs(graph.target_range[0]), rtol=1e-3, atol=1e-3)
    assert ("final norm" in parts.parts, (0, 0) in parts.loadings) == (True, True)
