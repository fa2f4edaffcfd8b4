"""Text for training: every source gives the same rows, rows see only themselves, files know their tokenizer."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training import activations
from clew.training.activations import Batch, collect, stream
from clew.training.corpus import (
    CorpusConfig,
    Documents,
    encode_documents,
    load_tokens,
    open_corpus,
    save_tokens,
    split_held_out,
)
from clew.training.corpus_readers import read_documents
from tests.models import BOS, byte_tokenizer, model, subject, tokenizer

TEXTS = ["w5 w8 w3", "w9 w22", "w4 w7 w7 w1 w2 w3 w4"]


@pytest.fixture(scope="module")
def small() -> Subject:
    return subject("gpt2", torch.float32)


def rows_of(documents: Documents) -> list[list[int]]:
    bounds = documents.starts.tolist()
    return [documents.tokens[a:b].tolist() for a, b in pairwise(bounds)]


def text_lines(folder: Path) -> CorpusConfig:
    (folder / "a.txt").write_text("\n".join([*TEXTS[:2], "  ", TEXTS[2]]))
    return CorpusConfig(text=str(folder / "a.txt"))


def text_paragraphs(folder: Path) -> CorpusConfig:
    (folder / "b.txt").write_text("w5\nw8 w3\n\n\nw9 w22\n \nw4 w7 w7\nw1 w2\nw3 w4\n")
    return CorpusConfig(text=str(folder / "b.txt"), cut="paragraph")


def json_lines(folder: Path) -> CorpusConfig:
    rows = [{"body": text, "n": 1} for text in TEXTS]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"body": None}, {"body": ""}])) + "\n\n")
    return CorpusConfig(text=str(folder / "c.jsonl"), field="body")


def json_file(folder: Path) -> CorpusConfig:
    (folder / "c.json").write_text(json.dumps([{"body": text, "n": 1} for text in TEXTS], indent=1))
    return CorpusConfig(text=str(folder / "c.json"), field="body")


def json_in_lines(folder: Path) -> CorpusConfig:
    (folder / "l.json").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return CorpusConfig(text=str(folder / "l.json"))


def csv_file(folder: Path) -> CorpusConfig:
    (folder / "c.csv").write_text("n,text\n" + "".join(f'1,"{text}"\n' for text in TEXTS))
    return CorpusConfig(text=str(folder / "c.csv"))


def tsv_file(folder: Path) -> CorpusConfig:
    (folder / "c.tsv").write_text("n\ttext\n" + "".join(f"1\t{text}\n" for text in TEXTS))
    return CorpusConfig(text=str(folder / "c.tsv"))


def parquet_file(folder: Path) -> CorpusConfig:
    parquet.write_table(pyarrow.table({"text": TEXTS, "n": [1, 2, 3]}), folder / "d.parquet", row_group_size=2)
    return CorpusConfig(text=str(folder / "d.parquet"))


def parquet_of_ids(folder: Path) -> CorpusConfig:
    ids = [[BOS, *(int(word[1:]) for word in text.split())] for text in TEXTS]
    parquet.write_table(pyarrow.table({"input_ids": ids}), folder / "e.parquet")
    return CorpusConfig(text=str(folder / "e.parquet"), field="input_ids")


def saved_dataset(folder: Path) -> CorpusConfig:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS})}).save_to_disk(folder / "f")
    return CorpusConfig(text=str(folder / "f"))


def folder_of_files(folder: Path) -> CorpusConfig:
    (folder / "g").mkdir()
    for name, part in (("1", TEXTS[:2]), ("2", TEXTS[2:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / "g" / f"train-{name}.jsonl").write_text(lines)
    return CorpusConfig(text=str(folder / "g"))


SOURCES = [
    text_lines, text_paragraphs, json_lines, json_file, json_in_lines, csv_file, tsv_file, parquet_file, parquet_of_ids,
    saved_dataset, folder_of_files,
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.__name__)
def test_every_source_gives_the_same_rows(
    small: Subject, source: Callable[[Path], CorpusConfig], tmp_path: Path
) -> None:
    config = source(tmp_path)
    wanted = [[BOS, *(int(word[1:]) for word in text.split())] for text in TEXTS]
    assert rows_of(open_corpus(small, config, positions=1000)) == wanted
    assert rows_of(open_corpus(small, config, positions=5)) == wanted[:2]


def test_a_file_that_is_one_document_keeps_its_lines_and_is_cut_at_a_lines_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\nthree")
    config = CorpusConfig(text=str(path), cut="file")
    assert list(read_documents(config)) == ["one\n\ntwo\nthree"]
    monkeypatch.setattr("clew.training.corpus_readers.PIECE", 4)
    assert list(read_documents(config)) == ["one\n\ntwo", "three"]


def test_bos_goes_where_the_config_says(small: Subject) -> None:
    long = " ".join(f"w{i}" for i in range(1, 9))
    rows = {bos: rows_of(encode_documents(small, [long, "w9"], bos=bos, context=4)) for bos in ("row", "document")}
    assert rows["row"] == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8], [0, 9]]
    assert rows["document"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8], [0, 9]]
    never = encode_documents(small, [long, "w9"], bos="never", context=4)
    assert rows_of(never) == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert never.first.tolist() == [0, 0, 0]
    own = tokenizer()
    own.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    adding = Subject.load(model("gpt2", torch.float32), own)
    assert rows_of(encode_documents(adding, [long], bos="row", context=4)) == rows["row"][:3]
    assert rows_of(encode_documents(adding, [long, "w9"], bos="never", context=4)) == rows_of(never)
    ids = encode_documents(small, [[5, 6, 7, 8, 9], [0, 1]], context=4)
    assert rows_of(ids) == [[5, 6, 7, 8], [9], [0, 1]]  # taken as they are


def test_rows_begin_with_what_prompts_begin_with_and_end_with_text():
    around = tokenizer()
    around.backend_tokenizer.post_processor = TemplateProcessing(
        single="w3 w4 $A w7", special_tokens=[("w3", 3), ("w4", 4), ("w7", 7)]
    )
    turns = tokenizer()
    turns.chat_template = "{% for m in messages %}<bos> {{ m.role }} {{ m.content }}{% endfor %}"
    for words, rows in ((around, [[3, 4, 5, 8], [3, 4, 9]]), (turns, [[5, 8, 9]])):
        reading = Subject(model("gpt2", torch.float32), words, "own words")
        documents = encode_documents(reading, ["w5 w8 w9"], context=4)
        assert rows_of(documents) == rows
        assert rows[0] == reading.encode("w5 w8 w9").tolist()[:4]
    with pytest.raises(InputError, match="room for its BOS alone"):
        encode_documents(Subject(model("gpt2", torch.float32), around, "own words"), ["w5"], context=2)


def test_no_row_is_longer_than_the_context(small: Subject) -> None:
    with pytest.raises(InputError, match="room for its BOS alone: give a context of 2 or more"):
        encode_documents(small, TEXTS, context=1)
    for context, bos in ((1, "never"), (1, "document"), (2, "row"), (3, "row")):
        rows = rows_of(encode_documents(small, TEXTS, context=context, bos=bos))
        assert max(map(len, rows)) == context
        assert [i for row in rows for i in row if i] == [int(word[1:]) for text in TEXTS for word in text.split()]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=40), st.integers(1, 50), st.integers(1, 400))
def test_what_is_held_out_does_not_depend_on_how_much_is_read(lengths: list[int], held: int, limit: int) -> None:
    small = subject("gpt2", torch.float32)
    texts = [[BOS, *[7] * n] for n in lengths]
    whole = encode_documents(small, texts)
    part = encode_documents(small, texts, positions=max(limit, 10 * held))
    assert rows_of(part) == rows_of(whole)[: len(part)]
    if len(part) < 2:
        return
    kept, rest = split_held_out(whole, held)
    assert rows_of(kept) + rows_of(rest) == rows_of(whole)
    if len(part) < len(whole):
        assert rows_of(split_held_out(part, held)[0]) == rows_of(kept)
    assert len(kept) == 1 or int(kept.counts[:-1].sum()) < held


def test_a_token_file_comes_back_and_knows_its_tokenizer(small: Subject, tmp_path: Path) -> None:
    path = tmp_path / "tokens.safetensors"
    documents = encode_documents(small, TEXTS)
    save_tokens(path, documents, small)
    again = open_corpus(small, CorpusConfig(text=str(path)), positions=1)
    assert rows_of(again) == rows_of(documents)
    assert again.mark == documents.mark
    assert again.first.tolist() == [1, 1, 1]
    assert rows_of(load_tokens(path, small, context=4)) == [[0, 5, 8, 3], [0, 9, 22], [0, 4, 7, 7], [1, 2, 3, 4]]
    other = Subject.load(model("gpt2", torch.float32, vocab_size=300), byte_tokenizer())
    with pytest.raises(MismatchError, match="made with the tokenizer of GPT2LMHeadModel"):
        load_tokens(path, other)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        load_tokens(path, small)
    files.save_tensors(path, {"tokens": torch.zeros(3)})
    with pytest.raises(FileError, match="no token file"):
        load_tokens(path, small)


def test_a_text_that_cannot_be_read_is_refused_by_name(small: Subject, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "w1"}\n{"text"')
    (tmp_path / "b.jsonl").write_text('{"txt": "w1"}\n')
    (tmp_path / "c.jsonl").write_text('{"text": 5}\n')
    (tmp_path / "a.json").write_text('{"text": "w1"')
    (tmp_path / "b.json").write_text('[{"txt": "w1"}]')
    (tmp_path / "b.csv").write_text("txt\nw1\n")
    (tmp_path / "c.csv").write_text('text\n"w1\n')
    (tmp_path / "d.csv").write_text("")
    (tmp_path / "e.json").write_text('{\n"text": "w1"}')
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "e.txt").write_bytes(b"\xff\xfe\x00")
    parquet.write_table(pyarrow.table({"body": TEXTS}), tmp_path / "f.parquet")
    (tmp_path / "g").mkdir()
    ids = [[1, 2, 97]]
    (tmp_path / "h.jsonl").write_text(json.dumps({"text": ids[0]}))
    for name, kind, message in (
        ("a.jsonl", FileError, "line 2 of .* is not JSON"),
        ("b.jsonl", InputError, "no field 'text': there is txt"),
        ("c.jsonl", InputError, "neither text nor token ids"),
        ("a.json", FileError, r"a\.json is not whole JSON"),
        ("b.json", InputError, "no field 'text': there is txt"),
        ("b.csv", InputError, "no field 'text': there is txt"),
        ("c.csv", FileError, r"c\.csv cannot be read as a table"),
        ("d.csv", InputError, "the corpus is empty"),
        ("e.json", FileError, "holds no list of documents"),
        ("d.parquet", FileError, "not a whole Parquet file"),
        ("e.txt", FileError, r"e\.txt is UTF-16 \(line 1, byte 1\)"),
        ("f.parquet", InputError, "no column 'text': there are body"),
        ("g", FileError, "cannot read the dataset"),
        ("h.jsonl", MismatchError, "token 97, but GPT2LMHeadModel has 97: it was made with another tokenizer"),
        ("missing.txt", FileError, "no text at"),
    ):
        with pytest.raises(kind, match=message):
            open_corpus(small, CorpusConfig(text=str(tmp_path / name)), positions=100)
    saved = saved_dataset(tmp_path)
    with pytest.raises(InputError, match="no split 'test': there are train"):
        list(read_documents(replace(saved, split="test")))
    with pytest.raises(InputError, match="one row only"):
        split_held_out(encode_documents(small, TEXTS[:1]), 5)
    with pytest.raises(InputError, match="not at hand"):
        open_corpus(small, CorpusConfig(), positions=5)


# Batches


def batches(small: Subject, documents: Documents, **changes: int) -> Iterator[Batch]:
    sizes = {"batch": 16, "buffer": 60, "seed": 1, **changes}
    return stream(small, documents, read_site="mlp_in", write_site="mlp_out", **sizes)


@pytest.fixture
def documents(small: Subject) -> Documents:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 20, (40,), generator=generator).tolist()
    return encode_documents(small, [torch.randint(1, 97, (n,), generator=generator) for n in lengths])


def test_an_infinite_activation_names_its_layer_and_batch(small: Subject, documents: Documents) -> None:
    embedding = small.model.transformer.wte.weight
    whole = list(islice(batches(small, documents), 20))
    wanted = collect(small, documents, torch.arange(len(documents)), "mlp_in", "mlp_out").inputs[0]
    ids = torch.cat(
        [
            documents.tokens[documents.starts[i] : documents.starts[i + 1]]
            for i in documents.lengths.argsort(stable=True)
        ]
    )
    rare = next(i for i in range(96, 0, -1) if int((ids == i).sum()) == 1)
    # the batch that holds the only position of a rare token
    at = wanted[int((ids == rare).nonzero()[0])]
    first = next(n for n, b in enumerate(whole) if bool((b.inputs[0] - at).abs().amax(1).lt(1e-5).any()))
    before = embedding[rare].clone()
    try:
        embedding.data[rare] = float("inf")
        made: list[Batch] = []
        with pytest.raises(InputError, match=r"mlp_in of layer 0 hold NaN or infinity in batch \d+$") as error:
            made.extend(batches(small, documents))
    finally:
        embedding.data[rare] = before
    assert str(error.value).endswith(f"in batch {len(made)}")
    assert len(made) <= first  # later positions of the row are infinite too, and may come sooner


def test_a_buffer_too_large_for_memory_lies_in_a_file_and_gives_the_same_batches(
    small: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many positions are shuffled together whatever the model's width; nothing is left of the file."""
    in_memory = list(islice(batches(small, documents, buffer=200), 30))
    shapes: list[tuple[int, ...]] = []
    scratch = files.scratch_tensor

    def watched(shape: tuple[int, ...]) -> AbstractContextManager[Tensor]:
        shapes.append(shape)
        return scratch(shape)

    monkeypatch.setattr(activations, "BUFFER_BYTES", 100 * 8 * 3 * 32)
    monkeypatch.setattr(files, "scratch_tensor", watched)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running = batches(small, documents, buffer=200)
    for expected, batch in zip(in_memory, islice(running, 30), strict=True):
        assert torch.equal(batch.inputs, expected.inputs)
        assert torch.equal(batch.outputs, expected.outputs)
    longest = int(documents.lengths.max())
    assert shapes == [(200 + longest, 2, 3, 32)]
    running.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("clew.files.tensors.SPARE", 1 << 60)
    with pytest.raises(FileError, match=r"are needed in .*: name another folder with TMPDIR, or take less at once"):
        next(batches(small, documents, buffer=200))
