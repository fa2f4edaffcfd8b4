"""A small model that is trained while a study runs, for what the kit's model was not taught.

The small world's own architecture (GPT-2 with ReLU MLPs, whose neurons are an exact dictionary) reads token ids that
are drawn afresh at every step. Its weights and its optimiser are kept every few hundred steps, so that a run which was
killed goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clew.kit import Kit
from clew.organism.training import TrainingConfig, build_model, learning_rate
from clew.progress import Progress
from clew.studies.case import Case, Steps
from clew.subject.subject import Subject

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

KEPT_EVERY = 500
"""Steps between two states that are kept."""
REPORT_EVERY = 25


@dataclass(frozen=True, kw_only=True)
class SmallTask:
    """What a small model is taught."""

    name: str
    vocabulary: int
    draw: Callable[[np.random.Generator], Int[np.ndarray, "sequence pos"]]
    """The token ids of one step."""
    n_given: int = 1
    """Tokens at the front that are not predicted."""
    n_layer: int = 4


def train_small(case: Case[Any], task: SmallTask, *, steps: int, seed: int) -> Iterator[Progress | Kit]:
    """Progress, and last a Kit of the model with its own neurons; without a step it is as its weights were drawn."""
    config = TrainingConfig(seed=seed, steps=max(steps, 1), n_layer=task.n_layer, n_embd=64, n_head=4, warmup=50)
    model = build_model(config, task.vocabulary)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    for first in range(0, steps, KEPT_EVERY):
        last = min(first + KEPT_EVERY, steps)
        work = _steps(model, optimizer, task, config, range(first, last))
        _put(model, optimizer, (yield from case.part(f"{task.name}.model.{last}", work)))
    subject = Subject(model, None, f"a model of {task.name}, {steps:,} steps")
    yield Kit(subject, name=subject.name)


def _steps(
    model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, task: SmallTask, config: TrainingConfig, steps: range
) -> Steps:
    """Some steps of training; the state after them."""
    model.train()
    for step in steps:
        if step % REPORT_EVERY == 0:
            yield Progress(what=f"training on {task.name}", done=step, of=config.steps)
        ids = torch.from_numpy(task.draw(np.random.default_rng([config.seed, step])))
        logits = model(input_ids=ids[:, :-1]).logits[:, task.n_given - 1 :]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, task.n_given :].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach().clone()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value.clone()
    return tensors


def _put(model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, state: Mapping[str, Tensor]) -> None:
    """Go on from a state that was kept; the state that training has just left changes nothing."""
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state[f"weight.{name}"])
        optimizer.state[parameter] = {
            key: state[f"optimizer.{key}.{name}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
        }
