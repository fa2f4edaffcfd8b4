"""Toy models of superposition: eight features in two hidden dimensions, and their learning coefficients in training.

An example holds one feature x_i in [0, 1]; the model gives relu(W^T W x + b) (Elhage et al. 2022). In two dimensions
features become the corners of a polygon, and training passes plateaus with fewer corners (Chen et al. 2023, Dynamical
versus Bayesian phase transitions in a toy model of superposition, arXiv 2310.06301). All models are trained at once.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.development.config import DevelopmentConfig
from clew.studies.development.llc import Walk, learning_coefficients

FEATURES, HIDDEN = 8, 2
VALUES = 16
"""Values of every feature in the examples, which stand for all that there could be."""
EXAMPLES = 10_000
"""Of how many examples the posterior is in which chains walk."""
START = 0.1
"""Standard deviation of the weights at the start."""
RATE = 0.1
CHAINS = 3
STEP, PULL = 3e-4, 100.0
CORNER = 0.5
"""The length from which a feature's direction counts as a corner."""


def examples() -> Float[Tensor, "example feature"]:
    """Every feature at even values."""
    values = (torch.arange(VALUES) + 0.5) / VALUES
    return torch.kron(torch.eye(FEATURES), values[:, None])


def toy_losses(weights: Float[Tensor, "toy weight"], x: Float[Tensor, "example feature"]) -> Float[Tensor, " toy"]:
    """The mean squared error of every model, summed over features; its weights are W, then b."""
    directions = weights[:, : HIDDEN * FEATURES].view(-1, HIDDEN, FEATURES)
    hidden = torch.einsum("thf,ef->teh", directions, x)
    given = torch.relu(hidden @ directions + weights[:, None, HIDDEN * FEATURES :])
    return (given - x).square().sum(2).mean(1)


def corners(weights: Float[Tensor, "toy weight"]) -> Float[Tensor, " toy"]:
    """How many features have a direction of their own."""
    lengths = weights[:, : HIDDEN * FEATURES].view(-1, HIDDEN, FEATURES).norm(dim=1)
    return (lengths > CORNER).sum(1).float()


def toys(config: DevelopmentConfig) -> Steps:
    """Losses, corners and coefficients of all toy models at every snapshot: [snapshot, toy]; `weights` at the end.

    In the absent case nothing is learned: the rate is zero, and the coefficient varies as its walks do.
    """
    x = examples()
    generator = torch.Generator().manual_seed(config.seed)
    weights = START * torch.randn(config.toys, FEATURES * (HIDDEN + 1), generator=generator)
    weights[:, HIDDEN * FEATURES :] = 0
    weights.requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=0.0 if config.shuffled else RATE)
    kept, snapshots = [], {*config.toy_snapshot_steps}
    for step in range(1, config.toy_steps + 1):
        if step % 500 == 1:
            yield Progress(what="training toy models", done=step, of=config.toy_steps)
        optimizer.zero_grad()
        toy_losses(weights, x).sum().backward()
        optimizer.step()
        if step in snapshots:
            kept.append(weights.detach().clone())
    yield Progress(what="coefficients of toy models", done=0, of=1)
    every = torch.cat(kept)
    start = every.repeat_interleave(CHAINS, 0)
    before = toy_losses(start, x)

    def excess(now: Float[Tensor, "chain weight"], step: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            now = now.detach().requires_grad_()
            losses = toy_losses(now, x)
            (gradient,) = torch.autograd.grad(losses.sum(), now)
        return losses.detach() - before, gradient

    walk = Walk(examples=EXAMPLES, draws=10 * config.llc_draws, burn_in=4 * config.llc_draws, step=STEP, pull=PULL)
    estimates = learning_coefficients(excess, start, walk, generator)
    shape = (len(kept), config.toys)
    return {
        "loss": toy_losses(every, x).view(shape),
        "corners": corners(every).view(shape),
        "llc": estimates.view(*shape, CHAINS).mean(2),
        "weights": kept[-1],
    }
