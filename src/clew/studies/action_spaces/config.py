"""Settings of the study `action-spaces`."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.errors import InputError
from clew.settings import option
from clew.studies.config_checks import at_least, within

WIDTH, CONTEXT = 64, 256
"""Width of the player, and of the embeddings of arms; tokens that it reads."""


@dataclass(frozen=True, kw_only=True)
class ActionSpacesConfig:
    """Settings of the study."""

    steps: int = 800
    """Steps of training of the player whose embeddings are drawn anew."""
    learned_steps: int = 200
    """Steps of training of the player with learned embeddings."""
    batch: int = 32
    """Histories in a step of training."""
    layers: int = 2
    """Layers of a player, each with four heads."""
    trained: int = 20
    """The most arms in training; the least are 4."""
    arms: tuple[int, ...] = field(default=(10, 20, 30, 40, 50), metadata=option("--arms", kind=list[int]))
    """A number of arms to play; repeat it for several. Those above `trained` are the unseen ones."""
    horizon: int = 100
    """Pulls in a game."""
    games: int = 200
    """Games for every number of arms."""
    histories: int = 64
    """Histories on which heads are measured; they are chosen on as many others."""
    heads: int = 2
    """How many heads are chosen as those that copy."""
    seed: int = 0
    """Seed of weights, embeddings and games."""
    shuffled: bool = field(default=False, metadata={"option": False})
    """Whether every reward that a player sees is that of an arm drawn at random: the absent case."""

    def __post_init__(self) -> None:
        at_least(self, steps=0, learned_steps=0, batch=2, trained=4, horizon=4, games=20, histories=8)
        within(self, layers=(1, 8), heads=(1, self.layers * 2))
        self._check_arms()

    def _check_arms(self) -> None:
        if not self.arms or min(self.arms) < 2:
            raise InputError(f"arms are {list(self.arms)}: give numbers from 2")
        most = max(*self.arms, self.trained)
        if most > WIDTH:
            raise InputError(f"{most} arms are asked for: at most {WIDTH} embeddings of width {WIDTH} are orthogonal")
        if most + self.horizon > CONTEXT:
            raise InputError(
                f"{most} arms and {self.horizon} pulls are {most + self.horizon} tokens, and the player reads "
                f"{CONTEXT}: give fewer arms or a shorter horizon"
            )
        if not self.unseen:
            raise InputError(
                f"arms are {list(self.arms)}, all of them trained on: give a number above trained, {self.trained}"
            )

    @property
    def unseen(self) -> tuple[int, ...]:
        """Numbers of arms that are not trained on."""
        return tuple(arms for arms in self.arms if arms > self.trained)
