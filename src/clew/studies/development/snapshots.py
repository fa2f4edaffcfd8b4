"""What is measured of one model at all its snapshots."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case, Steps
from clew.studies.development.circuits import (
    RANDOM_SETS,
    QuestionCircuit,
    find_question_circuit,
    gains,
    strengths,
)
from clew.studies.development.config import DevelopmentConfig
from clew.studies.development.lessons import FAMILIES, PAD, LessonQuestion, Lessons
from clew.studies.development.model_llc import DOCUMENTS, PARTS, coefficients
from clew.studies.development.silencing import probabilities
from clew.studies.small_model import SmallTask, WeightSnapshot, small_model, train_with_snapshots
from clew.subject.subject import Subject

AT_ONCE = 64
"""Documents of a step of training."""
RATE = 6e-3
LAYERS = 2
NAMES = "names"
"""The part of what is measured that holds texts, as the bytes of a JSON list."""


def lessons_task(lessons: Lessons, seed: int) -> SmallTask:
    """What the model of a seed is taught."""
    return SmallTask(
        name=f"lessons.{seed}",
        vocabulary=len(lessons.tokenizer),
        draw=lambda generator: lessons.draw(generator, AT_ONCE),
        n_layer=LAYERS,
        learning_rate=RATE,
        padding=PAD,
    )


def trained(case: Case[DevelopmentConfig], lessons: Lessons, seed: int) -> Iterator[Progress | list[WeightSnapshot]]:
    """Progress, and last the weights of a model at all snapshots."""
    task, weights = lessons_task(lessons, seed), []
    steps = case.config.steps
    model = small_model(task, seed)
    for each in train_with_snapshots(case, task, model, steps=steps, seed=seed, snapshots=case.config.snapshot_steps):
        if isinstance(each, WeightSnapshot):
            weights.append(each)
        else:
            yield each
    yield weights


class SnapshotModel:
    """One model that takes the weights of any of its snapshots."""

    def __init__(self, lessons: Lessons, seed: int) -> None:
        self.task = lessons_task(lessons, seed)
        self.model = small_model(self.task, seed)
        self.subject = Subject(self.model, lessons.tokenizer, f"a model of lessons, seed {seed}")

    def put(self, weights: WeightSnapshot) -> Kit:
        """The kit of a snapshot, whose dictionary is its own neurons; it holds until the next one is put."""
        for name, parameter in self.model.named_parameters():
            parameter.data.copy_(weights.values[name])
        return Kit(self.subject, name=f"{self.subject.name}, step {weights.step:,}")


def measured(case: Case[DevelopmentConfig], lessons: Lessons, seed: int, weights: Sequence[WeightSnapshot]) -> Steps:
    """Gains, circuits and their strengths, attention and learning coefficients, at every snapshot.

    `right`, `elsewhere`, `first` are [snapshot, family, question]; `strength` [snapshot, family, prompt],
    `random` with a last axis of sets, `groups` [snapshot, group], each of one `circuit`; `attention` [snapshot, family,
    head], `resumed` and `chance` [snapshot, head]; `llc` [snapshot, chain].
    """
    config, model = case.config, SnapshotModel(lessons, seed)
    asked = {name: lessons.questions(name, config.questions) for name in FAMILIES}
    resumed = lessons.resumed(config.questions)
    kit = model.put(weights[-1])
    circuits = yield from _circuits(kit, asked, config.prompts, seed)
    generator = np.random.default_rng([seed, 1])
    parts = tuple(torch.from_numpy(lessons.draw(generator, DOCUMENTS)) for _ in range(PARTS))
    rows: dict[str, list[Tensor]] = {}
    for done, each in enumerate(weights):
        yield Progress(what=f"snapshots of seed {seed}", done=done, of=len(weights))
        kit = model.put(each)
        numbers = {**_knowledge(kit.subject, asked, circuits), **_attention(kit.subject, asked, resumed)}
        numbers["llc"] = coefficients(model.model, model.task, parts, config.llc_draws, seed)
        for name, value in numbers.items():
            rows.setdefault(name, []).append(value)
    return {**{name: torch.stack(values) for name, values in rows.items()}, **_facts(circuits)}


def _circuits(
    kit: Kit, asked: Mapping[str, Sequence[LessonQuestion]], count: int, seed: int
) -> Generator[Progress, None, list[QuestionCircuit]]:
    """The circuits of the first questions of every family, family by family."""
    circuits = []
    for place, (name, questions) in enumerate(asked.items()):
        yield Progress(what=f"circuits of seed {seed}", done=place, of=len(asked), note=name)
        _, elsewhere = gains(probabilities(kit.subject, questions), questions)
        circuits += [
            find_question_circuit(kit, question, float(other), seed)
            for question, other in zip(questions[:count], elsewhere, strict=False)
        ]
    return circuits


def _knowledge(
    subject: Subject, asked: Mapping[str, Sequence[LessonQuestion]], circuits: Sequence[QuestionCircuit]
) -> dict[str, Tensor]:
    """What a snapshot knows of every family, and how strong circuits are in it."""
    right, elsewhere, first = [], [], []
    for questions in asked.values():
        said = probabilities(subject, questions)
        own, other = gains(said, questions)
        right.append(own)
        elsewhere.append(other)
        top = said.argmax(1).tolist()
        first.append(torch.tensor([token in question.right for token, question in zip(top, questions, strict=True)]))
    per_family = len(circuits) // len(asked)
    lost = [
        strengths(subject, circuit, float(elsewhere[place // per_family][place % per_family]))
        for place, circuit in enumerate(circuits)
    ]
    shape = (len(asked), per_family)
    return {
        "right": torch.stack(right),
        "elsewhere": torch.stack(elsewhere),
        "first": torch.stack(first).float(),
        "strength": torch.stack([each[0] for each in lost]).view(shape),
        "random": torch.stack([each[1 : 1 + RANDOM_SETS] for each in lost]).view(*shape, RANDOM_SETS),
        "groups": torch.cat([each[1 + RANDOM_SETS :] for each in lost]),
    }


def _attention(
    subject: Subject, asked: Mapping[str, Sequence[LessonQuestion]], resumed: Sequence[LessonQuestion]
) -> dict[str, Tensor]:
    """How much each head attends, from the last token, to the one that decides, the mean over questions."""
    key, chance = _to_key(subject, resumed)
    return {
        "attention": torch.stack([_to_key(subject, questions)[0] for questions in asked.values()]),
        "resumed": key,
        "chance": chance,
    }


@torch.no_grad()
def _to_key(
    subject: Subject, questions: Sequence[LessonQuestion]
) -> tuple[Float[Tensor, " head"], Float[Tensor, " head"]]:
    """The attention of every head from the last token to the key, and to the mean of all that it sees."""
    longest = max(len(question.token_ids) for question in questions)
    ids = torch.tensor([[*q.token_ids, *[PAD] * (longest - len(q.token_ids))] for q in questions])
    attentions = subject.model(input_ids=ids, output_attentions=True).attentions
    rows, last = torch.arange(len(questions)), torch.tensor([len(q.token_ids) - 1 for q in questions])
    keys = torch.tensor([question.key for question in questions])
    per_layer = [pattern[rows, :, last, keys].mean(0) for pattern in attentions]
    return torch.cat(per_layer).float(), (1 / (last + 1)).mean().expand(sum(map(len, per_layer))).clone()


def _facts(circuits: Sequence[QuestionCircuit]) -> dict[str, Int[Tensor, "..."]]:
    """Of every group: its circuit, how many neurons it has, and in JSON its name and stage."""
    listed = [(place, group) for place, circuit in enumerate(circuits) for group in circuit.groups]
    names = json.dumps([[group.name, group.stage] for _, group in listed]).encode()
    return {
        "circuit": torch.tensor([place for place, _ in listed]),
        "size": torch.tensor([len(group.silent.neurons) for _, group in listed]),
        "heads": torch.tensor([len(circuit.whole.heads) for circuit in circuits]),
        NAMES: torch.frombuffer(bytearray(names), dtype=torch.uint8),
    }


def group_names(numbers: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Name and stage of every group."""
    return [(name, stage) for name, stage in json.loads(bytes(numbers[NAMES].tolist()))]
