"""The model's own text: drawn by its probabilities, begun as its texts are or with openings."""

from itertools import islice

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from clew.errors import InputError
from clew.subject.subject import Subject
from clew.training.corpus import CorpusConfig, open_corpus
from clew.training.corpus_readers import check_used
from clew.training.samples import read_openings, sample_documents
from tests.models import BOS, model, subject, tokenizer


def test_samples_follow_the_models_own_probabilities() -> None:
    small = Subject.load(model("gpt2", torch.float32), tokenizer())

    def law(*ids: int) -> Tensor:
        return small.probabilities(small.logits(torch.tensor([ids])))[0, -1]

    def draw(seed: int, n: int) -> list[list[int]]:
        return list(islice(sample_documents(small, seed=seed, length=3, batch=n), n))

    drawn = draw(3, 20_000)
    assert drawn[:100] != draw(4, 20_000)[:100]
    assert draw(3, 100) == draw(3, 100)
    assert {(row[0], len(row)) for row in drawn} == {(BOS, 3)}
    first = torch.tensor([row[1] for row in drawn]).bincount(minlength=97) / len(drawn)
    spread = float((law(BOS) * (1 - law(BOS)) / len(drawn)).sqrt().sum())  # 0.8 of it is expected
    assert float((first - law(BOS)).abs().sum()) < 1.2 * spread
    top = int(law(BOS).argmax())
    after = torch.tensor([row[2] for row in drawn if row[1] == top]).bincount(minlength=97)
    given = (after / after.sum() - law(BOS, top)).abs().sum()
    assert float(given) < 0.7 * float((after / after.sum() - law(top)).abs().sum())  # the token before is seen


def test_samples_begin_as_the_texts_of_their_model() -> None:
    around = tokenizer()
    around.backend_tokenizer.post_processor = TemplateProcessing(
        single=["w3", "w4", "$A"], special_tokens=[("w3", 3), ("w4", 4)]
    )
    two = Subject.load(model("gpt2", torch.float32), around)
    drawn = list(islice(sample_documents(two, seed=0, length=4, batch=20), 20))
    assert {(*row[:2], len(row)) for row in drawn} == {(3, 4, 4)}
    assert len({tuple(row[2:]) for row in drawn}) > 5


def test_a_sample_ends_before_the_models_end_token() -> None:
    small = Subject.load(model("gpt2", torch.float32), tokenizer())
    probabilities = small.probabilities(small.logits(torch.tensor([[BOS]])))[0, 0]
    top = int(probabilities.argmax())
    small.tokenizer.eos_token = f"w{top}"  # type: ignore[union-attr]
    drawn = list(islice(sample_documents(small, seed=3, length=9, batch=500), 500))
    assert all(top not in row for row in drawn)
    assert sum(len(row) == 1 for row in drawn) / 500 == pytest.approx(float(probabilities[top]), abs=0.05)
    with pytest.raises(InputError, match="no BOS"):
        next(sample_documents(subject("gpt2", torch.float32, with_tokenizer=False), seed=0))


def test_documents_begin_with_openings_each_as_often_as_any_other() -> None:
    small = Subject.load(model("gpt2", torch.float32), tokenizer())
    openings = [[BOS, 5], [BOS, 6], [BOS, 7, 8]]
    drawn = list(islice(sample_documents(small, seed=1, length=6, batch=10, openings=openings), 3000))
    begun = [next(i for i, o in enumerate(openings) if row[: len(o)] == o) for row in drawn]
    counts = torch.tensor(begun).bincount(minlength=3) / len(begun)
    assert float((counts - 1 / 3).abs().max()) < 0.05
    assert {len(row) for row in drawn} == {6}
    assert drawn[:50] == list(islice(sample_documents(small, seed=1, length=6, batch=10, openings=openings), 50))
    with pytest.raises(InputError, match="an opening of 3 tokens leaves no room in rows of 3"):
        next(sample_documents(small, seed=1, length=3, openings=openings))


def test_openings_are_read_as_prompts_are_one_a_line(tmp_path) -> None:
    small = Subject.load(model("gpt2", torch.float32), tokenizer())
    path = tmp_path / "openings.txt"
    path.write_text("w5 w6\n\nw7\n")
    assert read_openings(small, path) == [small.encode("w5 w6").tolist(), small.encode("w7").tolist()]
    config = CorpusConfig(text="samples", openings=str(path), context=8)
    rows = open_corpus(small, config, positions=2000)
    begins = {tuple(rows.tokens[start : start + 2].tolist()) for start in rows.starts[:-1].tolist()}
    assert begins == {tuple(ids[:2]) for ids in read_openings(small, path)}
    path.write_text('[{"role": "user", "content": "w5"}]\n')  # this tokenizer has no chat template
    with pytest.raises(InputError, match=r"line 1 of .*openings.txt is no opening: .*chat template"):
        read_openings(small, path)
    path.write_text("[{broken\n")
    with pytest.raises(InputError, match="line 1 of"):
        read_openings(small, path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no opening"):
        read_openings(small, path)
    with pytest.raises(InputError, match="--openings is for samples"):
        check_used({"text": "world", "openings": str(path)})
