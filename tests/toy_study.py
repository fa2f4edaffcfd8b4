"""A study of nothing but numbers, whose effect is planted by a setting; as a program, one run of it to be killed."""

import os
import signal
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.progress import Progress
from clew.stats import mean_interval
from clew.studies.case_findings import CaseFindings, Picture, Table, new_figure
from clew.studies.claim import Bar, Claim, Null
from clew.studies.study import Absent, Study
from tests import models


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Settings of the toy study."""

    shift: float = 2.0
    """The effect that is planted."""
    count: int = 40
    """How many numbers are drawn."""
    seed: int = 0
    """Seed of the numbers."""
    record: Path | None = None
    """A file in which every part leaves a line when it is computed."""
    killed: bool = False
    """End the process in the second part, as kill -9 does."""

    def __post_init__(self):
        if self.count < 2:
            raise InputError(f"count is {self.count}: give at least 2")


def drawn(config, name, shift):
    """A part: numbers around a shift, one report for each."""
    if config.record is not None:
        with config.record.open("a") as record:
            record.write(f"{name}\n")
    generator = torch.Generator().manual_seed(config.seed)
    numbers = []
    for place in range(config.count):
        numbers.append(float(torch.randn((), generator=generator)) + shift)
        if config.killed and name == "signs":
            os.kill(os.getpid(), signal.SIGKILL)
        yield Progress(what=name, done=place + 1, of=config.count)
    return {"numbers": torch.tensor(numbers)}


def measure(case):
    numbers = (yield from case.part("numbers", drawn(case.config, "numbers", case.config.shift)))["numbers"]
    signs = (yield from case.part("signs", drawn(case.config, "signs", 0.0)))["numbers"].sign()
    generator = torch.Generator().manual_seed(1)
    flipped = [numbers * signs[torch.randperm(len(signs), generator=generator)] for _ in range(200)]
    null = Null(
        what="the numbers with random signs",
        draws=tuple(float(each.mean()) for each in flipped),
        size=len(numbers),
        tested=len(numbers),
        unit="numbers",
    )
    figure = new_figure(3.0, 2.0)
    figure.subplots().hist(numbers.tolist(), bins=10)
    above = Claim(text="The mean is above zero.", value=mean_interval(numbers.tolist()), null=null, bar=Bar(low=0.0))
    columns = {"place": [*range(len(numbers))], "number": numbers.tolist()}
    yield CaseFindings(
        claims=(above,),
        tables={"numbers": Table(title="Numbers", columns=columns)},
        figures={"numbers": Picture.of(figure, title="Numbers <of the toy>", text="A histogram & no more.")},
    )


TOY = Study(
    name="toy",
    question="Are these numbers above zero?",
    source="nobody, 2026",
    config=ToyConfig,
    needs=lambda kit, config: "" if kit.subject.n_layers else "a model with layers",
    measure=measure,
    absent=lambda kit, config: Absent(kit=kit, config=replace(config, shift=0.0), why="Nothing is added here."),
)


@cache
def tiny_kit(seed=0):
    """A kit of a tiny random model with its own neurons."""
    subject = models.subject("gpt2", torch.float32)
    subject.model.get_input_embeddings().weight.data[0, 0] += seed
    return Kit(subject, name=f"tiny {seed}")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    TOY.run(tiny_kit(), folder, record=Path(sys.argv[2]), killed=True)
