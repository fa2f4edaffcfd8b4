"""Which language model is asked for labels, and what it may cost: a frozen value, whose docstrings are help texts."""

from __future__ import annotations

from dataclasses import dataclass

from clew.errors import InputError

LOCAL = "local"
"""The address of a model that runs in this process."""


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """A language model behind an OpenAI-compatible endpoint, and what may be spent on it."""

    endpoint: str
    """Address of the endpoint, for example http://localhost:11434/v1; left out, the model runs on this machine."""
    model: str
    """Name of the model there; without an endpoint smollm2 (an extra), or the folder or id of a chat model."""
    concurrency: int = 4
    """Calls at once."""
    timeout: float = 60.0
    """Seconds to wait for an answer."""
    retries: int = 5
    """Further tries after one that failed."""
    backoff: float = 1.0
    """Seconds before the second try; each further wait is twice as long."""
    answer_tokens: int = 200
    """Tokens that an answer may have."""
    budget_tokens: int | None = None
    """Tokens that may be spent in all, prompts and answers."""
    budget_money: float | None = None
    """Money that may be spent in all, in the unit of the prices."""
    price_in: float = 0.0
    """Price of a million prompt tokens."""
    price_out: float = 0.0
    """Price of a million answer tokens."""

    def __post_init__(self) -> None:
        if self.endpoint != LOCAL and not self.endpoint.startswith(("http://", "https://")):
            raise InputError(f"the endpoint {self.endpoint!r} is no address: write http://host:port/v1")
        for name in ("concurrency", "timeout", "answer_tokens"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be more than 0")
        for name in ("retries", "backoff", "budget_tokens", "budget_money", "price_in", "price_out"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: it cannot be less than 0")
        if self.budget_money is not None and not (self.price_in or self.price_out):
            raise InputError("a budget in money needs prices: give --price-in and --price-out")
