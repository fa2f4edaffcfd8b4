"""The most that a run with a language model can cost, estimated before any call: every prompt is written and measured.

1. A prompt counts as many tokens as `Endpoint.cost` estimates, an answer the most that it may have.
2. A label that does not exist yet counts as the longest answer, a null as the longest that may be drawn.
3. Each call may be tried as often as the settings allow: a try that the server refuses costs nothing, but one that is
   lost on the way may have been billed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clew.features.card import Card
from clew.features.label import LONGEST
from clew.labels.endpoint import ChatModel, Spent, added
from clew.labels.model_labeller import judging_prompt, naming_prompt
from clew.labels.scoring import LEAST, detection, fuzzing

_BYTES_AN_ANSWER_TOKEN = 4  # of a label in English; the braces of the JSON around it make up for longer ones


@dataclass(frozen=True)
class CostEstimate:
    """The most that a run can spend."""

    once: Spent
    """If no call is tried again."""
    most: Spent
    """If every call needs all its tries."""


def labelling(card: Card, endpoint: ChatModel) -> Spent:
    """The most that the call for a card's label can cost."""
    return endpoint.cost(naming_prompt(card))


def scoring(card: Card, endpoint: ChatModel, label: str | None, null: int) -> Spent:
    """The most that scoring can cost: a call for the label (None: not known yet) and one for a null, in every test.

    `null` is the length of the null label in bytes.
    """
    unknown = min(LONGEST, _BYTES_AN_ANSWER_TOKEN * endpoint.config.answer_tokens)
    label_size = unknown if label is None else len(label.encode())
    total = Spent()
    for test in (detection(card), fuzzing(card)):
        if len(test) >= 2 * LEAST:
            questions = [question for question, _ in test]
            for size in (label_size, max(null, unknown)):
                total = added(total, endpoint.cost(judging_prompt("x" * size, questions)))
    return total


def estimate(costs: Iterable[Spent], endpoint: ChatModel) -> CostEstimate:
    """The sum of costs, without retries and with all of them."""
    once = Spent()
    for cost in costs:
        once = added(once, cost)
    tries = endpoint.config.retries + 1
    most = Spent(tries * once.calls, tries * once.tokens_in, tries * once.tokens_out, tries * once.money)
    return CostEstimate(once, most)
