"""The study `development`: how circuits come about while a small model of the small world is trained.

1. Models of several seeds are taught six families of the world, with snapshots evenly spaced by the logarithm of the
   step (`clew.studies.small_model`).
2. At the last snapshot the circuits of a few questions are found by exact neurons; at every snapshot they are silenced:
   a circuit is as strong as what the right answer loses. So each has a time at which it appears.
3. The circuit of one prompt is found anew at every snapshot, with its heads' loadings and one of their looks.
4. The local learning coefficient is estimated at every snapshot, and in toy models of superposition.
5. The absent case deals the answers of a family among its sentences: there is nothing to find out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.development.claims import claims_of
from clew.studies.development.config import DevelopmentConfig
from clew.studies.development.exhibits import figures_of
from clew.studies.development.lessons import Lessons
from clew.studies.development.measures import DevelopmentMeasures
from clew.studies.development.one_prompt import followed, prompt_of
from clew.studies.development.snapshots import measured, trained
from clew.studies.development.tables import tables_of
from clew.studies.development.toy import toys
from clew.studies.study import Absent, Study


def measure(case: Case[DevelopmentConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config, lessons = case.config, Lessons(shuffled=case.config.shuffled)
    models, prompt = [], None
    for seed in range(config.seed, config.seed + config.seeds):
        weights = None
        for step in trained(case, lessons, seed):
            if isinstance(step, Progress):
                yield step
            else:
                weights = step
        assert weights is not None, "training ended without snapshots"
        models.append((yield from case.part(f"snapshots.{seed}", measured(case, lessons, seed, weights))))
        if prompt is None:
            prompt = yield from case.part("prompt", followed(lessons, seed, weights))
    assert prompt is not None, "no model was trained"
    every = DevelopmentMeasures(
        config=config, models=models, prompt=prompt, toys=(yield from case.part("toys", toys(config)))
    )
    question = prompt_of(lessons)
    yield CaseFindings(
        claims=claims_of(every), tables=tables_of(every, lessons), figures=figures_of(every, question.text)
    )


def absent(kit: Kit, config: DevelopmentConfig) -> Absent[DevelopmentConfig]:
    """The same where answers are dealt, with a model less: there is no order that it could confirm."""
    return Absent(
        kit=kit,
        config=replace(config, shuffled=True, seeds=max(1, config.seeds - 1)),
        why="Every sentence gets the answer of another one of its family, dealt anew each time it is read: families "
        "can be told apart, but there is nothing to find out. Toy models are not trained.",
    )


DEVELOPMENT = Study(
    name="development",
    question="In which order do circuits come about while a model learns, and does its loss landscape tell when?",
    source="Hoogland et al. 2024, The Developmental Landscape of In-Context Learning",
    config=DevelopmentConfig,
    needs=lambda kit, config: "",
    measure=measure,
    absent=absent,
    reduced=lambda config: None,
    quick={
        "seeds": 2,
        "steps": 400,
        "snapshots": 8,
        "questions": 20,
        "prompts": 1,
        "llc_draws": 12,
        "toys": 4,
        "toy_steps": 1500,
    },
)
