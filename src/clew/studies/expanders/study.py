"""The study `expanders`: which graphs hold together, which formulas on them are hard, and where circuits stand.

1. Random regular graphs are set beside local ones of the same degree: second eigenvalue, mixing, epidemics.
2. Edges are deleted at random; graphs fall apart as often as n p^d says, expanders or not.
3. Parities on random 4-regular graphs are refuted by a solver (extra `sat`), beside parities on ladders.
4. The kit's circuits are measured in the same way: between a tree, which hangs on every edge, and an expander.
5. The absent case has no expander: local graphs, ladders, and of every circuit its strongest spanning tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.expanders.claims import ExpanderMeasures, claims_of
from clew.studies.expanders.config import ExpandersConfig
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
from clew.studies.study import Study, with_settings


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


EXPANDERS = Study(
    name="expanders",
    question="Which graphs hold together when edges go, and do a model's circuits look like them?",
    source="Hoory, Linial and Wigderson 2006, Expander graphs and their applications",
    config=ExpandersConfig,
    needs=lambda kit, config: lacking(kit),
    measure=measure,
    absent=with_settings(
        "Local graphs of the same degree stand in the place of random ones, ladders in that of the graphs with "
        "formulas, and of every circuit only its strongest spanning tree is left: each has a bottleneck.",
        local=True,
    ),
    reduced=lambda config: replace(config, prompts=min(config.prompts, 6), graphs=5, formulas=2, largest=18),
)
