"""Random sets weigh what the tested ones weigh; a claim about features is judged by what the model does."""

import pytest
import torch

import clew
from clew.circuit.ablation_claim import AblationClaim, check_claim
from clew.circuit.random_sets import heavy_set
from clew.errors import InputError
from clew.intervention.matched_sets import mass_of
from tests import models

FRANCE = "The capital of France is"


@pytest.fixture(scope="module")
def minnow():
    return clew.load("minnow")


@pytest.fixture(scope="module")
def graph(minnow):
    return minnow.trace(FRANCE)


def test_a_random_set_weighs_as_much_as_what_it_stands_for_and_holds_none_of_it(minnow, graph):
    """The heaviest features of the last position, beside which its own layers and positions hold too little."""
    mass = mass_of(minnow.dictionary, graph)
    last = graph.feature_keys[:, 1] == graph.n_tokens - 1
    chosen = torch.zeros(graph.n_features, dtype=torch.bool)
    chosen[mass.where(last, torch.zeros_like(mass)).topk(20).indices] = True
    generator = torch.Generator().manual_seed(0)
    draws = [heavy_set(chosen, graph, mass, generator) for _ in range(4)]
    cells = graph.feature_keys[:, 0] * graph.n_tokens + graph.feature_keys[:, 1]
    own = torch.isin(cells, cells[chosen])
    for draw in draws:
        assert not bool((draw.members & chosen).any())
        weight = mass[draw.members].sum()
        assert draw.mass == pytest.approx(float(weight / mass[chosen].sum()))
        assert 0.95 < draw.mass < 1.25
        assert draw.size == pytest.approx(int(draw.members.sum()) / 20)
        assert draw.elsewhere == pytest.approx(float(mass[draw.members & ~own].sum() / weight))
        assert draw.elsewhere > 0.1
    assert len({tuple(draw.members.tolist()) for draw in draws}) == 4


def test_negative_neurons_weigh_what_they_write():
    subject = models.subject("llama", torch.float32)
    kit = clew.Kit(subject)
    graph = kit.trace(models.PROMPT, max_features=60)
    written = graph.activations.abs()
    for layer in range(subject.n_layers):
        here = graph.feature_keys[:, 0] == layer
        rows = kit.dictionary.decoder_rows(layer, graph.feature_keys[here, 2])
        written[here] *= rows.flatten(1).norm(dim=1)
    assert int((graph.activations < 0).sum()) > 10
    chosen = graph.activations < 0
    chosen[chosen.nonzero()[8:, 0]] = False
    draw = heavy_set(chosen, graph, mass_of(kit.dictionary, graph), torch.Generator().manual_seed(0))
    assert draw.mass == pytest.approx(float(written[draw.members].sum() / written[chosen].sum()), rel=1e-5)
    assert 0.8 < draw.mass < 1.25


def test_where_everything_is_under_test_a_random_set_is_empty_and_says_so(minnow, graph):
    chosen = torch.ones(graph.n_features, dtype=torch.bool)
    draw = heavy_set(chosen, graph, mass_of(minnow.dictionary, graph), torch.Generator().manual_seed(0))
    assert (int(draw.members.sum()), draw.size, draw.mass, draw.elsewhere) == (0, 0, 0, 0)
    everything = tuple(str(graph.node(node).id) for node in graph.feature_range)
    checked = check_claim(minnow.subject, minnow.dictionary, graph, AblationClaim(features=everything, points=50.0))
    assert checked.moved > 50
    assert checked.outcome == "cannot say"


def test_a_claim_is_judged_by_the_run_without_its_features(minnow, graph):
    circuit = minnow.circuit(graph)
    group = circuit.group("country: France")

    def outcome(features, **said):
        claim = AblationClaim(features=features, **said)
        return check_claim(minnow.subject, minnow.dictionary, graph, claim)

    holds = outcome(group.members, points=50.0)
    assert holds.without == pytest.approx(group.without, abs=1e-6)
    assert holds.outcome == "holds"
    assert holds.null.probability > 0.95
    assert outcome(group.members, points=90.0).outcome == "fails"
    assert outcome(group.members, points=50.0, moves="rises").outcome == "fails"
    rises = outcome(circuit.group("says Paris").members + group.members, token="Dakar", moves="rises", points=0.001)
    assert rises.text == "Dakar"
    (said,) = minnow.readings([(FRANCE, [])], [" Dakar"]).probabilities[0].tolist()
    assert rises.before == pytest.approx(said, abs=1e-6)
    weak = [str(graph.node(node).id) for node in graph.feature_range if int(graph.feature_keys[node, 1]) == 1]
    assert outcome(tuple(weak), points=10.0).outcome == "fails"


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"features": ()}, "names no feature"),
        ({"features": ("L0/1@5",), "points": 0.0}, "points is 0"),
        ({"features": ("L0/1@5",), "points": 101.0}, "points is 101"),
        ({"features": ("L0/1@5",), "draws": 0}, "draws is 0"),
        ({"features": ("L9/1@5",)}, "L9/1@5 is not a node"),
        ({"features": ("O0@5",)}, "O0@5 is no feature"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_refused(minnow, graph, claim, words):
    with pytest.raises(InputError, match=words):
        check_claim(minnow.subject, minnow.dictionary, graph, AblationClaim(**claim))
