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
    """The regret of a player's games, by the way in which it plays and the number of arms.

    It pulls the `nearest` arm, or one `sampled` from its probabilities; on unseen numbers of arms it is also `blind`,
    shown the rewards of arms drawn at random. A player with learned embeddings pulls the nearest only.
    """
    regrets: dict[str, Tensor] = {}
    ways = ("nearest",) if player.learned else ("nearest", "sampled")
    wanted = [(way, "", arms) for way in ways for arms in config.arms]
    if not player.learned:
        wanted += [(way, "blind ", arms) for way in ways for arms in config.unseen]
    for place, (way, blind, arms) in enumerate(wanted):
        yield Progress(what="games", done=place, of=len(wanted), unit="kinds of games")
        means, generator = games_of(config, arms)
        pulled = _pulled(
            player, config, means, generator, sampled=way == "sampled", shuffled=config.shuffled or bool(blind)
        )
        regrets[f"{blind}{way}.{arms}"] = torch.from_numpy(regret(means, pulled))
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
    sampled: bool,
    shuffled: bool,
) -> Int[np.ndarray, "game step"]:
    """The pulls of a player; without `sampled` it pulls the arm whose embedding lies nearest to its final stream."""
    from transformers import DynamicCache

    games, arms = means.shape
    embeddings = player.arms(games, arms, torch.Generator().manual_seed(config.seed + arms), new=True)
    table, cache = player.table(embeddings), DynamicCache(config=player.model.config)

    def next_pulls(ids: Tensor) -> Int[np.ndarray, " game"]:
        stream = player.stream(table, ids, cache)[:, -1]
        logits = (embeddings @ stream[..., None])[..., 0].double().numpy()
        if sampled:
            logits = logits - np.log(-np.log(generator.random(logits.shape)))
        chosen: Int[np.ndarray, " game"] = logits.argmax(1)
        return chosen

    first = next_pulls(torch.arange(arms).expand(games, -1))
    return play(
        means,
        config.horizon,
        lambda pulled, paid: next_pulls(torch.from_numpy(arms * (1 + paid) + pulled)[:, None]),
        first,
        generator,
        shuffled=shuffled,
    )


def batches(count: int, size: int = 32) -> Iterator[slice]:
    """The parts in which so many games run together."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
