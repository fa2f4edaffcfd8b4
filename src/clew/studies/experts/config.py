"""Settings of the study `experts`, and the models that it compares."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.errors import InputError
from clew.organism.families import Domain
from clew.studies.config_checks import at_least

DOMAINS: tuple[Domain, ...] = ("language", "logic", "social", "world")
"""One expert a layer for each, in this order."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One of the models that are compared."""

    name: str
    staged: bool = False
    """Whether experts, routers and all are trained one after the other."""
    by_domain: bool = False
    """Whether a sentence's label is its domain; else it is drawn at random."""
    n_experts: int = len(DOMAINS)

    @property
    def key(self) -> str:
        """Its name in names of files."""
        return self.name.replace(" ", "_")


STAGED = Recipe(name="staged", staged=True, by_domain=True)
RANDOM = Recipe(name="random labels", staged=True)
DENSE = Recipe(name="dense", n_experts=1)
UNSTAGED = Recipe(name="without stages")


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """Settings of the study."""

    seeds: int = 3
    """How many models of every kind are trained."""
    steps: int = 200
    """Steps of training of every model, of all stages together."""
    rows: int = 24
    """Rows of text in a step, of 48 tokens each."""
    layers: int = 3
    """Blocks of a model."""
    width: int = 64
    """Width of the residual stream, and half of an expert's neurons."""
    statements: int = 4000
    """Sentences of every domain to train on."""
    sentences: int = 120
    """Sentences of every domain on which experts are ablated."""
    draws: int = 1000
    """How often domains are permuted."""
    seed: int = 0
    """Seed of sentences, training and draws."""
    random_labels: bool = field(default=False, metadata={"option": False})
    """Labels drawn at random under test: the absent case."""

    def __post_init__(self) -> None:
        at_least(self, seeds=1, steps=10, rows=2, layers=1, statements=100, sentences=10, draws=20)
        if self.width < 16 or self.width % 8:
            raise InputError(f"width is {self.width}: give a multiple of 8, at least 16")

    @property
    def tested(self) -> Recipe:
        """The model under test."""
        return RANDOM if self.random_labels else STAGED

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All models that are trained, the one under test first."""
        return (self.tested,) if self.random_labels else (STAGED, RANDOM, DENSE, UNSTAGED)
