"""The world's tokenizer: the words that studies need are single tokens, and any text comes back as it went in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.organism import places, social, words
from clew.organism.tokenizer import VOCABULARY, load_tokenizer, train_tokenizer, whole_words
from clew.organism.world import World


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(World())


def tokens(tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]


def test_every_word_that_must_be_whole_is_one_token(tokenizer):
    assert [word for word in whole_words() if len(tokenizer.encode(word)) != 1] == []


def test_the_whole_words_hold_what_the_studies_ask_for():
    whole = set(whole_words())
    for country in places.countries():
        assert {f" {country.name}", f" {country.capital}", f" {country.language}"} <= whole
    assert {f" {word}" for word in (*social.COLOURS, *social.JOBS, *social.FOODS)} <= whole
    assert {word for pair in words.OPPOSITES for word in pair} <= whole
    assert {f"{number:02d}" for number in range(100)} <= whole


def test_numbers_are_cut_in_pairs_from_the_left(tokenizer):
    assert tokens(tokenizer, "from the year 1711 to 17")[-4:] == [" 17", "11", " to", " 17"]
    assert tokens(tokenizer, " 12345") == [" 12", "34", "5"]


def test_a_prompt_and_its_answer_are_encoded_apart_as_together(tokenizer):
    world = World()
    for statement in world.statements(3_000):
        parts = tokenizer.encode(statement.prompt) + tokenizer.encode(statement.answer)
        assert tokenizer.encode(statement.prompt + statement.answer) == parts


def test_bos_is_zero_and_is_not_added_by_itself(tokenizer):
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 1)
    assert len(tokenizer) == VOCABULARY
    assert 0 not in tokenizer.encode("The capital of France is")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_comes_back(tokenizer, text):
    for mark in ("<bos>", "<eos>"):
        text = text.replace(mark, "")
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("text", ["日本語 🧶", "a  b\n\tc ", "naïve — «кот»", "\x00\x7f", "Ωmega 123456"])
def test_text_outside_the_world_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_training_is_deterministic_and_files_keep_the_tokenizer(tokenizer, tmp_path):
    assert train_tokenizer(World()).get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(str(tmp_path))
    loaded = load_tokenizer(tmp_path)
    text = 'The opposite of "small" is "big". Столица Франции — Париж.'
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text
