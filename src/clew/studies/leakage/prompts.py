"""The small world's sentences about colours, jobs and foods, as prompts with slots, and the law of their answers.

The world has them in two parts that a cue tells apart: after "By chance" the second word is independent of the first,
after "Naturally" it follows along meaning. For every first word the corpus withholds one template of three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.kit import Kit
from clew.organism.families import TableFamily
from clew.organism.social import ASSOCIATES, PERSONS, pairs
from clew.studies.leakage.leak_rate import likeness
from clew.studies.slots import SlottedPrompt, Template

PARTS = {"independent": "By chance", "associated": "Naturally"}
"""The cue of each part."""
SENTENCES = ("taught", "withheld")
"""Whether the corpus holds the template with this first word."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt: its part, whether its sentence was taught, its kind of pair, the number of its first word."""

    part: str
    sentence: str
    kind: str
    concept: int
    prompt: SlottedPrompt


@dataclass(frozen=True, kw_only=True, eq=False)
class WordPairs:
    """One kind of pair: first words (concepts), second words (answers), how alike they are, and the law."""

    kind: str
    concepts: tuple[str, ...]
    answers: tuple[str, ...]
    similarity: Float[np.ndarray, "concept answer"]
    associate: Int[np.ndarray, " concept"]
    """The number of the answer that belongs to each concept."""
    law: dict[str, Float[np.ndarray, "concept answer"]]
    """By part, the probability of an answer given the concept."""


def family(part: str) -> TableFamily:
    """The family of statements of a part."""
    return pairs(part, PARTS[part], independent=part == "independent")


def lacking(kit: Kit) -> str:
    """What a kit lacks to answer these prompts; empty where nothing is missing."""
    if kit.subject.tokenizer is None:
        return "its model came without a tokenizer"
    for firsts, seconds in ASSOCIATES.values():
        for word in (*firsts, *seconds):
            if (n := len(kit.subject.token_ids(f" {word}"))) != 1:
                return (
                    f"the small world's words must be one token each, and {word!r} is {n} of its model; use a model of "
                    "the small world, such as minnow"
                )
    return ""


def all_pairs(kit: Kit, similarity: str) -> list[WordPairs]:
    """Every kind of pair; InputError when the similarity needs an extra that is not there."""
    found = []
    alike = None if similarity == "world" else likeness(kit, similarity)
    for kind, (firsts, seconds) in ASSOCIATES.items():
        concepts, answers = tuple(firsts), tuple(seconds)
        associate = np.array([answers.index(second) for second in firsts.values()])
        table = np.eye(len(answers))[associate]
        found.append(
            WordPairs(
                kind=kind,
                concepts=concepts,
                answers=answers,
                similarity=table if alike is None else alike(concepts, answers),
                associate=associate,
                law={part: _law(part, kind, concepts, answers) for part in PARTS},
            )
        )
    return found


def _law(part: str, kind: str, concepts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The probability of each answer given the concept, from the family's own table."""
    law = np.zeros((len(concepts), len(answers)))
    for row in family(part).rows():
        if row.notes["kind"] == kind:
            law[concepts.index(row.slots["first"]), answers.index(row.slots["second"])] += row.share
    normal: np.ndarray = law / law.sum(1, keepdims=True)
    return normal


@dataclass(frozen=True, kw_only=True)
class PeopleNames:
    """Names of people by which sentences are told apart, in two groups that share none."""

    count: int

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Those of the sentences that are measured."""
        return self._spread(0)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """Those of the sentences in which features are looked for."""
        return self._spread(1)

    def _spread(self, first: int) -> tuple[str, ...]:
        names = [person["name"] for person in PERSONS][first::2]
        return tuple(names[place * len(names) // self.count] for place in range(self.count))


def items(kit: Kit, names: Sequence[str], part: str, sentence: str) -> list[Item]:
    """The prompts of a part: every first word in its taught or withheld templates, with every name."""
    table, found, seen = family(part), [], set()
    for row in table.rows():
        kind, first = row.notes["kind"], row.slots["first"]
        if (kind, first) in seen:
            continue
        seen.add((kind, first))
        concept = list(ASSOCIATES[kind][0]).index(first)
        for number in row.templates or ():
            if (number == table.withheld(row)) == (sentence == "withheld"):
                template = Template(table.templates[number].partition("|")[0].replace("{cue}", PARTS[part]))
                found += [
                    Item(
                        part=part,
                        sentence=sentence,
                        kind=kind,
                        concept=concept,
                        prompt=template.fill(kit.subject, {"first": first, "name": name}, single=("first",)),
                    )
                    for name in names
                ]
    return found


def answer_columns(kit: Kit, asked: Sequence[Item]) -> Int[Tensor, "item column"]:
    """The token ids of every item's answers, and last that of its own concept."""
    by_kind = {kind: tuple(firsts) for kind, (firsts, _) in ASSOCIATES.items()}
    answers = {kind: _ids(kit, seconds) for kind, (_, seconds) in ASSOCIATES.items()}
    return torch.tensor([[*answers[i.kind], *_ids(kit, [by_kind[i.kind][i.concept]])] for i in asked])


def _ids(kit: Kit, words: Sequence[str]) -> tuple[int, ...]:
    return tuple(kit.subject.token_ids(f" {word}")[0] for word in words)
