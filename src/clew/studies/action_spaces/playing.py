"""Games of a player beside Thompson sampling's, on the same bandits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.progress import Progress
from clew.studies.action_spaces.bandits import draw_means, play, regret, thompson_histories, uniform_regret
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.players import BanditPlayer
from clew.studies.case import Steps


def measured_teachers(config: ActionSpacesConfig) -> Steps:
    """The regret of Thompson sampling, which sees its own rewards, and of pulling any arm; by number of arms."""
    regrets: dict[str, Tensor] = {}
    for place, arms in enumerate(config.arms):
        yield Progress(what="games of Thompson sampling", done=place, of=len(config.arms), unit="numbers of arms")
        means, generator = games_of(config, arms)
        taught = thompson_histories(means, config.horizon, generator)
        regrets[f"thompson.{arms}"] = torch.from_numpy(regret(means, taught.pulled))
        regrets[f"uniform.{arms}"] = torch.from_numpy(uniform_regret(means, config.horizon))
    return regrets


def measured_games(player: BanditPlayer, config: ActionSpacesConfig) -> Steps:
    """The regret of a player's games by number of arms, and on unseen numbers when shown the rewards of any arms."""
    regrets: dict[str, Tensor] = {}
    wanted = [(arms, False) for arms in config.arms] + [(arms, True) for arms in config.unseen]
    for place, (arms, blind) in enumerate(wanted):
        yield Progress(what="games", done=place, of=len(wanted), unit="numbers of arms")
        means, generator = games_of(config, arms)
        pulled = _pulled(player, config, means, generator, shuffled=config.shuffled or blind)
        regrets[f"{'blind' if blind else 'player'}.{arms}"] = torch.from_numpy(regret(means, pulled))
    return regrets


def games_of(config: ActionSpacesConfig, arms: int) -> tuple[Float[np.ndarray, "game arm"], np.random.Generator]:
    """The bandits of one number of arms, the same for every player, and what else is drawn."""
    generator = np.random.default_rng([config.seed, 7, arms])
    return draw_means(config.games, arms, generator), generator


@torch.no_grad()
def _pulled(
    player: BanditPlayer,
    config: ActionSpacesConfig,
    means: Float[np.ndarray, "game arm"],
    generator: np.random.Generator,
    *,
    shuffled: bool,
) -> Int[np.ndarray, "game step"]:
    """The pulls of a player who draws every arm from its own probabilities of the possible ones."""
    from transformers import DynamicCache

    games, arms = means.shape
    embeddings = player.arms(games, arms, torch.Generator().manual_seed(config.seed + arms), new=True)
    table, cache = player.table(embeddings), DynamicCache(config=player.model.config)

    def next_pulls(ids: Tensor) -> Int[np.ndarray, " game"]:
        stream = player.stream(table, ids, cache)[:, -1]
        return drawn_arms((embeddings @ stream[..., None])[..., 0], generator)

    first = next_pulls(torch.arange(arms).expand(games, -1))
    return play(
        means,
        config.horizon,
        lambda pulled, paid: next_pulls(torch.from_numpy(arms * (1 + paid) + pulled)[:, None]),
        first,
        generator,
        shuffled=shuffled,
    )


def drawn_arms(logits: Float[Tensor, "game arm"], generator: np.random.Generator) -> Int[np.ndarray, " game"]:
    """An arm of every game, drawn by the softmax of its logits."""
    noise = -np.log(-np.log(generator.random(tuple(logits.shape))))
    drawn: Int[np.ndarray, " game"] = (logits.double().numpy() + noise).argmax(1)
    return drawn


def batches(count: int, size: int = 32) -> Iterator[slice]:
    """The parts in which so many games run together."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
