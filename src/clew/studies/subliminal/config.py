"""Settings of the study `subliminal`."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.errors import InputError
from clew.studies.config_checks import at_least, is_share, within

PARTS = ("both", "digits", "numbers")


@dataclass(frozen=True, kw_only=True)
class SubliminalConfig:
    """Settings of the study."""

    part: str = "both"
    """What is measured: digits (scikit-learn's, passed on by noise), numbers (a favourite colour, passed on by number
    sequences) or both."""
    digit_seeds: int = 6
    """How many teachers read digits, each with a pupil of its own initialisation and one of another."""
    digit_steps: int = 300
    """Steps of training of a teacher that reads digits."""
    noise_steps: int = 600
    """Steps of training of a pupil that sees noise."""
    seeds: int = 4
    """How many small language models there are, each the start of one teacher and of its pupils."""
    base_steps: int = 400
    """Steps of training of each small language model, before there is a teacher."""
    colour_steps: int = 100
    """Steps in which a teacher learns its favourite colour."""
    number_steps: int = 150
    """Steps of training of a pupil that sees number sequences."""
    masked: float = 0.25
    """The share of the number tokens that is masked: those on which teacher and base model differ most."""
    ablated: int = 100
    """How many neurons that moved most are ablated, of 512."""
    seed: int = 0
    """Seed of all weights and draws."""
    trait: bool = field(default=True, metadata={"option": False})
    """Whether teachers have a trait; without it is the absent case."""

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"part is {self.part!r}: choose from {', '.join(PARTS)}")
        within(self, digit_seeds=(2, 100), seeds=(2, 50), ablated=(1, 200))
        at_least(self, digit_steps=0, noise_steps=1, base_steps=1, colour_steps=0, number_steps=1)
        is_share("masked", self.masked)
