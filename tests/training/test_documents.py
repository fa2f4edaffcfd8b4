"""Rows of token ids: markers, padding and attention sinks inside them are read by the model and do not count."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet
from torch import Tensor

from clew.errors import InputError
from clew.subject.subject import Subject
from clew.training.activations import collect, stream
from clew.training.cache import build_cache, open_cache
from clew.training.corpus import CorpusConfig, Documents, encode_documents, load_tokens, open_corpus, save_tokens
from tests.models import BOS, model, subject, tokenizer, with_sink

PAD, END = 95, 96
TEXT = [5, 8, 3, 9]


@pytest.fixture(scope="module")
def marked() -> Subject:
    """A Subject whose tokenizer has padding and an end of text."""
    marks = tokenizer()
    marks.add_special_tokens({"pad_token": "w95", "eos_token": "w96"})
    return Subject(model("gpt2", torch.float32), marks, "marked")


def rows_of(documents: Documents) -> list[list[int]]:
    return [documents.tokens[a:b].tolist() for a, b in pairwise(documents.starts.tolist())]


def counted_of(documents: Documents) -> list[list[int]]:
    return [documents.counted[a:b].int().tolist() for a, b in pairwise(documents.starts.tolist())]


def test_padding_is_cut_away_and_markers_inside_do_not_count(marked: Subject) -> None:
    padded_left, padded_right = [PAD] * 3 + [BOS, *TEXT], [BOS, *TEXT, PAD, PAD]
    packed, between = [BOS, *TEXT, BOS, *TEXT], [*TEXT, END, *TEXT, PAD, 7]
    documents = encode_documents(marked, [padded_left, padded_right, packed, between, [PAD, PAD]])
    assert rows_of(documents) == [[BOS, *TEXT], [BOS, *TEXT], packed, between]
    assert counted_of(documents) == [[0, 1, 1, 1, 1]] * 2 + [[0, 1, 1, 1, 1] * 2, [1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1]]
    assert documents.counts.tolist() == [4, 4, 8, 9]
    assert documents.first.tolist() == [1, 1, 1, 0]
    ids, counted = documents.padded(torch.tensor([3, 0]))
    assert ids.tolist() == [between, [BOS, *TEXT] + [0] * 6]
    assert counted.int().tolist() == [counted_of(documents)[3], [0, 1, 1, 1, 1] + [0] * 6]
    assert documents.left_out(torch.tensor([3, 0])).nonzero().tolist() == [[0, 4], [0, 9], [1, 0]]
    part = documents.slice(2, 4)
    assert (rows_of(part), counted_of(part)) == (rows_of(documents)[2:], counted_of(documents)[2:])
    assert part.counts.tolist() == [8, 9]
    with pytest.raises(InputError, match="corpus is empty"):
        encode_documents(marked, [[PAD, PAD], [BOS, END]])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_padding_that_an_attention_mask_hides_is_cut_away(marked: Subject, tmp_path: Path, name: str) -> None:
    """It may be any token: here it is text where the mask does not say otherwise."""
    rows = [{"ids": [7, 7, BOS, *TEXT], "attention_mask": [0, 0, 1, 1, 1, 1, 1]}, {"ids": [7, *TEXT]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    documents = open_corpus(marked, CorpusConfig(text=str(tmp_path / name), field="ids"), positions=100)
    assert rows_of(documents) == [[BOS, *TEXT], [7, *TEXT]]


def test_positions_count_where_every_consumer_reads_them(marked: Subject, tmp_path: Path) -> None:
    """Training, its cache and its token file see the activations of text alone, as the model has them in the row."""
    rows = [[BOS, *TEXT, BOS, *TEXT], [*TEXT, END, *TEXT]] * 6
    documents = encode_documents(marked, rows)
    captured = [marked.capture(torch.tensor([row]), ["mlp_in"])["mlp_in", 1][0] for row in rows]
    wanted = torch.cat(
        [
            x[torch.tensor([token < PAD and token != BOS for token in row])]
            for x, row in zip(captured, rows, strict=True)
        ]
    )
    everything = torch.arange(len(documents))
    sites = {"read_site": "mlp_in", "write_site": "mlp_out"}
    assert same_rows(collect(marked, documents, everything, **sites).inputs[1], wanted, 1e-5)
    first = next(stream(marked, documents, **sites, batch=len(wanted), buffer=len(wanted), seed=0))
    assert same_rows(first.inputs[1], wanted, 1e-5)
    list(build_cache(marked, documents, tmp_path / "cache", **sites))
    cached = open_cache(marked, documents, tmp_path / "cache", **sites)
    assert same_rows(collect(marked, cached, everything, **sites).inputs[1], wanted, 2e-3)
    save_tokens(tmp_path / "tokens.safetensors", documents, marked)
    again = load_tokens(tmp_path / "tokens.safetensors", marked)
    assert counted_of(again) == counted_of(documents)
    assert again.mark == documents.mark


def same_rows(rows: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether these are the same rows in any order."""
    near = (rows[:, None] - wanted[None]).abs().amax(-1) < tolerance * 10
    return rows.shape == wanted.shape and bool(near.any(0).all() and near.any(1).all())


def test_the_mark_of_rows_without_markers_inside_is_what_it_was_before() -> None:
    small = subject("gpt2", torch.float32)
    documents = encode_documents(small, [[BOS, *TEXT], TEXT, [BOS, 7]])
    first = torch.tensor([1, 0, 1])
    digest = hashlib.sha256(documents.tokens.int().numpy().tobytes())
    digest.update(documents.starts.numpy().tobytes() + first.numpy().tobytes())
    assert documents.mark == digest.hexdigest()
    inside = encode_documents(small, [[BOS, *TEXT], [5, BOS, 3, 9], [BOS, 7]])
    assert len({documents.mark, inside.mark}) == 2


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_training_does_not_see_a_first_position_that_is_a_sink(architecture: str) -> None:
    sink = with_sink(architecture, torch.float32, token=5)
    generator = torch.Generator().manual_seed(0)
    rows = [[5 if i % 2 else 7, *torch.randint(8, 97, (9,), generator=generator).tolist()] for i in range(40)]
    documents = encode_documents(sink, rows)
    assert documents.first.tolist() == [1 if architecture == "gpt2" else i % 2 for i in range(40)]
    assert int(documents.counted.sum()) == 400 - int(documents.first.sum())
    batch = collect(sink, documents, torch.arange(40), "mlp_in", "mlp_out")
    everything = sink.capture(torch.tensor(rows), ["mlp_out"])["mlp_out", 1].norm(dim=-1)
    assert float(everything[1, 0]) > 10 * float(batch.outputs[1].norm(dim=-1).max())
    ordinary = subject(architecture, torch.float32, with_tokenizer=False)
    assert bool(encode_documents(ordinary, rows).counted.all())
