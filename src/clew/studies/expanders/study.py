"""The study `expanders`: which graphs hold together, which formulas on them are hard, and where circuits stand.

1. Random regular graphs are set beside local ones of the same degree: second eigenvalue, mixing, epidemics.
2. Edges are deleted at random; graphs fall apart as often as n p^d says, expanders or not.
3. Parities on random 4-regular graphs are refuted by a solver (extra `sat`), beside parities on ladders.
4. The kit's circuits are measured in the same way: between a tree, which hangs on every edge, and an expander.
5. The absent case has no expander: local graphs, ladders, and of every circuit its strongest spanning tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.prompts import listed_prompts
from clew.progress import Progress
from clew.settings import option
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import at_least
from clew.studies.expanders.claims import ExpanderMeasures, claims_of
from clew.studies.expanders.exhibits import (
    circuit_picture,
    circuit_table,
    deletion_table,
    formula_picture,
    formula_table,
    graph_picture,
    graph_table,
)
from clew.studies.expanders.measures import (
    measured_circuits,
    measured_deletions,
    measured_formulas,
    measured_graphs,
)
from clew.studies.expanders.tseitin import solver_there
from clew.studies.kit_needs import lacking
from clew.studies.study import Absent, Study

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


def measure(case: Case[ExpandersConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config = case.config
    measured = ExpanderMeasures(
        config=config,
        graphs=(yield from case.part("graphs", measured_graphs(config))),
        deletions=(yield from case.part("deletions", measured_deletions(config))),
        formulas=(yield from case.part("formulas", measured_formulas(config))) if solver_there() else None,
        circuits=(yield from case.part("circuits", measured_circuits(case.kit, config))),
    )
    tables = {"graphs": graph_table, "deletions": deletion_table, "formulas": formula_table, "circuits": circuit_table}
    figures = {"graphs": graph_picture, "formulas": formula_picture, "circuits": circuit_picture}
    yield CaseFindings(
        claims=claims_of(measured),
        tables={name: table for name, of in tables.items() if (table := of(measured)) is not None},
        figures={name: picture for name, of in figures.items() if (picture := of(measured)) is not None},
    )


def needs(kit: Kit, config: ExpandersConfig) -> str:
    """What the kit lacks."""
    return lacking(kit)


def absent(kit: Kit, config: ExpandersConfig) -> Absent[ExpandersConfig]:
    """No expander is under test."""
    return Absent(
        kit=kit,
        config=replace(config, local=True),
        why="Local graphs of the same degree stand in the place of random ones, ladders in that of the graphs with "
        "formulas, and of every circuit only its strongest spanning tree is left: each has a bottleneck.",
    )


EXPANDERS = Study(
    name="expanders",
    question="Which graphs hold together when edges go, and do a model's circuits look like them?",
    source="Hoory, Linial and Wigderson 2006, Expander graphs and their applications",
    config=ExpandersConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: replace(config, prompts=min(config.prompts, 6), graphs=5, formulas=2, largest=18),
)
