"""The model labeller, driven by a server of our own: what fails is no label, and nothing is paid for twice."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from clew.errors import InputError
from clew.ids import FeatureId
from clew.labels.context_split import split
from clew.labels.cost import estimate, labelling
from clew.labels.endpoint import BudgetError, CallError, Endpoint
from clew.labels.endpoint_config import EndpointConfig
from clew.labels.judges import Question
from clew.labels.model_labeller import (
    Asker,
    ModelJudge,
    label_with_model,
    lacking,
    naming_prompt,
    read_label,
    readable,
)
from clew.labels.scoring import score_label
from clew.labels.store import LabelStore
from tests.cards import CITIES_CARD, DULL, card
from tests.chat_server import chat_server, failed, said, slowly

GOOD = said('{"label": "people before Paris"}')
CARDS = [replace(CITIES_CARD, feature=FeatureId(0, n)) for n in range(12)]


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        yield store


def endpoint(chat, **settings):
    quick = {"backoff": 0.001, "timeout": 20.0, "concurrency": 3}
    return Endpoint(EndpointConfig(endpoint=chat.url, model="parrot", **{**quick, **settings}), "secret")


def missing(cards, store):
    features = set(lacking([made.feature for made in cards], store, "parrot"))
    return [made for made in cards if made.feature in features]


def run(chat, store, cards=CARDS, **settings):
    with endpoint(chat, **settings) as opened:
        return list(label_with_model(missing(cards, store), store, Asker(opened, store))), opened.spent


def outcomes(reports):
    return [report.label.text if report.label else report.failure for report in reports]


# --- labelling ------------------------------------------------------------------------------------------------------


def test_every_feature_gets_its_label_with_author_and_method(store):
    with chat_server(lambda n, body: slowly(0.02, GOOD)) as chat:
        reports, spent = run(chat, store)
        assert chat.most_at_once > 1
        assert chat.most_at_once <= 3
    assert outcomes(reports) == ["people before Paris"] * 12
    labels = list(store.all())
    assert {(label.kind, label.author, label.text) for label in labels} == {("model", "parrot", "people before Paris")}
    assert [label.feature.index for label in labels] == list(range(12))
    assert spent.calls == len(chat.asked)


def distinct(n):
    """Cards with texts of their own, so that no prompt is like another."""
    return [
        replace(card([f"{name} sees [{name}] number {k}" for name in "ABCDEFGHIJKL"], DULL), feature=FeatureId(0, k))
        for k in range(n)
    ]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_every_call_ends_the_work_in_one_line(status, store):
    with chat_server(lambda n, body: failed(status)) as chat:
        with pytest.raises(InputError, match=f"parrot.*{status}"):
            run(chat, store)
        assert len(chat.asked) <= 3
    assert list(store.all()) == []


@pytest.mark.parametrize(
    "content",
    [
        "people before Paris",
        '{"label": ',
        '["a"]',
        '{"name": "a"}',
        '{"label": 5}',
        '{"label": ""}',
        "{}",
        "null",
        '{"label": "\\ud800"}',
    ],
)
def test_malformed_json_is_no_label_is_not_kept_and_is_asked_again_by_the_next_run(content, store):
    with chat_server(lambda n, body: said(content)) as chat:
        reports, _ = run(chat, store, distinct(2))
        assert [report.label for report in reports] == [None, None]
        assert all("answer" in report.failure for report in reports)
        assert list(store.all(history=True)) == []
        chat.script = lambda n, body: GOOD
        assert outcomes(run(chat, store, distinct(2))[0]) == ["people before Paris"] * 2
        assert len(chat.asked) == 4


@pytest.mark.parametrize(("why", "named"), [("length", True), ("stop", False)])
def test_an_answer_that_was_cut_in_its_middle_names_the_limit(why, named, store):
    reply = {"choices": [{"message": {"content": '{"label": "people bef'}, "finish_reason": why}]}
    with chat_server(lambda n, body: (200, json.dumps(reply), {})) as chat:
        (report,), _ = run(chat, store, distinct(1))
    assert "not JSON" in report.failure
    assert ("--answer-tokens" in report.failure) == named


def test_one_failed_call_does_not_cost_the_others_their_labels(store):
    def script(n, body):
        return said("oops") if "number 3" in body["messages"][1]["content"] else GOOD

    with chat_server(script) as chat:
        reports, _ = run(chat, store, distinct(6))
    failures = [report.card.feature.index for report in reports if report.label is None]
    assert failures == [3]
    assert {label.feature.index for label in store.all()} == {0, 1, 2, 4, 5}


def test_an_endpoint_of_which_every_call_fails_ends_the_work(store):
    with chat_server(lambda n, body: said("oops")) as chat:
        with pytest.raises(InputError, match=r"8 calls in a row failed.*not JSON"):
            run(chat, store, distinct(40))
        assert len(chat.asked) < 15


def test_the_budget_in_tokens_is_never_passed_and_what_was_labelled_stays(store):
    with chat_server(lambda n, body: said('{"label": "x"}', 300, 100)) as chat, endpoint(chat, concurrency=4) as probe:
        once = probe.cost(naming_prompt(distinct(1)[0])).tokens
        budget = once * 4
        with endpoint(chat, budget_tokens=budget, concurrency=4) as opened:
            reports = []
            with pytest.raises(BudgetError, match=f"of {budget} tokens"):
                reports.extend(label_with_model(distinct(20), store, Asker(opened, store)))
            assert opened.spent.tokens <= budget
            assert opened.spent.tokens > budget - once
    assert len(reports) == len(list(store.all())) == 4


def test_the_budget_in_money_is_never_passed(store):
    with chat_server(lambda n, body: said('{"label": "x"}', 300, 100)) as chat:
        settings = {"budget_money": 0.01, "price_in": 5.0, "price_out": 10.0}
        with endpoint(chat, **settings) as opened:
            with pytest.raises(BudgetError, match=r"of 0\.01 are spent"):
                list(label_with_model(distinct(20), store, Asker(opened, store)))
            cost = opened.cost(naming_prompt(distinct(1)[0])).money
            assert 0.01 - cost < opened.spent.money <= 0.01


def test_a_run_goes_on_where_it_stopped_and_pays_for_nothing_twice(store):
    with chat_server(lambda n, body: GOOD) as chat:
        run(chat, store, distinct(4))
        reports, spent = run(chat, store, distinct(10))
        assert [report.card.feature.index for report in sorted(reports, key=lambda r: r.card.feature)] == list(
            range(4, 10)
        )
        assert spent.calls == 6
        assert len(chat.asked) == 10
        with LabelStore(store.path, "bbbb") as other:  # the same prompts for another dictionary: the answers are known
            reports, spent = run(chat, other, distinct(10))
        assert (len(reports), spent.calls, len(chat.asked)) == (10, 0, 10)


def test_the_cost_shown_before_is_not_less_than_what_is_spent(store):
    def script(n, body):  # a tokenizer with four bytes a token
        size = sum(len(message["content"].encode()) for message in body["messages"])
        return said('{"label": "x"}', size // 4, 8)

    with chat_server(script) as chat, endpoint(chat, price_in=1.0, price_out=2.0) as opened:
        expected = estimate([labelling(made, opened) for made in distinct(10)], opened).once
        list(label_with_model(distinct(10), store, Asker(opened, store)))
        assert expected.calls == opened.spent.calls == 10
        assert opened.spent.tokens <= expected.tokens < 4 * opened.spent.tokens
        assert opened.spent.money <= expected.money
        assert estimate([], opened).most.tokens == 0


def test_a_prompt_shows_eight_strong_contexts_six_weaker_ones_four_silent_ones_and_ten_tokens():
    texts = [f"strong{n} [x{n}]" for n in range(40)]
    bands = [f"weak{n} [y{n}]" for n in range(40)]
    made = card(texts, DULL, [f"token{n}" for n in range(12)], bands=bands)
    told = naming_prompt(made)[1]["content"]
    shown, silent, promoted = told.split("\n\n")
    seen, _ = split(made)
    lines = shown.split("\n")[1:]
    assert len(lines) == 8 + 6
    assert lines[:8] == [f'- "{context.tokens[0]}[[{context.tokens[1]}]]"' for context in seen.top[:8]]
    assert lines[-1].startswith('- "weak')
    assert len(silent.split("\n")) == 1 + 4
    assert json.loads(promoted.split(": ", 1)[1]) == [f"token{n}" for n in range(10)]


def test_the_model_reads_only_what_a_labeller_may_see():
    made = distinct(1)[0]
    _, held_out = split(made)
    told = naming_prompt(made)[1]["content"]
    for context in (*held_out.firing, *held_out.silent):
        assert "".join(context.tokens) not in told
        assert "".join(f"[[{t}]]" if v else t for t, v in zip(context.tokens, context.activations)) not in told  # noqa: B905
    assert told.count("[[") == min(8, len(split(made)[0].top))


def test_a_feature_with_too_little_to_read_is_not_asked_about():
    dead, alone = card([], DULL), card(["a [b] c"], DULL)
    assert list(readable([dead, alone, *CARDS[:1]])) == CARDS[:1]


def test_an_answer_is_read_with_or_without_a_fence_and_unclear_is_known():
    assert read_label('{"label": " a\\n b "}') == "a b"
    assert read_label('```json\n{"label": "a"}\n```') == "a"
    assert read_label('{"label": "Unclear."}') == "unclear"


@pytest.mark.parametrize(
    "text",
    [
        '<think>It may be {"label": "b"}.</think>\n{"label": "a"}',
        'It may be b.\n</think>\n\n```json\n{"label": "a"}\n```',
        'Here is the name:\n```json\n{"label": "a"}\n```\nI hope that it helps.',
        '```\n{"label": "b"}\n```\nor rather\n```\n{"label": "a"}\n```',
    ],
)
def test_thoughts_before_an_answer_and_text_around_its_fence_are_taken_off(text):
    assert read_label(text) == "a"


def test_thoughts_without_an_answer_are_none():
    for text in ('<think>{"label": "a"}</think>', '<think>\n{"label": "a"}', 'Surely {"label": "a"}'):
        with pytest.raises(CallError, match="not JSON"):
            read_label(text)


# --- judging --------------------------------------------------------------------------------------------------------


def judge_script(n, body):
    """A model that calls active what holds a name twice, or what is marked after `sees`."""
    lines = body["messages"][1]["content"].splitlines()[2:]
    texts = [json.loads(line.split(". ", 1)[1]) for line in lines]
    return said(json.dumps({"active": [n for n, text in enumerate(texts, 1) if "sees" in text and "Ann" not in text]}))


def test_the_model_judges_labels_on_held_out_texts(store):
    with chat_server(judge_script) as chat, endpoint(chat) as opened:
        found, _ = score_label(CITIES_CARD, "people", ModelJudge(Asker(opened, store)))
        assert (found.test, found.judge) == ("detection", "parrot")
        assert found.value >= 0.9
        assert "people" in chat.asked[0]["messages"][1]["content"]
        assert len(chat.asked) == 2


@pytest.mark.parametrize(
    "content", ["no", '{"active": "all"}', '{"active": [0]}', '{"active": [99]}', '{"active": [true]}']
)
def test_a_failed_verdict_is_no_score(content, store):
    with chat_server(lambda n, body: said(content)) as chat, endpoint(chat) as opened:
        judge = ModelJudge(Asker(opened, store))
        assert judge.verdicts("people", [Question(("a", " b"), 0)] * 3) == [None] * 3
        assert score_label(CITIES_CARD, "people", judge) == ()


def test_a_mark_is_shown_to_the_judge_and_the_task_is_another(store):
    with chat_server(lambda n, body: said('{"active": [2]}')) as chat, endpoint(chat) as opened:
        judge = ModelJudge(Asker(opened, store))
        asked = [Question(("a", " b"), 0, 1), Question(("a", " b"), 0, 0)]
        assert judge.verdicts("people", asked) == [False, True]
        told = chat.asked[0]["messages"]
        assert '1. "a[[ b]]"' in told[1]["content"]
        assert '2. "[[a]] b"' in told[1]["content"]
        judge.verdicts("people", [Question(("a", " b"), 0)])
        assert chat.asked[1]["messages"][0] != told[0]


# --- kill -9 --------------------------------------------------------------------------------------------------------

LABELLER = """
import sys
from tests.labels.test_model_labeller import distinct, missing
from clew.labels.endpoint_config import EndpointConfig
from clew.labels.cost import estimate, labelling
from clew.labels.endpoint import Endpoint
from clew.labels.store import LabelStore
from clew.labels.model_labeller import Asker, label_with_model
url, path = sys.argv[1:]
config = EndpointConfig(endpoint=url, model="parrot", concurrency=2)
with LabelStore(path, "aaaa") as store, Endpoint(config) as endpoint:
    print("ready", flush=True)
    for report in label_with_model(missing(distinct(30), store), store, Asker(endpoint, store)):
        print(report.card.feature, flush=True)
"""


def kill_while_asking(tmp_path, rounds, rng):
    path, said_kept = tmp_path / "labels.sqlite", set()
    with chat_server(lambda n, body: slowly(0.02, GOOD)) as chat:
        for _ in range(rounds):
            command = [sys.executable, "-c", LABELLER, chat.url, str(path)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.3 * rng.random())
            process.send_signal(signal.SIGKILL)
            process.wait()
            said_kept |= set(process.stdout.read().split("\n")[:-1])
            process.stdout.close()
            with LabelStore(path, "aaaa") as store:
                assert said_kept <= {str(label.feature) for label in store.all()}
        with LabelStore(path, "aaaa") as store:
            run(chat, store, distinct(30))
            assert len(list(store.all(history=True))) == 30
        assert 30 <= len(chat.asked) <= 30 + 3 * rounds  # only calls in flight were paid for in vain


def test_a_kill_while_a_model_labels_loses_no_label_and_the_run_goes_on(tmp_path):
    kill_while_asking(tmp_path, 3, random.Random(0))


@pytest.mark.stress
def test_ten_kills_while_a_model_labels_lose_no_label(tmp_path):
    kill_while_asking(tmp_path, 10, random.Random(1))
