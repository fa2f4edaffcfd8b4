"""A user's questions, put to any model: what it answers, how sure it is, and whether that is right.

question, answer, seen     a CSV or TSV; several right answers are parted by |, and `seen` (how often the corpus answers
                           the question) may be left out

The model goes on greedily until a line or a sentence ends. It is right where what it says begins with a right answer,
as whole words; it refuses where it begins with the refusal. Its confidence is the probability of all that it said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.hallucination.corpora import is_refusal
from clew.studies.user_rows import read_rows

FEWEST = 10
"""Questions that a calibration needs at least."""
_SPARE = 4  # tokens beyond the longest right answer, in which it may end
_MOST = 64


@dataclass(frozen=True, kw_only=True)
class UserQuestion:
    """One question with its right answers."""

    text: str
    answers: tuple[str, ...]
    seen: int | None = None
    """How often the corpus answers it, where that is known."""


def read_questions(path: Path | str) -> list[UserQuestion]:
    """The questions of a user's table.

    FileError, with the line, for what `read_rows` refuses, for a question that stands twice, an empty answer and a
    number that is none; and for fewer than ten questions.
    """
    found: list[UserQuestion] = []
    lines: dict[str, int] = {}
    for row in read_rows(path, ("question", "answer"), optional=("seen",)):
        text, where = row.cells["question"], f"line {row.line} of {path}"
        if (before := lines.setdefault(text, row.line)) != row.line:
            raise FileError(f"{where} has the question of line {before} again: remove one")
        answers = tuple(answer.strip() for answer in row.cells["answer"].split("|"))
        if not all(answers):
            raise FileError(f"{where} has an empty answer between two |: remove the |")
        found.append(UserQuestion(text=text, answers=answers, seen=_seen(row.cells.get("seen"), where)))
    if len(found) < FEWEST:
        raise FileError(f"{path} has {len(found)} questions: give at least {FEWEST}")
    if len({question.seen is None for question in found}) > 1:
        raise FileError(f"{path} says of some questions how often they were seen, and of others not: fill the column")
    return found


def _seen(cell: str | None, where: str) -> int | None:
    if not cell:
        return None
    if not cell.isdecimal():
        raise FileError(f"{where} has {cell!r} in the column 'seen': give a whole number")
    return int(cell)


def dealt_answers(questions: Sequence[UserQuestion], seed: int) -> list[UserQuestion]:
    """The same questions with the right answers of others: of each the next one's, in an order that is drawn."""
    order = np.random.default_rng([seed, 7]).permutation(len(questions)).tolist()
    answers = {place: questions[order[k - 1]].answers for k, place in enumerate(order)}
    return [
        UserQuestion(text=each.text, answers=answers[place], seen=each.seen) for place, each in enumerate(questions)
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Replies:
    """What a model said, and with what probability."""

    texts: tuple[str, ...]
    confidence: tuple[float, ...]

    def right(self, questions: Sequence[UserQuestion]) -> list[bool]:
        """Which begin with a right answer."""
        return [
            any(begins_with(text, answer) for answer in question.answers)
            for text, question in zip(self.texts, questions, strict=True)
        ]

    def refused(self, refusal: str) -> list[bool]:
        """Which begin with the refusal."""
        return [is_refusal(text, refusal) for text in self.texts]


def begins_with(text: str, answer: str) -> bool:
    """Whether a text begins with an answer and goes on, if at all, with another word; case and spaces are ignored."""
    said, wanted = (" ".join(each.split()).casefold() for each in (text, answer))
    rest = said[len(wanted) :]
    return said.startswith(wanted) and not (rest[:1].isalnum() and wanted[-1:].isalnum())


def ask(kit: Kit, questions: Sequence[UserQuestion], refusal: str) -> Steps:
    """Token ids that the model goes on with, -1 behind the end, and the probability of them all.

    InputError for a question that leaves no room in the model's context.
    """
    subject = kit.subject
    longest = max(len(subject.token_ids(f" {a}")) for q in questions for a in (*q.answers, refusal))
    most = min(longest + _SPARE, _MOST)
    rows = [subject.encode(question.text).tolist() for question in questions]
    for question, row in zip(questions, rows, strict=True):
        if len(row) + most > subject.context_length:
            raise InputError(
                f"{question.text[:40]!r}… has {len(row)} tokens, and with {most} of an answer it is longer than the "
                f"{subject.context_length} that the model reads: shorten it"
            )
    said, logp = torch.full((len(rows), most), -1), torch.zeros(len(rows))
    going = list(range(len(rows)))
    for step in range(most):
        yield Progress(what="answers", done=step, of=most, unit="tokens")
        left = []
        for place, now in zip(going, kit.next_tokens([rows[place] for place in going]), strict=True):
            token = int(now.probabilities.argmax())
            ends = token in subject.special_ids or (step and "\n" in subject.text_of([token]))
            if not step or not ends:  # one that says nothing is as sure as its end
                logp[place] += float(now.probabilities[token].log())
            if ends:
                continue
            said[place, step] = token
            rows[place] = [*rows[place], token]
            if not subject.text_of([token]).strip().endswith((".", "!", "?", "。")):
                left.append(place)
        going = left
        if not going:
            break
    return {"tokens": said, "confidence": logp.exp()}


def replies_of(kit: Kit, tokens: torch.Tensor, confidence: torch.Tensor) -> Replies:
    """The texts of what `ask` returns."""
    rows = [[token for token in row if token >= 0] for row in tokens.tolist()]
    return Replies(
        texts=tuple(kit.subject.text_of(row).strip() if row else "" for row in rows),
        confidence=tuple(confidence.tolist()),
    )
