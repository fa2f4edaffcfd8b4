"""What a limited graph says of itself holds for the rows that are left, and next tokens stand where the answer ends."""

import pytest
import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.nodes import OFFSETS
from clew.attribution.trace import trace
from tests import models
from tests.models import KINDS, PROMPT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [None, 5, 40])
def test_a_nodes_input_is_what_its_edges_hold_however_many_features_were_left_out(kind: str, limit: int | None) -> None:
    subject = models.subject("gpt2")
    graph = trace(subject, models.dictionary(kind, subject), PROMPT, max_features=limit)
    torch.testing.assert_close(graph.input_mass, graph.rows.abs().sum(1), rtol=1e-12, atol=1e-14)
    assert bool(graph.row_offsets[:, OFFSETS.index("left_out")].any()) == (limit is not None)


def test_features_that_reach_no_target_get_a_row_before_another_gets_a_second() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("plt", subject)
    whole = trace(subject, dictionary, PROMPT, position=2)
    assert int((whole.feature_keys[:, 1] > 2).sum()) > 64  # at positions that the target does not see; a batch is 64
    graph = trace(subject, dictionary, PROMPT, position=2, max_features=whole.n_features - 1)
    assert graph.n_features == whole.n_features - 1
    assert len(graph.row_nodes.unique()) == len(graph.rows)


def test_next_tokens_are_those_after_the_last_target_and_its_place_is_the_answers_end() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("plt", subject)
    for options, ids, position in (
        ({}, PROMPT, len(PROMPT) - 1),
        ({"answer": "w11 w12 w13"}, (*PROMPT, 11, 12), len(PROMPT) + 1),
        ({"position": 3, "targets": [5, 9]}, PROMPT, 3),
    ):
        graph = trace(subject, dictionary, PROMPT, max_features=5, **options)
        chances = subject.record(ids).probabilities[position].topk(10)
        assert [name for name, _ in graph.next_tokens] == list(subject.token_strings(chances.indices.tolist()))
        assert [chance for _, chance in graph.next_tokens] == pytest.approx(chances.values.tolist())


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_a_limited_graph_is_cut_out_of_the_whole_one_at_the_features_that_dense_influence_chooses(kind: str) -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary(kind, subject)
    whole = trace(subject, dictionary, PROMPT, max_features=None, effects=True)
    limit = 70 + whole.n_features // 10  # a second batch, which the rows of the first rank
    graph = trace(subject, dictionary, PROMPT, max_features=limit, effects=True)
    chosen = chosen_densely(whole, limit)
    assert torch.equal(graph.feature_keys, whole.feature_keys[chosen])
    features = set(chosen.tolist())
    rows = torch.tensor([i for i, node in enumerate(whole.row_nodes.tolist()) if keeps(whole, node, features)])
    columns = torch.tensor([i for i, node in enumerate(whole.col_nodes.tolist()) if keeps(whole, node, features)])
    by_key = graph.row_nodes.argsort()
    for part, expected in ((graph.rows, whole.rows), (graph.effect_rows, whole.effect_rows)):
        in_order = expected[rows][whole.row_nodes[rows].argsort()][:, columns]
        torch.testing.assert_close(part[by_key], in_order, rtol=1e-9, atol=1e-12)
    left_out = whole.rows[rows].sum(1) - whole.rows[rows][:, columns].sum(1)
    torch.testing.assert_close(
        graph.row_offsets[by_key, OFFSETS.index("left_out")],
        left_out[whole.row_nodes[rows].argsort()],
        rtol=1e-9,
        atol=1e-12,
    )


def keeps(whole: Graph, node: int, features: set[int]) -> bool:
    return node >= whole.n_features or node in features


def chosen_densely(whole: Graph, limit: int, batch: int = 64) -> Tensor:
    """Batch by batch, those of most influence by powers of the dense matrix of the rows so far."""
    shares = whole.adjacency.abs() / whole.adjacency.abs().sum(1, keepdim=True).clamp_min(1e-300)
    weights = torch.zeros(whole.n_nodes, dtype=shares.dtype)
    weights[whole.part("target")] = whole.target_weights.to(shares)
    has_row = torch.zeros(whole.n_nodes, dtype=torch.bool)
    has_row[whole.part("target")] = True
    while (missing := limit - int(has_row[: whole.n_features].sum())) > 0:
        through = passing = weights
        for _ in range(whole.n_layers + 1):
            passing = (passing * has_row) @ shares
            through = through + passing
        candidates = through[: whole.n_features].masked_fill(has_row[: whole.n_features], -1)
        has_row[candidates.sort(descending=True, stable=True).indices[: min(batch, missing)]] = True
    return has_row[: whole.n_features].nonzero()[:, 0]
