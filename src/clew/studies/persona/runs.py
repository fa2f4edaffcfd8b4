"""Every ablation and every steering of the study on one dictionary, as runs by name.

plain                         all questions as they are
ablate.both.90, ...           a child's roots without the features that hold 90 % of persona and interaction
ablate.null.N                 without matched random features, as many as both groups have
steer.both, ...               a graduate's roots with these features changed by what a child writes more there
steer.null.N                  matched random features changed by as much as both groups
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.intervention.matched_sets import matched_pairs
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.measuring import Measuring, likeliest, read_answers
from clew.studies.persona.groups import DIFFICULTY, INTERACTION, PERSONA, Groups, Written
from clew.studies.persona.prompts import CHILD, GRADUATE, ROOT, PersonaConfig, RootQuestion, select

BOTH = "both"
SETS: Mapping[str, tuple[str, ...]] = {
    PERSONA: (PERSONA,),
    INTERACTION: (INTERACTION,),
    BOTH: (PERSONA, INTERACTION),
    DIFFICULTY: (DIFFICULTY,),
}
"""The sets that are changed, and the groups in them."""
SHARES = (0.5, 0.7, 0.9, 0.97)
"""Shares that are tried, and ablated beside the one that is taken to see how the answer falls."""


@dataclass(frozen=True, kw_only=True)
class PersonaChange:
    """What is done to some features at the last token of every prompt of one kind."""

    name: str
    kind: str
    """CHILD for an ablation, GRADUATE for a steering: their roots are asked."""
    columns: Mapping[int, float | None]
    """None ablates a column; a number is added to what it writes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonaRuns:
    """The runs of one dictionary, by groups of its features and the share of each that is taken."""

    kit: Kit
    config: PersonaConfig
    questions: Sequence[RootQuestion]
    written: Written
    groups: Groups
    share: float

    def members(self, name: str, share: float | None = None) -> Int[Tensor, " member"]:
        """The columns of a set at the share that is taken, or at another."""
        return torch.cat([self.groups.members(group, share or self.share) for group in SETS[name]])

    @property
    def through(self) -> int:
        """The last clamped layer of every run."""
        if self.config.through is not None:
            return self.config.through
        largest = max(*SHARES, self.share)
        columns = torch.cat([self.members(name, largest) for name in (BOTH, DIFFICULTY)])
        return int(self.written.columns.layer[columns].max()) if len(columns) else 0

    def changes(self) -> Iterator[PersonaChange]:
        """All of them."""
        gain = self.groups.towards_child
        for name in SETS:
            for share in sorted({*SHARES, self.share}):
                yield self.ablation(name, share)
            if name != DIFFICULTY:
                steered: dict[int, float | None] = {
                    column: float(gain[column]) for column in self.members(name).tolist()
                }
                yield PersonaChange(name=f"steer.{name}", kind=GRADUATE, columns=steered)
        generator = torch.Generator().manual_seed(self.config.seed)
        for draw in range(self.config.draws):
            drawn = self._matched(0, generator)
            yield PersonaChange(name=f"ablate.null.{draw}", kind=CHILD, columns=dict.fromkeys(drawn.values()))
            drawn = self._matched(1, generator)
            moved = {other: float(gain[column]) for column, other in drawn.items()}
            yield PersonaChange(name=f"steer.null.{draw}", kind=GRADUATE, columns=moved)

    def ablation(self, name: str, share: float) -> PersonaChange:
        """A set at a share, set to zero where a child is asked."""
        columns = dict.fromkeys(self.members(name, share).tolist())
        return PersonaChange(name=f"ablate.{name}.{round(100 * share)}", kind=CHILD, columns=columns)

    def _matched(self, persona: int, generator: torch.Generator) -> dict[int, int]:
        """For every feature of both groups another one, active in a child's (0) or a graduate's (1) roots."""
        mass = self.groups.cells[persona, 0]
        chosen = torch.zeros(len(mass), dtype=torch.bool)
        chosen[self.members(BOTH)] = True
        return matched_pairs(chosen, self.written.columns.layer, mass, generator, free=mass > 0)

    def measured(self) -> Steps:
        """The most likely next tokens of every run, by name, and how many features each changes."""
        found: dict[str, Tensor] = {}
        every = [(question.token_ids, ()) for question in self.questions]
        plain = found["plain"] = yield from read_answers(self.kit, every, likeliest, what="answers")
        changes = [*self.changes()]
        for done, change in enumerate(changes):
            yield Progress(what="features changed", done=done, of=len(changes), unit="sets", note=change.name)
            places = select(self.questions, change.kind, ROOT)
            found[change.name] = yield from self.changed(change, places, plain[places])
            found[f"size/{change.name}"] = torch.tensor(len(change.columns))
        return found

    def changed(self, change: PersonaChange, places: Sequence[int], plain: Int[Tensor, " prompt"]) -> Measuring:
        """The most likely next tokens of some questions; one in which nothing changes keeps its own, as in `plain`."""
        edits = [self._edits(place, change) for place in places]
        rows = [row for row, each in enumerate(edits) if each]
        cases = [(self.questions[places[row]].token_ids, edits[row]) for row in rows]
        tops = plain.clone()
        if cases:
            tops[rows] = yield from read_answers(
                self.kit, cases, likeliest, what="answers", note=change.name, through=self.through
            )
        return tops

    def _edits(self, place: int, change: PersonaChange) -> list[Edit]:
        last = len(self.questions[place].token_ids) - 1
        active = self.written.numbers[place] != 0
        edits = []
        for column, amount in change.columns.items():
            feature = self.written.columns.ids[column]
            if amount is None and active[column]:
                edits.append(Edit.ablate(feature, positions=last))
            elif amount:
                edits.append(Edit.add(feature, amount / float(self.written.columns.norm[column]), positions=last))
        return edits
