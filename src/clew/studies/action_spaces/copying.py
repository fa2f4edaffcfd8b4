"""Which heads copy the embedding of an arm that paid: measured on games of the teacher, then silenced.

What head h writes at query q because it looks at the pull k is P[q, k] W_O W_V x_k. Its *copying* is what this adds,
the final norm held, to the logit of the arm that was pulled at k, less what it adds to the other arms on average. A
copying head writes more of it where the arm paid than where it did not. Heads are chosen on the first half of the
games, and measured on the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.progress import Progress
from clew.studies.action_spaces.bandits import Histories, draw_means, thompson_histories
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.players import HEADS, BanditPlayer, token_ids
from clew.studies.action_spaces.playing import batches
from clew.studies.case import Steps
from clew.subject.hooks import changing, eager_parts, watching

SETS = 20
"""Sets of other heads, at most, that are silenced beside the chosen ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Copying:
    """By game, head and pull: sums over the queries behind the pull."""

    copied: Float[np.ndarray, "game head step"]
    """Logits that the head adds to the pulled arm, less what it adds to others."""
    attended: Float[np.ndarray, "game head step"]
    paid: Int[np.ndarray, "game step"]
    heads: int
    """How many heads are chosen."""

    @classmethod
    def of(cls, part: Mapping[str, Tensor], heads: int) -> Copying:
        """From the tensors of a part."""
        return cls(**{name: part[name].numpy() for name in ("copied", "attended", "paid")}, heads=heads)

    @property
    def half(self) -> int:
        """The first of the games on which heads are measured."""
        return len(self.paid) // 2

    def of_paid(
        self, sums: Float[np.ndarray, "game head step"], paid: Int[np.ndarray, "game step"], *, unpaid: bool = False
    ) -> Float[np.ndarray, "game head"]:
        """The mean, a pull and query, of pulls that paid, or of those that did not."""
        chosen = (paid == 0 if unpaid else paid == 1).astype(float)
        queries = np.arange(sums.shape[2], 0, -1)
        total: Float[np.ndarray, "game head"] = np.einsum("ghs,gs->gh", sums, chosen)
        return total / np.maximum(chosen @ queries, 1)[:, None]

    def preference(self, paid: Int[np.ndarray, "game step"] | None = None) -> Float[np.ndarray, "game head"]:
        """How much more every head copies an arm that paid than one that did not, in logits a pull."""
        paid = self.paid if paid is None else paid
        return self.of_paid(self.copied, paid) - self.of_paid(self.copied, paid, unpaid=True)

    @property
    def chosen(self) -> tuple[int, ...]:
        """The heads with the largest preference in the first half of the games."""
        order = np.argsort(-self.preference()[: self.half].mean(0))
        return tuple(sorted(order[: self.heads].tolist()))

    def other_sets(self, seed: int) -> list[tuple[int, ...]]:
        """Sets of as many other heads: all of them, or some drawn at random."""
        others = [head for head in range(self.copied.shape[1]) if head not in self.chosen]
        sets = list(combinations(others, self.heads))
        order = np.random.default_rng([seed, 3]).permutation(len(sets))[:SETS]
        return [sets[place] for place in sorted(order)]


def head_name(head: int) -> str:
    """`L1H0`, of a head counted through all layers."""
    return f"L{head // HEADS}H{head % HEADS}"


def teacher_games(config: ActionSpacesConfig) -> Histories:
    """Games of the teacher with the least unseen number of arms: on one half heads are chosen, on the other measured.

    In the absent case the rewards in them are those of arms drawn at random.
    """
    generator = np.random.default_rng([config.seed, 8])
    means = draw_means(2 * config.histories, min(config.unseen), generator)
    return thompson_histories(means, config.horizon, generator, shuffled=config.shuffled)


def game_tables(
    player: BanditPlayer, config: ActionSpacesConfig, histories: Histories
) -> Float[Tensor, "game token d"]:
    """The tables of these games."""
    generator = torch.Generator().manual_seed(config.seed + 9)
    return player.table(player.arms(len(histories.means), histories.n_arms, generator, new=True))


@torch.no_grad()
def measured_copying(player: BanditPlayer, config: ActionSpacesConfig) -> Steps:
    """A part: see `Copying`."""
    histories = teacher_games(config)
    tables, ids = game_tables(player, config, histories), token_ids(histories)
    copied, attended = [], []
    for part in batches(len(ids)):
        yield Progress(what="what heads copy", done=part.start, of=len(ids), unit="games")
        sums, looks = _head_sums(player, tables[part], ids[part], torch.from_numpy(histories.pulled[part]))
        copied.append(sums)
        attended.append(looks)
    return {"copied": torch.cat(copied), "attended": torch.cat(attended), "paid": torch.from_numpy(histories.paid)}


def _head_sums(
    player: BanditPlayer, table: Tensor, ids: Tensor, pulled: Int[Tensor, "game step"]
) -> tuple[Float[Tensor, "game head step"], Float[Tensor, "game head step"]]:
    """Copying and attention of every head to every pull, summed over the queries from the pull on."""
    base, arms = player.model.transformer, table.shape[1] // 3
    attentions = [block.attn for block in base.h]
    inputs = {layer: attention.c_attn for layer, attention in enumerate(attentions)} | {"final": base.ln_f}
    rows = table.gather(1, ids[..., None].expand(-1, -1, table.shape[2]))
    with eager_parts(player.model), watching(inputs, {}) as watch:
        patterns = base(inputs_embeds=rows, output_attentions=True, use_cache=False).attentions
    final = watch.inputs["final"]
    scale = (final.var(-1, unbiased=False) + base.ln_f.eps).rsqrt()[:, arms:]
    readers = table[:, :arms] * base.ln_f.weight
    readers = readers - readers.mean(-1, keepdim=True)
    reader = readers.gather(1, pulled[..., None].expand(-1, -1, readers.shape[2]))
    contrast = (arms * reader - readers.sum(1, keepdim=True)) / (arms - 1)
    copied, attended = [], []
    for layer, attention in enumerate(attentions):
        d_model = table.shape[2]
        values = watch.inputs[layer][:, arms:] @ attention.c_attn.weight[:, 2 * d_model :]
        written = values.unflatten(-1, (HEADS, -1))
        output = attention.c_proj.weight.unflatten(0, (HEADS, -1))
        each = torch.einsum("gkhe,hed,gkd->ghk", written, output, contrast)
        looks = patterns[layer][:, :, arms:, arms:]
        copied.append(torch.einsum("ghqk,gq->ghk", looks, scale) * each)
        attended.append(looks.sum(2))
    return torch.cat(copied, 1), torch.cat(attended, 1)


@torch.no_grad()
def measured_ablations(player: BanditPlayer, config: ActionSpacesConfig, copying: Copying) -> Steps:
    """The regret of the next pull in the teacher's games: whole, with sets of heads silenced, and of pulling any arm.

    Silenced are the chosen heads, sets of as many others, and all heads of each layer, by their mean over these games.
    """
    histories = teacher_games(config)
    tables, ids = game_tables(player, config, histories)[copying.half :], token_ids(histories)[copying.half :]
    lost = torch.from_numpy(histories.means.max(1, keepdims=True) - histories.means)[copying.half :]
    layers = [tuple(range(first, first + HEADS)) for first in range(0, HEADS * config.layers, HEADS)]
    sets = [(), copying.chosen, *layers, *copying.other_sets(config.seed)]
    means, regrets = _mean_writings(player, tables, ids), []
    for place, silenced in enumerate(sets):
        yield Progress(what="silenced heads", done=place, of=len(sets), unit="sets")
        with silencing(player, silenced, means):
            parts = [_regret(player, tables[part], ids[part], lost[part]) for part in batches(len(ids))]
        regrets.append(torch.cat(parts))
    whole, chosen, *rest = regrets
    of_layers, others = torch.stack(rest[: len(layers)]), torch.stack(rest[len(layers) :])
    return {"whole": whole, "chosen": chosen, "layers": of_layers, "others": others, "uniform": lost.mean(1)}


def _regret(player: BanditPlayer, table: Tensor, ids: Tensor, lost: Tensor) -> Float[Tensor, " game"]:
    """The regret that is to be expected of a player's next pull, the mean over a game."""
    arms = lost.shape[1]
    stream = player.stream(table, ids)[:, arms - 1 :]
    chances = (stream @ table[:, :arms].transpose(1, 2)).double().softmax(-1)
    return torch.einsum("gta,ga->gt", chances, lost).mean(1)


def _mean_writings(player: BanditPlayer, tables: Tensor, ids: Tensor) -> Float[Tensor, "layer d"]:
    """What the heads write in front of the output projection, the mean over games and positions."""
    projections = {layer: block.attn.c_proj for layer, block in enumerate(player.model.transformer.h)}
    with watching(projections, {}) as watch:
        player.stream(tables, ids)
    return torch.stack([watch.inputs[layer].mean((0, 1)) for layer in projections])


@contextmanager
def silencing(player: BanditPlayer, heads: Sequence[int], means: Float[Tensor, "layer d"]) -> Iterator[None]:
    """Let some heads write their mean."""
    size = means.shape[1] // HEADS

    def mean_for(layer: int, x: Tensor) -> Tensor:
        for head in heads:
            if head // HEADS == layer:
                place = slice(head % HEADS * size, (head % HEADS + 1) * size)
                x[..., place] = means[layer, place]
        return x

    layers = {head // HEADS for head in heads}
    blocks = player.model.transformer.h
    with changing({blocks[layer].attn.c_proj: partial(mean_for, layer) for layer in layers}, {}):
        yield
