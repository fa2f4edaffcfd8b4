"""What one reward does: a pull that paid is turned into one that did not, and its look taken apart by its sources.

A head's score, less the mean of the other keys', is by how many nats it favours a key; where the pattern is known, it
is the logarithm of the pattern less the mean of the others' logarithms.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.copying import Copying, game_tables, teacher_games
from clew.studies.action_spaces.players import HEADS, BanditPlayer, token_ids
from clew.studies.action_spaces.playing import batches
from clew.studies.case import Steps
from clew.subject.hooks import eager_parts

SOURCES = ("the pull itself", "other tokens", "neurons", "biases")
LEAST = 1e-12
"""A pattern's entry below which its logarithm means nothing."""
ROWS = 256
"""Neurons of which each gets a row when a look is taken apart; the others are counted together."""


@torch.no_grad()
def measured_flips(player: BanditPlayer, config: ActionSpacesConfig, copying: Copying) -> Steps:
    """By how many nats more each head favours the last pull that paid, and how much likelier its arm is, for the pay.

    Of games in which something paid.
    """
    histories = teacher_games(config)
    games = torch.from_numpy(np.flatnonzero(copying.paid.any(1)))
    games = games[games >= copying.half]
    tables, ids, arms = game_tables(player, config, histories)[games], token_ids(histories)[games], histories.n_arms
    last = copying.paid.shape[1] - 1 - np.flip(copying.paid[games], 1).argmax(1)
    keys = arms + torch.from_numpy(last)
    pulled = torch.from_numpy(histories.pulled[games, last])
    favours, logits = [], []
    for paid in (True, False):
        yield Progress(what="a reward turned", done=int(not paid), of=2, unit="runs")
        turned = ids.clone()
        turned[torch.arange(len(ids)), keys] = pulled + arms * (1 + paid)
        parts = [_favour(player, tables[part], turned[part], keys[part], pulled[part]) for part in batches(len(ids))]
        favours.append(torch.cat([favour for favour, _ in parts]))
        logits.append(torch.cat([logit for _, logit in parts]))
    return {"favour": (favours[0] - favours[1]).double(), "logit": (logits[0] - logits[1]).double()}


def _favour(
    player: BanditPlayer, table: Tensor, ids: Tensor, keys: Tensor, pulled: Tensor
) -> tuple[Float[Tensor, "game head"], Float[Tensor, " game"]]:
    """Every head's score from the last token to a key, less the mean of others, and the arm's logit less its mean."""
    rows = table.gather(1, ids[..., None].expand(-1, -1, table.shape[2]))
    with eager_parts(player.model):
        output = player.model.transformer(inputs_embeds=rows, output_attentions=True, use_cache=False)
    logs = torch.cat([pattern[:, :, -1] for pattern in output.attentions], 1).clamp_min(LEAST).log()
    log = logs.gather(2, keys[:, None, None].expand(-1, logs.shape[1], 1))[..., 0]
    n = logs.shape[2]
    arms = table.shape[1] // 3
    logits = (table[:, :arms] @ output.last_hidden_state[:, -1, :, None])[..., 0]
    logit = logits.gather(1, pulled[:, None])[:, 0]
    return (n * log - logs.sum(2)) / (n - 1), (arms * logit - logits.sum(1)) / (arms - 1)


def measured_look(player: BanditPlayer, config: ActionSpacesConfig, copying: Copying) -> Steps:
    """Why the first chosen head looks at the last pull that paid, in the first measured game with one: by source.

    [side, source] values, which add up to the score's contrast, and the look's own numbers.
    """
    yield Progress(what="a look taken apart", done=0, of=1, unit="looks")
    histories = teacher_games(config)
    game = next((g for g in range(copying.half, len(copying.paid)) if copying.paid[g].any()), copying.half)
    step = int(copying.paid[game].nonzero()[0].max(initial=0))
    head, ids = copying.chosen[-1], token_ids(histories)[game]
    kit = Kit(player.subject(game_tables(player, config, histories)[game]))
    key = histories.n_arms + step
    graph = kit.looks(
        ids.tolist(), layer=head // HEADS, head=head % HEADS, query=len(ids) - 1, key=key, effects=False,
        leave_out_first=False, max_features=ROWS,
    )  # fmt: skip
    sides = []
    for target, place in zip(graph.target_range, (len(ids) - 1, key), strict=True):
        inputs = graph.inputs(target)
        tokens = inputs[graph.part("token")]
        token, neurons = tokens[place], inputs[graph.part("feature")].sum() + inputs[graph.part("error")].sum()
        sides.append(torch.stack([token, tokens.sum() - token, neurons, graph.offsets[target].sum()]))
    return {
        "sources": torch.stack(sides).double(),
        "look": torch.tensor([head, len(ids) - 1, key, step]),
        "score": torch.tensor([float(graph.targets[0].value)], dtype=torch.float64),
    }
