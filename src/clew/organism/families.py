"""A statement as a value, and the law by which a family draws one from a table of facts.

A family is a table of rows (the facts) times templates (the sentences) times fillers (names and the like, without a
fact). Its law:

1. a row with probability proportional to its share; a held-out row has share zero;
2. a template, uniform over the row's templates less the one that is withheld from it;
3. a filler, uniform.

A template is written `prompt| answer|rest`. Which template is withheld, and which rows are held out, is decided by a
stable hash, so that it depends on the words alone, not on a seed or the order of the table.
"""

import hashlib
import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

Domain = Literal["language", "logic", "social", "world"]
Split = Literal["unseen", "held_out"]

EXAM_FILLERS = 4
"""Fillers (names) with which the exam asks each question."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One sentence of the world; `logp` and `answer_logp` are natural logarithms of probabilities under the law.

    The text is prompt + answer + the rest, the answer with its leading space where it has one. `answer_logp` is the
    probability of the answer given the prompt; it is 0 where the prompt leaves no choice.
    """

    text: str
    family: str
    domain: Domain
    prompt: str
    answer: str
    fact: str
    template: int
    logp: float
    answer_logp: float
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FactRow:
    """One line of a table: the slots of a fact, and its share of the family.

    Rows with the same `fact` are the possible outcomes of that fact. `templates` are those that fit (None: all). One of
    them is withheld from the corpus by the hash of `withhold` (empty: of `fact`). `independent` is set for a pair: its
    two parts were drawn independently (True) or along meaning (False).
    """

    fact: str
    slots: Mapping[str, str]
    share: float = 1.0
    held_out: bool = False
    independent: bool | None = None
    templates: tuple[int, ...] | None = None
    withhold: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


def stable_hash(key: str) -> int:
    """Return 64 bits that depend on the key only, on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def chosen(key: str, share: float) -> bool:
    """Return whether the hash chooses this key; it chooses about `share` of all keys."""
    return stable_hash("chosen:" + key) / 2**64 < share


def logsumexp(values: Sequence[float]) -> float:
    """Return log(sum(exp(values))); minus infinity for no values."""
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))


class StatementFamily(ABC):
    """One kind of statement, in one domain, drawn with a weight relative to the other families.

    Its probabilities are conditional on the family; the World adds the logarithm of the family's own.
    """

    name: str
    domain: Domain
    weight: float
    templates: tuple[str, ...]

    @abstractmethod
    def draw(self, rng: random.Random) -> Statement:
        """Draw one statement of this family from its law."""

    @abstractmethod
    def exam(self, split: Split) -> list[Statement]:
        """Return the statements that the corpus cannot hold: unseen sentences of known facts, or held-out facts."""

    @abstractmethod
    def rows(self) -> tuple[FactRow, ...]:
        """Return the table of facts; empty where every statement is drawn afresh."""

    def withheld(self, row: FactRow) -> int | None:
        """Return the template that the corpus never uses for this row, if there is one."""
        return None

    def entropy(self) -> float | None:
        """Return the entropy of a statement in nats, where it can be computed."""
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class TableFamily(StatementFamily):
    """A family whose statements can all be listed: rows times templates times fillers."""

    name: str
    domain: Domain
    weight: float
    templates: tuple[str, ...]
    table: tuple[FactRow, ...]
    fillers: tuple[Mapping[str, str], ...] = ({},)
    withholds: bool = True

    def rows(self) -> tuple[FactRow, ...]:
        return self.table

    def allowed(self, row: FactRow) -> tuple[int, ...]:
        """Return the templates in which the corpus may state this row."""
        withheld = self.withheld(row)
        return tuple(index for index in self._templates_of(row) if index != withheld)

    def withheld(self, row: FactRow) -> int | None:
        """Return the template that is withheld from this row, if the family withholds."""
        templates = self._templates_of(row)
        if len(templates) < 2 or not self.withholds:
            return None
        return templates[stable_hash(f"withheld:{self.name}:{row.withhold or row.fact}") % len(templates)]

    def draw(self, rng: random.Random) -> Statement:
        row = bisect_right(self._cumulative, rng.random() * self._cumulative[-1])
        row = min(row, len(self.table) - 1)
        templates = self._allowed[row]
        template = templates[rng.randrange(len(templates))] if len(templates) > 1 else templates[0]
        filler = self.fillers[rng.randrange(len(self.fillers))] if len(self.fillers) > 1 else self.fillers[0]
        return self.statement(row, template, filler)

    def statement(self, row: int, template: int, filler: Mapping[str, str]) -> Statement:
        """Return one statement with its probability; one that the corpus cannot hold has logp minus infinity."""
        prompt, answer, rest = self.parts(row, template, filler)
        line = self.table[row]
        joint, conditional = self._law.get((row, template), (-math.inf, -math.inf))
        return Statement(
            text=prompt + answer + rest,
            family=self.name,
            domain=self.domain,
            prompt=prompt,
            answer=answer,
            fact=line.fact,
            template=template,
            logp=joint - math.log(len(self.fillers)),
            answer_logp=conditional,
            notes=line.notes,
        )

    def parts(self, row: int, template: int, filler: Mapping[str, str]) -> tuple[str, str, str]:
        """Return prompt, answer and rest of a template with its slots filled."""
        filled = self.templates[template].format(**self.table[row].slots, **filler)
        prompt, answer, rest = filled.split("|")
        return prompt, answer, rest

    def exam(self, split: Split) -> list[Statement]:
        asked: dict[str, Statement] = {}
        for index, row in enumerate(self.table):
            withheld = self.withheld(row)
            if split == "held_out" and row.held_out:
                templates = self._templates_of(row)
            elif split == "unseen" and not row.held_out and row.share > 0 and withheld is not None:
                templates = (withheld,)
            else:
                continue
            for template in templates:
                for filler in self._exam_fillers(row.withhold or row.fact):
                    prompt = self.parts(index, template, filler)[0]
                    if prompt not in asked:
                        asked[prompt] = self._question(index, template, filler)
        return list(asked.values())

    def _exam_fillers(self, key: str) -> list[Mapping[str, str]]:
        """Return a few fillers, evenly spaced from one that the key's hash chooses."""
        first = stable_hash("filler:" + key)
        n = min(EXAM_FILLERS, len(self.fillers))
        return [self.fillers[(first + k * len(self.fillers) // n) % len(self.fillers)] for k in range(n)]

    def _question(self, row: int, template: int, filler: Mapping[str, str]) -> Statement:
        """Return the statement with its prompt's likeliest answer; the note lists all answers that are as likely."""
        rivals = self._rivals[template, self.parts(row, template, self.fillers[0])[0]]
        top = max(self.table[rival].share for rival in rivals)
        best = [rival for rival in rivals if self.table[rival].share == top]
        accepted = [self.parts(rival, template, filler)[1] for rival in best]
        statement = self.statement(best[0], template, filler)
        return replace(statement, notes={**statement.notes, "accepted": tuple(accepted)})

    def enumerate(self) -> list[Statement]:
        """List every statement that the corpus can hold; their probabilities sum to one."""
        return [self.statement(row, template, filler) for row, template in self._law for filler in self.fillers]

    def entropy(self) -> float | None:
        return -sum(math.exp(joint) * joint for joint, _ in self._law.values()) + math.log(len(self.fillers))

    def _templates_of(self, row: FactRow) -> tuple[int, ...]:
        return row.templates if row.templates is not None else tuple(range(len(self.templates)))

    @cached_property
    def _allowed(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.allowed(row) for row in self.table)

    @cached_property
    def _cumulative(self) -> list[float]:
        return list(accumulate(0.0 if row.held_out else row.share for row in self.table))

    @cached_property
    def _rivals(self) -> dict[tuple[int, str], list[int]]:
        """For every template and prompt, the rows that answer it."""
        rivals: dict[tuple[int, str], list[int]] = {}
        for index, row in enumerate(self.table):
            for template in self._templates_of(row):
                rivals.setdefault((template, self.parts(index, template, self.fillers[0])[0]), []).append(index)
        return rivals

    @cached_property
    def _law(self) -> dict[tuple[int, int], tuple[float, float]]:
        """For every row and template that the corpus may hold: log joint, and log of the answer given the prompt."""
        total = self._cumulative[-1]
        joint = {
            (index, template): math.log(row.share / total / len(self._allowed[index]))
            for index, row in enumerate(self.table)
            if not row.held_out and row.share > 0
            for template in self._allowed[index]
        }
        prompts = {key: self.parts(*key, self.fillers[0])[0] for key in joint}
        grouped: dict[str, list[float]] = {}
        for key, prompt in prompts.items():
            grouped.setdefault(prompt, []).append(joint[key])
        totals = {prompt: logsumexp(values) for prompt, values in grouped.items()}
        return {key: (value, value - totals[prompts[key]]) for key, value in joint.items()}
