"""Tracing a prompt: everything that enters a node adds up to it, whatever the model, the Dictionary and the options."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.attribution.nodes import OFFSETS
from clew.attribution.summary import summarise
from clew.attribution.trace import trace
from clew.dictionary import BatchTopK, Dictionary, Layer, TopK
from clew.errors import ClewError, InputError, MismatchError
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, BOS, DISTINCT, KINDS, PROMPT, READS, WRITES

LIMITS = (None, 13)


def assert_identity(graph: Graph, relative: float = 1e-9) -> None:
    """Incoming edges plus offsets are the pre-activation of every feature and the centred logit of every target."""
    total = graph.rows.sum(1) + graph.row_offsets.sum(1)
    assert len(graph.rows) == graph.n_features + len(graph.targets)
    torch.testing.assert_close(total, graph.values, rtol=relative, atol=relative * 1e-2)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


# --- identity ---------------------------------------------------------------------------------------------------


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS, times=2)
def test_inputs_and_offsets_add_up_to_every_preactivation_and_logit(subject: Subject, kind: str) -> None:
    dictionary = models.dictionary(kind, subject)
    for limit in LIMITS:
        for leave_out in (True, False):
            graph = trace(subject, dictionary, PROMPT, max_features=limit, leave_out_first=leave_out)
            assert graph.first_position == int(leave_out)
            assert graph.n_features == limit or (limit is None and graph.n_features > 80)
            assert_identity(graph)
            left_out = graph.row_offsets[:, OFFSETS.index("left_out")].abs().max()
            assert bool(left_out > 0) == (limit is not None)


@pytest.mark.parametrize(("architecture", "kind"), [("gpt2", "skip-clt"), ("llama", "plt")])
def test_a_first_position_without_a_special_token_is_left_out_when_it_is_a_sink(
    architecture: str, kind: str, tmp_path: Path
) -> None:
    sink = models.with_sink(architecture, token=5)
    dictionary = models.dictionary(kind, sink)
    graph = trace(sink, dictionary, PROMPT[1:])
    assert graph.first_position == 1
    assert int(graph.feature_keys[:, 1].min()) == int(graph.error_keys[:, 1].min()) == 1
    assert float(graph.row_offsets[:, OFFSETS.index("sink")].abs().max()) > 0
    assert_identity(graph)
    outputs = sink.capture(torch.tensor([PROMPT[1:]]), ["mlp_out"])["mlp_out", 1][0].norm(dim=-1)
    ratio = float(outputs[0] / outputs[1:].median())
    assert graph.first_ratio == pytest.approx(ratio, rel=1e-6)
    words = f"left out (an attention sink: its MLP output in layer 1 is {ratio:,.3g} times the row's median)"
    assert summarise(graph).first == f"the first position is {words}"
    graph.save(tmp_path / "a.graph")
    for again in (Graph.load(tmp_path / "a.graph"), Graph.from_json(graph.to_json())):
        assert (again.first_reason, again.first_ratio) == (graph.first_reason, graph.first_ratio)
    kept = trace(sink, dictionary, PROMPT[1:], leave_out_first=False)
    assert (kept.first_position, kept.first_ratio) == (0, graph.first_ratio)
    assert_identity(kept)
    special = trace(models.subject(architecture), models.dictionary(kind, models.subject(architecture)), PROMPT)
    assert special.first_reason == "its token is special"


@models.in_turn("subject", DISTINCT, "kind", KINDS)
def test_the_identity_holds_at_every_pair_of_sites(subject: Subject, kind: str) -> None:
    for read in READS:
        for write in WRITES:
            assert_identity(trace(subject, models.dictionary(kind, subject, read=read, write=write), PROMPT))


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "neox_serial", "gptj"])
@pytest.mark.parametrize("limit", LIMITS)
def test_neurons_of_a_relu_mlp_explain_everything(architecture: str, limit: int | None) -> None:
    subject = models.subject(architecture)
    graph = trace(subject, Dictionary.from_neurons(subject), PROMPT, max_features=limit)
    assert_identity(graph)
    assert float(graph.adjacency[:, graph.error_range.start : graph.error_range.stop].abs().max()) < 1e-12
    if limit is None:
        assert graph.scores().replacement == pytest.approx(1, abs=1e-12)
        assert graph.scores().completeness == pytest.approx(1, abs=1e-12)


@models.in_turn("subject", DISTINCT, "targets", [["w3", 17], "w3 - w40", torch.linspace(-1, 1, models.WIDTH), 5])
def test_the_identity_holds_for_tokens_differences_and_directions_at_any_position(
    subject: Subject, targets: Sequence[str | int] | str | int | Tensor
) -> None:
    dictionary = models.dictionary("clt", subject)
    for position in (-1, 4, 0):
        graph = trace(subject, dictionary, PROMPT, targets=targets, position=position)
        assert {t.position for t in graph.targets} == {position % len(PROMPT)}
        assert_identity(graph)
        after = graph.feature_keys[:, 1] > position % len(PROMPT)
        into_targets = graph.adjacency[graph.target_range.start :, : graph.n_features]
        assert float(into_targets[:, after].abs().sum()) == 0


def test_a_long_answer_is_traced_token_by_token_where_each_is_predicted(subject: Subject) -> None:
    graph = trace(subject, models.dictionary("clt", subject), PROMPT, answer="w11 w12 w13")
    assert [(t.token, t.position) for t in graph.targets] == [(11, 8), (12, 9), (13, 10)]
    assert graph.token_ids == (*PROMPT, 11, 12)
    assert_identity(graph)


@pytest.mark.parametrize("kind", ["skip-clt", "plt"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_small_budget_changes_nothing_but_the_number_of_blocks(kind: str, limit: int | None) -> None:
    subject = models.subject("gemma2")
    dictionary = models.dictionary(kind, subject)
    large, small = [], []
    big = trace(
        subject, dictionary, PROMPT, max_features=limit, budget=1 << 30, report=lambda stage: large.append(stage.done)
    )
    tight = trace(
        subject, dictionary, PROMPT, max_features=limit, budget=1 << 15, report=lambda stage: small.append(stage.done)
    )
    assert len(small) > len(large)
    assert_identity(tight)
    torch.testing.assert_close(tight.adjacency, big.adjacency, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(tight.offsets, big.offsets, rtol=1e-11, atol=1e-12)


def test_an_unbounded_limit_is_the_whole_graph(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    whole, limited = trace(subject, dictionary, PROMPT), trace(subject, dictionary, PROMPT, max_features=10**9)
    torch.testing.assert_close(limited.adjacency, whole.adjacency)


def test_a_limited_graph_keeps_edges_of_the_whole_one_and_prefers_influential_features(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    whole, limited = trace(subject, dictionary, PROMPT), trace(subject, dictionary, PROMPT, max_features=30)
    places = {tuple(key): i for i, key in enumerate(whole.feature_keys.tolist())}
    mine = torch.tensor([places[tuple(key)] for key in limited.feature_keys.tolist()])
    rest = torch.arange(whole.n_features, whole.n_nodes)
    inside = torch.cat([mine, rest])
    torch.testing.assert_close(limited.adjacency, whole.adjacency[inside][:, inside], rtol=1e-11, atol=1e-13)
    through = influence(whole)[: whole.n_features]
    assert float(through[mine].sum()) > 0.8 * float(through.topk(30).values.sum())
    cut = torch.ones(whole.n_features, dtype=torch.bool)
    cut[mine] = False
    cut_input = whole.adjacency[inside][:, : whole.n_features][:, cut].sum(1)
    torch.testing.assert_close(limited.offsets[:, OFFSETS.index("left_out")], cut_input, rtol=1e-9, atol=1e-12)


def test_a_limit_reached_in_several_batches_re_ranks_and_takes_no_feature_twice(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject, features=150)
    whole = trace(subject, dictionary, PROMPT)
    done: list[int] = []
    limited = trace(subject, dictionary, PROMPT, max_features=200, report=lambda stage: done.append(stage.done))
    keys = [tuple(key) for key in limited.feature_keys.tolist()]
    assert whole.n_features > 400
    assert len(set(keys)) == len(keys) == limited.n_features == 200
    assert done[-1] == 200 + len(limited.targets)
    assert_identity(limited)
    places = {tuple(key): i for i, key in enumerate(whole.feature_keys.tolist())}
    through = influence(whole)[: whole.n_features]
    mine = float(through[[places[key] for key in keys]].sum())
    assert mine > 0.9 * float(through.topk(200).values.sum())


def test_topk_and_batch_topk_dictionaries_trace_like_any_other(subject: Subject) -> None:
    plain = models.dictionary("clt", subject)
    for nonlinearity in (TopK(k=4), BatchTopK(k=4, threshold=torch.tensor(0.9, dtype=torch.float64))):
        layers = {i: replace(layer, nonlinearity=nonlinearity) for i, layer in plain.layers.items()}
        graph = trace(subject, replace(plain, layers=layers), PROMPT)
        assert graph.n_features > 0
        assert_identity(graph)


def test_a_dictionary_of_some_layers_leaves_the_others_to_errors(subject: Subject) -> None:
    whole = models.dictionary("clt", subject)
    part = replace(whole, layers={1: whole.layers[1]}, writes={1: whole.writes[1]})
    graph = trace(subject, part, PROMPT, leave_out_first=False)
    assert graph.n_errors == subject.n_layers * len(PROMPT)
    assert set(graph.feature_keys[:, 0].tolist()) == {1}
    assert_identity(graph)


def test_features_that_read_behind_a_layer_may_write_to_later_ones_only(subject: Subject) -> None:
    whole = models.dictionary("clt", subject, read="resid_post")
    with pytest.raises(InputError, match="resid_post"):
        trace(subject, whole, PROMPT)
    layers, writes = {}, {}
    for layer in range(subject.n_layers - 1):
        own = whole.layers[layer]
        layers[layer], writes[layer] = replace(own, decoder=own.decoder[:, 1:].clone()), whole.writes[layer][1:]
    later = replace(whole, layers=layers, writes=writes)
    assert_identity(trace(subject, later, PROMPT))
    skips = {i: replace(layer, skip=torch.eye(subject.d_model, dtype=torch.float64)) for i, layer in layers.items()}
    with pytest.raises(InputError, match="resid_post"):
        trace(subject, replace(later, layers=skips), PROMPT)


@models.in_turn("subject", DISTINCT, "dtype, kind", product([torch.float32, torch.bfloat16], KINDS), times=2)
def test_a_model_in_a_coarser_dtype_is_traced_in_float32(subject: Subject, dtype: torch.dtype, kind: str) -> None:
    name = next(a for a in ARCHITECTURES if type(models.model(a)) is type(subject.model))
    coarse = models.subject(name, dtype)
    graph = trace(coarse, models.dictionary(kind, coarse, dtype=dtype), PROMPT)
    assert graph.rows.dtype == torch.float32
    assert graph.n_features > 0
    assert_identity(graph, 1e-4)


# --- what must work ---------------------------------------------------------------------------------------------


@models.in_turn("subject", DISTINCT, "kind", KINDS)
def test_one_token_is_a_prompt(subject: Subject, kind: str) -> None:
    dictionary = models.dictionary(kind, subject)
    for prompt in ([7], [BOS]):
        graph = trace(subject, dictionary, prompt)
        assert graph.first_position == int(prompt == [BOS])
        assert_identity(graph)
        graph.scores()
    assert graph.n_features == graph.n_errors == 0


def test_the_text_of_a_bos_alone_or_of_one_word_is_a_prompt(subject: Subject) -> None:
    graph = trace(subject, models.dictionary("clt", subject), "w5")
    assert graph.token_ids == (BOS, 5)
    assert graph.first_position == 1
    assert trace(subject, models.dictionary("clt", subject), "w5", add_bos=False).token_ids == (5,)


def test_no_feature_may_be_active_anywhere(subject: Subject) -> None:
    dictionary = models.dictionary("skip-clt", subject, threshold=1e6)
    for limit in LIMITS:
        graph = trace(subject, dictionary, PROMPT, max_features=limit)
        assert graph.n_features == 0
        assert_identity(graph)
        assert 0 < graph.scores().replacement < 1


def test_the_last_position_may_have_no_active_feature(subject: Subject) -> None:
    plain = models.dictionary("clt", subject)
    values = [plain.encode(i, subject.record(PROMPT).sites["mlp_in", i]) for i in range(subject.n_layers)]
    layers = {}
    for i, active in enumerate(values):  # features that are on at the last position never fire
        off = torch.zeros(plain.d_features(i), dtype=torch.bool)
        off[active.index[active.position == len(PROMPT) - 1]] = True
        layers[i] = replace(plain.layers[i], bias=torch.where(off, -1e3, plain.layers[i].bias))
    graph = trace(subject, replace(plain, layers=layers), PROMPT)
    assert graph.n_features > 0
    assert int(graph.feature_keys[:, 1].max()) < len(PROMPT) - 1
    assert_identity(graph)


def test_russian_text_is_a_prompt_of_a_byte_level_tokenizer() -> None:
    tokenizer = models.byte_tokenizer()
    subject = Subject.load(models.model("gpt2", vocab_size=len(tokenizer)), tokenizer)
    graph = trace(subject, models.dictionary("clt", subject), "Столица Франции", max_features=100)
    assert len(graph.tokens) == 1 + len("Столица Франции".encode())
    assert "\ufffd" not in "".join(graph.tokens)
    assert graph.prompt == "Столица Франции"
    assert_identity(graph)


def test_a_subject_without_tokenizer_takes_ids() -> None:
    subject = models.subject("gpt2", with_tokenizer=False)
    graph = trace(subject, models.dictionary("clt", subject), PROMPT)
    assert graph.first_position == 0
    assert graph.tokens[:2] == ("#0", "#5")
    assert_identity(graph)
    with pytest.raises(InputError, match="without a tokenizer"):
        trace(subject, models.dictionary("clt", subject), "w1 w2")


def test_the_whole_context_is_a_prompt(subject: Subject) -> None:
    prompt = [BOS, *(1 + i % 90 for i in range(models.CONTEXT - 1))]
    assert_identity(trace(subject, models.dictionary("plt", subject), prompt, max_features=50))


# --- what is refused --------------------------------------------------------------------------------------------


def refused(subject: Subject, dictionary: Dictionary, prompt: object = PROMPT, **options: object) -> str:
    with pytest.raises(ClewError) as caught:
        trace(subject, dictionary, prompt, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_prompts_that_cannot_be_used_are_refused_in_one_line() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    for empty in ("", []):
        assert "empty" in refused(subject, dictionary, empty)
    assert "65 tokens" in refused(subject, dictionary, [1] * 65)
    assert "64" in refused(subject, dictionary, "w1 " * 65)
    for outside in (models.VOCAB, -1):
        assert "0..96" in refused(subject, dictionary, [1, outside])
    assert "answer is empty" in refused(subject, dictionary, answer="")
    assert "66 tokens" in refused(subject, dictionary, [1] * 64, answer="w1 w2 w3")


def test_options_that_cannot_be_used_are_refused_in_one_line() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    for limit in (0, -3):
        assert f"max_features is {limit}" in refused(subject, dictionary, max_features=limit)
    for position in (9, -10):
        assert f"position {position}" in refused(subject, dictionary, position=position)
    assert "two words" in refused(subject, dictionary, targets="two words")
    assert "outside the vocabulary" in refused(subject, dictionary, targets=models.VOCAB)
    assert "32 entries" in refused(subject, dictionary, targets=torch.ones(31))
    assert "empty" in refused(subject, dictionary, targets=[])
    assert "mass 0.0" in refused(subject, dictionary, target_mass=0.0)


def test_an_sae_is_refused_in_one_line() -> None:
    subject = models.subject("gpt2")
    plt = models.dictionary("plt", subject)
    sae = replace(plt, kind="sae", read_site="resid_post", write_site="resid_post")
    assert "SAE" in refused(subject, sae)


@pytest.mark.parametrize("changes", [{"n_embd": 16}, {"n_layer": 2}, {"n_layer": 4}])
def test_a_dictionary_of_another_model_is_refused_by_its_width_or_depth(changes: dict[str, int]) -> None:
    subject, other = models.subject("gpt2"), models.subject("gpt2", **changes)
    with pytest.raises(MismatchError, match=r"d_model 16 against 32|layers [24] against 3"):
        trace(subject, models.dictionary("clt", other), PROMPT)


def test_nan_in_the_model_is_refused() -> None:
    for where in ("transformer.wte.weight", "transformer.h.1.mlp.c_proj.weight", "transformer.ln_f.weight"):
        model = models.model("gpt2")
        model.get_parameter(where).data.flatten()[3] = float("nan")
        subject = Subject.load(model, models.tokenizer())
        assert "NaN" in refused(subject, models.dictionary("clt", subject), [1, 0, 3, 2, 4])


@pytest.mark.parametrize("name", ["encoder", "bias", "decoder", "decoder_bias", "skip"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_in_the_dictionary_are_refused(name: str, value: float) -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("skip-clt", subject)
    layer: Layer = dictionary.layers[1]
    tensor: Tensor = getattr(layer, name).clone()
    tensor[:] = torch.where(torch.arange(len(tensor)).view(-1, *[1] * (tensor.ndim - 1)) % 2 == 0, value, tensor)
    broken = replace(dictionary, layers={**dictionary.layers, 1: replace(layer, **{name: tensor})})
    assert "NaN or infinity" in refused(subject, broken)


# --- properties -------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), architecture=st.sampled_from(ARCHITECTURES))
def test_renaming_features_renames_the_nodes_and_changes_nothing_else(seed: int, kind: str, architecture: str) -> None:
    subject = _cached(architecture)
    dictionary = models.dictionary(kind, subject)
    generator = torch.Generator().manual_seed(seed)
    layers, new_name = {}, {}
    for i, layer in dictionary.layers.items():
        order = torch.randperm(dictionary.d_features(i), generator=generator)  # new index -> old index
        new_name[i] = torch.argsort(order)
        moved = {n: t[order] for n, t in layer.tensors().items() if n in ("encoder", "bias", "decoder", "threshold")}
        layers[i] = layer.with_tensors({**layer.tensors(), **moved})
    before, after = trace(subject, dictionary, PROMPT), trace(subject, replace(dictionary, layers=layers), PROMPT)
    places = {tuple(key): i for i, key in enumerate(after.feature_keys.tolist())}
    keys = [(layer, position, int(new_name[layer][f])) for layer, position, f in before.feature_keys.tolist()]
    where = torch.cat([torch.tensor([places[key] for key in keys]), torch.arange(before.n_features, before.n_nodes)])
    torch.testing.assert_close(after.adjacency[where][:, where], before.adjacency, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(after.offsets[where], before.offsets, rtol=1e-10, atol=1e-12)
    assert after.scores().replacement == pytest.approx(before.scores().replacement, rel=1e-10)
    assert after.scores().completeness == pytest.approx(before.scores().completeness, rel=1e-10)


_SUBJECTS: dict[str, Subject] = {}


def _cached(architecture: str) -> Subject:
    if architecture not in _SUBJECTS:
        _SUBJECTS[architecture] = models.subject(architecture)
    return _SUBJECTS[architecture]


@pytest.mark.parametrize("kind", ["skip-clt", "neurons"])
def test_rows_of_targets_alone_are_those_of_the_whole_graph(kind: str) -> None:
    subject = models.subject("llama" if kind == "neurons" else "gpt2")
    dictionary = Dictionary.from_neurons(subject) if kind == "neurons" else models.dictionary(kind, subject)
    options = {"targets": [3, 17], "effects": True, "max_features": 10 if kind == "neurons" else None}
    whole, few = (trace(subject, dictionary, PROMPT, only_targets=only, **options) for only in (False, True))
    assert few.rows.shape == (2, whole.n_nodes - 2)
    assert torch.equal(few.feature_keys, whole.feature_keys)
    targets = list(whole.target_range)
    torch.testing.assert_close(few.adjacency[targets], whole.adjacency[targets])
    torch.testing.assert_close(few.effects.adjacency[targets], whole.effects.adjacency[targets])
    torch.testing.assert_close(few.offsets[targets], whole.offsets[targets])
    assert not bool(few.adjacency[: few.n_features].any())
    assert few.settings["only_targets"] is True


def test_rows_of_targets_alone_hold_every_feature_whatever_the_limit() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("plt", subject)
    few = trace(subject, dictionary, PROMPT, targets=[3], only_targets=True, max_features=2)
    assert few.n_features == trace(subject, dictionary, PROMPT, targets=[3]).n_features > 2
