"""Memory of a trace is foreseen: refused by the option's name where it is not there, and never where it is."""

import pytest
import torch

from clew import memory
from clew.attribution import room
from clew.attribution.local_model import LocalModel
from clew.attribution.trace import MOST_FEATURES, TraceSettings, trace
from clew.errors import InputError
from clew.intervention import run
from clew.intervention.ablation_effects import measured, shuffled
from clew.intervention.audit import audit
from clew.intervention.edit import Edit
from clew.intervention.run import effects, rows_at_once
from clew.web.schema.bodies import TraceBody
from tests.graphs import capital_graph
from tests.models import dictionary, subject

PROMPT = list(range(3, 15))


@pytest.fixture(scope="module")
def pair():
    gpt2 = subject("gpt2")
    return gpt2, dictionary("clt", gpt2)


@pytest.fixture
def free(monkeypatch):
    """Set how much memory is free, and take nothing without asking."""
    monkeypatch.setattr(room, "SMALL", 0)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "address_space", lambda: None)
    monkeypatch.setattr(room, "address_space", lambda: None)
    return lambda n_bytes: monkeypatch.setattr(memory, "available_memory", lambda: n_bytes)


def test_rows_that_do_not_fit_name_max_features_and_a_number_that_fits(pair, free, monkeypatch):
    whole = trace(*pair, PROMPT, max_features=None)
    size = whole.rows.itemsize
    needed = whole.rows.numel() * size
    monkeypatch.setattr(room, "check_recording", lambda *arguments, **more: None)
    monkeypatch.setattr("clew.attribution.trace.check_recording", lambda *arguments, **more: None)
    free(needed)
    assert trace(*pair, PROMPT, max_features=None).rows.equal(whole.rows)
    free(needed // 4)
    with pytest.raises(InputError, match=r"--max-features.* of at most ") as refusal:
        trace(*pair, PROMPT, max_features=None)
    fitting = int(str(refusal.value).split("at most ")[1].split(", or")[0].replace(",", ""))
    assert 0 < fitting < whole.n_features
    assert trace(*pair, PROMPT, max_features=fitting).n_features == fitting


def test_a_whole_graph_counts_its_rows_only_as_far_as_their_positions_see(pair, free, monkeypatch):
    """Which is about half of them: what is never written takes no memory."""
    whole = trace(*pair, PROMPT, max_features=None)
    monkeypatch.setattr("clew.attribution.trace.check_recording", lambda *arguments, **more: None)
    positions = torch.tensor([getattr(whole.node(i), "position", 0) for i in whole.col_nodes.tolist()])
    at = torch.tensor([whole.node(i).position for i in whole.row_nodes.tolist()])
    seen = sum(int((positions <= position).sum()) for position in at.tolist())
    assert seen < 0.8 * whole.rows.numel()
    free(seen * whole.rows.itemsize)
    trace(*pair, PROMPT, max_features=None)
    free(seen * whole.rows.itemsize - 1)
    with pytest.raises(InputError, match="max_features"):
        trace(*pair, PROMPT, max_features=None)


def test_a_limit_on_the_address_space_counts_what_is_never_written_too(pair, free, monkeypatch):
    whole = trace(*pair, PROMPT, max_features=None)
    monkeypatch.setattr("clew.attribution.trace.check_recording", lambda *arguments, **more: None)
    free(1 << 40)
    monkeypatch.setattr(room, "address_space", lambda: int(0.95 * whole.rows.nbytes))
    with pytest.raises(InputError, match="max_features"):
        trace(*pair, PROMPT, max_features=None)


def test_a_block_of_rows_holds_no_more_gradients_than_the_budget(pair, monkeypatch):
    blocks, block = [], LocalModel.block

    def seen(model, features):
        blocks.append(model.sources.feature_keys[features, 1].tolist())
        return block(model, features)

    monkeypatch.setattr(LocalModel, "block", seen)
    row = 5 * pair[1].d_model * 8  # a gradient at one position, and what becomes of it
    budget = 40 * row
    trace(*pair, PROMPT, max_features=None, budget=budget)
    sizes = [len(positions) * (max(positions) + 1) * row for positions in blocks]
    assert max(sizes) == budget


def test_a_prompt_whose_attention_patterns_do_not_fit_is_told_to_be_shorter(pair, free):
    patterns = pair[0].n_layers * pair[0].model.config.num_attention_heads * len(PROMPT) ** 2 * 4
    free(patterns)
    with pytest.raises(InputError, match=r"the recorded run of 12 tokens.*give a shorter prompt"):
        trace(*pair, PROMPT)


def test_effects_count_three_tensors_of_the_size_of_the_patterns(pair, free):
    patterns = pair[0].n_layers * pair[0].model.config.num_attention_heads * len(PROMPT) ** 2 * 4
    free(2 * patterns + 8 * len(PROMPT) * len(pair[0].unembedding))
    room.check_recording(pair[0], len(PROMPT))
    with pytest.raises(InputError, match="give a shorter prompt"):
        room.check_recording(pair[0], len(PROMPT), effects=True)


def test_an_adjacency_and_a_batch_of_edits_that_do_not_fit_are_refused(pair, free):
    free(1000)
    with pytest.raises(InputError, match=r"the adjacency of \d+ nodes.*prune the graph first"):
        _ = capital_graph().adjacency
    with pytest.raises(InputError, match=r"2 prompts of up to 12 tokens.*fewer prompts at once"):
        effects(*pair, [PROMPT, PROMPT[:4]], [Edit.ablate("L0/1")])


def test_an_audit_that_does_not_fit_names_nodes_and_max_features(pair, free):
    graph = trace(*pair, PROMPT)
    free(1 << 40)
    assert audit(*pair, graph, nodes=4, take_apart=False).nodes == 4
    free(12 * graph.rows.numel())
    with pytest.raises(InputError, match=r"an audit of 4 nodes in a graph of \d+.*--nodes, or .*--max-features"):
        audit(*pair, graph, nodes=4, take_apart=False)
    free(1000)
    with pytest.raises(InputError, match="recorded run of 12 tokens"):
        audit(*pair, graph, nodes=4, take_apart=False)


def test_long_prompts_are_ablated_a_few_copies_at_a_time_and_mean_the_same(pair, monkeypatch):
    gpt2, clt = pair
    graph = trace(gpt2, clt, PROMPT)
    sources = list(range(0, graph.n_features, 4))
    layers = graph.feature_keys[sources, 0].tolist()
    assert rows_at_once(gpt2, len(PROMPT)) == run.ROWS
    whole = measured(gpt2, clt, graph, sources, layers)
    monkeypatch.setattr(run, "ROWS_BYTES", 1 << 16)
    assert rows_at_once(gpt2, len(PROMPT)) < 8
    assert rows_at_once(gpt2, 100_000) == 1
    torch.testing.assert_close(measured(gpt2, clt, graph, sources, layers), whole, equal_nan=True)


def test_the_null_is_dealt_out_alike_whatever_is_dealt_at_a_time(pair, monkeypatch):
    graph = trace(*pair, PROMPT)
    whole = shuffled(graph, 3)
    monkeypatch.setattr("clew.intervention.ablation_effects._DEALT", 5)
    assert shuffled(graph, 3).rows.equal(whole.rows)
    assert whole.rows.sort(1).values.equal(graph.rows.sort(1).values)
    assert ((whole.rows != 0) == (graph.rows != 0)).all()
    assert not whole.rows.equal(graph.rows)


def test_max_features_has_one_default_in_python_on_the_command_line_and_on_the_page():
    assert TraceSettings().max_features == MOST_FEATURES
    assert TraceBody(kind="trace", prompt="a").max_features == MOST_FEATURES
