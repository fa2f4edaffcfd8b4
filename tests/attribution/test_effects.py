"""Effects: the same walk with every step's full derivative, against autograd through the live modules."""

import inspect
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clew.attribution import sweep
from clew.attribution.add_effects import add_effects
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.targets import resolve
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError, UnsupportedModelError
from clew.intervention.ablation_effects import measured, predicted
from clew.intervention.clamp import Regime
from clew.subject import jacobian
from clew.subject.jacobian import AttendJacobian, NormalizeJacobian, linearized
from clew.subject.query_key import HeadNormAt, Rotary
from clew.subject.recording import Attend
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_sweep import FEATURES, TARGETS, Reference
from tests.models import ARCHITECTURES, KINDS, PROMPT, on_distinct

pytestmark = pytest.mark.usefixtures("exact_softmax")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def effects_of(subject: Subject, dictionary: Dictionary, first: int) -> tuple[Tensor, LocalModel, list[int]]:
    model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=first)
    targets = resolve(subject, model.recording, TARGETS)
    everything = torch.arange(model.sources.n_features)
    block, order = model.block(everything, model.target_readers(targets))
    rows = torch.zeros(block.n_readers, model.sources.n_nodes, dtype=torch.float64)
    model.fill_effects(block, rows)
    return rows, model, order.tolist()


def assert_effects_equal_autograd(subject: Subject, dictionary: Dictionary, first: int = 1) -> None:
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, leave_out_first=bool(first))
    reference = Reference(subject, dictionary, first, graph, live=True)
    rows, model, order = effects_of(subject, dictionary, first)
    by_node = torch.zeros(len(rows), graph.n_nodes, dtype=torch.float64)
    by_node[:, model.sources.col_nodes] = rows
    scale = float(by_node.abs().max())
    nodes = [*graph.target_range, *order]
    for row, node in zip(by_node, nodes, strict=True):
        torch.testing.assert_close(row, reference.row(node)[0], rtol=1e-8, atol=1e-10 * scale)
    assert float((by_node[len(TARGETS) :] - graph.adjacency[order]).abs().max()) > 0.01 * scale  # not the values


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS, times=2)
def test_every_effect_equals_autograd_through_the_live_model(subject: Subject, kind: str) -> None:
    assert_effects_equal_autograd(subject, models.dictionary(kind, subject, features=FEATURES))


@pytest.mark.parametrize(
    ("method", "old", "new", "architecture"),
    [
        (AttendJacobian._to_scores, "[:, :, None], through)", "[:, :, None], 0 * through)", "gemma2"),  # softmax
        (AttendJacobian.transpose, "self.keys[:, :stop].mT", "0 * self.keys[:, :stop].mT", "gemma2"),  # by the queries
        (AttendJacobian.transpose, "self.queries[:, start:stop].mT", "0 * self.queries[:, start:stop].mT", "gemma2"),
        (AttendJacobian.transpose, "turned, flat[:, head]", "0 * turned, flat[:, head]", "gemma2"),  # by the values
        (AttendJacobian.transpose_at, "(pattern * through).sum", "(0 * through).sum", "gemma2"),
        (AttendJacobian.transpose_at, "self.keys[:, :n_pos].mT", "0 * self.keys[:, :n_pos].mT", "gemma2"),
        (AttendJacobian.transpose_at, "self.queries[:, positions]", "0 * self.queries[:, positions]", "gemma2"),
        (AttendJacobian.transpose_at, "[:, :, None] * split", "[:, :, None] * 0 * split", "gemma2"),
        (AttendJacobian.slope, "(1 - (self", "(1 - 0 * (self", "gemma2"),  # the soft-cap
        (AttendJacobian.slope, "return scale * (", "return (", "gemma2"),
        (AttendJacobian.reads, "each * self.weight[:, None]", "each", "gemma2"),
        (NormalizeJacobian.transpose_, "alpha=-1", "alpha=0", "gemma2"),
        (NormalizeJacobian.transpose_points, "g - y *", "g - 0 * y *", "gemma2"),
        (Rotary.transpose, "second, -first", "second, first", "gemma2"),
        (Rotary.transpose, "part * cos", "part", "gemma2"),
        (HeadNormAt.transpose, "g - output * along", "g", "gemma3"),
        (HeadNormAt.transpose, "g * self.weight[..., None]", "g", "qwen3"),
        (HeadNormAt.transpose, "* scale", "", "qwen3"),
        (HeadNormAt.transpose, "(1, 2) if self.together else 2", "2", "olmo2"),
    ],
)
def test_without_any_one_term_effects_are_not_autograds(
    method: Any, old: str, new: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each term is taken out of the source of its function."""
    monkeypatch.setattr(jacobian, "_MOST_DRAWN", 0)
    function = getattr(method, "func", method)
    source = textwrap.dedent(inspect.getsource(function)).replace("@cached_property\n", "")
    assert source.count(old) == 1
    module, made = vars(sys.modules[function.__module__]), dict[str, Any]()
    exec("from __future__ import annotations\n" + source.replace(old, new), dict(module), made)
    class_name, name = function.__qualname__.split(".")
    broken = made[name] if function is method else property(made[name])
    subject = models.subject(architecture)
    dictionary = models.dictionary("clt", subject, features=FEATURES)
    assert_effects_equal_autograd(subject, dictionary)
    monkeypatch.setattr(module[class_name], name, broken)
    with pytest.raises(AssertionError, match="not close"):
        assert_effects_equal_autograd(subject, dictionary)


@pytest.mark.parametrize("most_drawn", [0, None])
def test_a_prompt_too_long_for_maps_at_every_position_has_the_same_effects(
    subject: Subject, most_drawn: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if most_drawn is not None:  # else maps to queries and keys, but not to scores
        monkeypatch.setattr(jacobian, "_MOST_DRAWN", most_drawn)
    monkeypatch.setattr(jacobian, "_MOST_SCORES", 0)  # one query position at a time
    monkeypatch.setattr(sweep, "_MOST_IMAGES", 0)
    assert_effects_equal_autograd(subject, models.dictionary("clt", subject, features=FEATURES))


@pytest.mark.parametrize(("read", "write"), [("resid_pre", "mlp_raw_out"), ("mlp_normalized", "mlp_out")])
def test_every_effect_equals_autograd_at_other_sites_with_the_first_position_kept(
    subject: Subject, read: str, write: str
) -> None:
    dictionary = models.dictionary("skip-clt", subject, features=FEATURES, read=read, write=write)
    assert_effects_equal_autograd(subject, dictionary, first=0)


def test_every_effect_between_neurons_equals_autograd() -> None:
    subject = models.subject("gpt2", n_inner=FEATURES)
    assert_effects_equal_autograd(subject, Dictionary.from_neurons(subject))


def test_for_neurons_total_effects_are_the_live_models_own_derivative() -> None:
    """They have no errors, so nothing that responds in the model is held in the graph."""
    subject = models.subject("gpt2")
    neurons = Dictionary.from_neurons(subject)
    graph = trace(subject, neurons, PROMPT, targets=TARGETS, effects=True)
    sources = list(range(0, graph.n_features, 9))
    layers = graph.feature_keys[sources, 0].tolist()
    live = measured(subject, neurons, graph, sources, layers, Regime(tangent=True))
    torch.testing.assert_close(predicted(graph.effects, sources, layers), live, rtol=1e-8, atol=1e-10, equal_nan=True)


def test_a_row_adds_up_to_the_derivative_along_everything_that_is_written(subject: Subject) -> None:
    """As central differences give it: all tokens, features and errors grow by the same share."""
    dictionary = models.dictionary("clt", subject, features=FEATURES)
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True)
    reference = Reference(subject, dictionary, 1, graph, live=True)
    leaves, tokens = [leaf.detach() for leaf in reference.leaves], reference.tokens.detach()
    fixed = {layer: own.decoder_bias for layer, own in dictionary.layers.items()}

    def preactivations(share: float) -> Tensor:
        """With share 0, as recorded."""
        with torch.no_grad():
            written = []
            for layer, leaf in enumerate(leaves):
                grown = (1 + share) * leaf - share * fixed[layer]
                grown[0] = leaf[0]  # the first position is left out
                written.append(grown)
            reference.leaves, reference.tokens = written, (1 + share) * tokens
            reference.run = reference.frozen.run(reference.output, reference.tokens)
            return torch.stack([reference.preactivation(node) for node in graph.row_nodes.tolist()])

    step = 1e-5
    slopes = (preactivations(step) - preactivations(-step)) / (2 * step)
    torch.testing.assert_close(graph.effects.rows.sum(1), slopes, rtol=1e-6, atol=1e-6 * float(slopes.abs().max()))


def test_without_effects_a_graph_is_what_it_was_and_says_how_to_get_them() -> None:
    subject = models.subject("llama", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    plain, both = (trace(subject, dictionary, PROMPT, targets=TARGETS, effects=wanted) for wanted in (False, True))
    for name in ("rows", "row_offsets", "input_mass", "col_nodes", "row_nodes"):
        assert torch.equal(getattr(plain, name), getattr(both, name))
    assert both.effect_rows is not None
    assert both.effect_rows.shape == both.rows.shape
    with pytest.raises(InputError, match=r"no effects.*--effects"):
        _ = plain.effects


def test_with_fewer_rows_effects_are_those_of_the_whole_graph() -> None:
    subject = models.subject("gemma2")
    dictionary = models.dictionary("clt", subject)
    whole = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True).effects
    small = trace(subject, dictionary, PROMPT, targets=TARGETS, effects=True, max_features=30).effects
    number = {tuple(key): i for i, key in enumerate(whole.feature_keys.tolist())}
    places = [number[tuple(key)] for key in small.feature_keys.tolist()]
    at = [*places, *range(whole.n_features, whole.n_nodes)]
    torch.testing.assert_close(small.adjacency, whole.adjacency[at][:, at], rtol=1e-9, atol=1e-12)


def test_effects_are_kept_in_files_in_json_and_when_pruned(tmp_path: Path) -> None:
    subject = models.subject("gpt2")
    graph = trace(subject, models.dictionary("clt", subject), PROMPT, targets=TARGETS, effects=True)
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert torch.equal(loaded.effects.rows, graph.effects.rows)
    value = graph.to_json()
    again = Graph.from_json(value)
    torch.testing.assert_close(again.effects.adjacency, graph.effects.adjacency, rtol=1e-12, atol=0)
    del value["links"][0]["effect"]
    with pytest.raises(FileError, match=f"1 of {len(value['links'])} links have no effect"):
        Graph.from_json(value)
    for link in value["links"][1:]:
        del link["effect"]
    assert Graph.from_json(value).effect_rows is None
    assert Graph.from_json(value).rows.equal(again.rows)
    unmade = replace(graph, rows=graph.rows.where(graph.rows != graph.rows[0].max(), 0))
    again = Graph.from_json(unmade.to_json())  # what an activation is not made of may still change it
    torch.testing.assert_close(again.effects.adjacency, graph.effects.adjacency, rtol=1e-12, atol=0)
    small = graph.prune(0.6, 0.7)
    assert small.n_features < graph.n_features
    assert torch.equal(small.effects.rows != 0, small.rows != 0)
    name = {str(graph.node(i).id): i for i in range(graph.n_nodes)}
    places = torch.tensor([name[str(small.node(i).id)] for i in range(small.n_nodes)])
    kept = small.effects.adjacency
    assert torch.equal(kept, graph.effects.adjacency[places][:, places] * (kept != 0))


def test_a_pattern_that_is_not_found_again_is_refused_by_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = models.subject("neox")
    recording = subject.record(PROMPT)
    steps = [
        replace(step, query_key=replace(step.query_key, scale=2 * step.query_key.scale))
        if isinstance(step, Attend) and step.layer == 1 and step.query_key is not None
        else step
        for step in recording.steps
    ]
    with pytest.raises(UnsupportedModelError, match=r"pattern of layer 1 found again.*trace without effects"):
        linearized(replace(recording, steps=tuple(steps)))
    steps = [replace(step, query_key=None) if isinstance(step, Attend) else step for step in recording.steps]
    with pytest.raises(UnsupportedModelError, match="layer 0 are not known for this architecture"):
        linearized(replace(recording, steps=tuple(steps)))


@on_distinct
@pytest.mark.parametrize("prune", [False, True])
def test_effects_that_are_added_later_are_those_of_a_trace(subject: Subject, prune: bool) -> None:
    dictionary = models.dictionary("clt", subject)
    plain, both = (
        trace(subject, dictionary, PROMPT, targets=["w3", "w17 - w4"], effects=wanted, max_features=60)
        for wanted in (False, True)
    )
    if prune:
        plain, both = plain.prune(0.7, 0.8), both.prune(0.7, 0.8)
    added = add_effects(subject, dictionary, plain)
    assert both.effect_rows is not None
    torch.testing.assert_close(added.effect_rows, both.effect_rows, rtol=1e-9, atol=1e-12)
    assert add_effects(subject, dictionary, added) is added
    moved = replace(plain, feature_keys=plain.feature_keys + torch.tensor([0, 0, 10**6]))
    with pytest.raises(MismatchError, match="that this model's run of its tokens does not have"):
        add_effects(subject, dictionary, moved)
