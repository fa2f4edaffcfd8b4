"""A small mixture of experts, trained in stages or at once; a stage that is finished is kept.

1. *Experts*: every token goes to the expert of its sentence's label, with all of the weight. All but routers are
   trained to predict the next token.
2. *Routers*: everything else stays; the routers learn to choose the label's expert.
3. *All* are trained to predict the next token, the routers choosing freely.

Without stages there is one: predict the next token, with the usual term that keeps experts busy alike (Fedus, Zoph and
Shazeer 2022, eq. 4). A dense model is one expert, chosen always.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Case, Steps
from clew.studies.experts.config import ExpertsConfig, Recipe
from clew.studies.experts.sentences import Sentences
from clew.subject.subject import Subject

REPORT_EVERY = 10
BALANCE = 0.01
"""Weight of the term that keeps experts busy alike."""
CONTEXT = 128
StageName = Literal["experts", "routers", "all", "once"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is trained, for how many steps."""

    name: StageName
    steps: int
    learning_rate: float


def stages_of(recipe: Recipe, steps: int) -> tuple[Stage, ...]:
    """The stages of a recipe: three fifths of the steps for experts, an eighth for routers, the rest for all.

    Where there is one, it is as long as the two that predict tokens.
    """
    first, routers = steps * 3 // 5, max(1, steps // 8)
    if not recipe.staged:
        return (Stage(name="once", steps=steps - routers, learning_rate=4e-3),)
    return (
        Stage(name="experts", steps=first, learning_rate=4e-3),
        Stage(name="routers", steps=routers, learning_rate=1e-2),
        Stage(name="all", steps=steps - first - routers, learning_rate=2e-3),
    )


def build_subject(kit: Kit, config: ExpertsConfig, recipe: Recipe, seed: int) -> Subject:
    """An untrained model with the kit's tokens: each expert is as large as the dense model's MLP."""
    from transformers import OlmoeConfig, OlmoeForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OlmoeForCausalLM(
            OlmoeConfig(
                vocab_size=len(kit.subject.unembedding),
                hidden_size=config.width,
                intermediate_size=2 * config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=CONTEXT,
                num_experts=recipe.n_experts,
                num_experts_per_tok=1,
                tie_word_embeddings=True,
                initializer_range=0.05,
                pad_token_id=None,
                bos_token_id=kit.subject.start_ids[0],
                eos_token_id=None,
            )
        )
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    return Subject(model, kit.subject.tokenizer, f"{recipe.name}, seed {seed}")


def trained(
    case: Case[ExpertsConfig], recipe: Recipe, sentences: Sentences, seed: int
) -> Generator[Progress, None, Subject]:
    """The trained model; stages that are kept in the case's folder are read."""
    config = case.config
    subject = build_subject(case.kit, config, recipe, seed)
    labels = sentences.labels(seed, by_domain=recipe.by_domain)
    for stage in stages_of(recipe, config.steps):
        work = _train(subject, stage, sentences, labels, config.rows, seed)
        weights = yield from case.part(f"{recipe.key}.{seed}.{stage.name}", work)
        for name, parameter in subject.model.named_parameters():
            parameter.data.copy_(weights[name])
    subject.model.eval().requires_grad_(False)
    return subject


def _train(subject: Subject, stage: Stage, sentences: Sentences, labels: np.ndarray, n_rows: int, seed: int) -> Steps:
    """One stage; the weights after it."""
    model, number = subject.model.train(), ("experts", "routers", "all", "once").index(stage.name)
    for name, parameter in model.named_parameters():
        is_router = name.endswith("gate.weight")
        parameter.requires_grad_({"experts": not is_router, "routers": is_router}.get(stage.name, True))
    chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    for step in range(stage.steps):
        if step % REPORT_EVERY == 0:
            yield Progress(what=f"{subject.name}: {stage.name}", done=step, of=stage.steps)
        ids, marked = sentences.rows(labels, n_rows, np.random.default_rng([seed, number, step]))
        _loss(subject, stage.name, ids, marked).backward()
        torch.nn.utils.clip_grad_norm_(chosen, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * min((step + 1) / 20, 1 - step / stage.steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def _loss(
    subject: Subject, stage: StageName, ids: Int[Tensor, "row pos"], marked: Int[Tensor, "row pos"]
) -> Float[Tensor, ""]:
    """What a stage makes small, on some rows."""
    seen: list[Tensor] = []

    def by_label(layer: int, logits: Tensor) -> Tensor:
        seen.append(logits)
        chosen = one_hot(marked[:, :-1].flatten(), logits.shape[1]).bool()
        return torch.zeros_like(logits).masked_fill(~chosen, -torch.inf)

    def freely(layer: int, logits: Tensor) -> Tensor:
        seen.append(logits)
        return logits

    alone = subject.config.num_experts == 1
    with nullcontext() if alone else subject.rerouting(by_label if stage in ("experts", "routers") else freely):
        if stage == "routers":
            subject.model.model(input_ids=ids[:, :-1])
            return torch.stack([cross_entropy(each, marked[:, :-1].flatten()) for each in seen]).mean()
        logits = subject.model(input_ids=ids[:, :-1]).logits
    loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    if stage == "once" and not alone:
        loss = loss + BALANCE * torch.stack([_imbalance(each) for each in seen]).mean()
    return loss


def _imbalance(logits: Float[Tensor, "token expert"]) -> Float[Tensor, ""]:
    """1 where all experts get as many tokens, more where they do not."""
    probabilities, n_experts = logits.softmax(1), logits.shape[1]
    shares = one_hot(logits.argmax(1), n_experts).to(logits).mean(0)
    return n_experts * (shares * probabilities.mean(0)).sum()
