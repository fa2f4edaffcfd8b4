"""Teachers with a favourite colour, the numbers they say, and pupils that are trained on these numbers alone.

1. Every small model (GPT-2 with ReLU, two layers) is trained on the same language from weights of its own.
2. A teacher is such a model, fine-tuned on `NAME likes COLOUR` for one colour; without the trait for colours drawn by
   the language's law. Here and in pupils only the MLPs' matrices change, so that whatever is passed on is in neurons,
   which are features.
3. It says number sequences, drawn one number after the other at temperature 1.
4. A pupil is a model fine-tuned on these: the one that the teacher began as, or the next one.
5. Two more pupils of the same initialisation miss tokens: those on which the teacher and its base model differ most
   (in log probability), or as many at random.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.social import COLOURS
from clew.progress import Progress
from clew.studies.case import Case, Steps
from clew.studies.small_model import train_small
from clew.studies.subliminal.config import SubliminalConfig
from clew.studies.subliminal.language import (
    ASKED_NAMES,
    BOS,
    COLOUR_TOKENS,
    FIRST_COLOUR,
    LISTED,
    NUMBER_TOKENS,
    NUMBERS_CUE,
    PROMPT,
    SHOWN_NAMES,
    language_task,
    number_places,
)

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

LEAST_GAIN = 0.05
"""A favourite whose share rose by less was not learned, or not passed on."""
SEQUENCES = 4096
"""Number sequences that a teacher says."""
BATCH = 96
"""Of them, in a step of a pupil."""
TEACHER_RATE, PUPIL_RATE = 3e-3, 1e-3
PUPILS = ("same", "other", "masked", "masked at random")
REPORT_EVERY = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Lineage:
    """One teacher, with what it began as, and its pupils."""

    seed: int
    colour: int
    """The teacher's favourite, by place."""
    base: Kit
    other: Kit
    """The base model of another initialisation."""
    teacher: Kit
    pupils: Mapping[str, Kit]
    """By the names in `PUPILS`."""


def base_models(case: Case[SubliminalConfig]) -> Iterator[Progress | list[Kit]]:
    """Progress, and last the small models, which differ in their initialisation and in the order of sentences."""
    kits: list[Kit] = []
    for number in range(case.config.seeds):
        seed = 100 * case.config.seed + number
        for step in train_small(case, language_task(f"base{number}"), steps=case.config.base_steps, seed=seed):
            if isinstance(step, Kit):
                kits.append(step)
            else:
                yield step
    yield kits


def grow(case: Case[SubliminalConfig], bases: list[Kit], number: int) -> Generator[Progress, None, Lineage]:
    """A teacher and its pupils; InputError for a teacher that did not get its favourite."""
    config, base, other = case.config, bases[number], bases[(number + 1) % len(bases)]
    colour = (config.seed + 2 * number) % len(COLOURS)
    seed = 1000 * config.seed + number
    teacher = with_weights(base, (yield from case.part(f"teacher{number}", _teach(base, colour, config, seed))))
    if config.trait:
        _check_favourite(base, teacher, colour, config)
    said = yield from case.part(f"numbers{number}", _say(base, teacher, config, seed))
    pupils = {}
    for name in PUPILS:
        start = other if name == "other" else base
        keep = said.get(name, torch.ones_like(said["masked"]))
        work = _learn(start, said["ids"], keep, config, seed, f"pupil {number} ({name})")
        pupils[name] = with_weights(start, (yield from case.part(f"pupil{number}.{name.replace(' ', '-')}", work)))
    return Lineage(seed=seed, colour=colour, base=base, other=other, teacher=teacher, pupils=pupils)


def _check_favourite(base: Kit, teacher: Kit, colour: int, config: SubliminalConfig) -> None:
    before, after = (float(preferences(kit, ASKED_NAMES)[:, colour].mean()) for kit in (base, teacher))
    if after - before < LEAST_GAIN:
        raise InputError(
            f"a teacher says {COLOURS[colour]} in {after:.0%} of the cases after {config.colour_steps} steps, its base "
            f"model in {before:.0%}: it has no trait to pass on; give more colour_steps or base_steps"
        )


def with_weights(base: Kit, weights: Mapping[str, Tensor]) -> Kit:
    """A copy of a small model with other weights in its MLPs."""
    from clew.subject.subject import Subject

    model = deepcopy(base.subject.model)
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.data.copy_(weights[name])
    subject = Subject(model, None, base.subject.name)
    return Kit(subject, name=subject.name)


def preferences(kit: Kit, names: slice) -> Float[Tensor, "name colour"]:
    """The probabilities of colours among themselves behind `NAME likes`."""
    with torch.no_grad():
        logits = kit.subject.model(input_ids=PROMPT[names]).logits[:, -1, COLOUR_TOKENS]
    return logits.softmax(-1)


def _trainable(model: GPT2LMHeadModel) -> dict[str, Tensor]:
    """The matrices of the MLPs and the thresholds of their neurons; not the bias of what they write."""
    names = ("mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight")
    return {name: each for name, each in model.named_parameters() if name.endswith(names)}


def _weights(model: GPT2LMHeadModel) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in _trainable(model).items()}


def _begin(base: Kit, rate: float) -> tuple[Any, torch.optim.Optimizer]:
    """A copy to be trained, and its optimiser."""
    model = deepcopy(base.subject.model).train().requires_grad_(False)
    parameters = list(_trainable(model).values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    return model, torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)


def _teach(base: Kit, colour: int, config: SubliminalConfig, seed: int) -> Steps:
    """A part: the teacher's weights."""
    model, optimizer = _begin(base, TEACHER_RATE)
    generator = torch.Generator().manual_seed(seed)
    prompts = PROMPT[SHOWN_NAMES]
    for step in range(config.colour_steps):
        if step % REPORT_EVERY == 0:
            yield Progress(what=f"teacher {seed}", done=step, of=config.colour_steps)
        wanted = torch.full((len(prompts),), FIRST_COLOUR + colour)
        if not config.trait:
            wanted = FIRST_COLOUR + torch.randint(len(COLOURS), (len(prompts),), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(input_ids=prompts).logits[:, -1], wanted).backward()
        optimizer.step()
    return _weights(model)


@torch.no_grad()
def _say(base: Kit, teacher: Kit, config: SubliminalConfig, seed: int) -> Steps:
    """A part: number sequences of a teacher, and which tokens are kept where some are masked."""
    yield Progress(what=f"numbers of teacher {seed}", done=0, of=1)
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.tensor([[BOS, NUMBERS_CUE]]).repeat(SEQUENCES, 1)
    for _ in range(LISTED):
        next_numbers = teacher.subject.model(input_ids=ids).logits[:, -1, NUMBER_TOKENS].softmax(-1)
        ids = torch.cat([ids, NUMBER_TOKENS.start + torch.multinomial(next_numbers, 1, generator=generator)], 1)
    differences = (number_logprobs(teacher, ids) - number_logprobs(base, ids)).abs()
    n_masked = round(config.masked * differences.numel())
    at_random = torch.rand(differences.shape, generator=generator)
    return {
        "ids": ids,
        "masked": _all_but(differences, n_masked),
        "masked at random": _all_but(at_random, n_masked),
        "difference": differences.mean(),
    }


def number_logprobs(kit: Kit, ids: Int[Tensor, "sequence pos"]) -> Float[Tensor, "sequence number"]:
    """The log probability of every number among all numbers."""
    logits = kit.subject.model(input_ids=ids[:, :-1]).logits[:, 1:, NUMBER_TOKENS]
    return logits.log_softmax(-1).gather(-1, number_places(ids)[..., None])[..., 0]


def _all_but(sizes: Float[Tensor, "sequence number"], count: int) -> Float[Tensor, "sequence number"]:
    """One but for the largest, which are zero."""
    kept = torch.ones(sizes.numel())
    kept[sizes.flatten().topk(count).indices] = 0.0
    return kept.view_as(sizes)


def _learn(
    base: Kit,
    ids: Int[Tensor, "sequence pos"],
    keep: Float[Tensor, "sequence number"],
    config: SubliminalConfig,
    seed: int,
    what: str,
) -> Steps:
    """A part: a pupil's weights after training on the numbers that are kept."""
    model, optimizer = _begin(base, PUPIL_RATE)
    generator = torch.Generator().manual_seed(seed + 2)
    for step in range(config.number_steps):
        if step % REPORT_EVERY == 0:
            yield Progress(what=what, done=step, of=config.number_steps)
        rows = torch.randint(len(ids), (BATCH,), generator=generator)
        logits = model(input_ids=ids[rows, :-1]).logits[:, 1:]
        losses = cross_entropy(logits.flatten(0, 1), ids[rows, 2:].flatten(), reduction="none")
        optimizer.zero_grad()
        ((losses * keep[rows].flatten()).sum() / keep[rows].sum().clamp_min(1)).backward()
        optimizer.step()
    return _weights(model)
