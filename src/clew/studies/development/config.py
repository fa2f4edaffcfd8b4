"""Settings of the study `development`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clew.errors import InputError
from clew.studies.config_checks import within

LEAST_SNAPSHOTS = 8
"""Fewer snapshots have no change point to tell from their order."""


@dataclass(frozen=True, kw_only=True)
class DevelopmentConfig:
    """Settings of the study."""

    seeds: int = 3
    """How many models are trained, each from weights and with sentences of its own."""
    steps: int = 900
    """Steps of training."""
    snapshots: int = 20
    """How many snapshots are looked at, evenly spaced by the logarithm of their step, the first after a twentieth."""
    questions: int = 40
    """With how many questions every family is examined at every snapshot."""
    prompts: int = 3
    """Of how many questions a family the circuit is followed through the snapshots."""
    llc_draws: int = 20
    """Steps of each walk by which the local learning coefficient is estimated."""
    toys: int = 6
    """How many toy models of superposition are trained."""
    toy_steps: int = 3000
    """Steps of their training."""
    draws: int = 1000
    """How often the order of snapshots, and that of families, is shuffled."""
    shuffled: bool = field(default=False, metadata={"option": False})
    """Answers dealt among the sentences of a family, and toys that are not trained: the absent case."""
    seed: int = 0
    """Seed of the first model, and of all draws."""

    def __post_init__(self) -> None:
        within(
            self,
            seeds=(1, 20),
            steps=(20, 100_000),
            questions=(4, 200),
            prompts=(1, 20),
            llc_draws=(2, 10_000),
            toys=(2, 100),
            toy_steps=(20, 1_000_000),
            draws=(20, 100_000),
        )
        if self.snapshots < LEAST_SNAPSHOTS:
            raise InputError(
                f"snapshots is {self.snapshots}: give at least {LEAST_SNAPSHOTS}, else no change point can be told "
                "from their order"
            )
        for steps in (self.steps, self.toy_steps):
            if len(spaced(steps, self.snapshots)) < self.snapshots:
                raise InputError(
                    f"{steps} steps have no {self.snapshots} snapshots: give more steps or fewer snapshots"
                )
        if self.prompts > self.questions:
            raise InputError(f"prompts is {self.prompts}, and only {self.questions} questions are asked")

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """After which steps of training the models are looked at."""
        return spaced(self.steps, self.snapshots)

    @property
    def toy_snapshot_steps(self) -> tuple[int, ...]:
        """After which steps the toy models are looked at."""
        return spaced(self.toy_steps, self.snapshots)


def spaced(steps: int, count: int) -> tuple[int, ...]:
    """Steps evenly spaced by their logarithm, from a twentieth of all on; fewer where they fall together."""
    return tuple(sorted({round(step) for step in np.geomspace(steps / 20, steps, count)}))
