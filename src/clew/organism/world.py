"""The small world: every family with its weight, one law for a statement, and the finite corpus drawn from it.

The corpus is drawn once: statements are independent draws from the law, so that "seen once" has its usual meaning. They
are then concatenated and cut into documents, each a geometric number of statements long.
"""

import dataclasses
import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from clew.errors import InputError
from clew.organism import geography, language, numbers, processes, social, stories
from clew.organism.families import Domain, Split, Statement, StatementFamily

STATEMENTS = 600_000
"""Statements in the corpus of the bundled model."""

GOES_ON = 0.375
"""Chance that a document goes on after a statement: documents hold 1.6 statements on average."""

LONGEST = 280
"""Characters that a document may hold before it ends, so that it fits the model's context."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What the corpus holds of one fact: how often, in which templates, and whether it is held out.

    `templates` counts the sentences by template. A held-out fact never occurs at all. `independent` is None unless the
    fact is a pair of words.
    """

    key: str
    family: str
    domain: Domain
    count: int
    held_out: bool
    independent: bool | None
    templates: Mapping[int, int]
    withheld: int | None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The finite corpus: its documents, and how often it states each fact in each template.

    `logp` is the natural-log probability of all statements; -logp / n_statements estimates the law's entropy.
    """

    documents: tuple[str, ...]
    n_statements: int
    logp: float
    counts: Mapping[tuple[str, str, int], int]


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """A closed world in English and some Russian, whose facts and statistics are known exactly."""

    seed: int = 0
    n_statements: int = STATEMENTS

    @cached_property
    def families(self) -> Mapping[str, StatementFamily]:
        """Every family by its name, in a fixed order."""
        listed = (
            *geography.families(),
            *language.families(),
            *numbers.families(),
            *social.families(self.seed),
            *stories.families(),
            *processes.families(),
        )
        return {family.name: family for family in listed}

    def log_weight(self, family: str) -> float:
        """Return the natural-log probability that a statement is of this family."""
        total = sum(other.weight for other in self.families.values())
        return math.log(self.families[family].weight / total)

    def draw(self, rng: random.Random) -> Statement:
        """Draw one statement from the law; its logp includes the choice of the family."""
        families, cumulative, weights = self._choice
        index = min(bisect_right(cumulative, rng.random() * cumulative[-1]), len(families) - 1)
        statement = families[index].draw(rng)
        return dataclasses.replace(statement, logp=statement.logp + weights[index])

    def statements(self, n_statements: int | None = None) -> Iterator[Statement]:
        """Yield the corpus' statements in order; the same for the same seed, and a prefix of any longer run."""
        rng = random.Random(f"statements:{self.seed}")
        for _ in range(self.n_statements if n_statements is None else n_statements):
            yield self.draw(rng)

    def corpus(self, n_statements: int | None = None) -> Corpus:
        """Draw a corpus of so many statements; without a number return the world's own, which is cached.

        InputError when the number is below 1.
        """
        if n_statements is None or n_statements == self.n_statements:
            return self._corpus
        return self._drawn(n_statements)

    def facts(self) -> list[Fact]:
        """Return every fact with its count in the world's corpus, families and facts in a fixed order."""
        counts: dict[tuple[str, str], dict[int, int]] = {}
        for (name, fact, template), count in self.corpus().counts.items():
            counts.setdefault((name, fact), {})[template] = count
        facts: dict[tuple[str, str], Fact] = {}
        for family in self.families.values():
            for row in family.rows():
                key = (family.name, row.fact)
                if key in facts:
                    continue
                by_template = dict(sorted(counts.get(key, {}).items()))
                facts[key] = Fact(
                    key=row.fact,
                    family=family.name,
                    domain=family.domain,
                    count=sum(by_template.values()),
                    held_out=row.held_out,
                    independent=row.independent,
                    templates=by_template,
                    withheld=family.withheld(row),
                )
        return list(facts.values())

    def exam(self, family: str, split: Split) -> list[Statement]:
        """Return statements the corpus cannot hold: unseen sentences of known facts, or held-out combinations.

        Where a prompt has several answers, `notes["accepted"]` lists all that the law allows. Families without facts
        give fresh draws. InputError for an unknown family.
        """
        if family not in self.families:
            raise InputError(f"no family {family!r} in the small world; there are {', '.join(self.families)}")
        return self.families[family].exam(split)

    def entropy(self) -> Mapping[str, float]:
        """Return the entropy of a statement in nats, for every family where it is known in closed form."""
        known = {name: family.entropy() for name, family in self.families.items()}
        return {name: value for name, value in known.items() if value is not None}

    @cached_property
    def _choice(self) -> tuple[list[StatementFamily], list[float], list[float]]:
        families = list(self.families.values())
        return (
            families,
            list(accumulate(family.weight for family in families)),
            [self.log_weight(family.name) for family in families],
        )

    @cached_property
    def _corpus(self) -> Corpus:
        return self._drawn(self.n_statements)

    def _drawn(self, n_statements: int) -> Corpus:
        if n_statements < 1:
            raise InputError(f"a corpus needs at least one statement, not {n_statements}")
        cuts = random.Random(f"documents:{self.seed}")
        documents: list[str] = []
        counts: Counter[tuple[str, str, int]] = Counter()
        logp, current, goes_on = 0.0, "", False
        for statement in self.statements(n_statements):
            counts[statement.family, statement.fact, statement.template] += 1
            logp += statement.logp
            if current and goes_on and len(current) + len(statement.text) < LONGEST:
                current = f"{current} {statement.text}"
            else:
                documents += [current] if current else []
                current = statement.text
            goes_on = cuts.random() < GOES_ON
        return Corpus(documents=(*documents, current), n_statements=n_statements, logp=logp, counts=counts)
