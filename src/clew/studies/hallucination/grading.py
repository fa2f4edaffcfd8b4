"""Scores of answers where refusing is allowed: right 1, refused 0, wrong -t / (1 - t), with a confidence target t.

At t = 0 a wrong answer costs nothing, and guessing never loses: the usual, binary score. At t the best thing to do is
to answer when one is right with a probability above t (Kalai et al. 2025, section 4). Which of two models stands first
can hang on t; where it turns is a formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clew.errors import InputError

TARGETS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Confidence targets of the leaderboard."""


@dataclass(frozen=True, kw_only=True)
class Grades:
    """Shares of right, refused and wrong answers; InputError when they do not add up to one."""

    right: float
    refused: float
    wrong: float

    def __post_init__(self) -> None:
        shares = (self.right, self.refused, self.wrong)
        if min(shares) < -1e-9 or abs(sum(shares) - 1) > 1e-6:
            raise InputError(f"{self.right:g} right, {self.refused:g} refused and {self.wrong:g} wrong are no shares")


def confidence_score(grades: Grades, target: float) -> float:
    """The mean score at a confidence target; InputError for one outside 0 to 1, 1 excluded."""
    if not 0 <= target < 1:
        raise InputError(f"the confidence target is {target:g}: give 0 or more, and less than 1")
    return grades.right - grades.wrong * target / (1 - target)


def crossing(one: Grades, other: Grades) -> float | None:
    """The target at which two score the same and change places; None where one is ahead at every target."""
    right, wrong = one.right - other.right, one.wrong - other.wrong
    if right * wrong <= 0:  # more right and no more wrong: ahead everywhere
        return None
    odds = right / wrong
    return odds / (1 + odds)


def leaderboard(models: Mapping[str, Grades], targets: Sequence[float] = TARGETS) -> dict[float, list[str]]:
    """Names from the best score to the worst at every target; of equal ones the first given stands first."""
    return {
        target: sorted(models, key=lambda name: -round(confidence_score(models[name], target), 12))
        for target in targets
    }
