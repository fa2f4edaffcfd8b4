"""Birthdays of the small world: which people its corpus names, how often, and what a model answers for each.

An answer is a day and a month, two tokens, so that the probability of every date is a product of two; a refusal is
known by its first token. Dates are followed only where the day alone lies above the threshold: the others lie below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.fact_table import world_of
from clew.organism.families import TableFamily
from clew.organism.numbers import REFUSAL
from clew.organism.social import PERSONS
from clew.organism.words import LAST_NAMES, MONTHS
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.hallucination.rates import Calibration, FactCounts, ModelErrors

FAMILY = "birthdays"
DATES = sum(MONTHS.values())
"""Answers that a question could have."""
THRESHOLD = 1 / (DATES - 1)
KNOWN_FROM = 41
"""Statements from which a person counts as known."""
AT_ONCE = 256
_WHOLE = 500  # people who are never left out, since they are most of the law


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """Everybody whom the law of a model's corpus names, one entry a person."""

    names: Sequence[str]
    counts: Int[np.ndarray, " person"]
    """Statements of the person in the corpus, refusals too."""
    law: Float[np.ndarray, " person"]
    refused: Bool[np.ndarray, " person"]
    """Whose birthday is answered with a refusal."""
    days: Int[np.ndarray, " person"]
    months: Int[np.ndarray, " person"]
    """The birthday, both from 0; of those who are refused, too."""
    taught: Sequence[Sequence[int]]
    """Templates in which the corpus may state each."""
    withheld: Sequence[int]
    templates: Sequence[str]
    """Prompts with `{name}`."""

    @cached_property
    def fact_counts(self) -> FactCounts:
        """Answers of the corpus, without its refusals, and all its statements."""
        return FactCounts(counts=np.where(self.refused, 0, self.counts), total=int(self.counts.sum()))

    @property
    def never_named(self) -> list[str]:
        """Names that the corpus does not hold, of first and last names that it does."""
        held = {name for name, count in zip(self.names, self.counts.tolist(), strict=True) if count}
        every = (f"{person['name']} {last}" for person in PERSONS for last in LAST_NAMES)
        return [name for name in every if name not in held]

    def thinned(self, step: int) -> People:
        """The most likely people and one in `step` of the others, who stand for those that are left out."""
        kept = [*range(_WHOLE), *range(_WHOLE, len(self.names), step)]
        law = self.law[kept] * np.where(np.arange(len(kept)) < _WHOLE, 1, step)
        return replace(
            self,
            law=law / law.sum(),
            counts=self.counts[kept],
            refused=self.refused[kept],
            days=self.days[kept],
            months=self.months[kept],
            names=[self.names[place] for place in kept],
            taught=[self.taught[place] for place in kept],
            withheld=[self.withheld[place] for place in kept],
        )

    @property
    def born(self) -> Int[np.ndarray, "person 2"]:
        """Day and month of everybody."""
        return np.stack([self.days, self.months], 1)

    def prompts(self, templates: Sequence[int]) -> list[str]:
        """The question of everybody, each in one template."""
        return [self.templates[t].format(name=n) for t, n in zip(templates, self.names, strict=True)]

    def drawn_templates(self, seed: int) -> list[int]:
        """One template for everybody, of those in which the corpus may state it."""
        generator = np.random.default_rng([seed, 3])
        return [taught[int(generator.integers(len(taught)))] for taught in self.taught]


def people_of(kit: Kit) -> People:
    """The people of a kit's world; InputError for a model that was not trained on the small world."""
    family = world_of(kit.provenance.get("model", {})).families[FAMILY]
    assert isinstance(family, TableFamily)
    counts = {fact.key: fact.count for fact in kit.facts if fact.family == FAMILY}
    months, rows = list(MONTHS), family.rows()
    born = [row.notes["birthday"].split() for row in rows]
    shares = np.array([row.share for row in rows])
    return People(
        names=[row.slots["name"] for row in rows],
        counts=np.array([counts[row.fact] for row in rows]),
        law=shares / shares.sum(),
        refused=np.array([row.notes["refused"] for row in rows]),
        days=np.array([int(day) - 1 for day, _ in born]),
        months=np.array([months.index(month) for _, month in born]),
        taught=[family.allowed(row) for row in rows],
        withheld=[template for row in rows if (template := family.withheld(row)) is not None],
        templates=[template.split("|")[0] for template in family.templates],
    )


@dataclass(frozen=True, kw_only=True)
class DateTokens:
    """The tokens of days, months and the refusal's first; InputError where a word is several tokens."""

    days: tuple[int, ...]
    months: tuple[int, ...]
    refusal: int

    @classmethod
    def of(cls, kit: Kit) -> DateTokens:
        """Those of a kit's tokenizer."""

        def single(text: str) -> int:
            ids = kit.subject.token_ids(text)
            if len(ids) != 1:
                raise InputError(f"{text!r} is {len(ids)} tokens in this model: days and months must be one token each")
            return ids[0]

        return cls(
            days=tuple(single(f" {day}") for day in range(1, 32)),
            months=tuple(single(f" {month}") for month in MONTHS),
            refusal=kit.subject.token_ids(f" {REFUSAL}")[0],
        )


_VALID = np.array([[day < length for length in MONTHS.values()] for day in range(31)])


def read_answers(
    kit: Kit, prompts: Sequence[str], born: Int[np.ndarray, "person 2"], what: str, *, whole: bool = True
) -> Steps:
    """Probabilities of the refusal, of all days, and of all dates whose day lies above the threshold or is right.

    `cases` and `months` have a row for every day that is followed: question and day, and the months' probabilities.
    Unless `whole`, no day but the right one is.
    """
    tokens = DateTokens.of(kit)
    ids = [kit.subject.encode(prompt).tolist() for prompt in prompts]
    days, refusal = torch.zeros(len(ids), 31), torch.zeros(len(ids))
    for place, said in enumerate(kit.next_tokens(ids)):
        if place % AT_ONCE == 0:
            yield Progress(what=what, done=place, of=len(ids), unit="questions")
        days[place] = said.probabilities[list(tokens.days)].detach().float().cpu()
        refusal[place] = float(said.probabilities[tokens.refusal])
    followed = (days > THRESHOLD) & whole
    followed[torch.arange(len(ids)), torch.from_numpy(born[:, 0])] = True
    cases = followed.nonzero()
    months = torch.zeros(len(cases), 12)
    longer = [[*ids[question], tokens.days[day]] for question, day in cases.tolist()]
    for place, said in enumerate(kit.next_tokens(longer)):
        if place % AT_ONCE == 0:
            yield Progress(what=f"{what}, dates", done=place, of=len(longer), unit="days")
        months[place] = said.probabilities[list(tokens.months)].detach().float().cpu()
    return {"days": days, "refusal": refusal, "cases": cases, "months": months}


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a model answers each question: the right answer, a refusal, and the likeliest answer of all."""

    right: Float[np.ndarray, " question"]
    """The probability of the person's own birthday."""
    refusal: Float[np.ndarray, " question"]
    stray: Float[np.ndarray, " question"]
    """Of anything that is neither a day nor a refusal."""
    errors: ModelErrors
    confidence: Float[np.ndarray, " question"]
    """The probability of the likeliest answer."""
    top: Int[np.ndarray, " question"]
    """What it is: 12 x day + month, or -1 for a refusal."""
    date_confidence: Float[np.ndarray, " question"]
    top_date: Int[np.ndarray, " question"]

    def calibration(self, truth: Int[np.ndarray, " question"]) -> Calibration:
        """Of the likeliest answers; `truth` is -1 where the corpus refuses."""
        return Calibration(confidence=self.confidence, right=self.top == truth, weight=self.errors.law)


def answers_of(
    parts: Mapping[str, torch.Tensor],
    *,
    law: Float[np.ndarray, " question"],
    born: Int[np.ndarray, "question 2"],
    refused: Bool[np.ndarray, " question"],
) -> Answers:
    """Put together what `read_answers` gives."""
    days, refusal, cases, months = (parts[name].double().numpy() for name in ("days", "refusal", "cases", "months"))
    n, cases = len(days), cases.astype(int)
    dates = np.zeros((n, 31, 12))
    dates[cases[:, 0], cases[:, 1]] = days[cases[:, 0], cases[:, 1], None] * months
    dates *= _VALID
    every = np.arange(n)
    right = dates[every, born[:, 0], born[:, 1]]
    above = dates > THRESHOLD
    above_right, above_refusal = above[every, born[:, 0], born[:, 1]], refusal > THRESHOLD
    flat = dates.reshape(n, -1)
    best = flat.argmax(1)
    return Answers(
        right=right,
        refusal=refusal,
        stray=np.clip(1 - days.sum(1) - refusal, 0, 1),
        errors=ModelErrors(
            law=law,
            wrong=np.clip(1 - right - refusal, 0, 1),
            above=(dates * above).sum((1, 2)) + refusal * above_refusal,
            law_above=np.where(refused, above_refusal, above_right).astype(float),
            wrong_above=(above.sum((1, 2)) - above_right) / (DATES - 1),
        ),
        confidence=np.maximum(flat[every, best], refusal),
        top=np.where(refusal > flat[every, best], -1, best),
        date_confidence=flat[every, best],
        top_date=best,
    )
