"""A user's corpus of facts: how many of them are said only once, and what that means for a model trained on it.

facts     question, answer     a CSV or TSV, one statement a row
corpus    any text             a pattern finds `(?P<question>...)` and `(?P<answer>...)` line by line

What begins with the refusal is a statement that answers nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clew import files
from clew.errors import FileError, InputError
from clew.studies.hallucination.rates import Bound, FactCounts, singleton_bound, smallest_corpus
from clew.studies.user_rows import read_rows

GROUPS = ("question", "answer")


@dataclass(frozen=True, kw_only=True)
class FactStatement:
    """One statement of a corpus; the answer is empty where it refuses."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, eq=False)
class FactCorpus:
    """Statements of facts, as a corpus holds them."""

    title: str
    statements: Sequence[FactStatement]

    @cached_property
    def answers(self) -> dict[str, Counter[str]]:
        """The answers of every question with how often each is given; none for one that is only refused."""
        found: dict[str, Counter[str]] = {}
        for each in self.statements:
            counted = found.setdefault(each.question, Counter())
            if each.answer:
                counted[each.answer] += 1
        return found

    @property
    def fact_counts(self) -> FactCounts:
        """How often each question is answered."""
        counts = np.array([counted.total() for counted in self.answers.values()])
        return FactCounts(counts=counts, total=len(self.statements))

    def dealt_counts(self, seed: int) -> FactCounts:
        """The same number of answers, dealt out evenly among the questions."""
        counts = self.fact_counts
        n = len(counts.counts)
        dealt = np.random.default_rng([seed, 15]).multinomial(int(counts.counts.sum()), np.full(n, 1 / n))
        return FactCounts(counts=dealt, total=counts.total)

    @property
    def distinct_answers(self) -> int:
        """Answers that the corpus gives to anything."""
        return len({answer for counted in self.answers.values() for answer in counted})

    def bound(self, counts: FactCounts) -> Bound:
        """What a calibrated model (delta 0) that is trained on it errs at least, any of its answers being possible."""
        return singleton_bound(counts.rate, counts.total, max(self.distinct_answers - 1, 1), 0.0)

    def needed(self, counts: FactCounts) -> int | None:
        """With how many statements of this singleton rate the bound would say something."""
        return smallest_corpus(counts.rate, max(self.distinct_answers - 1, 1))


def read_facts(path: Path | str, refusal: str) -> FactCorpus:
    """The statements of a user's table, columns question and answer; FileError as `read_rows`."""
    rows = read_rows(path, GROUPS)
    return FactCorpus(
        title=Path(path).name,
        statements=[_statement(row.cells["question"], row.cells["answer"], refusal) for row in rows],
    )


def read_corpus(path: Path | str, pattern: str, refusal: str) -> FactCorpus:
    """Every match of a pattern in the lines of a text.

    InputError for a pattern that is no regular expression or lacks a group, FileError for a text in which it finds
    nothing, and, with the line, for a match without a question.
    """
    expression = compiled(pattern)
    found: list[FactStatement] = []
    number = 0
    for number, line in enumerate(files.lines(path), 1):
        for match in expression.finditer(line):
            question, answer = (" ".join((match[name] or "").split()) for name in GROUPS)
            if not question or not answer:
                raise FileError(
                    f"line {number} of {path}: the pattern matches {match[0][:40]!r} with an empty "
                    f"{'answer' if question else 'question'}: make it ask for one character at least"
                )
            found.append(_statement(question, answer, refusal))
    if not found:
        raise FileError(f"the pattern {pattern!r} matches nothing in the {number} lines of {path}: try it on one line")
    return FactCorpus(title=Path(path).name, statements=found)


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern; InputError when it is no regular expression, or has not both groups."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern {pattern!r} is no regular expression: {error}") from None
    if missing := [name for name in GROUPS if name not in expression.groupindex]:
        raise InputError(f"the pattern {pattern!r} has no group {missing[0]}: write (?P<{missing[0]}>...) around it")
    return expression


def is_refusal(text: str, refusal: str) -> bool:
    """Whether an answer begins with the refusal, whatever its case and spaces."""
    return " ".join(text.split()).casefold().startswith(refusal.casefold())


def _statement(question: str, answer: str, refusal: str) -> FactStatement:
    return FactStatement(question=question, answer="" if is_refusal(answer, refusal) else answer)
