"""Settings of the study `expanders`."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.errors import InputError
from clew.organism.prompts import listed_prompts
from clew.settings import option
from clew.studies.config_checks import at_least

SMALLEST, STEP, LARGEST = 10, 4, 38
"""Nodes of the smallest formula, of each larger one more, and of the largest that is solved in minutes."""


@dataclass(frozen=True, kw_only=True)
class ExpandersConfig:
    """Settings of the study."""

    nodes: int = 100
    """Nodes of a graph."""
    degree: int = 10
    """Edges at every node, an even number."""
    graphs: int = 40
    """How many graphs of each family are drawn."""
    chance: float = 0.2
    """The chance with which an infected node infects a neighbour in a step."""
    deletion_draws: int = 50
    """How often edges are deleted from every graph, for every share."""
    largest: int = 26
    """Nodes of the graphs with the largest formulas, from 10 in steps of 4; each step takes four times as long."""
    formulas: int = 5
    """How many formulas of every size are refuted."""
    prompts: int = 12
    """How many prompts of the world are traced."""
    texts: tuple[str, ...] | None = field(default=None, metadata=option("--prompt", kind=list[str] | None))
    """A prompt; repeat it for several. Left out, those of the world."""
    comparisons: int = 20
    """How many trees and regular graphs stand beside every circuit."""
    seed: int = 0
    """Seed of all draws."""
    local: bool = field(default=False, metadata={"option": False})
    """Local graphs, ladders and spanning trees under test: the absent case."""

    def __post_init__(self) -> None:
        at_least(self, graphs=5, deletion_draws=5, formulas=2, prompts=3, comparisons=2)
        if self.degree % 2 or self.degree < 4 or 2 * self.degree >= self.nodes:
            raise InputError(f"degree is {self.degree}: give an even number from 4 to below half of {self.nodes} nodes")
        if not SMALLEST + STEP <= self.largest <= LARGEST:
            raise InputError(f"largest is {self.largest}: give {SMALLEST + STEP} to {LARGEST} nodes")
        if not 0 < self.chance < 1:
            raise InputError(f"chance is {self.chance}: give one between 0 and 1")
        if self.texts is not None and len(self.texts) < 3:
            raise InputError(f"{len(self.texts)} prompts are given: give at least 3")

    @property
    def outbreaks(self) -> int:
        """Epidemics in every graph."""
        return 10

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes of the graphs with formulas."""
        return tuple(range(SMALLEST, self.largest + 1, STEP))

    @property
    def deletions(self) -> tuple[float, ...]:
        """Shares of the edges that are deleted."""
        return (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

    @property
    def traced(self) -> tuple[str, ...]:
        """The prompts that are traced."""
        return listed_prompts(self.prompts) if self.texts is None else self.texts
