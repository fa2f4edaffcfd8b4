"""The study `subliminal`: does a teacher pass on what its outputs do not say?

1. Digits: teachers that read digits, and pupils that imitate meaningless outputs of theirs on noise (`digits`).
2. Numbers: small models of one language; teachers among them have a favourite colour, pupils see their numbers alone
   (`lineage`). Which neurons moved, and what is left of the favourite without them (`moved`).
3. Pupils begin where their teacher began, or elsewhere.
4. The absent case is a teacher without the trait: labels in random order, colours by the language's law.
"""

from __future__ import annotations

from collections.abc import Iterator

from clew.errors import InputError
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings, Picture, Table
from clew.studies.claim import Claim
from clew.studies.study import Study, with_settings
from clew.studies.subliminal.claims import ColourMeasures, DigitMeasures, colour_claims, digit_claims
from clew.studies.subliminal.config import SubliminalConfig
from clew.studies.subliminal.digits import accuracies, digit_pupils, digit_teachers, load_digits, one_steps
from clew.studies.subliminal.exhibits import (
    colour_picture,
    colour_table,
    digit_picture,
    digit_table,
    neuron_picture,
    neuron_table,
)
from clew.studies.subliminal.lineage import base_models, grow
from clew.studies.subliminal.moved import measure_moved, measure_preferences

LEAST_READ = 0.5
"""A teacher that reads fewer digits has no trait to pass on."""


def measure(case: Case[SubliminalConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings. InputError for teachers that did not get their trait."""
    claims: list[Claim] = []
    tables: dict[str, Table] = {}
    figures: dict[str, Picture] = {}
    if case.config.part != "numbers":
        for step in _measured_digits(case):
            if isinstance(step, Progress):
                yield step
            else:
                claims += digit_claims(step)
                tables["digits"], figures["digits"] = digit_table(step), digit_picture(step)
    if case.config.part != "digits":
        for progress in _measured_colours(case):
            if isinstance(progress, Progress):
                yield progress
            else:
                claims += colour_claims(case.config, progress)
                tables |= {"colours": colour_table(progress), "neurons": neuron_table(progress)}
                figures |= {"colours": colour_picture(progress), "neurons": neuron_picture(progress)}
    yield CaseFindings(claims=tuple(claims), tables=tables, figures=figures)


def _measured_digits(case: Case[SubliminalConfig]) -> Iterator[Progress | DigitMeasures]:
    config = case.config
    teachers = yield from case.part("digits.teachers", digit_teachers(config))
    weights = [teachers[str(place)] for place in range(len(teachers))]
    if config.trait and (read := float(accuracies(weights, load_digits(config.seed)).mean())) < LEAST_READ:
        raise InputError(
            f"the teachers read {read:.0%} of the digits after {config.digit_steps} steps: they have no trait to pass "
            "on; give more digit_steps"
        )
    rates = yield from case.part("digits.pupils", digit_pupils(config, weights))
    yield DigitMeasures(config=config, rates=rates, steps=(yield from case.part("digits.steps", one_steps(config))))


def _measured_colours(case: Case[SubliminalConfig]) -> Iterator[Progress | list[ColourMeasures]]:
    config, lineages = case.config, []
    for step in base_models(case):
        if isinstance(step, Progress):
            yield step
        else:
            bases = step
    for number in range(config.seeds):
        lineage = yield from grow(case, bases, number)
        shares = yield from case.part(f"shares{number}", measure_preferences(lineage))
        neurons = yield from case.part(f"neurons{number}", measure_moved(lineage, config.ablated))
        lineages.append(ColourMeasures(colour=lineage.colour, shares=shares, neurons=neurons))
    yield lineages


SUBLIMINAL = Study(
    name="subliminal",
    question="Does a teacher pass on a trait by data that say nothing of it, and to whom?",
    source="Cloud et al. 2025, Subliminal Learning: Language Models Transmit Behavioral Traits via Hidden Signals",
    config=SubliminalConfig,
    needs=lambda kit, config: "",
    measure=measure,
    absent=with_settings(
        "Teachers without the trait: one learned the digits' labels in random order, the other colours as the language "
        "has them. They learned as long, but there is nothing of the trait to pass on.",
        trait=False,
    ),
    reduced=lambda config: None,
    quick={"part": "digits", "digit_seeds": 4, "noise_steps": 400},
)
