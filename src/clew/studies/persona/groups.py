"""Which features carry the persona, the difficulty, and both together.

What a feature writes is its activation at the prompt's last token times the length of its decoder. With its mean c by
persona (child, graduate) and difficulty (root, square), three rules say by how much it belongs to a group; `choice`
takes the one that does best on questions of which nothing is claimed:

               differences                    effects                   cells
    persona      least c(child) - c(graduate)   child's main effect       least of a child's - most of a graduate's
    difficulty   least c(root) - c(square)      root's main effect        least of the roots' - most of the squares'
    interaction  contrast of all four cells     interaction, child, root  c(child, root) - most of the other three

Differences are within one difficulty, or one persona; the contrast is c(child, root) - c(child, square) -
c(graduate, root) + c(graduate, square). By effects a feature that fires in one cell alone belongs to all three equally,
and counts for the first; by the other rules it belongs to the interaction alone.

A feature belongs to the group whose number is its largest and positive; a group is the fewest such features that hold a
share of the group's sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.kit import Kit
from clew.studies.columns import Columns, read_columns
from clew.studies.factors import factorial_means
from clew.studies.persona.prompts import CHILD, FOUND, GRADUATE, ROOT, RULES, SQUARE, RootQuestion

PERSONA, DIFFICULTY, INTERACTION = GROUPS = ("persona", "difficulty", "interaction")


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """What the features that are ever active write at every prompt's last token."""

    numbers: Float[Tensor, "prompt feature"]
    columns: Columns


def read_written(kit: Kit, token_ids: Sequence[Sequence[int]]) -> Written:
    """Read many prompts."""
    columns, rows = read_columns(kit, token_ids, [len(ids) - 1 for ids in token_ids])
    return Written(numbers=rows * columns.norm, columns=columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The means of every feature, and what they say of it."""

    cells: Float[Tensor, "persona difficulty feature"]
    """Child and graduate, root and square."""
    weight: Float[Tensor, "group feature"]
    """By how much a feature belongs to each group, as in GROUPS; negative where it speaks against it."""

    def members(self, group: str, share: float) -> Int[Tensor, " member"]:
        """The fewest features of a group that hold a share of its sum, the largest first."""
        place = GROUPS.index(group)
        weight = self.weight[place] * (self.weight.argmax(0) == place)
        values, order = weight.clamp_min(0).sort(descending=True)
        count = int((values.cumsum(0) < share * values.sum()).sum()) + 1
        return order[:count][values[:count] > 0]

    @property
    def towards_child(self) -> Float[Tensor, " feature"]:
        """By how much more a child writes than a graduate when a root is asked."""
        return self.cells[0, 0] - self.cells[1, 0]


def find_groups(written: Written, questions: Sequence[RootQuestion], rule: str) -> Groups:
    """Groups by the means over the questions that are there for it; InputError when a cell has no question."""
    places = [place for place, q in enumerate(questions) if q.part == FOUND and q.kind in (CHILD, GRADUATE)]
    factors = {
        "persona": [questions[place].kind for place in places],
        "difficulty": [questions[place].difficulty for place in places],
    }
    means = factorial_means(written.numbers[places], factors)
    one = [means.levels["persona"].index(kind) for kind in (CHILD, GRADUATE)]
    other = [means.levels["difficulty"].index(difficulty) for difficulty in (ROOT, SQUARE)]
    cells = means.cells[one][:, other].float()
    return Groups(cells=cells, weight=_WEIGHTS[rule](cells))


def _differences(cells: Float[Tensor, "persona difficulty feature"]) -> Float[Tensor, "group feature"]:
    persona = (cells[0] - cells[1]).amin(0)
    difficulty = (cells[:, 0] - cells[:, 1]).amin(0)
    return torch.stack([persona, difficulty, _contrast(cells)])


def _effects(cells: Float[Tensor, "persona difficulty feature"]) -> Float[Tensor, "group feature"]:
    persona = (cells[0] - cells[1]).mean(0) / 2
    difficulty = (cells[:, 0] - cells[:, 1]).mean(0) / 2
    return torch.stack([persona, difficulty, _contrast(cells) / 4])


def _cells(cells: Float[Tensor, "persona difficulty feature"]) -> Float[Tensor, "group feature"]:
    persona = cells[0].amin(0) - cells[1].amax(0)
    difficulty = cells[:, 0].amin(0) - cells[:, 1].amax(0)
    interaction = cells[0, 0] - torch.stack([cells[0, 1], cells[1, 0], cells[1, 1]]).amax(0)
    return torch.stack([persona, difficulty, interaction])


def _contrast(cells: Float[Tensor, "persona difficulty feature"]) -> Float[Tensor, " feature"]:
    return cells[0, 0] - cells[0, 1] - cells[1, 0] + cells[1, 1]


_WEIGHTS = dict(zip(RULES, (_differences, _effects, _cells), strict=True))
