"""Players of bandits: a small GPT-2 whose table of embeddings is that of one game, and how it is taught.

1. A game with n arms has 3 n tokens: every arm as a possible one, as pulled and paid, and as pulled without pay. Their
   embeddings are the arm's, the arm's, and the arm's with the other sign; those of pulls have a direction added that
   says what was seen. (The sign lets a head add up what paid and take off what did not with one map of values.)
2. The prompt lists the possible arms, then comes a token a pull. The table is tied: what follows is the arm whose
   embedding lies nearest to the final stream.
3. In a `drawn` table the arms' embeddings are orthogonal and drawn anew for every game; so the player can know an arm
   only by what the prompt shows. In a `learned` one an arm has a number and a trained embedding.
4. Positions have no embedding: a longer list of arms moves everything behind it.
5. Taught is the pull that Thompson sampling would choose next (algorithm distillation, Laskin et al. 2022), AdamW with
   a learning rate that falls to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew.progress import Progress
from clew.studies.action_spaces.bandits import Histories, draw_means, thompson_histories
from clew.studies.action_spaces.config import CONTEXT, WIDTH, ActionSpacesConfig
from clew.studies.case import Case, Steps
from clew.subject.subject import Subject

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

HEADS = 4
"""Heads of a layer."""
LEAST = 4
"""The fewest arms in training."""
NUMBERED = 50
"""Arms that have a learned embedding, if no game needs more."""
KEPT_EVERY = 100
"""Steps between two states that are kept."""
REPORT_EVERY = 10
RATE, WARMUP, SHARP = 1.2e-2, 50, 0.4
"""Peak of the learning rate, steps until it is reached, and the final norm's weight at the start."""


class BanditPlayer(nn.Module):
    """A GPT-2 with ReLU MLPs that reads and writes by the table of each game; weights are drawn from the seed."""

    def __init__(self, config: ActionSpacesConfig, *, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.model = empty_model(config, vocabulary=3)
        generator = torch.Generator().manual_seed(config.seed + 1)
        self.seen = nn.Parameter(0.1 * torch.randn(2, WIDTH, generator=generator))
        """What is added to an arm that did not pay, and to one that did."""
        rows = orthogonal(1, min(WIDTH, max(NUMBERED, *config.arms)), generator)[0]
        self.numbered = nn.Parameter(rows, requires_grad=learned)
        """The embeddings of numbered arms; used by a player with learned embeddings only."""

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""
        skipped = ("wte.", "wpe.", "lm_head.")
        return {
            name: each
            for name, each in self.named_parameters()
            if each.requires_grad and not any(part in name for part in skipped)
        }

    def arms(self, games: int, arms: int, generator: torch.Generator, *, new: bool) -> Float[Tensor, "game arm d"]:
        """The embeddings of the possible arms of some games.

        Drawn anew; or if learned, those of numbered arms: the first ones in training, and of `new` ones the last.
        """
        if not self.learned:
            return orthogonal(games, arms, generator)
        rows = self.numbered[-arms:] if new else self.numbered[:arms]
        return rows.expand(games, -1, -1)

    def table(self, arms: Float[Tensor, "game arm d"]) -> Float[Tensor, "game token d"]:
        """The embeddings of all tokens: possible arms, arms that did not pay, arms that did."""
        return torch.cat([arms, self.seen[0] - arms, self.seen[1] + arms], 1)

    def stream(
        self, table: Float[Tensor, "game token d"], ids: Int[Tensor, "game pos"], cache: Any = None
    ) -> Float[Tensor, "game pos d"]:
        """The final normed stream; a cache is extended."""
        rows = table.gather(1, ids[..., None].expand(-1, -1, table.shape[2]))
        output = self.model.transformer(inputs_embeds=rows, past_key_values=cache, use_cache=cache is not None)
        stream: Tensor = output.last_hidden_state
        return stream

    def subject(self, table: Float[Tensor, "token d"]) -> Subject:
        """The model of one game, its table in the place of a vocabulary's: for graphs, looks and edits."""
        model = empty_model(self._config, vocabulary=len(table))
        state = {n: w for n, w in self.model.transformer.state_dict().items() if n != "wte.weight"}
        model.transformer.load_state_dict(state | {"wte.weight": table.detach()})
        return Subject(model, None, "a player of bandits")

    @property
    def _config(self) -> ActionSpacesConfig:
        return ActionSpacesConfig(layers=self.model.config.n_layer)


def orthogonal(games: int, arms: int, generator: torch.Generator) -> Float[Tensor, "game arm d"]:
    """Random orthogonal vectors of length one."""
    rows, _ = torch.linalg.qr(torch.randn(games, WIDTH, arms, generator=generator))
    return rows.transpose(1, 2)


def empty_model(config: ActionSpacesConfig, *, vocabulary: int) -> GPT2LMHeadModel:
    """A GPT-2 without embeddings of positions, its weights drawn from the seed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary, n_positions=CONTEXT, n_layer=config.layers, n_embd=WIDTH, n_head=HEADS,
                activation_function="relu", initializer_range=0.05, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                bos_token_id=0, eos_token_id=0,
            )
        )  # fmt: skip
    positions = model.transformer.wpe.weight
    positions.data.zero_()
    positions.requires_grad_(False)
    model.transformer.ln_f.weight.data.fill_(SHARP)
    return model


def token_ids(histories: Histories) -> Int[Tensor, "game pos"]:
    """The prompt that lists the arms, and a token a pull."""
    arms = histories.n_arms
    steps = arms * (1 + histories.paid) + histories.pulled
    return torch.from_numpy(np.concatenate([np.tile(np.arange(arms), (len(steps), 1)), steps], 1))


def trained_player(case: Case[ActionSpacesConfig], *, learned: bool) -> Iterator[Progress | BanditPlayer]:
    """Progress, and last a player; without a step it is as its weights were drawn."""
    config = case.config
    player = BanditPlayer(config, learned=learned)
    steps = config.learned_steps if learned else config.steps
    optimizer = torch.optim.AdamW(
        player.trained.values(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )  # fmt: skip
    name = "learned" if learned else "drawn"
    for first in range(0, steps, KEPT_EVERY):
        last = min(first + KEPT_EVERY, steps)
        work = _steps(player, optimizer, config, range(first, last), steps)
        _put(player, optimizer, (yield from case.part(f"player.{name}.{last}", work)))
    player.eval()
    yield player


def _steps(
    player: BanditPlayer, optimizer: torch.optim.AdamW, config: ActionSpacesConfig, steps: range, of: int
) -> Steps:
    """Some steps of training; the state after them."""
    name = "learned embeddings" if player.learned else "embeddings drawn anew"
    for step in steps:
        if step % REPORT_EVERY == 0:
            yield Progress(what=f"training with {name}", done=step, of=of)
        _loss(player, config, step).backward()
        nn.utils.clip_grad_norm_(player.trained.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * (1 - step / of)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    tensors = {}
    for name, parameter in player.trained.items():
        tensors[f"weight.{name}"] = parameter.detach().clone()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value.clone()
    return tensors


def _loss(player: BanditPlayer, config: ActionSpacesConfig, step: int) -> Tensor:
    """Nats by which the teacher's pulls surprise a player, over fresh histories."""
    generator = np.random.default_rng([config.seed, step])
    arms = int(generator.integers(LEAST, config.trained + 1))
    means = draw_means(config.batch, arms, generator)
    histories = thompson_histories(means, config.horizon, generator, noise=True, shuffled=config.shuffled)
    embeddings = player.arms(
        config.batch, arms, torch.Generator().manual_seed(int(generator.integers(2**62))), new=False
    )
    table = player.table(embeddings)
    stream = player.stream(table, token_ids(histories)[:, :-1])[:, arms - 1 :]
    logits = stream @ table.transpose(1, 2)
    return nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(histories.taught).flatten())


def _put(player: BanditPlayer, optimizer: torch.optim.AdamW, state: Mapping[str, Tensor]) -> None:
    """Go on from a state that was kept; the state that training has just left changes nothing."""
    for name, parameter in player.trained.items():
        parameter.data.copy_(state[f"weight.{name}"])
        optimizer.state[parameter] = {
            key: state[f"optimizer.{key}.{name}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
        }
