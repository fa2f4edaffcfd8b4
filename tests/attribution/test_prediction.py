"""What a graph predicts of the outputs: its effects in the limit, the model itself where features are its neurons."""

import pytest
import torch

from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.local_model import LocalModel
from clew.attribution.prediction import Prediction, predict_removal
from clew.attribution.targets import target_directions
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.intervention.edit import Edit
from clew.intervention.run import effect
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian, linearized
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, KINDS, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

TARGETS = [3, 17]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def predict(subject: Subject, dictionary: Dictionary, graph: Graph, shares: dict[int, float]) -> Prediction:
    """One case for each node of which a share is removed."""
    model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=graph.first_position)
    removed = torch.zeros(graph.n_nodes, len(shares), dtype=torch.float64)
    removed[list(shares), torch.arange(len(shares))] = torch.tensor(list(shares.values()), dtype=torch.float64)
    return predict_removal(model, graph, removed, target_directions(subject, graph))


def test_every_step_forwards_is_the_transpose_of_itself_backwards(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, len(PROMPT), models.WIDTH, generator=generator, dtype=torch.float64)
    y = torch.randn(len(PROMPT), models.WIDTH, 3, generator=generator, dtype=torch.float64)
    steps = [s for s in linearized(subject.record(PROMPT)) if isinstance(s, NormalizeJacobian | AttendJacobian)]
    assert {type(step) for step in steps} == {NormalizeJacobian, AttendJacobian}
    for step in steps:
        left = torch.einsum("bpd,pdt->bt", step.forward(x), y)
        right = torch.einsum("bpd,pdt->bt", x, step.transpose(y))
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS)
def test_a_little_removed_is_the_graphs_total_effect(subject: Subject, kind: str) -> None:
    """Which is found another way: through its rows, not forwards through the steps."""
    dictionary = models.dictionary(kind, subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    nodes = [0, graph.n_features - 1, *graph.error_range[:2], *graph.token_range[1:3]]
    share = 1e-5
    up, down = (predict(subject, dictionary, graph, dict.fromkeys(nodes, sign * share)) for sign in (1, -1))
    slopes = (up.logits - down.logits) / (2 * share)
    wanted = up.lost[:, list(graph.target_range)] / share
    torch.testing.assert_close(slopes, wanted, rtol=1e-5, atol=1e-7 * float(wanted.abs().max()))


def test_a_graph_alone_predicts_to_first_order_what_several_nodes_do_together(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    nodes = [0, graph.n_features - 1, graph.token_range[2]]
    model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=graph.first_position)
    removed = torch.zeros(graph.n_nodes, 1, dtype=torch.float64)
    removed[nodes] = 1
    wanted = predict_removal(model, graph, removed, target_directions(subject, graph)).lost[0]
    found = graph.predict([graph.node(nodes[0]).id, *(str(graph.node(node).id) for node in nodes[1:])])
    assert torch.equal(found, wanted)
    one = graph.predict([graph.node(nodes[0]).id])
    torch.testing.assert_close(
        one[list(graph.target_range)], total_effect(graph.effects, nodes[:1])[list(graph.target_range), 0]
    )
    with pytest.raises(InputError, match="no effects"):
        trace(subject, dictionary, PROMPT, targets=TARGETS).predict(["L0/1@1"])
    with pytest.raises(InputError):
        graph.predict(["L9/9@9"])


def test_with_neurons_probabilities_move_as_the_edited_models_do() -> None:
    subject = models.subject("gpt2")
    neurons = Dictionary.from_neurons(subject)
    graph = trace(subject, neurons, PROMPT, targets=TARGETS, effects=True)
    nodes = list(range(0, graph.n_features, 37))
    found = predict(subject, neurons, graph, dict.fromkeys(nodes, 1e-3))
    assert found.before.tolist() == pytest.approx([target.probability for target in graph.targets])
    for row, node in enumerate(nodes):
        edit = Edit.scale(str(graph.node(node).id), 1 - 1e-3)
        after = effect(subject, neurons, PROMPT, [edit])
        moved = after.measured.probabilities[-1][TARGETS].double() - found.before
        torch.testing.assert_close(found.probabilities[row] - found.before, moved, rtol=0.05, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nothing_removed_changes_no_probability(dtype: torch.dtype) -> None:
    subject = models.subject("llama", dtype)
    dictionary = models.dictionary("clt", subject, features=14, dtype=torch.float32)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    found = predict(subject, dictionary, graph, {0: 0.0})
    recorded = subject.record(PROMPT).probabilities[-1][TARGETS].double()
    torch.testing.assert_close(found.probabilities[0], found.before, rtol=0, atol=0)
    torch.testing.assert_close(found.before, recorded, rtol=0.05, atol=1e-4)
    assert not found.logits.any()


def test_a_graph_without_effects_and_one_of_another_prompt_are_refused() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    with pytest.raises(InputError, match="no effects"):
        predict(subject, dictionary, trace(subject, dictionary, PROMPT, targets=TARGETS), {0: 1.0})
    other = trace(subject, dictionary, PROMPT[:-1], targets=TARGETS, effects=True)
    with pytest.raises(MismatchError, match="8 tokens"):
        predict(subject, dictionary, other, {0: 1.0})
