"""Bandits whose arms pay one or nothing, many at a time: Thompson sampling, its histories, and games with a player.

Thompson sampling (Thompson 1933) draws every arm's chance from its posterior, Beta(1 + paid, 1 + not paid), and pulls
the arm with the largest. The regret of a pull is how much less the arm pays on average than the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Player = Callable[[Int[np.ndarray, " game"], Int[np.ndarray, " game"]], Int[np.ndarray, " game"]]
"""From the arms that were pulled last and what was seen to be paid, the arms to pull next."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Histories:
    """What was pulled, what was seen to be paid, and what the teacher would have pulled."""

    means: Float[np.ndarray, "game arm"]
    pulled: Int[np.ndarray, "game step"]
    paid: Int[np.ndarray, "game step"]
    taught: Int[np.ndarray, "game step"]

    @property
    def n_arms(self) -> int:
        """Arms of every bandit."""
        return self.means.shape[1]


def draw_means(games: int, arms: int, generator: np.random.Generator) -> Float[np.ndarray, "game arm"]:
    """How often every arm pays: uniform from 0 to 1."""
    return generator.random((games, arms))


def regret(means: Float[np.ndarray, "game arm"], pulled: Int[np.ndarray, "game step"]) -> Float[np.ndarray, " game"]:
    """The regret of every game, summed over its pulls."""
    return (means.max(1, keepdims=True) - np.take_along_axis(means, pulled, 1)).sum(1)


def uniform_regret(means: Float[np.ndarray, "game arm"], horizon: int) -> Float[np.ndarray, " game"]:
    """The regret to be expected of a player who pulls any arm, in so many pulls."""
    return (means.max(1) - means.mean(1)) * horizon


def thompson_histories(
    means: Float[np.ndarray, "game arm"],
    horizon: int,
    generator: np.random.Generator,
    *,
    noise: bool = False,
    shuffled: bool = False,
) -> Histories:
    """Games of Thompson sampling.

    With `noise` a share of each game's pulls, anything from none to all, is random, and what is taught is still what
    the teacher would have pulled: a pupil then cannot go by how often an arm was pulled (Zisman et al. 2023). With
    `shuffled` the teacher sees its own rewards, and what is kept is the reward of an arm drawn at random; with noise
    too, all pulls are random, and nothing that is kept says anything.
    """
    games, arms = means.shape
    rows, shares = np.arange(games), generator.random(games)
    share = np.ones(games) if noise and shuffled else shares * float(noise)
    wins, losses = np.ones((2, games, arms))
    pulled, paid, taught = np.zeros((3, games, horizon), dtype=np.int64)
    for step in range(horizon):
        taught[:, step] = generator.beta(wins, losses).argmax(1)
        random = generator.random(games) < share
        arm = np.where(random, generator.integers(0, arms, games), taught[:, step])
        reward = generator.random(games) < means[rows, arm]
        wins[rows, arm] += reward
        losses[rows, arm] += ~reward
        pulled[:, step] = arm
        paid[:, step] = _seen(means, reward, generator) if shuffled else reward
    return Histories(means=means, pulled=pulled, paid=paid, taught=taught)


def play(
    means: Float[np.ndarray, "game arm"],
    horizon: int,
    player: Player,
    first: Int[np.ndarray, " game"],
    generator: np.random.Generator,
    *,
    shuffled: bool = False,
) -> Int[np.ndarray, "game step"]:
    """The arms that a player pulls, who has chosen its first; `shuffled` as in `thompson_histories`."""
    rows, pulled = np.arange(len(means)), [first]
    for _ in range(horizon - 1):
        reward = generator.random(len(means)) < means[rows, pulled[-1]]
        shown = _seen(means, reward, generator) if shuffled else reward
        pulled.append(player(pulled[-1], shown.astype(np.int64)))
    return np.stack(pulled, 1)


def _seen(means: np.ndarray, reward: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The rewards of arms drawn at random."""
    arm = generator.integers(0, means.shape[1], len(means))
    return generator.random(len(means)) < means[np.arange(len(means)), arm]
