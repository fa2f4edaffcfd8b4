"""No verb mixes devices: trace, edit, generate, audit and a training step run where the model is."""

from dataclasses import replace

import pytest
import torch

from clew.attribution.add_effects import add_effects
from clew.attribution.edge_parts import edge_parts
from clew.attribution.local_model import LocalModel
from clew.attribution.rankings import ranking
from clew.attribution.trace import trace
from clew.attribution.trace_look import trace_look
from clew.dictionary import Dictionary
from clew.intervention.ablation_effects import measured
from clew.intervention.clamp import LIVE, Regime
from clew.intervention.curves import curves
from clew.intervention.edit import Edit
from clew.intervention.generate import generate
from clew.intervention.look_effects import measured_contrast
from clew.intervention.predict_edits import predict_edits
from clew.intervention.run import effect
from clew.training import train_dictionary
from tests import models
from tests.elsewhere import ELSEWHERE, Elsewhere, MixedDevicesError, moved, pretending
from tests.toy import BUFFER, SMALL, documents_of, trained_subject


def test_the_pretended_device_computes_and_refuses_a_mixture():
    with pretending():
        x = torch.ones(3, device=ELSEWHERE)
        assert x.device == ELSEWHERE
        assert (x * 2 + 1).sum().item() == 9
        assert type((x > 0).nonzero()) is Elsewhere
        assert x.cpu().device.type == "cpu"
        with pytest.raises(MixedDevicesError):
            x + torch.ones(3)
        y = torch.zeros(4, device=ELSEWHERE)
        y[1:3] = x[:2]
        assert y.tolist() == [0, 1, 1, 0]
        assert torch.arange(3, device=ELSEWHERE).to("cpu").tolist() == [0, 1, 2]


PROMPT = [0, 5, 17, 33, 5, 60]


@pytest.fixture(params=["clt", "skip-plt"])
def pair(request):
    """A Subject and a Dictionary on the CPU, and the same two elsewhere."""
    subject, dictionary = models.subject("gpt2", torch.float32), None
    dictionary = models.dictionary(request.param, subject, dtype=torch.float32)
    away = models.subject("gpt2", torch.float32)
    moved(away.model)
    tensors = {
        index: layer.with_tensors({name: Elsewhere(tensor) for name, tensor in layer.tensors().items()})
        for index, layer in dictionary.layers.items()
    }
    return (subject, dictionary), (away, replace(dictionary, layers=tensors))


def test_a_graph_of_a_model_elsewhere_is_the_same(pair):
    here, away = pair
    expected = trace(*here, PROMPT)
    with pretending():
        graph = trace(*away, PROMPT)
    torch.testing.assert_close(graph.adjacency, expected.adjacency, rtol=1e-4, atol=1e-5)


def test_an_edit_and_a_text_elsewhere_are_the_same(pair):
    """But for predictions by effects, a forward derivative, which a pretended tensor cannot have."""
    here, away = pair
    graph = trace(*here, PROMPT)
    feature = str(graph.node(int((graph.feature_keys[:, 1] < 4).nonzero()[0])).id)
    edits = [Edit.scale(feature, 2.0), Edit.steer([0.1] * here[0].d_model, 1.0, layer=1)]
    effects = effect(*here, PROMPT, edits, predict="frozen")
    steps = list(generate(*here, PROMPT, edits, tokens=3, stop=False))
    with pretending():
        other = effect(*away, PROMPT, edits, predict="frozen")
        texts = list(generate(*away, PROMPT, edits, tokens=3, stop=False))
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(other.measured.logits.cpu(), effects.measured.logits, **close)
    torch.testing.assert_close(other.predicted.logits.cpu(), effects.predicted.logits, **close)
    assert [step.token_id for step in texts] == [step.token_id for step in steps]


def test_what_an_audit_measures_elsewhere_is_the_same(pair):
    """All but live gradient x activation: forward derivatives of a pretended tensor end torch itself."""
    here, away = pair
    graph = trace(*here, PROMPT)
    sources = list(range(0, graph.n_features, 5))
    layers = graph.feature_keys[sources, 0].tolist()
    order = ranking(graph, "influence").tolist()

    def figures(subject, dictionary):
        model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT, device=subject.device), first_position=1)
        frozen = Regime(semantics="frozen", frozen=model.frozen_parts())
        live, held = (measured(subject, dictionary, graph, sources, layers, regime) for regime in (LIVE, frozen))
        curve = curves(subject, dictionary, graph, order).faithfulness
        return torch.cat([live.nan_to_num(), held.nan_to_num()]), torch.tensor(curve.values + curve.random)

    expected = figures(*here)
    with pretending():
        found = figures(*away)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_effects_parts_looks_and_predictions_elsewhere_are_the_same(pair):
    here, away = pair

    def figures(subject, dictionary):
        plain = trace(subject, dictionary, PROMPT)
        graph = trace(subject, dictionary, PROMPT, effects=True)
        added = add_effects(subject, dictionary, replace(plain, dictionary_fingerprint=""))
        look = trace_look(subject, dictionary, PROMPT, layer=2, head=1)
        model = LocalModel.of_graph(subject, dictionary, replace(graph, dictionary_fingerprint=""))
        parts = edge_parts(model, graph, graph.target_range[0])
        feature = str(graph.node(0).id)
        prediction = predict_edits(subject, dictionary, graph, [Edit.scale(feature, 0.5)])
        measured = measured_contrast(subject, dictionary, look, [0, 1])
        tensors = [graph.effect_rows, added.effect_rows, look.effect_rows, look.row_offsets, parts.effect, measured]
        return [*tensors, parts.loadings[1, 0], prediction.probabilities, prediction.logits]

    expected = figures(*here)
    with pretending():
        found = figures(*away)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("nonlinearity", ["topk", "batchtopk", "jumprelu"])
def test_two_training_steps_elsewhere_give_the_same_dictionary(nonlinearity, tmp_path):
    subject = trained_subject()
    documents = documents_of(subject)
    config = replace(SMALL, steps=2, nonlinearity=nonlinearity, kind="clt")
    list(train_dictionary(subject, documents, config, tmp_path / "here", buffer=BUFFER))
    away = trained_subject()
    moved(away.model)
    with pretending():
        list(train_dictionary(away, documents, config, tmp_path / "away", buffer=BUFFER))
    expected, dictionary = (Dictionary.load(tmp_path / place / "dictionary") for place in ("here", "away"))
    for layer in expected.layers:
        tensors = dictionary.layers[layer].tensors()
        for name, tensor in expected.layers[layer].tensors().items():
            torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-4)
