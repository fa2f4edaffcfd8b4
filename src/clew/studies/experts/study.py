"""The study `experts`: can a mixture of experts be taught that each is for something, and is it so?

1. Small models with four experts in every layer, one of which every token goes to, are trained in stages on the world's
   sentences: each expert on those of its domain, then the routers, then all.
2. Beside them: the same with labels drawn at random, a dense model of the same active size, and one trained at once.
3. Every expert is ablated by its router logit; losses by domain show what it was for.
4. Where tokens are routed; whose neurons answers use, by exact graphs; what the strongest neurons do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.experts.claims import ExpertMeasures, ModelMeasures, check_routed, claims_of
from clew.studies.experts.config import DOMAINS, ExpertsConfig
from clew.studies.experts.exhibits import (
    ablation_picture,
    ablation_table,
    contrast_picture,
    influence_table,
    model_table,
    neuron_table,
    routing_picture,
    routing_table,
    token_table,
)
from clew.studies.experts.measures import Tested, measured
from clew.studies.experts.neurons import strongest_neurons
from clew.studies.experts.sentence_picture import sentence_picture
from clew.studies.experts.sentences import Sentences, test_sentences, training_sentences
from clew.studies.experts.training import trained
from clew.studies.study import Absent, Study
from clew.subject.subject import Subject

CALIBRATION = 60
"""Sentences of every domain, from training, by which experts without a domain and dense neurons are given one."""
MOST_TOKENS = 16_384
"""Tokens of a vocabulary with which a small model is trained in minutes."""


def needs(kit: Kit, config: ExpertsConfig) -> str:
    """What the kit lacks."""
    if kit.subject.tokenizer is None:
        return "its model has no tokenizer, and the small models read text"
    if not kit.subject.start_ids:
        return "its tokenizer puts no token in front of a text, behind which the small models begin"
    n_tokens = len(kit.subject.unembedding)
    if n_tokens > MOST_TOKENS:
        return f"its tokenizer has {n_tokens:,} tokens, and small models are trained with at most {MOST_TOKENS:,}"
    return ""


def measure(case: Case[ExpertsConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config, read = case.config, case.kit.subject
    training, test = training_sentences(read, config), test_sentences(read, config)
    sentences = Tested(test=test, calibration=_calibration(training, config))
    models: dict[str, ModelMeasures] = {}
    first: Subject | None = None
    for recipe in config.recipes:
        parts = []
        for seed in range(config.seed, config.seed + config.seeds):
            subject = yield from trained(case, recipe, training, seed)
            parts.append((yield from case.part(f"{recipe.key}.{seed}.measured", measured(subject, sentences))))
            first = first or subject
        models[recipe.name] = ModelMeasures(
            recipe=recipe, parts=tuple(parts), test=test.domains, calibration=sentences.calibration.domains
        )
        if recipe.by_domain:
            check_routed(models[recipe.name])
    assert first is not None
    yield _findings(ExpertMeasures(config=config, models=models, test=test), Kit(first, name=first.name))


def _calibration(training: Sentences, config: ExpertsConfig) -> Sentences:
    """The first sentences of every domain."""
    n_each = min(CALIBRATION, config.sentences, config.statements)
    kept = [
        int(place) for domain in range(len(DOMAINS)) for place in np.flatnonzero(training.domains == domain)[:n_each]
    ]
    return replace(training, ids=[training.ids[place] for place in kept], domains=training.domains[kept])


def _findings(measures: ExpertMeasures, kit: Kit) -> CaseFindings:
    """`kit` is the first of the models under test."""
    return CaseFindings(
        claims=claims_of(measures),
        tables={
            "models": model_table(measures),
            "ablations": ablation_table(measures),
            "routing": routing_table(measures),
            "tokens": token_table(measures, kit),
            "influence": influence_table(measures),
            "neurons": neuron_table(measures, strongest_neurons(kit, measures.test)),
        },
        figures={
            "ablations": ablation_picture(measures),
            "contrasts": contrast_picture(measures),
            "routing": routing_picture(measures),
            "sentences": sentence_picture(measures, kit),
        },
    )


def absent(kit: Kit, config: ExpertsConfig) -> Absent[ExpertsConfig]:
    """The case in which experts have no domain."""
    return Absent(
        kit=kit,
        config=replace(config, random_labels=True, seed=config.seed + config.seeds),
        why="The same stages, but every sentence's label is drawn at random: experts are trained on different "
        "sentences, and none of them has a domain.",
    )


EXPERTS = Study(
    name="experts",
    question="Can the experts of a mixture be taught to be for language, logic, people and the world, and are they?",
    source="AlKhamissi et al. 2025, Mixture of Cognitive Reasoners",
    config=ExpertsConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: None,
    quick={"seeds": 1, "steps": 80, "statements": 1500, "sentences": 50, "layers": 2},
)
