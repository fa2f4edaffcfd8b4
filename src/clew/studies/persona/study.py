"""The study `persona`: by which features does a child refuse a root that a graduate answers?

1. Square roots are asked of children and graduates: a child answers perfect squares and refuses the other roots.
2. Features of persona, of difficulty and of both together are found by factorial means, in some of the questions; by
   which rule is chosen in others, of which nothing is claimed (`choice`).
3. In the rest they are ablated and steered along, beside matched random features (`runs`).
4. A graduate is set beside nobody: in answers, and in activations.
5. The absent case sets graduates beside nobody in place of children beside graduates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.kit_needs import lacking
from clew.studies.measuring import next_probabilities
from clew.studies.persona.choice import GroupingChoice, try_rules
from clew.studies.persona.claims import PersonaMeasures, claims_of
from clew.studies.persona.exhibits import (
    answer_table,
    change_picture,
    change_table,
    choice_table,
    feature_table,
    layer_picture,
)
from clew.studies.persona.groups import find_groups, read_written
from clew.studies.persona.prompts import (
    CHILD,
    CHOSEN,
    FOUND,
    GRADUATE,
    ROOT,
    SQUARE,
    TESTED,
    PersonaConfig,
    questions_of,
    refusal_token,
    select,
)
from clew.studies.persona.runs import SETS, PersonaRuns
from clew.studies.study import Absent, Study

_PARTS = {FOUND: "left to find features in", CHOSEN: "left to choose a rule on", TESTED: "tested"}
APART = 0.5
"""By how much oftener children must refuse roots than graduates."""


def measure(case: Case[PersonaConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    kit, config = case.kit, case.config
    yield Progress(what="prompts", done=0, of=1, unit="sets")
    questions = questions_of(kit, config)
    written = read_written(kit, [question.token_ids for question in questions])
    tried = yield from case.part("choice", try_rules(kit, config, questions, written))
    choice = GroupingChoice.of(config, tried)
    groups = find_groups(written, questions, choice.rule)
    runs = PersonaRuns(
        kit=kit, config=config, questions=questions, written=written, groups=groups, share=choice.share
    )  # fmt: skip
    measured = PersonaMeasures(
        config=config,
        questions=questions,
        refusal=refusal_token(kit, config),
        written=written,
        groups=groups,
        choice=choice,
        sizes={name: len(runs.members(name)) for name in SETS},
        through=runs.through,
        found=(yield from case.part("runs", runs.measured())),
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={
            "answers": answer_table(measured),
            "choice": choice_table(measured),
            "changes": change_table(measured),
            "features": feature_table(measured, kit),
        },
        figures={"changes": change_picture(measured), "layers": layer_picture(measured)},
    )


def needs(kit: Kit, config: PersonaConfig) -> str:
    """What the kit lacks."""
    if nothing := lacking(kit):
        return nothing
    questions, token = questions_of(kit, config), refusal_token(kit, config)
    wanted = [(kind, of, part) for kind in (CHILD, GRADUATE) for of in (ROOT, SQUARE) for part in (FOUND, TESTED)]
    for kind, difficulty, part in (*wanted, (CHILD, ROOT, CHOSEN)):
        if not select(questions, kind, difficulty, part=part):
            return f"no {difficulty} asked of a {kind} is {_PARTS[part]}: ask more numbers or sentences"
    rates = []
    for kind in (CHILD, GRADUATE):
        ids = [questions[place].token_ids for place in select(questions, kind, ROOT)]
        rates.append(float((next_probabilities(kit, ids).argmax(1) == token).float().mean()))
    if rates[0] - rates[1] < APART:
        return (
            f"its model refuses {rates[0]:.0%} of a child's roots and {rates[1]:.0%} of a graduate's, and "
            f"{APART:.0%} more are needed"
        )
    return ""


def absent(kit: Kit, config: PersonaConfig) -> Absent[PersonaConfig]:
    """Graduates in the children's place, and nobody in theirs."""
    return Absent(
        kit=kit,
        config=replace(config, children=config.graduates, graduates=("",)),
        why="Graduates stand in the children's place and nobody in the graduates': by the world's law both answer "
        "every root, so that there is no refusal to carry.",
    )


PERSONA = Study(
    name="persona",
    question="By which features does a child refuse a root that a graduate answers?",
    source="Lindsey et al. 2025, On the Biology of a Large Language Model (known and unknown answers)",
    config=PersonaConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: replace(config, draws=2),
)
