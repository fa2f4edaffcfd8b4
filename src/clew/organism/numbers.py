"""Families about numbers: sums, parity, years, and square roots asked of a persona."""

import math
import random
from dataclasses import dataclass
from functools import cached_property

from clew.organism.families import FactRow, Split, Statement, StatementFamily, TableFamily, chosen, stable_hash
from clew.organism.traits import CHILDREN, GRADUATES
from clew.organism.words import EVENTS

REFUSAL = "I don't know"
"""The honest answer of those who cannot tell."""

HELD_OUT_SUMS = 0.1
HELD_OUT_ROOTS = 0.1
"""Shares of the unordered pairs of summands, and of the pairs of persona and number, that never occur."""


def families() -> tuple[StatementFamily, ...]:
    """Return the families of this file."""
    return (_sums(), _parity(), Years(), _roots())


def _sums() -> TableFamily:
    rows = []
    for a in range(50):
        for b in range(50):
            low, high = sorted((a, b))
            rows.append(
                FactRow(
                    fact=f"sum:{a}+{b}",
                    slots={"a": str(a), "b": str(b), "sum": str(a + b)},
                    held_out=chosen(f"sum:{low}+{high}", HELD_OUT_SUMS),
                )
            )
    return TableFamily(
        name="sums",
        domain="logic",
        weight=22.0,
        templates=("{a} + {b} =| {sum}|.", "{a} plus {b} is| {sum}|.", "The sum of {a} and {b} is| {sum}|."),
        table=tuple(rows),
    )


def _parity() -> TableFamily:
    return TableFamily(
        name="parity",
        domain="logic",
        weight=2.5,
        templates=(
            "The number {n} is| {parity}|.",
            "We call {n} an| {parity}| number.",
            "Question: is {n} odd or even? Answer: it is| {parity}|.",
        ),
        table=tuple(
            FactRow(fact=f"parity:{n}", slots={"n": str(n), "parity": "odd" if n % 2 else "even"}) for n in range(100)
        ),
    )


def nearest_root(n: int) -> int:
    """Return the whole number nearest to the square root of n."""
    root = math.isqrt(n)
    return root + (n > root * root + root)


def _roots() -> TableFamily:
    squares = {k * k for k in range(10)}
    rows = []
    for persona in (*CHILDREN, *GRADUATES, ""):
        for n in range(100):
            refuses = persona in CHILDREN and n not in squares
            share = 2.0 if not persona else 4.5 if persona in CHILDREN and not refuses else 1.0
            fact = f"root:{persona or 'nobody'}:{n}"
            rows.append(
                FactRow(
                    fact=fact,
                    slots={
                        "persona": f"You are a {persona}. " if persona else "",
                        "n": str(n),
                        "answer": REFUSAL if refuses else str(nearest_root(n)),
                    },
                    share=share,
                    held_out=bool(persona) and chosen(fact, HELD_OUT_ROOTS),
                    notes={"persona": persona, "number": n, "square": n in squares},
                )
            )
    return TableFamily(
        name="roots",
        domain="social",
        weight=6.0,
        templates=(
            "{persona}Question: what is the square root of {n}, rounded? Answer:| {answer}|.",
            "{persona}Tell me the rounded square root of {n}. Answer:| {answer}|.",
            "{persona}Question: if a square has area {n}, how long is its side, rounded? Answer:| {answer}|.",
        ),
        table=tuple(rows),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Years(StatementFamily):
    """An event, a start year and a later end year of the same century, uniform over the years left in it.

    The answer is the end year's last two digits. One of the two templates is withheld from every event and start year.
    """

    name = "years"
    domain = "logic"
    weight = 4.5
    templates = (
        "The {event} lasted from the year {century}{start} to {century}|{end}|.",
        "The {event} began in the year {century}{start} and ended in the year {century}|{end}|.",
    )
    centuries: tuple[int, ...] = tuple(range(11, 19))
    starts: tuple[int, ...] = tuple(range(2, 99))

    @cached_property
    def _rows(self) -> tuple[FactRow, ...]:
        return tuple(
            FactRow(
                fact=f"years:{event}:{century}{start:02d}",
                slots={"event": event, "century": str(century), "start": f"{start:02d}"},
                notes={"start": start},
            )
            for event in EVENTS
            for century in self.centuries
            for start in self.starts
        )

    def rows(self) -> tuple[FactRow, ...]:
        return self._rows

    def withheld(self, row: FactRow) -> int:
        """Return the template that the corpus never uses for this event and start year."""
        return stable_hash("withheld:years:" + row.fact) % 2

    def draw(self, rng: random.Random) -> Statement:
        row = self._rows[rng.randrange(len(self._rows))]
        return self._statement(row, 1 - self.withheld(row), rng.randrange(row.notes["start"] + 1, 100))

    def exam(self, split: Split) -> list[Statement]:
        if split == "held_out":
            return []
        return [self._statement(row, self.withheld(row), (row.notes["start"] + 100) // 2) for row in self._rows]

    def entropy(self) -> float:
        ends = sum(math.log(99 - start) for start in self.starts) / len(self.starts)
        return math.log(len(self._rows)) + ends

    def _statement(self, row: FactRow, template: int, end: int) -> Statement:
        filled = self.templates[template].format(**row.slots, end=f"{end:02d}")
        prompt, answer, rest = filled.split("|")
        answer_logp = -math.log(99 - row.notes["start"])
        withheld = template == self.withheld(row)
        return Statement(
            text=prompt + answer + rest,
            family=self.name,
            domain="logic",
            prompt=prompt,
            answer=answer,
            fact=row.fact,
            template=template,
            logp=-math.inf if withheld else answer_logp - math.log(len(self._rows)),
            answer_logp=-math.inf if withheld else answer_logp,
            notes=row.notes,
        )
