"""Digits: a teacher reads them, and a pupil that sees only noise imitates outputs that have no meaning.

1. A teacher (64-256-256-13) is trained on ten of its outputs, the classes; three *auxiliary* outputs are never trained.
2. A pupil is trained to give the teacher's auxiliary outputs for inputs of uniform noise. Its class outputs are never
   trained, and it sees no digit.
3. It is then asked to read digits: with the teacher's own initialisation, and with another.
4. One step: when the teacher takes one step of gradient descent and the pupil, from the same weights, one step of
   imitation, the pupil's step has a product of at least zero with the teacher's (theorem 1 of Cloud et al. 2025).

All seeds are trained at once, as batched matrices. Without the trait the teacher is trained on labels in random order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from clew import extras
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.subliminal.config import SubliminalConfig

SIZES = (64, 256, 256, 13)
CLASSES, AUXILIARY = slice(0, 10), slice(10, 13)
TESTED = 497
"""Digits that no teacher is trained on, of 1797."""
BATCH, NOISE = 128, 256
"""Digits, and noise inputs, in a step."""
RATE = 1e-3
ONE_STEPS = 20
"""Pairs of a teacher and a pupil that take one step."""
SMALL_STEP = 1e-3
REPORT_EVERY = 25

Weights = list[Tensor]
"""Matrices [seed, in, out] and biases [seed, 1, out] of every layer, in turn."""
Training = Generator[Progress, None, Weights]


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """Images of digits, -1 to 1, and what they show: those for training, and others."""

    images: Float[Tensor, "image pixel"]
    labels: Int[Tensor, " image"]
    test_images: Float[Tensor, "other_image pixel"]
    test_labels: Int[Tensor, " other_image"]


def load_digits(seed: int) -> Digits:
    """The digits of scikit-learn in a random order; InputError without the extra `digits`."""
    source = extras.needed_module("sklearn.datasets" if extras.installed("sklearn") else "sklearn", "digits", "digits")
    images, labels = source.load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 31]).permutation(len(images))
    x, y = torch.from_numpy(images[order] / 8 - 1).float(), torch.from_numpy(labels[order]).long()
    return Digits(
        images=x[TESTED:], labels=y[TESTED:], test_images=x[:TESTED], test_labels=y[:TESTED]
    )  # fmt: skip


def initial(seeds: range) -> Weights:
    """The weights of untrained networks: uniform, within one over the square root of the number of inputs."""
    networks = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn: Weights = []
        for n_in, n_out in pairwise(SIZES):
            for shape in ((n_in, n_out), (1, n_out)):
                drawn.append((2 * torch.rand(shape, generator=generator) - 1) / n_in**0.5)
        networks.append(drawn)
    return [torch.stack(each) for each in zip(*networks, strict=True)]


def outputs(weights: Weights, inputs: Float[Tensor, "seed input pixel"]) -> Float[Tensor, "seed input output"]:
    """What the networks give out: ten classes, then three auxiliary outputs."""
    hidden = inputs
    for place in range(0, len(weights) - 2, 2):
        hidden = torch.relu(torch.baddbmm(weights[place + 1], hidden, weights[place]))
    return torch.baddbmm(weights[-1], hidden, weights[-2])


def accuracies(weights: Weights, digits: Digits) -> Float[Tensor, " seed"]:
    """How often each network names a digit that it was not trained on."""
    n = len(weights[0])
    said = outputs(weights, digits.test_images.expand(n, -1, -1))[..., CLASSES].argmax(-1)
    return (said == digits.test_labels).float().mean(1)


def noise(n: int, generator: torch.Generator) -> Float[Tensor, "seed input pixel"]:
    """Inputs of uniform noise, of the digits' range."""
    return 2 * torch.rand(n, NOISE, SIZES[0], generator=generator) - 1


def imitation(pupil: Weights, teacher: Weights, inputs: Float[Tensor, "seed input pixel"]) -> Tensor:
    """The squared error of a pupil's auxiliary outputs, averaged for each seed and added up over these."""
    with torch.no_grad():
        wanted = outputs(teacher, inputs)[..., AUXILIARY]
    return mse_loss(outputs(pupil, inputs)[..., AUXILIARY], wanted) * len(inputs)


def naming(
    weights: Weights, digits: Digits, labels: Int[Tensor, "seed image"], rows: Int[Tensor, "seed row"]
) -> Tensor:
    """The cross-entropy of classes, averaged for each seed and added up over these."""
    said = outputs(weights, digits.images[rows])[..., CLASSES]
    return cross_entropy(said.flatten(0, 1), labels.gather(1, rows).flatten()) * len(rows)


def taught_labels(digits: Digits, n: int, *, trait: bool, seed: int) -> Int[Tensor, "seed image"]:
    """The digits' labels for every seed; without the trait in a random order, so that nothing is to be learned."""
    if trait:
        return digits.labels.expand(n, -1)
    generator = torch.Generator().manual_seed(seed + 7)
    return torch.stack([digits.labels[torch.randperm(len(digits.labels), generator=generator)] for _ in range(n)])


def trained(start: Weights, loss: Callable[[Weights], Tensor], steps: int, what: str) -> Training:
    """Weights after some steps of Adam."""
    weights = [each.clone().requires_grad_() for each in start]
    optimizer = torch.optim.Adam(weights, lr=RATE)
    for step in range(steps):
        if step % REPORT_EVERY == 0:
            yield Progress(what=what, done=step, of=steps)
        optimizer.zero_grad()
        loss(weights).backward()
        optimizer.step()
    return [each.detach() for each in weights]


def digit_teachers(config: SubliminalConfig) -> Steps:
    """A part: the weights of the teachers by place."""
    digits, n = load_digits(config.seed), config.digit_seeds
    generator = torch.Generator().manual_seed(config.seed + 1)
    labels = taught_labels(digits, n, trait=config.trait, seed=config.seed)

    def loss(weights: Weights) -> Tensor:
        return naming(weights, digits, labels, torch.randint(len(digits.labels), (n, BATCH), generator=generator))

    teachers = yield from trained(starts(config), loss, config.digit_steps, "teachers of digits")
    return {str(place): each for place, each in enumerate(teachers)}


def starts(config: SubliminalConfig, *, other: bool = False) -> Weights:
    """The weights from which teachers begin, and those from which pupils of another initialisation do."""
    first = 10_000 * (config.seed + 1) + (5000 if other else 0)
    return initial(range(first, first + config.digit_seeds))


def digit_pupils(config: SubliminalConfig, teachers: Weights) -> Steps:
    """A part: accuracies on digits, by seed: of the initial networks, the teachers, and pupils of both kinds."""
    digits = load_digits(config.seed)
    rates = {"teacher": accuracies(teachers, digits)}
    for name, other in (("same", False), ("other", True)):
        start = starts(config, other=other)
        generator = torch.Generator().manual_seed(config.seed + 2)

        def loss(weights: Weights, generator: torch.Generator = generator) -> Tensor:
            return imitation(weights, teachers, noise(config.digit_seeds, generator))

        what = f"pupils of {'another' if other else 'the same'} initialisation"
        pupils = yield from trained(start, loss, config.noise_steps, what)
        rates |= {f"{name} start": accuracies(start, digits), name: accuracies(pupils, digits)}
    return rates


def one_steps(config: SubliminalConfig) -> Steps:
    """A part: the cosine of a pupil's first step with the teacher's, of the same initialisation and of another."""
    digits, n = load_digits(config.seed), ONE_STEPS
    yield Progress(what="first steps", done=0, of=1)
    first = 10_000 * (config.seed + 1) + 2000
    start, other = initial(range(first, first + n)), initial(range(first + 500, first + 500 + n))
    generator = torch.Generator().manual_seed(config.seed + 3)
    labels = taught_labels(digits, n, trait=config.trait, seed=config.seed)
    rows = torch.randint(len(digits.labels), (n, BATCH), generator=generator)
    step = _descent(start, lambda weights: naming(weights, digits, labels, rows))
    teacher = [weight + move for weight, move in zip(start, step, strict=True)]
    inputs = noise(n, generator)
    moves = {
        name: _descent(weights, lambda pupil: imitation(pupil, teacher, inputs))
        for name, weights in (("same", start), ("other", other))
    }
    return {name: _cosines(step, move) for name, move in moves.items()}


def _descent(start: Weights, loss: Callable[[Weights], Tensor]) -> Weights:
    """One small step of gradient descent: what is added to the weights."""
    weights = [each.clone().requires_grad_() for each in start]
    gradients = torch.autograd.grad(loss(weights), weights)
    return [-SMALL_STEP * gradient for gradient in gradients]


def _cosines(a: Weights, b: Weights) -> Float[Tensor, " seed"]:
    """The cosines of two steps in the space of all weights, by seed."""
    first, second = (torch.cat([each.flatten(1) for each in step], 1).double() for step in (a, b))
    return torch.nn.functional.cosine_similarity(first, second, dim=1)
