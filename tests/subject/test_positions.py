"""Which positions are text, and which first ones are attention sinks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clew.subject.positions import SINK, first_counted, first_position, is_text, marker_ids, without_padding
from clew.subject.subject import Subject
from tests import models
from tests.models import BOS, PROMPT


def test_the_token_for_unknown_text_is_text_unless_it_is_also_a_marker() -> None:
    roles = {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, "pad_token_id": None}
    llama = SimpleNamespace(all_special_ids=[1, 2, 0], **roles)
    assert marker_ids(llama) == {1, 2}
    llama.pad_token_id = 0
    assert marker_ids(llama) == {0, 1, 2}
    gpt2 = SimpleNamespace(all_special_ids=[9], bos_token_id=9, eos_token_id=9, unk_token_id=9, pad_token_id=9)
    assert marker_ids(gpt2) == {9}
    assert marker_ids(None) == frozenset()


def test_padding_around_a_row_is_cut_away_and_a_begin_token_stays() -> None:
    padded = SimpleNamespace(pad_token_id=3, bos_token_id=1)
    same = SimpleNamespace(pad_token_id=9, bos_token_id=9)
    for tokenizer, row, wanted in (
        (padded, [3, 3, 1, 5, 3, 6], [1, 5, 3, 6]),
        (padded, [1, 5, 6, 3, 3], [1, 5, 6]),
        (padded, [3, 3], []),
        (same, [9, 9, 9, 5, 6], [9, 5, 6]),
        (same, [5, 9, 6, 9, 9], [5, 9, 6]),
        (SimpleNamespace(pad_token_id=None, bos_token_id=None), [3, 5, 3], [3, 5, 3]),
        (None, [3, 5, 3], [3, 5, 3]),
    ):
        assert without_padding(np.array(row), tokenizer).tolist() == wanted


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_ordinary_models_have_no_sink_and_a_special_first_token_is_left_out(architecture: str) -> None:
    subject = models.subject(architecture)
    generator = torch.Generator().manual_seed(0)
    for length in (2, 3, 20):
        first = first_position(subject, torch.randint(1, models.VOCAB, (length,), generator=generator))
        assert first.ratio < SINK / 4
        assert not first.left_out
    assert first_position(subject, torch.tensor(PROMPT)).left_out
    assert first_counted(subject, torch.tensor(PROMPT)) == 1
    assert first_position(subject, torch.tensor([5])).ratio == 0
    assert is_text(subject, torch.tensor([[BOS, 4], [7, BOS]])).tolist() == [[False, True], [True, False]]


def norms(subject: Subject, row: list[int]) -> torch.Tensor:
    outputs = subject.capture(torch.tensor([row]), ["mlp_out"])
    return torch.stack([outputs["mlp_out", layer][0].norm(dim=-1) for layer in range(subject.n_layers)])


@pytest.mark.parametrize("recorded", [False, True])
def test_a_sink_is_measured_by_its_largest_output_beside_the_rows_median(recorded: bool) -> None:
    subject, row = models.with_sink("llama", token=5), [5, 8, 3, 9, 22]
    measured = norms(subject, row)
    recording = subject.record(row) if recorded else None
    first = first_position(subject, torch.tensor(row), recording)
    assert first.layer == 1
    assert first.ratio == pytest.approx(float(measured[1, 0] / measured[1, 1:].median()), rel=1e-6)
    assert first.ratio > 10 * SINK
    assert first.left_out
    assert first.reason.startswith("an attention sink: its MLP output in layer 1 is ")
    other = first_position(subject, torch.tensor([8, 3, 9, 22]))
    assert not other.left_out
    assert other.reason.startswith("no attention sink: ")
