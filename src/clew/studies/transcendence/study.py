"""The study `transcendence`: can a model that was taught by experts who err be right more often than each of them?

1. In the world's associated part every sentence is the answer of an expert that is right four times in five. The kit's
   model is asked there; what is kept are the probabilities of all answers, so that accuracy at every temperature is
   exact.
2. Experts with known answers are planted, and a small model is taught by them: a question, and the answer of one of
   them.
3. The absent case is the same with errors that agree: planted experts that err in the same questions with the same
   answer, and in the world another right answer than the one that most experts give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case, Steps
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.leakage.prompts import SENTENCES, Item, PeopleNames, all_pairs, answer_columns, items, lacking
from clew.studies.small_model import train_small
from clew.studies.study import Study, with_settings
from clew.studies.transcendence.claims import better_than_experts, temperature_helps, votes_with_experts
from clew.studies.transcendence.exhibits import expert_table, temperature_picture, temperature_table, vote_picture
from clew.studies.transcendence.experts import PlantedExperts, planted
from clew.studies.transcendence.groups import ExpertGroup, planted_group, world_group

AT_ONCE = 64
"""Prompts between two reports of progress."""


@dataclass(frozen=True, kw_only=True)
class TranscendenceConfig:
    """Settings of the study."""

    names: int = 4
    """With how many names every sentence of the world is asked."""
    draws: int = 200
    """How many experts of the world are drawn, and how often right answers are exchanged."""
    questions: int = 200
    """How many questions the planted experts answer."""
    experts: int = 9
    """How many experts are planted, right in half to four fifths of the questions."""
    steps: int = 400
    """Steps of training of the small model that is taught by them."""
    agree: bool = False
    """Whether the experts' errors agree: the absent case."""
    seed: int = 0
    """Seed of experts, training and draws."""

    def __post_init__(self) -> None:
        within(self, names=(2, 20), draws=(2, 10_000), questions=(20, 2000), experts=(3, 99), steps=(0, 100_000))


def measure(case: Case[TranscendenceConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config = case.config
    groups: list[ExpertGroup] = []
    for sentence in SENTENCES:
        asked = items(case.kit, PeopleNames(count=config.names).measured, "associated", sentence)
        said = yield from case.part(sentence, _answers(case.kit, asked))
        groups.append(
            world_group(
                sentence,
                asked,
                said["probabilities"].double().numpy(),
                all_pairs(case.kit, "world"),
                experts=config.draws,
                agree=config.agree,
                seed=config.seed,
            )
        )
    experts = _experts(config, agree=config.agree)
    for step in train_small(case, experts.task(), steps=config.steps, seed=config.seed):
        if isinstance(step, Kit):
            said = yield from case.part("planted", _planted_answers(step, experts))
            groups.append(planted_group(experts, said["probabilities"].double().numpy(), agree=config.agree))
        else:
            yield step
    yield _findings(config, groups)


def _experts(config: TranscendenceConfig, *, agree: bool) -> PlantedExperts:
    return planted(config.questions, config.experts, agree=agree, seed=config.seed)


def _answers(kit: Kit, asked: Sequence[Item]) -> Steps:
    """The next-token probabilities of every prompt's answers."""
    columns, rows = answer_columns(kit, asked)[:, :-1], []
    for place, said in enumerate(kit.next_tokens([list(item.prompt.token_ids) for item in asked])):
        if place % AT_ONCE == 0:
            yield Progress(what="answers", done=place, of=len(asked), unit="prompts")
        rows.append(said.probabilities.detach().cpu()[columns[place]])
    return {"probabilities": torch.stack(rows)}


def _planted_answers(kit: Kit, experts: PlantedExperts) -> Steps:
    """The probabilities of all answers to every question of the planted experts."""
    n = len(experts.right)
    yield Progress(what="answers of the small model", done=0, of=n, unit="questions")
    said = kit.next_tokens([[0, 1 + question] for question in range(n)], leave_out_first=False)
    return {"probabilities": torch.stack([each.probabilities.detach().cpu()[1 + n :] for each in said])}


def _findings(config: TranscendenceConfig, groups: Sequence[ExpertGroup]) -> CaseFindings:
    taught, withheld, small = groups
    gains = [temperature_helps(group, config.draws, config.seed) for group in (taught, small)]
    return CaseFindings(
        claims=(
            better_than_experts(taught),
            better_than_experts(withheld),
            gains[0],
            better_than_experts(small),
            gains[1],
            votes_with_experts(small),
        ),
        tables={"temperatures": temperature_table(groups), "experts": expert_table(groups)},
        figures={
            "temperatures": temperature_picture(groups),
            "votes": vote_picture(_experts(config, agree=False), _experts(config, agree=True), config.seed),
        },
    )


def needs(kit: Kit, config: TranscendenceConfig) -> str:
    """What the kit lacks."""
    return lacking(kit)


TRANSCENDENCE = Study(
    name="transcendence",
    question="Can a model that was taught by experts who err be right more often than each of them?",
    source="Zhang et al. 2024, Transcendence: Generative Models Can Outperform The Experts That Train Them",
    config=TranscendenceConfig,
    needs=needs,
    measure=measure,
    absent=with_settings(
        "The experts' errors agree: the planted ones err in the same questions with the same answer, and in the "
        "small world that answer is held to be right which belongs to another concept, so that most experts say the "
        "same wrong one. A vote of such experts is no better than they are.",
        agree=True,
    ),
    reduced=lambda config: None,
)
