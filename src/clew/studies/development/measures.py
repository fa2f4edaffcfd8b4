"""All that one case measures, and the curves that claims, tables and pictures are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from clew.studies.development.changes import LEAST, onset
from clew.studies.development.config import DevelopmentConfig
from clew.studies.development.lessons import FAMILIES

NAMES = (*FAMILIES,)
LEAST_FAMILIES = 4
"""So many circuits must have appeared in every model for their order to be asked for."""


@dataclass(frozen=True, kw_only=True)
class DevelopmentMeasures:
    """What was measured of every model, of one prompt, and of toy models."""

    config: DevelopmentConfig
    models: Sequence[Mapping[str, Tensor]]
    prompt: Mapping[str, Tensor]
    toys: Mapping[str, Tensor]

    @cached_property
    def gain(self) -> Float[np.ndarray, "model snapshot family"]:
        """How much likelier right answers are behind their own prompts than behind others."""
        return np.stack([(each["right"] - each["elsewhere"]).mean(-1).double().numpy() for each in self.models])

    @cached_property
    def loss(self) -> Float[np.ndarray, "model snapshot family"]:
        """The mean -log probability of right answers, in nats."""
        return np.stack([-each["right"].clamp_min(1e-30).log().mean(-1).double().numpy() for each in self.models])

    @cached_property
    def accuracy(self) -> Float[np.ndarray, "model snapshot family"]:
        """How often a right answer is the likeliest token."""
        return np.stack([each["first"].mean(-1).double().numpy() for each in self.models])

    @cached_property
    def strength(self) -> Float[np.ndarray, "model snapshot family prompt"]:
        """How much of the gain goes with the circuit."""
        return np.stack([each["strength"].double().numpy() for each in self.models])

    @cached_property
    def random(self) -> Float[np.ndarray, "model snapshot family prompt set"]:
        """The same with random sets in the circuit's place."""
        return np.stack([each["random"].double().numpy() for each in self.models])

    @cached_property
    def coefficient(self) -> Float[np.ndarray, "model snapshot"]:
        """The local learning coefficient, the mean over chains."""
        return np.stack([each["llc"].mean(1).double().numpy() for each in self.models])

    @cached_property
    def total(self) -> Float[np.ndarray, "model snapshot"]:
        """The strength of a circuit, the mean over families."""
        return self.strength.mean((2, 3))

    @cached_property
    def onsets(self) -> Float[np.ndarray, "model family"]:
        """The step at which each family's circuits pass half of their strength; NaN where they have none."""
        return self.onsets_of(self.strength.mean(3))

    def onsets_of(self, curves: Float[np.ndarray, "model snapshot family"]) -> Float[np.ndarray, "model family"]:
        """The onset of every curve."""
        steps = self.config.snapshot_steps
        return np.array([[onset(curve, steps) for curve in each.T] for each in curves])

    @cached_property
    def risen(self) -> Bool[np.ndarray, " family"]:
        """The families whose circuits have appeared in every model."""
        appeared: np.ndarray = (self.strength.mean(3)[:, -1] >= LEAST).all(0)
        return appeared

    @cached_property
    def induction(self) -> Float[np.ndarray, "model snapshot 3"]:
        """The induction score of the head that has the highest at the end: attention from a repeated item to the one
        that followed it, where sequences are repeated from their first item, where from any; and by chance."""
        rows = []
        for each in self.models:
            own = each["attention"][:, NAMES.index("repeats")]
            head = int(own[-1].argmax())
            rows.append(np.stack([each_of[:, head].numpy() for each_of in (own, each["resumed"], each["chance"])], 1))
        return np.stack(rows).astype(float)
