"""The study `hallucination`: why a calibrated model must err on what it saw once, and where refusal comes from."""

from clew.studies.hallucination.grading import Grades, confidence_score, crossing, leaderboard
from clew.studies.hallucination.rates import FactCounts, ideal_error, iiv_bound, singleton_bound

__all__ = [
    "FactCounts", "Grades", "confidence_score", "crossing", "ideal_error", "iiv_bound", "leaderboard",
    "singleton_bound",
]  # fmt: skip
