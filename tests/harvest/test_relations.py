"""Relations by weights: what they say of the direct path is what a trace finds where nothing else lies on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.attribution.trace import trace
from clew.features.promoted_tokens import direct_logits, promoted_tokens, ranked, unembedding_for
from clew.features.tables import Relations
from clew.harvest import relations
from clew.harvest.relations import relate
from clew.ids import FeatureId
from clew.subject.subject import Subject
from tests import models

MODELS = [
    ("gpt2", "mlp_out"),
    ("llama", "mlp_out"),
    ("gemma2", "mlp_out"),
    ("gemma2", "mlp_raw_out"),
    ("olmo2", "mlp_raw_out"),
]
KINDS = ["plt", "clt", "skip-plt", "skip-clt"]


def traced(architecture, write, kind, *, attention=True):
    """A graph with all features, its rows divided by the sources' activations, and what it was made of."""
    subject = models.subject(architecture)
    if not attention:
        with torch.no_grad():
            for name, parameter in subject.model.named_parameters():
                if "o_proj" in name or "attn.c_proj" in name:
                    parameter.zero_()
    dictionary = models.dictionary(kind, subject, write=write, threshold=0.3)
    graph = trace(subject, dictionary, models.PROMPT, targets=list(range(models.VOCAB)), max_features=10_000)
    n = graph.n_features
    return subject, dictionary, graph, graph.adjacency[:, :n].double() / graph.activations[:n].double()


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("architecture", "write"), MODELS)
def test_tokens_that_the_last_layer_promotes_are_those_of_its_edges_to_them(architecture, write, kind):
    subject, dictionary, graph, edges = traced(architecture, write, kind)
    last = len(models.PROMPT) - 1
    keys = graph.feature_keys
    own = ((keys[:, 0] == subject.n_layers - 1) & (keys[:, 1] == last)).nonzero()[:, 0]
    assert len(own) > 5
    said = direct_logits(subject, dictionary, subject.n_layers - 1, keys[own, 2], unembedding_for(subject, dictionary))
    found = edges[-models.VOCAB :, own].T
    assert cosine(said, found) > 1 - 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("architecture", "write"), MODELS)
def test_virtual_weights_are_edges_where_no_attention_lies_between(architecture, write, kind):
    """From one layer to the next at one position: one scale for all of them, which a weight leaves out."""
    subject, dictionary, graph, edges = traced(architecture, write, kind, attention=False)
    (found,) = (r for r in relate(subject, dictionary, promoted=1, related=200) if isinstance(r, Relations))
    keys, compared = graph.feature_keys, 0
    layers = (1, 2) if architecture == "olmo2" else (0, 1)  # nothing norms the tokens that its first MLP reads
    for position in (3, 8):
        at = [((keys[:, 0] == layer) & (keys[:, 1] == position)).nonzero()[:, 0] for layer in layers]
        source, target = (keys[here, 2] + 40 * layer for layer, here in zip(layers, at, strict=True))
        said = torch.zeros(len(target), len(source))
        for row, t in enumerate(target.tolist()):
            weight_of = dict(zip(found.inputs.feature[t].tolist(), found.inputs.value[t].tolist(), strict=True))
            said[row] = torch.tensor([weight_of[s] for s in source.tolist()])
        compared += said.numel()
        assert cosine(said, edges[at[1]][:, at[0]]) > 1 - 1e-6
    assert compared > 50


# Ties


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 12), st.randoms(use_true_random=False))
def test_ranked_is_a_stable_sort(rows, width, count, rng):
    values = torch.tensor([[rng.choice([-torch.inf, -1.0, 0.0, 1.0, 2.0]) for _ in range(width)] for _ in range(rows)])
    expected = values.sort(dim=1, descending=True, stable=True).indices[:, :count]
    assert torch.equal(ranked(values, count), expected)


@pytest.mark.parametrize("block", [7, 16, 4096])
def test_of_equal_tokens_and_relatives_the_lowest_number_comes_first_whatever_the_block(block, monkeypatch):
    """Features and tokens that come again and again, in whole numbers, so that every product is exact."""
    subject = models.subject("llama", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    with torch.no_grad():
        subject.model.model.norm.weight.fill_(1)
        kinds = torch.eye(models.WIDTH)[torch.arange(models.VOCAB) % 4]
        subject.model.get_output_embeddings().weight.copy_(kinds - kinds.mean(0))
        for layer in dictionary.layers.values():
            layer.encoder.copy_(torch.eye(models.WIDTH)[torch.arange(40) % 5])
            layer.decoder.copy_(torch.eye(models.WIDTH)[torch.arange(40) % 4][:, None].expand_as(layer.decoder))
    subject.modules["mlp_norm", 1].weight.data.fill_(1)
    subject.modules["mlp_norm", 2].weight.data.fill_(1)
    monkeypatch.setattr(relations, "BLOCK", block)
    monkeypatch.setattr(relations, "LOGITS", block * models.VOCAB)
    (found,) = (r for r in relate(subject, dictionary, promoted=5, related=4) if isinstance(r, Relations))
    assert len(found.promoted.feature) == 120
    for n in range(120):
        kind, index = n % 40 % 4, n % 40
        assert found.promoted.feature[n].tolist() == [kind + 4 * k for k in range(5)]
        same = [m for m in range(120) if m % 40 % 5 == index % 5 and m != n]
        assert found.nearest_encoder.feature[n].tolist() == same[:4]
        same = [m for m in range(120) if m % 40 % 4 == kind and m != n]
        assert found.nearest_decoder.feature[n].tolist() == same[:4]
    sources = [m for m in range(80) if m % 40 % 4 == 0]  # of the last layer's feature 80: they write where it reads
    values = dict(zip(found.inputs.feature[80].tolist(), found.inputs.value[80].tolist(), strict=True))
    strongest = sorted(values, key=lambda m: (-abs(values[m]), m))
    assert found.inputs.feature[80].tolist() == strongest == [m for m in sources if m < 40][:4]
    assert promoted_tokens(subject, dictionary, [FeatureId(0, 1)], 3) == {
        FeatureId(0, 1): subject.token_strings([1, 5, 9])
    }


def test_a_large_dictionary_is_compared_as_far_as_the_work_allows_those_that_fire_most_first(monkeypatch):
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    fired = np.random.default_rng(0).permutation(120)
    (whole,) = (r for r in relate(subject, dictionary, promoted=3, related=119) if isinstance(r, Relations))
    monkeypatch.setattr(relations, "WORK", 3 * (models.WIDTH + relations.OVERHEAD) * 30**2)
    chosen = relations.compared(dictionary, fired)
    assert chosen.tolist() == sorted(np.flatnonzero(fired >= 90).tolist())
    *reports, part = relate(subject, dictionary, promoted=3, related=119, fired=fired)
    assert {(r.done, r.of) for r in reports if r.what.startswith(("nearest", "virtual"))} >= {(30, 30)}
    assert part.promoted.feature.tolist() == whole.promoted.feature.tolist()
    for name in ("nearest_decoder", "nearest_encoder", "inputs", "outputs"):
        few, all_of_them = getattr(part, name), getattr(whole, name)
        for number in range(120):
            expected = [f for f in all_of_them.feature[number].tolist() if f in chosen] if number in chosen else []
            assert [f for f in few.feature[number].tolist() if f >= 0] == expected


def test_the_unembedding_is_converted_once_for_all_layers(monkeypatch):
    """In half precision a copy in float32 is made, which is large."""
    subject = models.subject("gpt2", torch.bfloat16)
    dictionary = models.dictionary("plt", subject, dtype=torch.float32)
    taken = []
    monkeypatch.setattr(Subject, "unembedding", property(lambda s: taken.append(1) or s.model.lm_head.weight.detach()))
    features = [FeatureId(layer, index) for layer in range(3) for index in range(5)]
    tokens = promoted_tokens(subject, dictionary, features, 3)
    assert len(taken) == 1
    float32 = models.subject("gpt2", torch.bfloat16)
    float32.model.float()
    assert promoted_tokens(float32, dictionary, features, 3) == tokens
    taken.clear()
    monkeypatch.setattr(relations, "LOGITS", 5 * models.VOCAB)
    list(relate(subject, dictionary, promoted=1, related=0))
    assert len(taken) == 2  # how many tokens there are, and the copy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_of_some_features_are_those_of_the_dense_logits(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several layers at once, an unembedding in 16 bits being converted a few tokens at a time."""
    subject = models.subject("llama", dtype)
    dictionary, ids = models.dictionary("clt", subject).to(dtype=dtype), torch.tensor([3, 5, 9])
    monkeypatch.setattr("clew.features.promoted_tokens._CONVERTED", 7)
    monkeypatch.setattr("clew.features.promoted_tokens._TOGETHER", 4)
    found = promoted_tokens(subject, dictionary, [FeatureId(layer, i) for layer in (2, 0) for i in ids.tolist()])
    for layer in (0, 2):
        logits = direct_logits(subject, dictionary, layer, ids, unembedding_for(subject, dictionary))
        for index, row in zip(ids.tolist(), logits, strict=True):
            assert found[FeatureId(layer, index)] == subject.token_strings(row.topk(3).indices.tolist())
