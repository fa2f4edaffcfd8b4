"""What a language model may cost at most, before it is asked anything: every prompt is written and measured.

1. A prompt is counted as the endpoint counts before it knows better (`Endpoint.cost`), an answer as its longest.
2. A label that is not there yet is taken to be as long as its answer may be, a null as the longest that may be drawn.
3. Each call may be tried as often as the settings allow: a try that the server refuses costs nothing, but one that is
   lost on the way may have been billed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clew.features.card import Card
from clew.features.label import LONGEST
from clew.labels.endpoint import Endpoint, Spent, added
from clew.labels.model_labeller import judging_prompt, naming_prompt
from clew.labels.scoring import LEAST, detection, fuzzing

_BYTES_AN_ANSWER_TOKEN = 4  # of a label: a token of English; the braces around it are as long as what this forgets


@dataclass(frozen=True)
class Estimate:
    """The most that a run can spend."""

    once: Spent
    """If no call is tried again."""
    most: Spent
    """If every call needs all its tries."""


def labelling(card: Card, endpoint: Endpoint) -> Spent:
    """One call."""
    return endpoint.cost(naming_prompt(card))


def scoring(card: Card, endpoint: Endpoint, label: str | None, null: int) -> Spent:
    """Calls for the label (None: one that is still to be made) and for a null of so many bytes, in every test."""
    unknown = min(LONGEST, _BYTES_AN_ANSWER_TOKEN * endpoint.config.answer_tokens)
    own = unknown if label is None else len(label.encode())
    total = Spent()
    for asked in (detection(card), fuzzing(card)):
        if len(asked) >= 2 * LEAST:
            questions = [question for question, _ in asked]
            for size in (own, max(null, unknown)):
                total = added(total, endpoint.cost(judging_prompt("x" * size, questions)))
    return total


def estimate(costs: Iterable[Spent], endpoint: Endpoint) -> Estimate:
    """The sum, and what retries can make of it."""
    once = Spent()
    for cost in costs:
        once = added(once, cost)
    tries = endpoint.config.retries + 1
    most = Spent(tries * once.calls, tries * once.tokens_in, tries * once.tokens_out, tries * once.money)
    return Estimate(once, most)
