"""Hop skipping: planted shares are found, neurons and transcoders of one layer skip nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.attribution.rankings import node_scores
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.intervention.hop_skipping import Skipped, _dealt, hop_skipping, overlap, skipped
from clew.subject.subject import Subject
from tests import models
from tests.models import BOS, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

ALONE = (BOS, 7)  # one position has features, so that a decoder can hold what later neurons make of them there


def response(subject: Subject, vector: Tensor, step: float = 1e-4) -> Tensor:
    """What the neurons of layer 1 write for a vector written by layer 0, at the last position, to first order."""
    outputs = []
    for sign in (1, -1):
        added = torch.zeros(1, len(ALONE), subject.d_model, dtype=torch.float64)
        added[0, -1] = sign * step * vector
        change = {("mlp_out", 0): lambda value, seen, added=added: value + added}
        with torch.no_grad():
            run = subject.run(torch.tensor([ALONE]), change=change, keep=[("mlp_out", 1)])
        outputs.append(run.kept["mlp_out", 1][0, -1])
    return (outputs[0] - outputs[1]) / (2 * step)


def planted(subject: Subject, drawn: float) -> Dictionary:
    """A CLT of two layers: its first layer's features write `drawn` of what later neurons do with them themselves."""
    clt = models.dictionary("clt", subject, threshold=None)
    own = clt.layers[0].decoder[:, 0]
    later = drawn * torch.stack([response(subject, vector) for vector in own])
    return replace(clt, layers={**clt.layers, 0: replace(clt.layers[0], decoder=torch.stack([own, later], 1))})


@pytest.mark.parametrize(
    ("drawn", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (3.0, 1.0), (-1.0, 0.0)],
)  # fmt: skip
def test_a_planted_share_is_found(drawn: float, share: float) -> None:
    subject = models.subject("gpt2", n_layer=2)
    dictionary = planted(subject, drawn)
    graph = trace(subject, dictionary, list(ALONE), targets=[3, 17])
    found = skipped(subject, dictionary, graph)
    assert found.through > 1e-3
    assert found.skipped / found.through == pytest.approx(share, abs=1e-5)
    if drawn == 1:  # with its signs dealt out anew, it is not for what passes the neurons
        assert found.null < 0.8 * found.skipped


def test_neurons_and_transcoders_of_one_layer_skip_nothing() -> None:
    subject = models.subject("gpt2")
    for dictionary in (Dictionary.from_neurons(subject), models.dictionary("plt", subject)):
        found = skipped(subject, dictionary, trace(subject, dictionary, PROMPT, targets=[3, 17]))
        assert found.skipped == pytest.approx(0, abs=1e-9 * found.through)
        assert found.null == pytest.approx(0, abs=1e-9 * found.through)
        assert found.through > 1e-3
    for kind in ("clt", "skip-plt"):
        dictionary = models.dictionary(kind, subject)
        found = skipped(subject, dictionary, trace(subject, dictionary, PROMPT, targets=[3, 17]))
        assert 0 < found.skipped < found.through


def test_effects_through_neurons_are_those_of_the_neurons_own_graph() -> None:
    """Of a neuron: its total effect in their graph less its edge, so that nothing but later neurons is between."""
    subject = models.subject("gpt2")
    neurons = Dictionary.from_neurons(subject)
    graph = trace(subject, neurons, PROMPT, targets=[3], effects=True)
    through = node_scores(graph, "total-effects") - node_scores(graph, "direct-effects")
    found = skipped(subject, neurons, graph)
    assert found.through == pytest.approx(float(through[graph.part("feature")].abs().sum()), rel=1e-6)


def test_features_that_do_not_write_into_their_own_layer_are_left_out() -> None:
    subject = models.subject("gpt2")
    clt = models.dictionary("clt", subject)
    late = replace(
        clt,
        writes={**clt.writes, 0: (1, 2)},
        layers={**clt.layers, 0: replace(clt.layers[0], decoder=clt.layers[0].decoder[:, 1:])},
    )
    found = skipped(subject, late, trace(subject, late, PROMPT, targets=[3, 17]))
    assert 0 <= found.skipped <= found.through


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=20))
def test_overlap_is_what_counting_gives(pairs: list[tuple[float, float]]) -> None:
    drawn, through = (torch.tensor(column, dtype=torch.float64)[:, None] for column in zip(*pairs, strict=True))
    expected = sum(min(abs(k), abs(n)) for k, n in pairs if k * n > 0)
    assert overlap(drawn, through) == pytest.approx(expected)
    assert overlap(through, through) == pytest.approx(float(through.abs().sum()))


def test_the_null_keeps_sizes_and_deals_signs_within_a_layer_and_a_target() -> None:
    drawn = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layers = torch.arange(40) // 15
    dealt = _dealt(drawn, layers, torch.Generator().manual_seed(1))
    assert torch.equal(dealt.abs(), drawn.abs())
    assert not torch.equal(dealt, drawn)
    for layer in range(3):
        assert torch.equal((dealt[layers == layer] > 0).sum(0), (drawn[layers == layer] > 0).sum(0))


def test_prompts_are_put_together_sums_over_sums() -> None:
    parts = [Skipped(through=1.0, skipped=0.5, null=0.1), Skipped(through=3.0, skipped=0.0, null=0.3)]
    found = hop_skipping(parts)
    assert found.share.value == pytest.approx(0.125)
    assert found.null.value == pytest.approx(0.1)
    assert found.share.low == pytest.approx(0.0)
    assert found.share.high == pytest.approx(0.5)
    assert found.to_json()["share"] == [found.share.value, found.share.low, found.share.high]
    assert hop_skipping([Skipped(through=0.0, skipped=0.0, null=0.0)]).to_json()["share"][0] is None
