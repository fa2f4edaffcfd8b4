"""The exam of circuits: do the groups of a prompt's circuit stand for what the small world knows of the prompt?

1. For each listed prompt, and for some of the weather and of stories, the circuit is found.
2. For each variable that the world knows of it (its country, its persona, its start year) sentences are made in which
   the variable has the prompt's value, and some in which it has another (`clew.organism.variables`).
3. A group's activation in a sentence is that of its features by the size of what they write: those at the output are
   read at the sentence's end, others where they are highest. The group that tells the value best on one half of the
   sentences is scored on the other, beside shuffled labels.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clew.circuit.circuit import Circuit
from clew.errors import InputError
from clew.ids import NodeId
from clew.intervention.matched_sets import decoder_norms
from clew.kit import Kit
from clew.organism.fact_table import world_of
from clew.organism.prompts import listed_prompts
from clew.organism.variables import ValueQuestion, Variables
from clew.progress import Progress, Report, silent
from clew.runs.value_scores import ValueScore, activations_in, balanced, value_score
from clew.stats import Interval, mean_interval

PROMPTS = 100
"""Listed prompts that are examined."""
BAR, NULL_BAR = 0.9, 0.6
"""Balanced accuracy that the best group must reach in the mean, and that shuffled labels must stay below."""
ASKED = (
    ("capitals", "country"), ("roots", "persona"), ("years", "start year"), ("opposites", "word"),
    ("weather", "likeliest state"),
)  # fmt: skip
"""Families and variables for which the bundled kit must pass."""
DRAWN = ("weather", "stories")


@dataclass(frozen=True, kw_only=True)
class CircuitExamRow:
    """How well the best group of a circuit tells one variable of one family; means over prompts."""

    family: str
    variable: str
    prompts: int
    accuracy: Interval
    """Balanced accuracy on held-out sentences; 0.5 by chance."""
    null: float
    """The same with shuffled labels."""
    other_templates: float
    """The same chosen on one half of the family's templates and scored on the others; NaN where there is one alone."""
    example: str
    """A prompt and its best group."""
    passed: bool | None
    """None where no bar is set."""


@dataclass(frozen=True, kw_only=True)
class CircuitExam:
    """Every row, and the seconds it took."""

    rows: tuple[CircuitExamRow, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every bar was reached."""
        return all(row.passed is not False for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        rows = [{**dataclasses.asdict(row), "accuracy": row.accuracy.to_json()} for row in self.rows]
        for row in rows:
            row["other_templates"] = None if math.isnan(row["other_templates"]) else row["other_templates"]
        return {"rows": rows, "seconds": self.seconds, "passed": self.passed}


def examine_circuits(kit: Kit, count: int = PROMPTS, report: Report = silent) -> CircuitExam:
    """Examine the circuits of the first `count` listed prompts, and of some that are drawn.

    InputError for a kit whose model was not trained on the small world.
    """
    if count < 1:
        raise InputError(f"count is {count}: examine at least one prompt")
    started = time.monotonic()
    variables = Variables(world=world_of(kit.provenance.get("model", {})))
    asked = [(prompt, variables.of(prompt)) for prompt in listed_prompts(count)]
    asked += [(question.prompt, [question]) for family in DRAWN for question in variables.drawn(family)]
    asked = [(prompt, questions) for prompt, questions in asked if questions]
    groups: dict[tuple[str, str], list[_BestGroup]] = {}
    for number, (prompt, questions) in enumerate(asked, 1):
        for group in _best_groups(kit, prompt, questions):
            groups.setdefault((group.question.family, group.question.variable), []).append(group)
        report(Progress(what="examining circuits", done=number, of=len(asked), unit="prompts"))
    rows = tuple(_row(family, variable, best) for (family, variable), best in groups.items())
    return CircuitExam(rows=rows, seconds=time.monotonic() - started)


@dataclass(frozen=True, kw_only=True)
class _BestGroup:
    """The group of one circuit that tells one value best, and how well."""

    question: ValueQuestion
    name: str
    score: ValueScore


@torch.no_grad()
def _best_groups(kit: Kit, prompt: str, questions: Sequence[ValueQuestion]) -> Iterator[_BestGroup]:
    drawn = questions[0].family in DRAWN  # where several answers are likely: which one is said is the question
    said = [f"#{int(kit.subject.record(prompt).probabilities[-1].argmax())}"] if drawn else None
    circuit = kit.circuit(kit.trace(prompt, targets=said), draws=1)
    for question in questions:
        values = group_activations(kit, circuit, question.sentences)
        score = value_score(question, values, balanced, np.random.default_rng(0))
        yield _BestGroup(question=question, name=circuit.groups[score.best].name, score=score)


def group_activations(kit: Kit, circuit: Circuit, sentences: Sequence[str]) -> Float[np.ndarray, "sentence group"]:
    """What each group comes to in each sentence: its features, by the size of what they write."""
    nodes = [NodeId.parse(member) for group in circuit.groups for member in group.members]
    values = activations_in(kit.subject, kit.dictionary, sentences, nodes, circuit.answer.position)
    norms = [float(decoder_norms(kit.dictionary, n.feature.layer, torch.tensor([n.feature.index]))) for n in nodes]
    ends = np.cumsum([len(group.members) for group in circuit.groups])[:-1]
    return np.stack([part.sum(1) for part in np.split(values * np.array(norms), ends, 1)], 1)


def _row(family: str, variable: str, groups: Sequence[_BestGroup]) -> CircuitExamRow:
    accuracy = mean_interval([group.score.score for group in groups])
    null = float(np.mean([group.score.null for group in groups]))
    best = max(groups, key=lambda group: group.score.score)
    asked = (family, variable) in ASKED
    return CircuitExamRow(
        family=family,
        variable=variable,
        prompts=len(groups),
        accuracy=accuracy,
        null=null,
        other_templates=float(np.mean([group.score.other_templates for group in groups])),
        example=f"{best.question.prompt}: {best.name}",
        passed=accuracy.value >= BAR and null <= NULL_BAR if asked else None,
    )
