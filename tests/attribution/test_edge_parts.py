"""Parts and loadings: they add up to effects and values, and each is what its own switch does."""

from dataclasses import replace

import pytest
import torch

from clew.attribution.edge_parts import edge_parts
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.sweep import Block
from clew.attribution.targets import resolve
from clew.attribution.trace import trace
from clew.attribution.trace_look import trace_look
from clew.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.subject.recording import Attend
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, KINDS, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

TARGETS = [3, 17]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def local(subject: Subject, dictionary: Dictionary, graph: Graph) -> LocalModel:
    return LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=graph.first_position)


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS)
def test_values_and_parts_add_up_to_effects_for_outputs_and_features(subject: Subject, kind: str) -> None:
    dictionary = models.dictionary(kind, subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    model = local(subject, dictionary, graph)
    late = (graph.feature_keys[:, 0] == subject.n_layers - 1).nonzero()[:, 0]
    for place in (graph.target_range[0], int(late[-1])):
        found = edge_parts(model, graph, place)
        value, effect = graph.inputs(place), graph.effects.inputs(place)
        scale = float(effect.abs().max())
        torch.testing.assert_close(found.value, value, rtol=1e-9, atol=1e-11 * scale)
        torch.testing.assert_close(found.effect, effect, rtol=1e-9, atol=1e-11 * scale)
        assert max(float(part.abs().max()) for part in found.parts.values()) > 1e-3 * scale


def test_every_head_and_norm_has_its_part(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    found = edge_parts(local(subject, dictionary, graph), graph, graph.target_range[0])
    n_heads = subject.model.config.num_attention_heads
    layers = range(subject.n_layers)
    wanted = {f"L{layer}H{head} {side}" for layer in layers for head in range(n_heads) for side in ("query", "key")}
    norms = [f"L{layer} {name} norm" for layer in layers for name in ("attention", "MLP")]
    assert wanted <= set(found.parts)
    assert "final norm" in found.parts
    assert set(found.loadings) == {(layer, head) for layer in layers for head in range(n_heads)}
    rest = set(found.parts) - wanted - {"final norm"}
    after = [f"L{layer} norm after {name}" for layer in layers for name in ("attention", "MLP")]
    assert rest <= {*norms, *after}
    if subject.family.architecture.startswith("Gemma"):
        assert set(after[::2]) <= rest


def test_loadings_of_a_layer_and_what_passes_it_by_are_the_value(subject: Subject) -> None:
    """Without the head's values the value is less by the loading: each head's output weights are taken away in turn."""
    dictionary = models.dictionary("plt", subject, features=14)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    model = local(subject, dictionary, graph)
    place = graph.target_range[1]
    found = edge_parts(model, graph, place)
    for layer, head in ((0, 1), (subject.n_layers - 1, 2)):
        torch.testing.assert_close(
            found.value - found.loadings[layer, head], without_head(model, graph, place, layer, head),
            rtol=1e-9, atol=1e-10 * float(found.value.abs().max()),
        )  # fmt: skip
    for layer, rest in found.stream.items():
        carried = sum(loading for (at_layer, _), loading in found.loadings.items() if at_layer == layer)
        torch.testing.assert_close(rest + carried, found.value)


def without_head(model: LocalModel, graph: Graph, place: int, layer: int, head: int) -> torch.Tensor:
    def silent(step):
        if not isinstance(step, Attend) or step.layer != layer:
            return step
        output = step.output.clone()
        output[head] = 0
        return replace(step, output=output)

    recording = replace(model.recording, steps=tuple(map(silent, model.recording.steps)))
    changed = replace(model, recording=recording)
    targets = resolve(model.subject, model.recording, TARGETS)
    rows, _ = changed.rows(Block(changed.target_readers(targets), []))
    value = torch.zeros(graph.n_nodes, dtype=torch.float64)
    value[model.sources.col_nodes] = rows[place - graph.target_range.start]
    return value


def test_what_cannot_be_taken_apart_is_refused() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    model = local(subject, dictionary, graph)
    with pytest.raises(InputError, match="T@3 has no inputs"):
        edge_parts(model, graph, "T@3")
    other = LocalModel.record(subject, dictionary, torch.tensor(PROMPT[:-1]))
    with pytest.raises(MismatchError, match="another prompt"):
        edge_parts(other, graph, graph.target_range[0])
    look = trace_look(subject, dictionary, PROMPT, layer=1, head=0)
    with pytest.raises(InputError, match="explains a look"):
        edge_parts(model, look, look.target_range[0])
