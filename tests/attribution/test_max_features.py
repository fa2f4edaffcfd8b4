"""What a limited graph says of itself holds for the rows that are left, and next tokens stand where the answer ends."""

import pytest
import torch

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
