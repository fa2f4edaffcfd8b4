"""Which predictions are marked, from the model's own derivatives."""

import pytest
import torch

from clew.attribution.trace import trace
from clew.errors import InputError
from clew.intervention.ablation_effects import measured
from clew.intervention.doubt import FLOOR, beside_live, doubtful, estimated_losses, marks_of, missed
from clew.intervention.edit import Edit
from clew.intervention.live_effects import live_effects
from clew.intervention.run import effect
from tests import models
from tests.models import DISTINCT, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

TARGETS = [3, 17]


def lost_at(subject, dictionary, graph, node, share):
    """What the targets lose when a share of one feature is removed, as an edit measures it."""
    edits = [Edit.scale(str(graph.node(node).id), 1 - share)]
    shown = effect(subject, dictionary, PROMPT, edits, predict=None)
    lost = shown.before.logits[-1] - shown.measured.logits[-1]
    return (lost - lost.mean())[TARGETS].double()


@pytest.mark.parametrize("architecture", DISTINCT)
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_an_estimate_is_the_edited_models_quadratic(architecture, kind):
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    nodes = [0, graph.n_features // 2, graph.n_features - 1]
    found = estimated_losses(subject, dictionary, graph, nodes)
    for row, node in zip(found, nodes, strict=True):
        step = 1e-3
        up, down = (lost_at(subject, dictionary, graph, node, sign * step) for sign in (1, -1))
        wanted = (up - down) / (2 * step) + (up + down) / (2 * step**2)
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-6 * float(found.abs().max()))


def test_an_estimate_is_nearer_to_what_is_measured_than_the_first_derivative():
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    nodes = list(range(graph.n_features))
    real = measured(subject, dictionary, graph, nodes, graph.feature_keys[:, 0].tolist())[list(graph.target_range)].T
    first = live_effects(subject, dictionary, graph)
    second = estimated_losses(subject, dictionary, graph, nodes)
    assert float((second - real).abs().median()) < 0.5 * float((first - real).abs().median())


def test_a_prediction_is_doubtful_by_sign_or_factor_beyond_the_floor():
    nan = float("nan")
    predicted = torch.tensor([1.0, 1.0, 1.0, -1.0, 0.04, 0.0, nan, 1.0])
    estimated = torch.tensor([1.4, 1.6, 0.6, 1.0, -0.04, 0.1, 1.0, nan])
    assert doubtful(predicted, estimated).tolist() == [False, True, True, True, False, True, False, False]
    assert missed(predicted, estimated).tolist() == [False, False, False, True, False, True, False, False]


def test_marks_are_counted_on_known_pairs():
    nan = float("nan")
    predicted = torch.tensor([1.0, 1.0, 0.5, -1.0, 0.2, 1.0])
    estimated = torch.tensor([1.0, 2.0, 0.5, 1.0, 0.2, nan])
    measured = torch.tensor([1.1, 3.0, 1.2, 1.0, 0.2, 9.0])
    found = marks_of(predicted, estimated, measured)
    assert (found.marked, found.misses) == pytest.approx((2 / 5, 3 / 5))
    assert found.misses_held == pytest.approx(2 / 3)
    assert found.error_held == pytest.approx(8.0 / (0.01 + 8.0 + 0.49))


def test_nothing_asked_is_nothing_found():
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    assert estimated_losses(subject, dictionary, graph, []).shape == (0, 2)
    assert beside_live(subject, dictionary, graph, [], []) == []


def test_what_is_shown_beside_a_prediction_is_the_live_effect_and_the_estimate():
    subject = models.subject("llama")
    dictionary = models.dictionary("plt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    nodes = [3, 0, graph.n_features - 1]
    first, estimated = (
        live_effects(subject, dictionary, graph)[nodes, 0],
        estimated_losses(subject, dictionary, graph, nodes),
    )
    shown = beside_live(subject, dictionary, graph, nodes, [0.0, *estimated[1:, 0].tolist()])
    assert [live.first for live in shown] == pytest.approx(first.tolist(), rel=1e-7)
    assert [live.second for live in shown] == pytest.approx(estimated[:, 0].tolist())
    assert [live.doubtful for live in shown] == [abs(float(estimated[0, 0])) > FLOOR, False, False]


def test_only_features_are_removed():
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    with pytest.raises(InputError, match=f"give nodes from 0 to {graph.n_features - 1}"):
        estimated_losses(subject, dictionary, graph, [graph.n_features])
