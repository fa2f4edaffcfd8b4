"""Prompts: what stands in front of a text, what ids come as, what a chat template may do."""

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import BatchEncoding

import clew
from clew.errors import InputError
from clew.subject.subject import Subject
from tests import models
from tests.models import BOS

USER = {"role": "user", "content": "w5 w8"}


@pytest.fixture(scope="module")
def subject():
    return models.subject("gpt2")


def marked(**changes):
    """A Subject whose tokenizer puts `<s>` in front by itself."""
    tokenizer = models.marked_tokenizer(**changes)
    return Subject(models.model("llama", vocab_size=len(tokenizer)), tokenizer, "marked")


def wrapped(front=(), back=(), **changes):
    """A Subject on words whose tokenizer puts tokens around a text by itself."""
    tokenizer = models.tokenizer()
    around = processors.TemplateProcessing(
        single=[*front, "$A", *back], special_tokens=[(word, int(word[1:])) for word in (*front, *back)]
    )
    tokenizer.backend_tokenizer.post_processor = around
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return Subject(models.model("gpt2"), tokenizer, "wrapped")


# --- what stands in front of a text ------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_a_text_that_begins_with_the_start_gets_no_second_one_and_the_same_ids(legacy):
    subject = marked(legacy=legacy)
    start, ids = subject.start_ids, subject.encode("Paris the").tolist()
    assert subject.tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁Paris", "▁the"]
    assert start == (1,)
    assert subject.encode("<s>Paris the").tolist() == ids
    assert subject.encode("Paris the", add_bos=False).tolist() == ids[1:]


def test_only_what_a_tokenizer_puts_in_front_is_kept():
    assert wrapped(back=["w7"]).encode("w5 w8").tolist() == [BOS, 5, 8]
    both = wrapped(front=["w3", "w4"], back=["w7"])
    assert both.start_ids == (3, 4)
    assert both.encode("w5 w8").tolist() == [3, 4, 5, 8]
    assert both.encode("w5 w8", add_bos=False).tolist() == [5, 8]


def test_a_bos_that_the_tokenizer_does_not_add_is_put_in_front_unless_it_opens_turns():
    assert clew.load("minnow").subject.start_ids == (0,)
    template = "{% for m in messages %}<bos> {{ m.role }} {{ m.content }}{% endfor %}"
    assert wrapped(chat_template=template).start_ids == ()
    assert wrapped(chat_template="{{ bos_token }} {% for m in messages %}{{ m.content }}{% endfor %}").start_ids == (0,)
    turns = models.tokenizer()
    turns.add_special_tokens({"bos_token": "<|im_start|>"})
    assert Subject(models.model("gpt2", vocab_size=98), turns, "chat").encode("w5 w8").tolist() == [5, 8]
    no_bos = models.tokenizer()
    no_bos.bos_token = None
    assert Subject(models.model("gpt2"), no_bos, "none").encode("w5 w8").tolist() == [5, 8]


def test_many_texts_are_encoded_as_each_alone(subject):
    texts = ["w5 w8", "", "<bos> w5", "w9"]
    assert subject.encode_texts(texts) == [[BOS, 5, 8], [], [BOS, 5], [BOS, 9]]
    assert subject.encode_texts(texts[:2], add_bos=False) == [[5, 8], []]
    assert subject.encode_texts([]) == []


# --- token ids in any form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        np.array([5, 8]),
        np.array([[5, 8]], dtype=np.uint16),
        list(np.array([5, 8])),
        [[5, 8]],
        torch.tensor([[5, 8]], dtype=torch.int32),
        list(torch.tensor([5, 8], dtype=torch.uint8)),
        [torch.tensor([5, 8])],
        BatchEncoding({"input_ids": [5, 8], "attention_mask": [1, 1]}),
        {"input_ids": torch.tensor([[5, 8]])},
        range(5, 9, 3),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_ids_are_taken_in_every_form(subject, ids):
    assert subject.encode(ids).tolist() == [5, 8]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (np.array([[5, 8], [5, 9]]), "batch of 2 rows"),
        ([[5, 8], [9]], "batch of 2 rows"),
        (torch.ones(3, 2, dtype=torch.long), "batch of 3 rows"),
        ({"input_ids": [[5], [8]]}, "batch of 2 rows"),
        (["w5", "w8"], "list of 2 texts"),
        (None, "not NoneType"),
        (b"w5 w8", "not bytes"),
        (5, "not int"),
        ({5, 8}, "not set"),
        (torch.tensor([5.0, 8.0]), "holds torch.float32"),
        (np.array([True, False]), "holds bool"),
        (torch.tensor(5), "a single token id"),
        ([5, 8.0], "not 8.0"),
        ([5, True], "not True"),
        ([5, "w8"], "not 'w8'"),
        (USER, "in a list"),
        ("w5 \udcff", r"half a character \(\\udcff\)"),
    ],
)
def test_what_is_no_single_prompt_is_refused_as_what_it_is(subject, prompt, message):
    with pytest.raises(InputError, match=message) as caught:
        subject.encode(prompt)
    assert "\n" not in str(caught.value)


# --- chats -------------------------------------------------------------------------------------------------------

STRICT = (
    "<bos> {% for m in messages %}{% if m.role == 'user' %}w1 {{ m.content }} "
    "{% elif m.role == 'system' %}{{ raise_exception('no\nsystem turn') }}{% endif %}{% endfor %}"
)


def test_without_bos_the_start_of_a_chat_template_is_left_out():
    assert wrapped(chat_template=STRICT).encode([USER]).tolist() == [BOS, 1, 5, 8]
    assert wrapped(chat_template=STRICT).encode([USER], add_bos=False).tolist() == [1, 5, 8]


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (STRICT, [{"role": "system", "content": "w2"}, USER], "does not take these messages: no system turn"),
        (STRICT, [USER, {"role": "wizard", "content": "w2"}], r"leaves out message 2 \(role 'wizard'\)"),
        (STRICT, [{"content": "w2"}], "message 1 of the chat has no role"),
        (STRICT, [USER, {"role": "user", "text": "w2"}], "message 2 of the chat has no content"),
        (STRICT, [{"role": "user", "content": "w2 \ud800"}], "half a character"),
        ("{% for", [USER], "does not take"),
        ("{{ messages.absent.content }}", [USER], "does not take"),
        ("{{ messages + 1 }}", [USER], "does not take"),
        ("{{ 1 / 0 }}", [USER], "does not take"),
    ],
)
def test_what_a_chat_template_refuses_or_drops_is_said_in_one_line(template, messages, message):
    with pytest.raises(InputError, match=message) as caught:
        wrapped(chat_template=template).encode(messages)
    assert "\n" not in str(caught.value)
