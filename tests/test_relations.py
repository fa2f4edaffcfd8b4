"""Relations by weights: what they say of the direct path is what a trace finds where nothing else lies on the way."""

from __future__ import annotations

import pytest
import torch

from clew.attribution.trace import trace
from clew.features.promoted import direct_logits
from clew.features.relations import Relations, relate
from tests import models

MODELS = [("gpt2", "mlp_out"), ("llama", "mlp_out"), ("gemma2", "mlp_out"), ("gemma2", "mlp_raw_out")]
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
    said = direct_logits(subject, dictionary, subject.n_layers - 1, keys[own, 2])
    found = edges[-models.VOCAB :, own].T
    assert cosine(said, found) > 1 - 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("architecture", "write"), MODELS)
def test_virtual_weights_are_edges_where_no_attention_lies_between(architecture, write, kind):
    """From one layer to the next at one position: one scale for all of them, which a weight leaves out."""
    subject, dictionary, graph, edges = traced(architecture, write, kind, attention=False)
    (found,) = (r for r in relate(subject, dictionary, promoted=1, related=200) if isinstance(r, Relations))
    keys, compared = graph.feature_keys, 0
    for position in (3, 8):
        at = [((keys[:, 0] == layer) & (keys[:, 1] == position)).nonzero()[:, 0] for layer in (0, 1)]
        source, target = (keys[here, 2] + 40 * layer for layer, here in enumerate(at))
        said = torch.zeros(len(target), len(source))
        for row, t in enumerate(target.tolist()):
            weight_of = dict(zip(found.inputs.feature[t].tolist(), found.inputs.value[t].tolist(), strict=True))
            said[row] = torch.tensor([weight_of[s] for s in source.tolist()])
        compared += said.numel()
        assert cosine(said, edges[at[1]][:, at[0]]) > 1 - 1e-6
    assert compared > 50
