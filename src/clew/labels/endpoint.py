"""One chat endpoint that speaks the OpenAI protocol: Ollama, vLLM, llama.cpp or a hosted one, by URL and model name.

A call that fails is tried again where that can help (a rate limit, a server's fault, a timeout, a lost connection),
waiting twice as long each time or as long as the server asks. Tokens and money are counted, and no call is started that
could exceed the budget. Tested against a local server; no real endpoint was called.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from clew.errors import InputError
from clew.extras import needed_module
from clew.labels.endpoint_config import EndpointConfig
from clew.labels.store import Answer

if TYPE_CHECKING:
    import httpx2

Messages = Sequence[dict[str, str]]
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = {401: "the key is missing or wrong", 403: "the key may not do that", 404: "no such address or model"}
_LONGEST_MESSAGE = 300  # characters of a server's message
_LONGEST_WAIT = 60.0  # seconds between two tries
_MOST_TOKENS = 10_000_000  # of one call: more than any model reads
_BYTES_A_TOKEN = 3  # of a prompt: fewer than the four of English, so that estimates are not too low


class CallError(Exception):
    """One call failed for good; the message says why. Other calls may succeed."""


class BudgetError(Exception):
    """The next call could exceed the budget."""


@dataclass(frozen=True)
class Spent:
    """Calls, tokens and money."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


class ChatModel(Protocol):
    """What answers prompts: an endpoint, or a model on this machine."""

    @property
    def config(self) -> EndpointConfig:
        """Its name and its limits."""

    @property
    def limit(self) -> str:
        """What is said of an answer that was cut."""

    @property
    def spent(self) -> Spent:
        """Spent so far."""

    def cost(self, messages: Messages) -> Spent:
        """The most that one call spends."""

    def ask(self, messages: Messages) -> Answer:
        """The answer; CallError, BudgetError and InputError as `Endpoint.ask` raises them."""


class Endpoint:
    """A client that retries and counts. Several threads may share it; used in a `with` block."""

    def __init__(self, config: EndpointConfig, key: str = "") -> None:
        self._config = config
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._spent, self._reserved = Spent(), Spent()
        self._random, self._key = random.Random(0), key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = needed_module("httpx2", "labeller", "labelling by a language model")
        limits = self._http.Limits(max_connections=config.concurrency)
        self._client = self._http.Client(timeout=config.timeout, headers=headers, limits=limits)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    @property
    def config(self) -> EndpointConfig:
        """Address, model and limits."""
        return self._config

    @property
    def limit(self) -> str:
        """What is said of an answer that was cut."""
        return f": it was cut at {self.config.answer_tokens} tokens, give it more with --answer-tokens"

    @property
    def spent(self) -> Spent:
        """Spent so far; a call that was lost on the way counts as estimated, since it may have been billed."""
        return self._spent

    def cost(self, messages: Messages) -> Spent:
        """The most that one call spends, estimated from the length of its text."""
        size = sum(len(message["content"].encode()) + 12 for message in messages)
        return self._priced(1, size // _BYTES_A_TOKEN + 1, self.config.answer_tokens)

    def ask(self, messages: Messages) -> Answer:
        """The model's answer.

        CallError when there is none after all tries, BudgetError when the call could exceed the budget, InputError when
        the endpoint refuses every call: a wrong key, address or model.
        """
        cost, failure = self.cost(messages), ""
        for number in range(self.config.retries + 1):
            self._reserve(cost)
            used = Spent()
            try:
                answer, failure, wait, used = self._try(messages, cost)
            finally:
                self._settle(cost, used)
            if answer is not None:
                return answer
            if wait is None:
                raise CallError(failure)
            if number < self.config.retries:
                time.sleep(min(_LONGEST_WAIT, max(wait, self.config.backoff * 2**number * self._jitter())))
        raise CallError(f"{failure}, {self.config.retries + 1} times")

    def _jitter(self) -> float:
        with self._lock:
            return 1 + 0.25 * self._random.random()  # so that calls that failed together do not come back together

    def _try(self, messages: Messages, cost: Spent) -> tuple[Answer | None, str, float | None, Spent]:
        """The answer, or a failure and the seconds to wait at least (None: a retry is useless), and what was spent."""
        body = {"model": self.config.model, "messages": list(messages), "temperature": 0}
        body["max_tokens"] = self.config.answer_tokens
        address = self.config.endpoint.rstrip("/") + "/chat/completions"
        try:
            response = self._client.post(address, json=body)
        except self._http.TimeoutException:
            return None, f"no answer in {self.config.timeout:g} s", 0.0, cost
        except (self._http.HTTPError, self._http.InvalidURL, self._http.StreamError) as error:
            lost = isinstance(error, (self._http.ReadError, self._http.RemoteProtocolError))
            return None, f"no connection ({error or type(error).__name__})", 0.0, cost if lost else Spent()
        if reason := _REFUSED.get(response.status_code):
            raise InputError(
                f"{address} refuses model {self.config.model!r}: {response.status_code}, {reason}{self._said(response)}"
            )
        if response.status_code in _AGAIN:
            return None, f"status {response.status_code}{self._said(response)}", _wait(response), Spent()
        if response.status_code != 200:
            return None, f"status {response.status_code}{self._said(response)}", None, Spent()
        return self._read(response, cost)

    def _said(self, response: httpx2.Response) -> str:
        """The server's own message in brackets, without the key; nothing where it gives none."""
        try:
            value: Any = response.json()
            error = value.get("error", value) if isinstance(value, dict) else value
            message = error.get("message", error) if isinstance(error, dict) else error
        except (ValueError, RecursionError):
            message = response.text
        line = " ".join(str(message).split())[:_LONGEST_MESSAGE]
        return f" ({line.replace(self._key, '…') if self._key else line})" if message else ""

    def _read(self, response: httpx2.Response, cost: Spent) -> tuple[Answer | None, str, float | None, Spent]:
        try:
            value: Any = response.json()
            choice = value["choices"][0]
            text, cut = choice["message"]["content"], choice.get("finish_reason") == "length"
            usage = value.get("usage")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return None, "the endpoint's reply is not in the OpenAI format", None, cost
        tokens_in = _counted(usage, "prompt_tokens", cost.tokens_in)
        tokens_out = _counted(usage, "completion_tokens", cost.tokens_out)
        used = self._priced(1, tokens_in, tokens_out)
        if not isinstance(text, str) or not text.strip():
            return None, f"the answer is empty{self.limit if cut else ''}", None, used
        return Answer(text, tokens_in, tokens_out, cut), "", None, used

    # --- the budget -------------------------------------------------------------------------------------------

    def _priced(self, calls: int, tokens_in: int, tokens_out: int) -> Spent:
        money = (tokens_in * self.config.price_in + tokens_out * self.config.price_out) / 1e6
        return Spent(calls, tokens_in, tokens_out, money)

    def _reserve(self, cost: Spent) -> None:
        """Reserve what a call may cost. If that exceeds the budget, wait for calls in flight, which may cost less."""
        with self._settled:
            while over := self._over(cost):
                if not self._reserved.calls:
                    raise BudgetError(over)
                self._settled.wait()
            self._reserved = added(self._reserved, cost)

    def _over(self, cost: Spent) -> str:
        """The budget that one more call could exceed, beside all in flight, in words; empty if none."""
        total = added(added(self._spent, self._reserved), cost)
        tokens, money = self.config.budget_tokens, self.config.budget_money
        if tokens is not None and total.tokens > tokens:
            return f"{self._spent.tokens} of {tokens} tokens are spent"
        if money is not None and total.money > money:
            return f"{self._spent.money:.4g} of {money:g} are spent"
        return ""

    def _settle(self, cost: Spent, used: Spent) -> None:
        with self._settled:
            self._reserved = added(self._reserved, cost, -1)
            self._spent = added(self._spent, used)
            self._settled.notify_all()


def _counted(usage: Any, name: str, estimated: int) -> int:
    """The number of tokens that an endpoint reports; the estimate where it reports none, or an impossible one."""
    reported = usage.get(name) if isinstance(usage, dict) else None
    return reported if type(reported) is int and 0 < reported <= _MOST_TOKENS else estimated


def added(spent: Spent, other: Spent, sign: int = 1) -> Spent:
    """The sum, or with sign -1 the difference."""
    return Spent(
        spent.calls + sign * other.calls,
        spent.tokens_in + sign * other.tokens_in,
        spent.tokens_out + sign * other.tokens_out,
        spent.money + sign * other.money,
    )


def _wait(response: httpx2.Response) -> float:
    """Seconds that the server asks to wait; 0 where it gives none."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0
