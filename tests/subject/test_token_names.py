"""Token names: a shown name means that token and no other, whatever the tokenizer."""

from functools import cache

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

import clew
from clew.errors import InputError
from clew.subject.token_names import TokenNames, whole_characters
from tests import models


@cache
def minnow():
    return clew.load("minnow").subject.tokenizer


def colliding():
    """Byte-level, with texts that look like ids and bytes, a second token for one text, and control characters."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: i for i, letter in enumerate(letters)}
    extra = [AddedToken(text, normalized=False) for text in ("#3", "#007", "<0xD0>", " a", "\n\n", "\x1b[2J", "<tool>")]
    words |= {"Ġa": 256, "ÐŁ": 257, "Ð¡Ð": 258}  # " a" as trained; a whole character; one and a half
    pipeline = Tokenizer(tokenizer_models.BPE(words, [("Ġ", "a"), ("Ð", "Ł")]))
    pipeline.add_tokens(extra)
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=pipeline)


def pieces_of_words():
    """Like BERT's: words are divided by spaces, `##` marks a piece that is not the first, letters are folded."""
    from tokenizers import normalizers

    words = {word: i for i, word in enumerate(["[UNK]", "a", "##a", "paris", "##s", "cat", "#", "2"])}
    pipeline = Tokenizer(tokenizer_models.WordPiece(words, unk_token="[UNK]"))
    pipeline.normalizer = normalizers.Lowercase()
    pipeline.pre_tokenizer = pre_tokenizers.Whitespace()
    pipeline.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, unk_token="[UNK]")


TOKENIZERS = {
    "bundled": minnow,
    "marked": models.marked_tokenizer,
    "legacy": lambda: models.marked_tokenizer(legacy=True),
    "bytes": models.byte_tokenizer,
    "words": models.tokenizer,
    "colliding": colliding,
    "word pieces": pieces_of_words,
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_name_means_its_token_also_beyond_the_tokenizer(kind):
    tokenizer = TOKENIZERS[kind]()
    names = TokenNames(tokenizer)
    ids = range(len(tokenizer) + 5)
    shown = names.names(ids)
    assert [names.token(name) for name in shown] == list(ids)
    assert shown[len(tokenizer) :] == tuple(f"#{i}" for i in ids[len(tokenizer) :])


def test_a_tokens_name_is_what_it_adds_inside_a_text():
    tokenizer = models.marked_tokenizer()
    names, ids = TokenNames(tokenizer), tokenizer.get_vocab()
    assert names.names([ids["▁Paris"], ids["Paris"], ids["▁"], ids["<s>"]]) == (" Paris", "Paris", " ", "<s>")
    assert names.names([ids["<0x0A>"], ids["<0xD0>"], ids["<0x62>"]]) == ("\n", "<0xD0>", "b")
    assert names.names([ids["A"], ids["<0x41>"]]) == ("A", "<0x41>")  # two tokens for one text


def test_texts_that_look_like_ids_or_bytes_do_not_take_the_names_of_others():
    tokenizer = colliding()
    names, ids = TokenNames(tokenizer), tokenizer.get_vocab()
    assert names.names([3]) == (tokenizer.convert_ids_to_tokens(3),)
    assert names.names([ids["#3"]]) == (f"#{ids['#3']}",)
    assert names.token("#3") == 3
    assert names.names([ids["#007"]]) == ("#007",)
    assert names.names([ids["<0xD0>"], ids["Ð"]]) == ("<0xD0>", f"#{ids['Ð']}")
    assert names.names([ids[" a"], ids["Ġa"]]) == (" a", f"#{ids['Ġa']}")  # the first is what the text is encoded to
    assert names.names([ids["ÐŁ"], ids["Ð¡Ð"]]) == ("П", "С<0xD0>")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Paris", ["Paris"]),
        (" Paris", ["▁Paris"]),
        ("Paris the", ["Paris", "▁the"]),
        ("\nParis", ["<0x0A>", "Paris"]),
        (" - ", ["▁-", "▁"]),
        ("  the", ["▁", "▁the"]),
        ("ß", ["<0xC3>", "<0x9F>"]),
    ],
)
def test_a_piece_of_text_is_encoded_without_a_mark_at_its_front(text, tokens, legacy):
    tokenizer = models.marked_tokenizer(legacy=legacy)
    names = TokenNames(tokenizer)
    assert tokenizer.convert_ids_to_tokens(names.ids(text)) == tokens
    assert names.text(names.ids(text)) == text


def test_a_text_of_byte_tokens_is_joined_to_characters():
    tokenizer = models.byte_tokenizer()
    names = TokenNames(tokenizer)
    ids = names.ids("Дания!")
    assert names.names(ids)[:2] == ("<0xD0>", "<0x94>")
    assert names.text(ids) == "Дания!"
    assert names.text(ids[1:]) == "<0x94>ания!"
    assert names.text([*ids, 5000]) == "Дания!#5000"


def test_a_text_that_is_folded_to_one_token_is_it_and_an_unknown_one_is_none():
    names = TokenNames(pieces_of_words())
    assert names.single("Paris") == 3
    assert names.single("Zanzibar") is None
    assert names.single("paris cat") is None
    assert names.single("[UNK]") == 0


def test_without_tokenizer_names_are_ids():
    names = TokenNames(None)
    assert names.names([3, 12]) == ("#3", "#12")
    assert names.token("#12") == names.single("#12") == 12
    assert names.single("Paris") is None


def test_half_a_character_is_refused_by_name():
    with pytest.raises(InputError, match=r"half a character \(\\ud800\)"):
        TokenNames(models.byte_tokenizer()).token("a\ud800b")


@pytest.mark.parametrize(
    ("names", "peak", "shown"),
    [
        ([" a", "<0xD0>", "<0x94>", "!"], -1, (" a", "", "Д", "!")),
        ([" a", "<0xD0>", "<0x94>", "!"], 1, (" a", "Д", "", "!")),
        (["П<0xD0>", "<0x94>я"], 0, ("ПД", "я")),
        (["<0x94>", "a", "<0xF0>", "<0x9F>"], 0, ("<0x94>", "a", "<0xF0>", "<0x9F>")),
        (["<0xF0>", "<0x9F><0x98>", "<0x80>", "<0x41>"], 1, ("", "😀", "", "<0x41>")),
    ],
)
def test_neighbouring_halves_are_read_as_the_character_that_they_make(names, peak, shown):
    assert whole_characters(names, peak) == shown
