"""A chat model on this machine labels in an endpoint's place; its answers are well formed whatever it says."""

import json

import pytest
import torch
from typer.testing import CliRunner

import clew
from clew.cli import app
from clew.cli.labels.label_model import model_run
from clew.errors import InputError
from clew.labels.endpoint import CallError
from clew.labels.endpoint_config import LOCAL
from clew.labels.judges import Question
from clew.labels.local_chat import ANSWER_TOKENS, LocalChat
from clew.labels.model_labeller import Asker, ModelJudge, label_with_model, naming_prompt, read_label
from clew.labels.store import LabelStore
from tests import models
from tests.cards import CITIES_CARD

TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def talker(context=4096, template=TEMPLATE):
    """A tiny model that says nonsense, with a chat template."""
    tokenizer = models.byte_tokenizer()
    tokenizer.chat_template = template
    model = models.model("gpt2", torch.float32, vocab_size=len(tokenizer), n_positions=context)
    return clew.Subject(model, tokenizer, "talker")


def test_whatever_it_says_its_answer_is_a_label_and_its_tokens_are_counted(tmp_path):
    chat = LocalChat(talker())
    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        (report,) = label_with_model([CITIES_CARD], store, Asker(chat, store))
        again = list(label_with_model([CITIES_CARD], store, Asker(chat, store)))
    expected = chat.cost(naming_prompt(CITIES_CARD))
    assert report.label is not None or "no label" in report.failure
    assert chat.spent.calls == (1 if report.label else 2)  # an answer that was read is not asked for again
    assert expected.tokens_in <= chat.spent.tokens_in
    assert 0 < chat.spent.tokens_out <= 40 * chat.spent.calls
    assert chat.spent.money == 0
    assert len(again) == 1


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ('names of capitals"} and more', "names of capitals"),
        ("names of capitals", "names of capitals"),
        ("ends in a stroke\\", "ends in a stroke"),
    ],
)
def test_an_answer_is_closed_where_the_model_closes_it_or_ends(monkeypatch, said, label):
    chat = LocalChat(talker())
    monkeypatch.setattr(chat, "_continued", lambda ids, close: (chat.subject.token_ids(said), False))
    assert read_label(chat.ask(naming_prompt(CITIES_CARD)).text) == label


def test_it_judges_labels_too(monkeypatch, tmp_path):
    chat = LocalChat(talker())
    monkeypatch.setattr(chat, "_continued", lambda ids, close: (chat.subject.token_ids("2]}"), False))
    questions = [Question(("a",), 0), Question(("b",), 0)]
    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        assert ModelJudge(Asker(chat, store)).verdicts("the letter b", questions) == [False, True]


def test_a_prompt_that_does_not_fit_is_a_failed_call():
    chat = LocalChat(talker(context=256))
    assert chat.cost(naming_prompt(CITIES_CARD)).tokens_in == 256
    with pytest.raises(CallError, match="256"):
        chat.ask(naming_prompt(CITIES_CARD))


def test_a_template_that_knows_no_instructions_is_given_one_message():
    refuses = "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    chat = LocalChat(talker(template=refuses + "{{ message['content'] }}{% endfor %}"))
    system, user = (message["content"] for message in naming_prompt(CITIES_CARD))
    text = chat.subject.text_of(chat._ids(naming_prompt(CITIES_CARD), ""))
    assert system in text
    assert user in text


def test_a_model_without_a_chat_template_is_refused_by_name():
    with pytest.raises(InputError, match=r"talker has no chat template.*smollm2"):
        LocalChat(talker(template=None))


@pytest.mark.parametrize(
    ("settings", "key", "judge", "words"),
    [
        ({"model": "smollm2", "concurrency": 2}, None, "tokens", "--concurrency is for an endpoint"),
        ({"model": "smollm2"}, "KEY", "tokens", "--key-env is for an endpoint"),
        ({"endpoint": "http://localhost:1"}, None, "tokens", "give --model"),
        ({}, None, "model", "needs its name: give --model"),
    ],
)
def test_options_that_do_not_go_together_are_told(settings, key, judge, words):
    with pytest.raises(InputError, match=words):
        model_run(settings, key, judge)


def test_a_model_named_without_an_endpoint_runs_here():
    run = model_run({"model": "smollm2"}, None, "tokens")
    assert (run.config.endpoint, run.config.model, run.config.answer_tokens) == (LOCAL, "smollm2", ANSWER_TOKENS)


@pytest.mark.smollm2
@pytest.mark.long
def test_a_small_model_of_an_extra_names_features_beside_their_nulls(tmp_path):
    labels = tmp_path / "labels.sqlite"
    options = ["label", "L4/1637", "L0/2409", "--model", "smollm2", "--labels", str(labels), "--json"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["labelled"], report["failures"]) == (2, [])
    assert {score["test"] for score in report["scores"]} == {"detection", "fuzzing"}
    assert report["spent"]["calls"] == 2
