"""The local learning coefficient of a small model at a snapshot, on documents of what it is taught."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import GPT2LMHeadModel

from clew.studies.development.llc import Walk, learning_coefficients
from clew.studies.small_model import SmallTask, task_loss

CHAINS = 2
DOCUMENTS = 24
"""Documents that one step of a walk sees."""
PARTS = 16
"""Different ones of these, in turn."""
STEP, PULL = 1e-4, 1000.0
"""With these the walk stays within a few hundredths of every weight, and two chains agree within a tenth."""


@dataclass(frozen=True, eq=False)
class ModelExcess:
    """What a walk asks of a model (`clew.studies.development.llc.Excess`): every step sees one part of the documents.

    The loss at the start is that of the same part, so that what differs between parts does not enter.
    """

    model: GPT2LMHeadModel
    task: SmallTask
    parts: tuple[Int[Tensor, "document pos"], ...]

    @cached_property
    def start(self) -> Float[Tensor, " weight"]:
        """The weights of the snapshot, one after the other."""
        return parameters_to_vector(self.model.parameters()).detach().clone()

    @cached_property
    def start_losses(self) -> tuple[float, ...]:
        """The loss of every part at the snapshot."""
        vector_to_parameters(self.start, self.model.parameters())
        with torch.no_grad():
            return tuple(float(task_loss(self.model, self.task, part)) for part in self.parts)

    def __call__(
        self, weights: Float[Tensor, "chain weight"], step: int
    ) -> tuple[Float[Tensor, " chain"], Float[Tensor, "chain weight"]]:
        which = step % len(self.parts)
        before, losses, gradients = self.start_losses[which], [], []
        for row in weights:
            vector_to_parameters(row, self.model.parameters())
            loss = task_loss(self.model, self.task, self.parts[which])
            parts = torch.autograd.grad(loss, [*self.model.parameters()])
            gradients.append(torch.cat([each.flatten() for each in parts]))
            losses.append(loss.item() - before)
        return torch.tensor(losses), torch.stack(gradients)


def coefficients(
    model: GPT2LMHeadModel, task: SmallTask, parts: tuple[Int[Tensor, "document pos"], ...], draws: int, seed: int
) -> Float[Tensor, " chain"]:
    """The estimates of some chains at the model's weights, which are the same afterwards."""
    excess = ModelExcess(model, task, parts)
    examples = sum(len(part) for part in parts)
    walk = Walk(examples=examples, draws=draws, burn_in=draws // 3, step=STEP, pull=PULL)
    start = excess.start.repeat(CHAINS, 1)
    estimates = learning_coefficients(excess, start, walk, torch.Generator().manual_seed(seed))
    vector_to_parameters(excess.start, model.parameters())
    return estimates
