"""One call to an endpoint: what is tried again, what fails for good, and what is counted."""

import json
import time
from itertools import pairwise

import pytest

from clew.errors import InputError
from clew.labels.endpoint import CallError
from clew.labels.endpoint_config import EndpointConfig
from tests.chat_server import chat_server, failed, said, slowly
from tests.labels.test_model_labeller import GOOD, endpoint

HELLO = [{"role": "user", "content": "hello"}]


def test_a_call_carries_model_key_and_prompt_and_counts_what_it_cost():
    with chat_server(lambda n, body: said("hi", 70, 30)) as chat:
        with endpoint(chat, price_in=1.0, price_out=10.0) as opened:
            assert opened.ask(HELLO).text == "hi"
            assert opened.ask(HELLO).tokens_in == 70
            assert opened.spent.tokens == 200
            assert opened.spent.money == pytest.approx((140 * 1 + 60 * 10) / 1e6)
        assert chat.asked[0]["model"] == "parrot"
        assert chat.asked[0]["messages"] == HELLO
        assert {name.lower(): value for name, value in chat.headers[0].items()}["authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_a_rate_limit_or_a_servers_fault_is_tried_again(status):
    with chat_server(lambda n, body: failed(status) if n < 3 else GOOD) as chat, endpoint(chat) as opened:
        assert "Paris" in opened.ask(HELLO).text
        assert len(chat.asked) == 4
        assert opened.spent.calls == 1


def test_waits_grow_and_a_server_may_ask_for_a_longer_one():
    times = []

    def script(n, body):
        times.append(time.monotonic())
        return (failed(429), failed(429), failed(429, retry_after="0.4"), GOOD)[n]

    with chat_server(script) as chat, endpoint(chat, backoff=0.05) as opened:
        opened.ask(HELLO)
    waits = [later - sooner for sooner, later in pairwise(times)]
    assert waits[0] >= 0.05
    assert waits[1] >= 0.1
    assert waits[2] >= 0.4


def test_a_call_that_fails_for_good_says_why_after_the_last_try():
    with chat_server(lambda n, body: failed(429)) as chat, endpoint(chat, retries=2) as opened:
        with pytest.raises(CallError, match=r"status 429 \(no\), 3 times"):
            opened.ask(HELLO)
        assert len(chat.asked) == 3


def test_a_slow_answer_is_a_timeout_and_is_counted_for_it_may_be_billed():
    slow = lambda n, body: slowly(0.6, GOOD) if n == 0 else GOOD  # noqa: E731
    with chat_server(slow) as chat, endpoint(chat, timeout=0.2) as opened:
        opened.ask(HELLO)
        assert len(chat.asked) == 2
        assert opened.spent.tokens == opened.cost(HELLO).tokens + 110
    with (
        chat_server(lambda n, body: slowly(0.4, GOOD)) as chat,
        endpoint(chat, timeout=0.1, retries=1) as opened,
        pytest.raises(CallError, match=r"no answer in 0\.1 s, 2 times"),
    ):
        opened.ask(HELLO)


def test_a_connection_that_breaks_off_is_tried_again():
    with chat_server(lambda n, body: None if n == 0 else GOOD) as chat, endpoint(chat) as opened:
        opened.ask(HELLO)
        assert len(chat.asked) == 2


@pytest.mark.parametrize(
    "reply",
    [
        (200, "not JSON", {}),
        (200, "[]", {}),
        (200, '{"choices": []}', {}),
        (200, '{"choices": [{"message": {}}]}', {}),
        (200, '{"choices": [{"message": {"content": null}}]}', {}),
        (200, '{"choices": [{"message": {"content": " "}}]}', {}),
        (400, "too long", {}),
    ],
)
def test_a_reply_in_another_format_is_a_failed_call(reply):
    with chat_server(lambda n, body: reply) as chat, endpoint(chat) as opened:
        with pytest.raises(CallError):
            opened.ask(HELLO)
        assert len(chat.asked) == 1


@pytest.mark.parametrize(
    "usage",
    [
        "null", "[1]", "{}", '"much"', '{"prompt_tokens": null, "completion_tokens": null}',
        '{"prompt_tokens": -500, "completion_tokens": -1}', '{"prompt_tokens": 0, "completion_tokens": 0}',
        '{"prompt_tokens": 1e400, "completion_tokens": NaN}', '{"prompt_tokens": 1e12, "completion_tokens": true}',
        '{"prompt_tokens": 1000000000000, "completion_tokens": "12"}',
    ],
)  # fmt: skip
def test_usage_that_is_missing_or_cannot_be_is_estimated_and_never_lowers_what_is_spent(usage):
    reply = '{"choices": [{"message": {"content": "x"}}], "usage": ' + usage + "}"
    with (
        chat_server(lambda n, body: (200, reply, {})) as chat,
        endpoint(chat, price_in=1.0, price_out=1.0) as opened,
    ):
        for calls in (1, 2):
            assert opened.ask(HELLO).text == "x"
            assert opened.spent.tokens == calls * opened.cost(HELLO).tokens
            assert opened.spent.money == pytest.approx(calls * opened.cost(HELLO).money)


@pytest.mark.parametrize("count", [1, 10_000_000])
def test_usage_that_can_be_is_taken_as_it_is_reported(count):
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    reply = '{"choices": [{"message": {"content": "x"}}], "usage": ' + usage + "}"
    with chat_server(lambda n, body: (200, reply, {})) as chat, endpoint(chat, price_in=1.0, price_out=2.0) as opened:
        answer = opened.ask(HELLO)
        assert (answer.tokens_in, answer.tokens_out) == (count, count)
        assert (opened.spent.tokens, opened.spent.money) == (2 * count, pytest.approx(3 * count / 1e6))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "localhost"}, "no address"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"budget_tokens": -1}, "cannot be less"),
        ({"budget_money": 1.0}, "needs prices"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        EndpointConfig(**{"endpoint": "http://x/v1", "model": "m", **settings})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"error": {"message": "this model\'s context is 4096 tokens", "code": 1}}',
            "this model's context is 4096 tokens",
        ),
        ('{"error": "no model loaded"}', "no model loaded"),
        ('{"detail": "bad"}', "detail"),
        ("<html>gateway</html>", "gateway"),
        ('{"error": {"message": "wrong key secret"}}', "wrong key …"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_carries_the_servers_own_message_without_the_key(status, text, message):
    with (
        chat_server(lambda n, body: (status, text, {})) as chat,
        endpoint(chat, retries=0) as opened,
        pytest.raises((CallError, InputError)) as refusal,
    ):
        opened.ask(HELLO)
    assert str(status) in str(refusal.value)
    assert message in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_an_answer_that_its_limit_cut_to_nothing_names_the_limit():
    """Models that reason first spend their tokens on that."""
    value = {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}
    with (
        chat_server(lambda n, body: (200, json.dumps(value), {})) as chat,
        endpoint(chat, answer_tokens=77) as opened,
        pytest.raises(CallError, match=r"empty.*cut at 77 tokens.*--answer-tokens"),
    ):
        opened.ask(HELLO)
