"""Looks: both sides add up to the contrast of a recorded score, and effects are what the live model's score does."""

from dataclasses import replace

import pytest
import torch

import clew
from clew.attribution import looks
from clew.attribution.graph import Graph
from clew.attribution.looks import attention_of, contrasts, find_look, read_by
from clew.attribution.trace import trace
from clew.attribution.trace_look import trace_look
from clew.errors import InputError
from clew.intervention.agreement import agreement
from clew.intervention.look_effects import look_of, measured_contrast, predicted_contrast
from clew.subject.recording import Attend
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_sweep import FEATURES, Reference
from tests.models import ARCHITECTURES, PROMPT

pytestmark = pytest.mark.usefixtures("exact_softmax")

PLACES = [(2, 1, 8, 5), (1, 3, 6, 4), (2, 0, 4, 4)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


@pytest.mark.parametrize(("layer", "head", "query", "key"), PLACES)
def test_a_contrast_is_what_the_pattern_says_of_it(
    subject: Subject, layer: int, head: int, query: int, key: int
) -> None:
    """Scores differ as logarithms of the pattern do; a soft-cap comes between in Gemma."""
    recording = subject.record(PROMPT)
    look = find_look(subject, recording, layer, head, query, key, 1)
    logarithms = recording.patterns()[layer][head, query].log()
    maps = attention_of(recording, layer)[0].query_key
    assert maps is not None
    if maps.cap is not None:
        logarithms = maps.scores(read_by(subject, recording.sites["resid_pre", layer], layer))[head, query]
        logarithms = maps.cap * torch.atanh(logarithms / maps.cap)
    wanted = float(logarithms[key] - logarithms[list(look.others)].mean())
    found = contrasts(maps, read_by(subject, recording.sites["resid_pre", layer], layer), look)
    assert float(found) == pytest.approx(wanted, rel=1e-6)
    assert 0 not in look.others
    assert key not in look.others


@pytest.mark.parametrize(("layer", "head", "query", "key"), PLACES)
def test_each_side_adds_up_to_the_contrast_and_effects_are_the_live_scores_derivative(
    subject: Subject, layer: int, head: int, query: int, key: int
) -> None:
    dictionary = models.dictionary("skip-clt", subject, features=FEATURES, read="resid_pre")
    graph = trace_look(subject, dictionary, PROMPT, layer=layer, head=head, query=query, key=key)
    whole = graph.rows.sum(1) + graph.row_offsets.sum(1)
    torch.testing.assert_close(whole, graph.values, rtol=1e-9, atol=1e-9)
    assert [t.value for t in graph.targets] == pytest.approx([graph.targets[0].value] * 2)
    outputs = trace(subject, dictionary, PROMPT)
    reference = Reference(subject, dictionary, 1, outputs, live=True)
    maps = attention_of(subject.record(PROMPT), layer)[0].query_key
    assert maps is not None
    contrast = contrasts(maps, read_by(subject, reference.run.reads[layer], layer), look_of(graph))
    assert float(contrast.detach()) == pytest.approx(graph.targets[0].value, rel=1e-9)
    reference.preactivation = lambda node: contrast  # type: ignore[method-assign]
    reference.graph = graph
    edges, _, _ = reference.row(0)
    sides = [graph.row_of(rank) for rank in graph.target_range]
    found = torch.zeros(graph.n_nodes, dtype=torch.float64)
    found[graph.col_nodes] = graph.effects.rows[sides].sum(0)
    torch.testing.assert_close(found, edges, rtol=1e-8, atol=1e-10 * float(edges.abs().max()))


def test_without_a_key_it_is_the_one_that_the_head_looks_at_most(subject: Subject) -> None:
    dictionary = models.dictionary("plt", subject)
    graph = trace_look(subject, dictionary, PROMPT, layer=1, head=2, effects=False)
    pattern = subject.record(PROMPT).patterns()[1][2, -1]
    look = look_of(graph)
    assert (look.query, look.key) == (len(PROMPT) - 1, 1 + int(pattern[1:].argmax()))
    assert look.weight == pytest.approx(float(pattern[look.key]))
    assert graph.effect_rows is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3, "head": 0}, "no layer 3: .* has layers 0 to 2"),
        ({"layer": 1, "head": 4}, "no head 4: layer 1 has heads 0 to 3"),
        ({"layer": 1, "head": 0, "query": 9}, "query position 9 is outside the prompt's 9 tokens"),
        ({"layer": 1, "head": 0, "key": -10}, "key position -10 is outside"),
        ({"layer": 1, "head": 0, "query": 3, "key": 4}, "key position 4 lies behind query position 3"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(settings: dict[str, int], message: str) -> None:
    subject = models.subject("gpt2")
    with pytest.raises(InputError, match=message):
        trace_look(subject, models.dictionary("clt", subject), PROMPT, **settings)


def test_a_key_whose_weight_is_rounded_to_zero_is_seen_all_the_same(subject: Subject) -> None:
    """The window is that of the layer: in Gemma's first layer four keys, the last one among them."""
    recording, query = subject.record(PROMPT), len(PROMPT) - 1
    steps = [step for step in recording.steps if isinstance(step, Attend)]
    whole = find_look(subject, recording, 0, 1, query, query, 0)
    for step in steps:
        step.pattern[1, query, query - 2 : query] = 0  # in this head alone
    found = find_look(subject, recording, 0, 1, query, query, 0)
    assert found.others == whole.others
    window = getattr(subject.config, "sliding_window", None) or len(PROMPT)
    assert len(found.others) == min(window, len(PROMPT)) - 1
    assert find_look(subject, recording, 0, 1, query, query - 1, 0).weight == 0


def test_rows_that_are_swept_one_key_at_a_time_are_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = models.dictionary("clt", subject, features=FEATURES)
    whole = trace_look(subject, dictionary, PROMPT, layer=2, head=1)
    monkeypatch.setattr(looks, "_TOGETHER", 1)
    found = trace_look(subject, dictionary, PROMPT, layer=2, head=1)
    for name in ("rows", "effect_rows", "row_offsets"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))


def test_a_key_beyond_the_window_and_a_graph_of_outputs_are_refused() -> None:
    subject = models.subject("gemma2")
    dictionary = models.dictionary("clt", subject)
    with pytest.raises(InputError, match="does not see position 1"):
        trace_look(subject, dictionary, PROMPT, layer=0, head=0, query=8, key=1)  # a window of four
    outputs = trace(subject, dictionary, PROMPT)
    with pytest.raises(InputError, match="explains outputs"):
        look_of(outputs)
    with pytest.raises(InputError, match="does not say which look"):
        look_of(replace(outputs, settings={"look": {"layer": 1}}))


def test_effects_say_what_the_score_of_minnows_induction_head_loses(tmp_path) -> None:
    """It looks from the second "button" to what followed the first: values rank its sources badly, effects well."""
    kit = clew.load("minnow")
    kit.looks("Again: 14 93 97 button fence book clay 58; 14 93 97 button", layer=4, head=0).save(tmp_path / "a.graph")
    graph = Graph.load(tmp_path / "a.graph")
    look = look_of(graph)
    assert (graph.tokens[look.query], graph.tokens[look.key]) == (" button", " fence")
    assert look.weight > 0.9
    before = (graph.feature_keys[:, 0] < look.layer).nonzero()[:, 0].tolist()
    measured = measured_contrast(kit.subject, kit.dictionary, graph, before).float()
    each = torch.arange(len(before))
    effects, values = (
        agreement(predicted_contrast(made, before).float(), measured, each) for made in (graph.effects, graph)
    )
    assert effects.spearman.value > 0.8
    assert 0.7 < effects.slope.value < 1.3
    assert values.spearman.value < effects.spearman.value - 0.1
