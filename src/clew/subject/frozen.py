"""Parts of a recorded run that a later run keeps: attention patterns, norm scales, or some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from clew.subject.hooks import FrozenParts
from clew.subject.parts import NormPart
from clew.subject.recording import Affine, Attend, Normalize, Recording
from clew.subject.subject import Subject

__all__ = ["FrozenParts", "freeze"]


def freeze(
    subject: Subject, recording: Recording, *, patterns: bool = True, norms: bool = True, final_norm: bool = True
) -> FrozenParts | None:
    """The parts that a run of the recorded length shall keep, for `Subject.run`; None when there are none.

    `norms` are those before and after sublayers, `final_norm` is the one before the unembedding.
    """
    maps: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
    if patterns:
        attends = [step for step in recording.steps if isinstance(step, Attend)]
        maps |= {subject.modules["attention", step.layer]: step.forward for step in attends}
    scales = [step for step in recording.steps if isinstance(step, Normalize)]
    weights = [step for step in recording.steps if isinstance(step, Affine)]
    last = subject.final_norm
    for module, scale, weight in zip(_norms(subject, last), scales, weights, strict=True):
        if final_norm if module is last else norms:
            maps[module] = partial(_scaled_and_weighted, scale, weight)
    return FrozenParts(maps=maps) if maps else None


def _norms(subject: Subject, last: nn.Module) -> Iterator[nn.Module]:
    """Every norm in the order in which a recording passes them."""
    roles = [part.role for part in subject.block if isinstance(part, NormPart)]
    for layer in range(subject.n_layers):
        yield from (subject.modules[role, layer] for role in roles)
    yield last


def _scaled_and_weighted(scale: Normalize, weight: Affine, x: Tensor) -> Tensor:
    return weight.forward(scale.forward(x))
