"""The study of heads on minnow, on encoders, with users' tables and treebanks, and what is wrong in them."""

from functools import cache

import numpy as np
import pytest
import torch

from clew.errors import FileError, InputError, UnsupportedModelError
from clew.labels.text_encoder import load_encoder
from clew.studies.heads.head_model import HeadModel
from clew.studies.heads.measured import HeadsMeasured
from clew.studies.heads.pattern_steps import text_scores
from clew.studies.heads.study import HEADS, HeadsConfig
from clew.studies.heads.texts import FRAMED, OWN, RANDOM, DomainText, read_texts, repeats, world_texts
from tests.encoders import save_encoder
from tests.studies.heads.test_relations import block
from tests.workbench import minnow

SMALL = HeadsConfig(per_kind=2, repeats=8, draws=40)


@cache
def result():
    return HEADS.run(minnow(), config=SMALL)


@cache
def minnow_heads():
    return HeadModel.of_subject(minnow().subject)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def returned(steps):
    """What a generator returns behind its reports."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def claim(claims, words):
    [found] = [each for each in claims if words in each.text]
    return found


def test_minnow_looks_behind_the_first_copy_of_its_own_lists_and_not_of_random_tokens():
    own, random = (claim(result().claims, words) for words in ("behind the first copy", "whatever the tokens are"))
    assert (own.verdict, random.verdict) == ("holds", "fails")
    assert own.value.value > 0.95
    columns = result().tables["heads"].columns
    scores = dict(zip(columns["head"], columns["induction, own"], strict=True))
    assert {name for name, score in scores.items() if score > 0.9} == {"L4H0", "L4H1"}
    assert max(columns["induction, random"]) < 0.2
    assert result().false_effects == ()


def test_exhibits_show_what_heads_do_where_they_write_alike_and_why_they_look():
    assert {*result().tables} == {"heads", "domains", "contexts", "looks"}
    assert {*result().figures} == {"classes", "map", "domains"}
    looks = result().tables["looks"]
    [where] = {row[2] for row in looks.rows() if row[0] == "induction"}
    assert where.count("(") == 2
    assert all(row[6] >= row[7] for row in result().tables["contexts"].rows())


def test_patterns_are_those_of_a_recording():
    text = world_texts(minnow_heads(), 1, 0)[0]
    recorded = torch.cat([pattern for _, pattern in sorted(minnow().subject.record(list(text.ids)).patterns().items())])
    assert torch.allclose(minnow_heads().patterns(text.ids), recorded.float(), atol=1e-5)


def test_silence_replaces_what_one_head_writes_and_nothing_else():
    model, ids = minnow_heads(), torch.tensor([world_texts(minnow_heads(), 1, 0)[0].ids])
    mask, before = torch.ones_like(ids), model.written(ids[0].tolist())
    size = before.shape[2] // model.n_heads
    same = {2: (1, before[2, :, size : 2 * size])}
    whole = model.outcome(ids, mask)
    assert torch.allclose(model.outcome(ids, mask, same), whole, atol=1e-6)
    changed = model.outcome(ids, mask, {0: (1, before[0, :, size : 2 * size].mean(0))})
    assert abs(float(changed - whole)) > 1e-3
    assert torch.equal(model.outcome(ids, mask), whole)  # nothing stays behind


def test_padding_changes_neither_a_loss_nor_a_vector(encoder):
    for model, ids in (
        (minnow_heads(), [0, 5, 8, 9]),
        (HeadModel.of_encoder(load_encoder(str(encoder))), [1, 5, 8, 2]),
    ):
        alone = model.outcome(torch.tensor([ids]), torch.ones(1, 4, dtype=torch.long))
        padded = torch.tensor([[*ids, 0, 0, 0], [*ids, 7, 7, 7]])
        mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1] * 7])
        assert torch.allclose(model.outcome(padded, mask)[:1], alone, atol=1e-5)


def test_sequences_are_said_twice_where_they_say_they_are():
    texts = world_texts(minnow_heads(), 2, 0)
    made = repeats(minnow_heads(), texts, 6, 8, 0, world=True)
    assert {*made} == {OWN, RANDOM, FRAMED}
    for sequences in (*made.values(), repeats(minnow_heads(), texts, 6, 8, 0, world=False)[OWN]):
        for each in sequences:
            first, second = (each.ids[start : start + each.length] for start in (each.first, each.second))
            assert first == second
    assert minnow().subject.text_of(made[OWN][0].ids).startswith("<bos>Again: ")


TEXTS = [f"{a} {b} sat on the {c} ." for a in ("the", "a") for b in ("cat", "dog", "old man") for c in ("mat", "hat")]


def table(path, rows, header="text,domain"):
    path.write_text(f"{header}\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_an_encoder_is_measured_on_a_users_texts_and_treebank(tmp_path):
    rows = [f"{text},{'home' if place % 3 else 'away'}" for place, text in enumerate(TEXTS)]
    treebank = tmp_path / "t.conllu"
    words = [("the", 2, "det"), ("cat", 3, "nsubj"), ("sat", 0, "root"), ("on", 6, "case"), ("the", 6, "det")]
    treebank.write_text(block(*words, ("mat", 3, "obl")) * 24)
    found = HEADS.run(
        minnow(),
        encoder=str(save_encoder(tmp_path / "encoder", "distilbert")),
        texts=table(tmp_path / "t.csv", rows),
        treebank=treebank,
        length=5,
        repeats=4,
        draws=20,
    )
    assert {*found.tables} == {"heads", "contexts", "domains", "relations"}
    assert claim(found.claims, "the token behind").null.unit == "texts"
    relations = {row[0]: row for row in found.tables["relations"].rows()}
    assert relations["nsubj"][-1] == 100.0  # a fixed offset is always right here
    assert claim(found.claims, "Heads know grammar").verdict != "holds"
    assert len(found.contents) == 2 + 3


@pytest.mark.minilm
def test_minilm_looks_at_both_neighbours():
    model = HeadModel.of_encoder(load_encoder("minilm"))
    texts = [DomainText(text=text, ids=tuple(model.text_ids(text))) for text in TEXTS]
    numbers = returned(text_scores(model, texts, 20, 0))
    scores = {name: numbers[name].mean(0) for name in ("previous", "next")}
    assert {name: float(score.max()) > 0.5 for name, score in scores.items()} == {"previous": True, "next": True}
    assert float(scores["previous"][2]) > 0.99
    assert float(numbers["previous.null"].mean()) < 0.2


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("fnet", UnsupportedModelError, "has no attention whose heads can be told apart: give one like BERT"),
        ("gpt2", UnsupportedModelError, "is GPT2LMHeadModel, no encoder of text"),
    ],
)
def test_a_model_that_is_no_encoder_with_heads_is_refused_in_one_line(kind, error, words, tmp_path):
    with pytest.raises(error, match=words):
        HEADS.run(minnow(), encoder=str(save_encoder(tmp_path / kind, kind)))


def test_an_encoder_without_patterns_is_refused_in_one_line(encoder, monkeypatch):
    loaded = load_encoder(str(encoder))
    monkeypatch.setattr(loaded.model.config, "num_attention_heads", 4)
    with pytest.raises(UnsupportedModelError, match="gives no attention patterns"):
        HeadModel.of_encoder(loaded)


def test_an_encoder_that_is_not_there_is_told():
    with pytest.raises(FileError, match="there is no encoder nowhere: give minilm, a folder or a hub id"):
        HEADS.run(minnow(), encoder="nowhere")


def test_both_halves_of_a_users_texts_have_every_domain_however_the_rows_are_ordered(tmp_path):
    rows = [f"The cat sat here {place} times.,{'home' if place % 2 else 'away'}" for place in range(12)]
    texts = read_texts(table(tmp_path / "t.csv", rows), minnow_heads())
    assert [{text.domain for text in texts[half::2]} for half in (0, 1)] == [{"home", "away"}] * 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["The cat sat here.,x"] * 7 + ["It ran away.,y"], "line 9 of .*: the domain 'y' has one text"),
        (["The cat sat here.,x"] * 4, "has 4 texts: give at least 8"),
        (["No,x"] * 8, "line 2 of .* has 2 tokens: give at least three"),
        ([f"{'cat ' * 200},x"] * 8, "line 2 of .* has .* tokens, and minnow reads 128: cut it"),
        (["a,b,c"] * 8, "line 2 of .* has 3 cells"),
    ],
)
def test_mistakes_in_a_table_of_texts_are_told_with_their_line(rows, words, tmp_path):
    with pytest.raises(FileError, match=words):
        read_texts(table(tmp_path / "t.csv", rows), minnow_heads())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per_kind": 1}, "per_kind is 1: give 2 to 1000"),
        ({"length": 200}, "200 tokens said twice are more than minnow reads"),
        ({"draws": 3}, "draws is 3"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        HEADS.run(minnow(), **{"repeats": 4, **options})


def test_the_interval_of_a_chosen_head_is_that_of_the_other_half():
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.4, 0.8]])
    measured = HeadsMeasured(
        model=minnow_heads(), texts=[], numbers={"previous": rows, "previous.null": np.zeros((3, 2))}, repeated={},
        effects=np.zeros((4, 2)), draws=3, seed=0,
    )  # fmt: skip
    best = measured.best("previous")
    assert (best.head, best.tested) == (0, 2)
    assert best.value.value == pytest.approx(0.3)
