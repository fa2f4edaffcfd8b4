"""A small model that is trained while a study runs, for what the kit's model was not taught.

The small world's own architecture (GPT-2 with ReLU MLPs, whose neurons are an exact dictionary) reads token ids that
are drawn afresh at every step. Its weights and its optimiser are kept every few hundred steps, so that a run which was
killed goes on from there; with them the weights after chosen steps, for what is asked of a model as it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
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
    learning_rate: float = TrainingConfig.learning_rate
    padding: int | None = None
    """A token behind the end of shorter sequences, which is not predicted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightSnapshot:
    """The weights of a small model after some steps of training."""

    step: int
    values: Mapping[str, Tensor]


def train_small(case: Case[Any], task: SmallTask, *, steps: int, seed: int) -> Iterator[Progress | Kit]:
    """Progress, and last a Kit of the model with its own neurons; without a step it is as its weights were drawn."""
    model = small_model(task, seed)
    for step in train_with_snapshots(case, task, model, steps=steps, seed=seed):
        if isinstance(step, Progress):
            yield step
    subject = Subject(model, None, f"a model of {task.name}, {steps:,} steps")
    yield Kit(subject, name=subject.name)


def small_model(task: SmallTask, seed: int) -> GPT2LMHeadModel:
    """The model as its weights are drawn from a seed, before any training."""
    return build_model(_config(task, seed, 1), task.vocabulary)


def train_with_snapshots(
    case: Case[Any],
    task: SmallTask,
    model: GPT2LMHeadModel,
    *,
    steps: int,
    seed: int,
    snapshots: Collection[int] = (),
) -> Iterator[Progress | WeightSnapshot]:
    """Train a model that was just drawn; Progress, and the WeightSnapshot after each of the steps in `snapshots`."""
    config = _config(task, seed, steps)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    if 0 in snapshots:
        yield WeightSnapshot(step=0, values={name: each.detach().clone() for name, each in model.named_parameters()})
    for first in range(0, steps, KEPT_EVERY):
        last = min(first + KEPT_EVERY, steps)
        work = _steps(model, optimizer, task, config, range(first, last), snapshots)
        state = yield from case.part(f"{task.name}.model.{last}", work)
        _put(model, optimizer, state)
        for step in sorted(step for step in snapshots if first < step <= last):
            front = f"snapshot.{step}."
            values = {name.removeprefix(front): each for name, each in state.items() if name.startswith(front)}
            yield WeightSnapshot(step=step, values=values)


def _config(task: SmallTask, seed: int, steps: int) -> TrainingConfig:
    return TrainingConfig(
        seed=seed,
        steps=max(steps, 1),
        n_layer=task.n_layer,
        n_embd=64,
        n_head=4,
        warmup=50,
        learning_rate=task.learning_rate,
    )


def _steps(
    model: GPT2LMHeadModel,
    optimizer: torch.optim.AdamW,
    task: SmallTask,
    config: TrainingConfig,
    steps: range,
    snapshots: Collection[int],
) -> Steps:
    """Some steps of training; the state after them, and the weights of snapshots among them."""
    model.train()
    tensors: dict[str, Tensor] = {}
    for step in steps:
        if step % REPORT_EVERY == 0:
            yield Progress(what=f"training on {task.name}", done=step, of=config.steps)
        ids = torch.from_numpy(task.draw(np.random.default_rng([config.seed, step])))
        task_loss(model, task, ids).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step + 1 in snapshots:
            tensors |= {f"snapshot.{step + 1}.{name}": each.detach().clone() for name, each in model.named_parameters()}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach().clone()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value.clone()
    return tensors


def task_loss(model: GPT2LMHeadModel, task: SmallTask, ids: Int[Tensor, "sequence pos"]) -> Float[Tensor, ""]:
    """The mean loss of the tokens that are predicted, in nats."""
    logits = model(input_ids=ids[:, :-1]).logits[:, task.n_given - 1 :]
    wanted = ids[:, task.n_given :]
    if task.padding is not None:
        wanted = wanted.masked_fill(wanted == task.padding, -100)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def _put(model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, state: Mapping[str, Tensor]) -> None:
    """Go on from a state that was kept; the state that training has just left changes nothing."""
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state[f"weight.{name}"])
        optimizer.state[parameter] = {
            key: state[f"optimizer.{key}.{name}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
        }
