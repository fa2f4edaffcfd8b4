"""Graphs of a model's own neurons, most of them without a row: what adds up, and what total effects are."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clew.attribution import rest as rest_module
from clew.attribution.edge_parts import edge_parts
from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import signed_label
from clew.attribution.prediction import predict_removal
from clew.attribution.targets import target_directions
from clew.attribution.trace import trace
from clew.attribution.trace_look import trace_look
from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.ids import FeatureId
from clew.intervention.ablation_effects import measured, predicted
from clew.intervention.clamp import Regime
from clew.intervention.edit import Edit
from clew.intervention.live_effects import live_effects
from clew.intervention.predict_edits import predict_edits
from clew.intervention.run import effect
from clew.subject.subject import Subject
from tests import models
from tests.models import PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

TARGETS = [3, 17]
RESPONDS: dict[str, Any] = {"rest_responds": True}
SMOOTH: dict[str, dict[str, Any]] = {
    name: {}
    | ({"activation_function": "gelu_new"} if name in ("gpt2", "gptj") else {})
    | ({"hidden_act": "gelu"} if name.startswith("neox") else {})
    for name in models.ARCHITECTURES
    if name != "gpt_oss"
}
"""Every family with neurons, none of them ReLU's."""
on_few = pytest.mark.parametrize("subject", ["gpt2", "llama", "gemma2", "olmoe"], indirect=True)
"""Ungated, gated and routed ones, and a norm behind the MLP: for what cannot fail on one of the rest alone."""


@pytest.fixture(scope="module", params=SMOOTH)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param, **SMOOTH[request.param])


def graph_of(subject: Subject, limit: int | None, **settings: Any) -> tuple[Dictionary, Graph]:
    dictionary = Dictionary.from_neurons(subject)
    return dictionary, trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True, max_features=limit, **settings)


@pytest.mark.parametrize("limit", [30, None])
def test_values_add_up_to_activations_and_logits(subject: Subject, limit: int | None) -> None:
    _, graph = graph_of(subject, limit)
    found = graph.rows.sum(1) + graph.row_offsets.sum(1)
    torch.testing.assert_close(found, graph.values, rtol=1e-9, atol=1e-9)
    assert torch.equal(graph.preactivations, graph.activations)
    assert float(graph.row_offsets[:, 3].abs().max()) == 0  # nothing is left out: what has no row is in the rest


@on_few
def test_what_has_no_row_is_a_source_of_its_own(subject: Subject) -> None:
    dictionary, graph = graph_of(subject, 30)
    _, whole = graph_of(subject, None)
    model = LocalModel.of_graph(subject, dictionary, graph)
    for layer in range(subject.n_layers):
        x, output = (model.recording.sites[site, layer] for site in ("mlp_in", "mlp_raw_out"))
        values = dictionary.activations(layer, x).clone()
        keys = graph.feature_keys[graph.feature_keys[:, 0] == layer]
        kept = torch.zeros_like(values, dtype=torch.bool)
        kept[keys[:, 1], keys[:, 2]] = True
        decoder = dictionary.layers[layer].decoder[:, 0]
        rest = torch.where(kept, 0, values) @ decoder
        torch.testing.assert_close(model.errors[layer, 1:], rest[1:], rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(output[1:], (values @ decoder + dictionary.layers[layer].decoder_bias)[1:])
    targets = list(graph.target_range)
    errors = [graph.adjacency[targets][:, list(graph.error_range)], whole.adjacency[list(whole.target_range)]]
    assert float(errors[0].abs().max()) > 1e-3
    assert float(errors[1][:, list(whole.error_range)].abs().max()) < 1e-10
    assert graph.scores().replacement < whole.scores().replacement == pytest.approx(1, abs=1e-9)
    assert graph.n_features == 30
    assert graph.settings["n_active"] == whole.n_features


def test_total_effects_are_the_live_derivative_however_few_rows_are_kept(subject: Subject) -> None:
    dictionary, graph = graph_of(subject, 12)
    sources = list(range(graph.n_features))
    layers = graph.feature_keys[sources, 0].tolist()
    live = measured(subject, dictionary, graph, sources, layers, Regime(tangent=True))
    found = predicted(graph.effects, sources, layers)
    scale = float(live.nan_to_num().abs().max())
    torch.testing.assert_close(found, live, rtol=1e-7, atol=1e-10 * scale, equal_nan=True)
    targets = found[list(graph.target_range)].T
    torch.testing.assert_close(targets, live_effects(subject, dictionary, graph), rtol=1e-7, atol=1e-10 * scale)


@on_few
def test_what_tokens_do_does_not_depend_on_the_rows_either(subject: Subject) -> None:
    """The first token too: the MLPs of a left-out first position are held, whether neurons have rows or not."""
    totals, predictions = [], []
    for limit in (15, None):
        dictionary, graph = graph_of(subject, limit)
        tokens, targets = list(graph.token_range), list(graph.target_range)
        assert graph.first_position == 1
        totals.append(total_effect(graph.effects, tokens)[targets])
        removed = torch.zeros(graph.n_nodes, 1, dtype=torch.float64)
        removed[tokens[0]] = 0.01
        model = LocalModel.of_graph(subject, dictionary, graph)
        predictions.append(predict_removal(model, graph, removed, target_directions(subject, graph)).logits)
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(predictions[0], predictions[1], rtol=1e-8, atol=1e-12)
    assert float(totals[0][:, 0].abs().max()) > 1e-3


@on_few
def test_what_an_ablation_does_to_other_neurons_is_measured_in_activations(subject: Subject) -> None:
    dictionary, graph = graph_of(subject, 30)
    source = int((graph.feature_keys[:, 0] == 0).nonzero()[0])
    found = measured(subject, dictionary, graph, [source], [0])[:, 0]
    _, at, index = graph.feature_keys[source].tolist()
    lost = graph.activations[source] * dictionary.layers[0].decoder[index, 0]

    def without(real: Tensor, seen: Any) -> Tensor:
        real = real.clone()
        real[0, at] -= lost
        return real

    reads = [("mlp_in", layer) for layer in range(subject.n_layers)]
    run = subject.run(torch.tensor([PROMPT]), change={("mlp_raw_out", 0): without}, keep=reads)
    for node in graph.feature_range:
        layer, position, other = graph.feature_keys[node].tolist()
        after = dictionary.activations(layer, run.kept["mlp_in", layer][0])[position, other]
        if layer == 0 or position < at:
            assert bool(torch.isnan(found[node]))
            continue
        torch.testing.assert_close(found[node], graph.activations[node] - after, rtol=1e-8, atol=1e-11)


@on_few
def test_multiplied_out_the_rest_is_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = graph_of(subject, 20)
    monkeypatch.setattr(rest_module, "_WORTH", 0)
    _, drawn = graph_of(subject, 20)
    assert plain.effect_rows is not None
    torch.testing.assert_close(drawn.effect_rows, plain.effect_rows, rtol=1e-9, atol=1e-12)


@on_few
def test_the_rows_go_to_what_changes_the_outputs_most(subject: Subject) -> None:
    dictionary, whole = graph_of(subject, None)
    size = live_effects(subject, dictionary, whole).abs() @ torch.tensor([t.weight for t in whole.targets]).double()
    _, graph = graph_of(subject, 25)
    best = whole.feature_keys[size.topk(25).indices]
    assert {tuple(key) for key in graph.feature_keys.tolist()} == {tuple(key) for key in best.tolist()}


@on_few
def test_an_edit_shows_what_a_graph_predicts_of_it(subject: Subject) -> None:
    """However few rows: the graph's prediction is the forward derivative of the whole model."""
    dictionary, graph = graph_of(subject, 40)
    early = str(graph.node(int((graph.feature_keys[:, 0] == 0).nonzero()[0])).id)
    edits = [Edit.ablate(early)]
    wanted, shown = predict_edits(subject, dictionary, graph, edits), effect(subject, dictionary, PROMPT, edits)
    assert shown.predicted is not None
    moved = shown.predicted.probabilities[-1][TARGETS] - shown.before.probabilities[-1][TARGETS]
    torch.testing.assert_close(moved, wanted.probabilities[0] - wanted.before, rtol=1e-7, atol=1e-12)
    assert float(moved.abs().max()) > 1e-6


@on_few
def test_a_frozen_edit_and_a_measured_one_recompute_neurons(subject: Subject) -> None:
    """With everything live but its own layer's output, an ablation is the run without the neuron's row."""
    dictionary, graph = graph_of(subject, 10)
    node = graph.node(0).id
    layer, position, index = graph.feature_keys[0].tolist()
    shown = effect(subject, dictionary, PROMPT, [Edit.ablate(str(node))], predict="frozen")
    decoder, value = dictionary.layers[layer].decoder[index, 0], graph.activations[0]

    def without(real: Tensor, seen: Any) -> Tensor:
        real = real.clone()
        real[0, position] -= value * decoder
        return real

    run = subject.run(torch.tensor([PROMPT]), change={("mlp_raw_out", layer): without})
    wanted = subject.probabilities(subject.unembed(run.final))[0, -1]
    torch.testing.assert_close(shown.measured.probabilities[-1], wanted, rtol=1e-8, atol=1e-12)
    assert shown.predicted is not None
    assert not torch.allclose(shown.predicted.probabilities[-1], shown.before.probabilities[-1], rtol=1e-9)


@on_few
def test_parts_add_up_to_effects_and_name_the_rest_and_the_activation(subject: Subject) -> None:
    dictionary, graph = graph_of(subject, 40)
    model = LocalModel.of_graph(subject, dictionary, graph)
    late = int(graph.feature_keys[:, 0].argmax())
    for place in (graph.target_range[0], late):
        found = edge_parts(model, graph, place)
        value, wanted = graph.inputs(place), graph.effects.inputs(place)
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found.value, value, rtol=1e-9, atol=1e-11 * scale)
        torch.testing.assert_close(found.effect, wanted, rtol=1e-9, atol=1e-11 * scale)
    layer = int(graph.feature_keys[late, 0])
    assert float(found.parts[f"L{layer} activation"].abs().max()) > 1e-3 * scale
    assert {f"L{below} rest" for below in range(layer)} <= set(found.parts)


def test_a_pruned_graph_is_not_run_again_with_another_rest() -> None:
    """Its dropped neurons were held while it was traced; they would join the rest, and the error nodes change."""
    subject = models.subject("llama")
    for dictionary, settings in ((Dictionary.from_neurons(subject), {}), (models.dictionary("clt", subject), RESPONDS)):
        graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True, max_features=30, **settings)
        LocalModel.of_graph(subject, dictionary, graph)
        pruned = graph.prune(0.5, 0.9)
        assert pruned.n_features < 30
        with pytest.raises(InputError, match="the graph is pruned"):
            edge_parts(LocalModel.of_graph(subject, dictionary, pruned), pruned, pruned.target_range[0])


@on_few
def test_a_look_keeps_the_neurons_that_matter_to_it(subject: Subject) -> None:
    dictionary = Dictionary.from_neurons(subject)
    graph = trace_look(subject, dictionary, PROMPT, layer=2, head=1, max_features=20)
    assert graph.n_features == 20
    found = graph.rows.sum(1) + graph.row_offsets.sum(1)
    torch.testing.assert_close(found, graph.values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["clt", "skip-plt"])
def test_features_left_out_respond_where_asked_for(kind: str) -> None:
    """Then the total effects of what is kept do not depend on how many rows there are."""
    subject = models.subject("llama")
    dictionary = models.dictionary(kind, subject)
    settings: dict[str, Any] = {"targets": TARGETS, "effects": True}
    whole = trace(subject, dictionary, PROMPT, max_features=None, **settings)
    few = trace(subject, dictionary, PROMPT, max_features=whole.n_features // 4, rest_responds=True, **settings)
    held = trace(subject, dictionary, PROMPT, max_features=whole.n_features // 4, **settings)

    def totals(graph: Graph) -> Tensor:
        sources = list(graph.feature_range)
        return predicted(graph.effects, sources, graph.feature_keys[:, 0].tolist())[list(graph.target_range)]

    keys = [tuple(key) for key in whole.feature_keys.tolist()]
    same = [keys.index(tuple(key)) for key in few.feature_keys.tolist()]
    torch.testing.assert_close(totals(few), totals(whole)[:, same], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(totals(held), totals(whole)[:, same], rtol=1e-3)
    assert torch.equal(few.rows, held.rows)
    edits = [Edit.ablate(str(few.node(0).id))]
    moved = [predict_edits(subject, dictionary, graph, edits) for graph in (few, whole)]
    torch.testing.assert_close(moved[0].probabilities, moved[1].probabilities, rtol=1e-9, atol=1e-12)


def test_a_negative_neuron_is_said_to_demote_what_it_promotes() -> None:
    assert signed_label("promotes city · urban", -2.0) == "demotes city · urban"
    assert signed_label("promotes city · urban", 2.0) == "promotes city · urban"
    assert signed_label("capitals", -1.0) == "negative: capitals"
    subject = models.subject("llama")
    _, graph = graph_of(subject, 20)
    keys = graph.feature_keys.tolist()
    graph = graph.with_labels({FeatureId(layer, index): "promotes x" for layer, _, index in keys})
    verbs = {graph.node_label(i).split()[1]: float(graph.activations[i]) for i in graph.feature_range}
    assert verbs["promotes"] > 0 > verbs["demotes"]
