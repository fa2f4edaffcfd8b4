"""The study `belief`: does a model that reads a hidden process keep the belief of one who knows it?

1. Sequences are drawn from a hidden process; the exact belief after every symbol follows from its own matrices. Weather
   is read by the kit's model, RRXOR by a small model that the study trains.
2. Beliefs are read from the last symbols, from the stream, and from both, on sequences that were not fitted; claimed is
   only what the stream adds. The model with shuffled weights is read in the same way.
3. Features that tell what the history leaves are chosen, beside matched ones; as a control, their mixture is compared
   with single features and with tiles.
4. Stream and features are given another belief, and the next symbols are compared with what the process says of it.
5. The absent case is the same model with shuffled weights, and a small model that was not trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from clew.kit import Kit
from clew.progress import Progress
from clew.runs.nulls import with_random_weights
from clew.studies.belief.claims import BeliefMeasured, claims_of
from clew.studies.belief.exhibits import (
    feature_table,
    increment_picture,
    reading_table,
    simplex_picture,
    steering_picture,
    steering_table,
)
from clew.studies.belief.features import TellingFeatures, shuffled_features, telling_features
from clew.studies.belief.processes import HiddenProcess, processes
from clew.studies.belief.sequences import lacking, sequences, small_task
from clew.studies.belief.steering import Shifts, steer
from clew.studies.belief.streams import StreamReadings, read_streams
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.small_model import train_small
from clew.studies.study import Absent, Study

SMALL_LENGTH = 12
"""Symbols in a sequence of a process for which a model is trained."""
SHUFFLED_STREAMS, SHUFFLED_NEURONS = 5, 2
"""Shuffled models, at most, whose stream is read, and in which neurons are chosen."""


@dataclass(frozen=True, kw_only=True)
class BeliefConfig:
    """Settings of the study."""

    process: str = "both"
    """Which hidden process: mess3 (the weather of the small world, read by the kit's model), rrxor (read by a small
    model that is trained for it) or both."""
    sequences: int = 300
    """How many sequences are fitted, and as many are held out."""
    length: int = 20
    """Days of weather in a sequence."""
    history: int = 10
    """How many of the last symbols the stream is compared with."""
    features: int = 16
    """How many features that tell the belief are chosen."""
    draws: int = 8
    """How many random directions and sets of matched features stand beside, and at most how many shuffled models."""
    cases: int = 128
    """How many prompts are steered."""
    steps: int = 3000
    """Steps of training of the small model; the absent case takes none."""
    seed: int = 0
    """Seed of sequences, shuffled weights, random features and directions."""

    def __post_init__(self) -> None:
        within(
            self, sequences=(20, 20_000), length=(8, 1000), history=(1, 100), features=(2, 1000), draws=(2, 1000),
            cases=(8, 10_000), steps=(0, 100_000),
        )  # fmt: skip
        processes(self.process)


def measure(case: Case[BeliefConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    every: list[BeliefMeasured] = []
    for process in processes(case.config.process):
        for step in _measured(case, process):
            if isinstance(step, BeliefMeasured):
                every.append(step)
            else:
                yield step
    yield CaseFindings(
        claims=tuple(claim for measured in every for claim in claims_of(measured)),
        tables={
            "readings": reading_table(every),
            "features": feature_table(every),
            "steering": steering_table(every),
        },
        figures={
            "simplex": simplex_picture(every),
            "increments": increment_picture(every),
            "steering": steering_picture(every),
        },
    )


def _measured(case: Case[BeliefConfig], process: HiddenProcess) -> Iterator[Progress | BeliefMeasured]:
    """One process: sequences, readings, features, steering."""
    config, kit, length = case.config, case.kit, case.config.length
    if process.name != "mess3":
        length = SMALL_LENGTH
        for step in train_small(case, small_task(process, length), steps=config.steps, seed=config.seed):
            if isinstance(step, Kit):
                kit = step
            else:
                yield step
    asked = sequences(
        kit, process, count=config.sequences, length=length, last=min(config.history, length), seed=config.seed
    )
    part, name = case.part, process.name
    read = read_streams(asked, min(config.draws, SHUFFLED_STREAMS), config.seed)
    readings = StreamReadings.of((yield from part(f"{name}.streams", read)))
    work = telling_features(asked, config.features, config.draws, config.seed)
    telling = TellingFeatures.of((yield from part(f"{name}.features", work)))
    alike = shuffled_features(asked, config.features, min(config.draws, SHUFFLED_NEURONS), config.seed)
    shuffled = yield from part(f"{name}.shuffled", alike)
    moves = steer(asked, readings, telling, cases=config.cases, seed=config.seed)
    shifts = Shifts.of((yield from part(f"{name}.steering", moves)))
    yield BeliefMeasured(
        asked=asked,
        readings=readings,
        telling=telling,
        shuffled=tuple(columns.numpy() for columns in shuffled.values()),
        shifts=shifts,
    )


def needs(kit: Kit, config: BeliefConfig) -> str:
    """What the kit lacks."""
    return lacking(kit, config.length) if config.process != "rrxor" else ""


def absent(kit: Kit, config: BeliefConfig) -> Absent[BeliefConfig]:
    """The model that has learned nothing."""
    shuffled = with_random_weights(kit.subject, seed=config.seed)
    return Absent(
        kit=Kit(shuffled, name=shuffled.name),
        config=replace(config, steps=0),
        why="The same model with the entries of every weight shuffled, read by its own neurons, has learned nothing of "
        "the weather, and the small model of RRXOR has taken no step.",
    )


def _weather(config: BeliefConfig) -> BeliefConfig | None:
    """Weather alone, which comes first: the small model of RRXOR is read by its own neurons as it is."""
    return None if config.process == "rrxor" else replace(config, process="mess3", draws=min(config.draws, 4))


BELIEF = Study(
    name="belief",
    question="Does a model that reads signs of a hidden state keep track of how likely every state is?",
    source="Shai et al. 2024, Transformers represent belief state geometry in their residual stream",
    config=BeliefConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=_weather,
)
