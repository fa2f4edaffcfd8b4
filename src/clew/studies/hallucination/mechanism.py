"""What in a model tells names that its corpus holds from names that it does not, and what makes it refuse.

1. Features are read behind the question, mean over the templates in which a name is asked.
2. *Known or not.* The feature that parts known from invented names best on four fifths of them is scored on the fifth
   that was left out; the null deals known and invented out among the names.
3. *Refusal.* The features that speak more for a refusal (activation times how far the decoder points to it, and away
   from days) for people whose birthday is refused than for people who are answered (half of these) are raised, by what
   they are for the refused, on names that the corpus never holds. The null raises other active features of the same
   layers, matched in what they write, in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.intervention.matched_sets import matched_pairs
from clew.kit import Kit
from clew.progress import Progress
from clew.stats import Interval, ranks
from clew.studies.case import Steps
from clew.studies.columns import Columns, read_columns
from clew.studies.hallucination.people import KNOWN_FROM, DateTokens, People
from clew.studies.hallucination.pushes import pushes
from clew.studies.measuring import read_answers

FOLDS = 5
REFUSED_FROM = 10
"""Statements from which a refused person is known to be one."""
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class NameGroups:
    """Questions by name: who is known, who is refused, who is invented; a question is a text for every template."""

    known: Sequence[Sequence[str]]
    refused: Sequence[Sequence[str]]
    invented: Sequence[Sequence[str]]


def name_groups(people: People, count: int, *, dealt: bool, seed: int) -> NameGroups:
    """The groups, the invented ones at most `count`; where they are `dealt`, all are of invented names."""
    generator = np.random.default_rng([seed, 4])
    invented = [people.never_named[place] for place in generator.permutation(len(people.never_named)).tolist()]
    every = range(len(people.templates))

    def asked(member: Bool[np.ndarray, " person"]) -> list[list[str]]:
        return [
            [people.templates[t].format(name=people.names[i]) for t in people.taught[i]] for i in np.where(member)[0]
        ]

    known = asked(~people.refused & (people.counts >= KNOWN_FROM))
    refused = asked(people.refused & (people.counts >= REFUSED_FROM))
    unknown = [[people.templates[t].format(name=name) for t in every] for name in invented]
    if dealt:
        n, m = len(known), len(refused)
        known, refused, unknown = unknown[:n], unknown[n : n + m], unknown[n + m :]
    return NameGroups(known=known, refused=refused, invented=unknown[:count])


@dataclass(frozen=True, kw_only=True, eq=False)
class NameReadings:
    """Activations behind the question, mean over templates, group after group."""

    columns: Columns
    known: Float[Tensor, "name feature"]
    refused: Float[Tensor, "name feature"]
    invented: Float[Tensor, "name feature"]


def read_names(kit: Kit, groups: NameGroups) -> NameReadings:
    """Read every name in all its templates."""
    every = [*groups.known, *groups.refused, *groups.invented]
    ids = [kit.subject.encode(prompt).tolist() for prompts in every for prompt in prompts]
    columns, rows = read_columns(kit, ids, [len(each) - 1 for each in ids])
    means = torch.stack([part.mean(0) for part in rows.split([len(prompts) for prompts in every])])
    known, refused, invented = means.split([len(groups.known), len(groups.refused), len(groups.invented)])
    return NameReadings(columns=columns, known=known, refused=refused, invented=invented)


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """How well single features tell known from invented names, on names that were left out."""

    rows: Float[np.ndarray, "name feature"]
    known: Bool[np.ndarray, " name"]
    fold: Int[np.ndarray, " name"]

    @classmethod
    def of(cls, readings: NameReadings, seed: int) -> Detection:
        """Of features that are active for a twentieth of the names at least."""
        rows = torch.cat([readings.known, readings.invented]).double().numpy()
        known = np.arange(len(rows)) < len(readings.known)
        fold = np.random.default_rng([seed, 5]).permutation(len(rows)) % FOLDS
        return cls(rows=rows, known=known, fold=fold)

    @cached_property
    def often(self) -> Int[np.ndarray, " feature"]:
        """The columns that are looked at."""
        return np.where((self.rows > 0).mean(0) >= 0.05)[0]

    @cached_property
    def _ranks(self) -> list[Float[np.ndarray, "name feature"]]:
        """For every fold, the ranks of all other names, feature by feature."""
        rows = self.rows[:, self.often]
        return [np.stack([ranks(column) for column in rows[self.fold != f].T], 1) for f in range(FOLDS)]

    def best(self, known: Bool[np.ndarray, " name"]) -> list[tuple[int, float]]:
        """For every fold, the column that parts the names outside it best, and the sign by which it does."""
        found = []
        for f, placed in enumerate(self._ranks):
            member = known[self.fold != f]
            apart = member @ placed / max(member.sum(), 1)
            column = int(np.abs(apart).argmax())
            found.append((int(self.often[column]), 1.0 if apart[column] >= 0 else -1.0))
        return found

    def auc(self, known: Bool[np.ndarray, " name"] | None = None) -> Interval:
        """The area under the curve on names that were left out, with its interval (DeLong et al. 1988)."""
        member = self.known if known is None else known
        above: list[np.ndarray] = []
        below: list[np.ndarray] = []
        for f, (column, sign) in enumerate(self.best(member)):
            score, of_fold = sign * self.rows[:, column], self.fold == f
            yes, no = score[of_fold & member], score[of_fold & ~member]
            if len(yes) and len(no):
                wins = (yes[:, None] > no).astype(float) + 0.5 * (yes[:, None] == no)
                above.append(wins.mean(1))
                below.append(wins.mean(0))
        places, others = np.concatenate(above), np.concatenate(below)
        value = float(places.mean())
        half = _Z * float(np.sqrt(places.var(ddof=1) / len(places) + others.var(ddof=1) / len(others)))
        return Interval(value, max(0.0, value - half), min(1.0, value + half))

    def dealt(self, draws: int, seed: int) -> tuple[float, ...]:
        """The same with known and invented dealt out among the names."""
        generator = np.random.default_rng([seed, 6])
        return tuple(self.auc(generator.permutation(self.known)).value for _ in range(draws))


@dataclass(frozen=True, kw_only=True, eq=False)
class Steering:
    """Which features are raised, by how much, and the random sets beside them."""

    chosen: Int[Tensor, " feature"]
    sets: Sequence[Int[Tensor, " drawn"]]
    amount: Float[Tensor, " feature"]


def steering_of(kit: Kit, readings: NameReadings, count: int, draws: int, seed: int) -> Steering:
    """The `count` features that speak more for a refusal where it is given than for known people, every second one."""
    tokens = DateTokens.of(kit)
    mean = readings.refused.mean(0)
    push = (mean - readings.known[::2].mean(0)).clamp(min=0) * pushes(
        kit, readings.columns, tokens.refusal, tokens.days
    )
    chosen = push.topk(min(count, len(push))).indices
    member = torch.zeros(len(push), dtype=torch.bool)
    member[chosen] = True
    generator, sets = torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        pairs = matched_pairs(member, readings.columns.layer, mean * readings.columns.norm, generator, free=mean > 0)
        sets.append(torch.tensor(list(pairs.values()), dtype=torch.long))
    return Steering(chosen=chosen, sets=sets, amount=mean)


def steered_refusals(kit: Kit, groups: NameGroups, readings: NameReadings, steering: Steering) -> Steps:
    """The probability of a refusal: without edits, with the chosen features raised, with each random set raised.

    Every name is asked once, the templates in turn; of known names those that were not used to choose features. Random
    sets are raised on half of the invented names.
    """
    refusal = DateTokens.of(kit).refusal
    asked = {"invented": groups.invented, "known": groups.known[1::2]}
    found: dict[str, Tensor] = {}
    for name, names in asked.items():
        ids = [kit.subject.encode(prompts[place % len(prompts)]).tolist() for place, prompts in enumerate(names)]
        sets = {"plain": torch.zeros(0, dtype=torch.long), "raised": steering.chosen}
        if name == "invented":
            sets |= {f"random.{number}": drawn for number, drawn in enumerate(steering.sets)}
        for kind, columns in sets.items():
            chosen = ids[::2] if kind.startswith("random") else ids
            cases = [(row, _raised(readings.columns, columns, steering.amount, len(row) - 1)) for row in chosen]
            found[f"{name}.{kind}"] = yield from read_answers(
                kit, cases, lambda _, said: said.probabilities[refusal], what=f"steering, {name} names", note=kind
            )
    yield Progress(what="steering", done=1, of=1)
    return found


def _raised(
    columns: Columns, chosen: Int[Tensor, " feature"], amount: Float[Tensor, " feature"], at: int
) -> list[Edit]:
    return [Edit.add(columns.ids[column], float(amount[column]), positions=at) for column in chosen.tolist()]
