"""Live effects from one reverse pass, against a forward derivative for every feature, and against graphs of neurons."""

import pytest
import torch

from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.errors import MismatchError
from clew.intervention.ablation_effects import measured, predicted
from clew.intervention.clamp import Regime
from clew.intervention.live_effects import live_effects
from tests import models
from tests.models import DISTINCT, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

TARGETS = [3, 17]


@pytest.mark.parametrize("architecture", DISTINCT)
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_one_reverse_pass_gives_what_a_forward_derivative_for_each_feature_does(architecture, kind):
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    sources = list(range(0, graph.n_features, 5))
    layers = graph.feature_keys[sources, 0].tolist()
    forward = measured(subject, dictionary, graph, sources, layers, Regime(tangent=True))[list(graph.target_range)].T
    found = live_effects(subject, dictionary, graph)
    torch.testing.assert_close(found[sources], forward, rtol=1e-7, atol=1e-10 * float(found.abs().max()))


def test_for_neurons_they_are_the_graphs_own_total_effects():
    subject = models.subject("gpt2")
    neurons = Dictionary.from_neurons(subject)
    graph = trace(subject, neurons, PROMPT, targets=TARGETS, effects=True)
    sources = list(range(0, graph.n_features, 31))
    layers = graph.feature_keys[sources, 0].tolist()
    total = predicted(graph.effects, sources, layers)[list(graph.target_range)].T
    found = live_effects(subject, neurons, graph)[sources]
    torch.testing.assert_close(found, total, rtol=1e-7, atol=1e-10 * float(found.abs().max()))


def test_a_graph_of_another_model_is_refused():
    subject = models.subject("gpt2")
    graph = trace(subject, models.dictionary("clt", subject), PROMPT, targets=TARGETS)
    other = models.subject("llama", vocab_size=9)
    with pytest.raises(MismatchError, match="another model"):
        live_effects(other, models.dictionary("clt", other), graph)
