"""Generated text as a person reads it while it grows: whole characters, spaces between words, ids without text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.intervention.generate import _Text
from clew.subject.subject import Subject
from tests import models
from tests.models import BOS


@pytest.fixture(scope="module")
def by_bytes() -> Subject:
    return Subject.load(models.model("gpt2", vocab_size=257), models.byte_tokenizer())


def pieces(subject: Subject, prompt: list[int], ids: list[int]) -> list[str]:
    text = _Text(subject, list(prompt))
    return [text.add(i, last=place == len(ids) - 1) for place, i in enumerate(ids)]


@given(prompt=st.lists(st.integers(0, 256), min_size=1, max_size=6), ids=st.lists(st.integers(0, 256), min_size=1))
@settings(deadline=None)
def test_the_pieces_of_any_bytes_are_the_decoded_text(by_bytes: Subject, prompt: list[int], ids: list[int]) -> None:
    def decode(ids: list[int]) -> str:
        return by_bytes.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    start = decode(prompt).rstrip("\ufffd")  # an unfinished character goes with what finishes it
    assert start + "".join(pieces(by_bytes, prompt, ids)) == decode(prompt + ids)


@given(text=st.text(st.sampled_from("ab é漢☃🙂\n"), min_size=1))
@settings(deadline=None)
def test_a_character_of_several_tokens_comes_whole(by_bytes: Subject, text: str) -> None:
    found = pieces(by_bytes, [BOS], by_bytes.token_ids(text))
    assert "".join(found) == text
    assert [piece for piece in found if piece] == list(text)


def test_words_come_with_the_spaces_between_them() -> None:
    gpt2 = models.subject("gpt2")
    assert pieces(gpt2, [BOS, 5], [7, BOS, 8, 9]) == [" w7", "", " w8", " w9"]
    with_none = models.subject("gpt2", with_tokenizer=False)
    assert pieces(with_none, [BOS, 5], [7, 8]) == ["#7", "#8"]


def test_a_token_that_the_tokenizer_does_not_know_is_shown_as_its_id(by_bytes: Subject) -> None:
    """Vocabularies are padded: a model may say what no text is."""
    beyond = len(by_bytes.tokenizer) + 40
    assert pieces(by_bytes, [BOS], [*by_bytes.token_ids("a"), beyond, *by_bytes.token_ids("é")]) == [
        "a", f"#{beyond}", "", "é"
    ]  # fmt: skip
    assert pieces(by_bytes, [BOS], [*by_bytes.token_ids("é")[:1], beyond]) == ["", f"\ufffd#{beyond}"]
