"""Graphs of series: what adds up, in float64, down to single values; and the verbs of a Kit on patches."""

import numpy as np
import pytest
import torch

import clew
from clew.attribution.influence import total_effect
from clew.errors import InputError, MismatchError
from clew.timeseries.mechanisms import planted_bumps, read_series, token_totals, train
from clew.training import DictionaryConfig, encode_documents, train_dictionary

pytestmark = pytest.mark.usefixtures("exact_softmax")


@pytest.fixture(scope="module")
def exact(one_cause):
    _, cases = one_cause
    return read_series(cases.transformer, cases.series, cases.labels, dtype=torch.float64)


@pytest.fixture(scope="module")
def transcoder(one_cause, tmp_path_factory):
    """A per-layer transcoder with a skip connection, trained on the patches of the series."""
    _, cases = one_cause
    subject, folder = cases.subject, tmp_path_factory.mktemp("transcoder")
    documents = encode_documents(subject, subject.rows.numpy())
    config = DictionaryConfig(kind="plt", features=48, k=6, steps=60, batch=128, skip=True)
    for _ in train_dictionary(subject, documents, config, folder):
        pass
    return clew.Dictionary.load(folder / "dictionary")


def test_incoming_edges_and_offsets_are_preactivations_and_the_class_logit(exact):
    graph = exact.trace(0)
    torch.testing.assert_close(graph.rows.sum(1) + graph.row_offsets.sum(1), graph.values, rtol=1e-9, atol=1e-10)
    assert graph.scores().replacement == pytest.approx(1, abs=1e-9)  # ReLU neurons miss nothing
    logits = exact.transformer.logits(exact.series[:1])[0].double()
    assert graph.targets[0].value == pytest.approx(float((logits - logits.mean()).max()), abs=1e-4)


def test_total_effects_are_the_live_derivatives_of_features_patches_and_values(exact):
    graph = exact.trace(0)
    features, (target,) = list(graph.feature_range), graph.target_range
    totals = total_effect(graph.effects, features)[target]
    torch.testing.assert_close(totals, exact.kit.live_effects(graph)[:, 0], rtol=1e-7, atol=1e-11)
    embedding = exact.subject.model.get_input_embeddings()
    values = embedding.patches[: exact.transformer.n_patches].clone().requires_grad_()
    embedded = embedding(exact.subject.rows[:1]).detach()
    embedded = torch.cat([embedded[:, :1], (values @ embedding.weight.T)[None], embedded[:, -1:]], 1)
    logits = exact.subject.model(inputs_embeds=embedded).logits[0, -1]
    (logits[graph.targets[0].token] - logits.mean()).backward()
    live = (values.grad * values).detach().view(-1, 2, 6)
    torch.testing.assert_close(token_totals(graph)[1][1:-1], live.sum((1, 2)), rtol=1e-7, atol=1e-10)
    points = torch.from_numpy(exact.points(graph, effects=True))
    torch.testing.assert_close(points, live.permute(1, 0, 2).flatten(1), rtol=1e-7, atol=1e-10)


def test_the_values_of_a_patch_add_up_to_its_token(exact):
    graph = exact.trace(3, effects=False)
    patches = exact.points(graph).reshape(2, -1, 6).sum((0, 2))
    np.testing.assert_allclose(patches, token_totals(graph)[0][1:-1].numpy(), rtol=1e-8, atol=1e-10)
    assert np.abs(patches).max() > 0.5
    with pytest.raises(InputError, match="no effects"):
        exact.points(graph, effects=True)


def test_a_trained_transcoder_takes_the_place_of_neurons(one_cause, transcoder):
    _, cases = one_cause
    exact = read_series(
        cases.transformer,
        cases.series,
        cases.labels,
        dictionary=transcoder.to(dtype=torch.float64),
        dtype=torch.float64,
    )
    graph = exact.trace(0)
    assert (graph.dictionary_kind, graph.error_name) == ("plt", "error")
    torch.testing.assert_close(graph.rows.sum(1) + graph.row_offsets.sum(1), graph.values, rtol=1e-8, atol=1e-9)
    for effects in (False, True):
        patches = exact.points(graph, effects=effects).reshape(2, -1, 6).sum((0, 2))
        np.testing.assert_allclose(patches, token_totals(graph)[int(effects)][1:-1].numpy(), rtol=1e-7, atol=1e-9)
    other = train(cases.series, cases.labels, layers=2, epochs=0, patch=6, heads=4, width=32, seed=5)
    with pytest.raises(MismatchError):
        read_series(other, cases.series, dictionary=transcoder)


def test_edits_looks_and_audits_are_those_of_text(one_cause):
    _, cases = one_cause
    graph = cases.trace(0)
    look = cases.kit.looks(cases.prompt(0), layer=0, head=1)
    assert len(look.targets) == 2
    assert look.tokens[1] == "t0-5"
    audit = cases.kit.audit(graph, nodes=8, take_apart=False)
    assert "Spearman" in repr(audit)
    strongest = graph.node(int(total_effect(graph.effects, list(graph.feature_range))[-1].abs().argmax())).id
    effect = cases.kit.edit(cases.prompt(0), [clew.Edit.ablate(strongest.feature, positions=strongest.position)])
    assert effect.likely[graph.targets[0].token] == f"class {cases.predicted(0)}"
    assert effect.measured.probabilities.shape[-1] == 2


def test_names_are_times_and_classes(one_cause):
    _, cases = one_cause
    graph = cases.trace(1, target="up")
    assert graph.tokens == ("[start]", "t0-5", "t6-11", "t12-17", "t18-23", "t24-29", "t30-35", "[end]")
    assert graph.targets[0].label == "class up"
    assert {label.split()[0] for label in graph.labels.values()} == {"promotes"}
    assert not [label for label in graph.labels.values() if "up" in label and "down" in label]
    assert cases.trace(1, target="class up").targets == graph.targets
    assert cases.kit.trace(cases.prompt(1), targets="up - down").targets[0].label == "up - down"
    assert cases.case_of(graph) == 1
    others = read_series(cases.transformer, planted_bumps(3, causes=1, seed=9).series[:1])
    with pytest.raises(MismatchError, match="another transformer's series"):
        others.points(graph)


def test_what_is_no_series_is_refused_in_a_line(one_cause):
    _, cases = one_cause
    refused = {
        "reads no text": lambda: cases.kit.trace("up"),
        "is said, not read": lambda: cases.kit.trace([0, 4]),
        "outside 0..": lambda: cases.kit.trace([99_999]),
        "no case 200": lambda: cases.prompt(200),
        "3 channels": lambda: cases.transformer.predict(np.zeros((1, 3, 36))),
        "trained on 36": lambda: cases.transformer.predict(np.zeros((1, 2, 30))),
        "NaN or infinite": lambda: read_series(cases.transformer, np.full((1, 2, 36), np.nan)),
        "resampled": lambda: train([np.zeros((2, 5)), np.zeros((2, 6))], ["a", "b"]),
        "at least two classes": lambda: train(cases.series[:2], ["a", "a"]),
        "labels for 2 series": lambda: train(cases.series[:2], ["a"]),
        "longer than the series": lambda: train(cases.series[:2], ["a", "b"], patch=40),
        "multiple of heads": lambda: train(cases.series[:2], ["a", "b"], width=30),
    }
    for part, call in refused.items():
        with pytest.raises(InputError, match=part) as caught:
            call()
        assert "\n" not in str(caught.value)
