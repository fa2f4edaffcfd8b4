"""What a graph explains: outputs as directions on the final normed stream.

A token's direction is its unembedding row minus the mean row, so that its value is the centred logit (before a final
soft-cap). A difference of two tokens, or any direction, may stand for it, at any position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.nodes import TargetInfo
from clew.errors import InputError
from clew.subject.recording import Recording, Unembed
from clew.subject.subject import Subject

Spec = str | int | Tensor  # a token's text, "Paris - Berlin", a token id, or a direction [d_model]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One output to explain. `direction` acts on the final normed stream, `bias` is its constant part."""

    label: str
    position: int
    direction: Float[Tensor, " d_model"]
    bias: float
    weight: float
    token: int | None = None
    probability: float | None = None

    def info(self, value: float) -> TargetInfo:
        """What the graph keeps of the target; `value` is its centred logit."""
        return TargetInfo(
            label=self.label,
            position=self.position,
            weight=self.weight,
            value=value,
            token=self.token,
            probability=self.probability,
        )


def resolve(
    subject: Subject,
    recording: Recording,
    specs: Spec | Sequence[Spec] | None = None,
    *,
    position: int = -1,
    mass: float = 0.95,
    most: int = 10,
) -> tuple[Target, ...]:
    """Targets at one position: as given, or the smallest top set with `mass` of the probability, at most `most`.

    InputError for a position outside the prompt, a token that is none, or a list without targets.
    """
    place = _place(position, len(recording))
    if specs is None:
        specs = _top(recording.probabilities[place], mass, most)
    listed = [specs] if isinstance(specs, str | int | Tensor) else list(specs)
    if not listed:
        raise InputError("the list of targets is empty: name at least one token, or leave it out")
    return _weighted([_target(subject, recording, spec, place) for spec in listed])


def targets_of_answer(subject: Subject, recording: Recording, ids: Sequence[int]) -> tuple[Target, ...]:
    """The tokens of an answer, each at the position that predicts it; the recorded text ends with all but the last."""
    start = len(recording) - len(ids)
    return _weighted([_target(subject, recording, token, start + i) for i, token in enumerate(ids)])


def token_of(subject: Subject, text: str) -> int:
    """The token that `text` is, with a leading space added if only that makes it one token; InputError when none is."""
    for candidate in (text, " " + text):
        ids = subject.token_ids(candidate)
        if len(ids) == 1:
            return ids[0]
    pieces = ", ".join(repr(piece) for piece in subject.token_strings(subject.token_ids(text)))
    raise InputError(
        f"target {text!r} is not one token but {pieces}: name one of them, or trace the whole as an answer"
    )


def _place(position: int, length: int) -> int:
    if not -length <= position < length:
        raise InputError(f"position {position} is outside the prompt's {length} tokens (0..{length - 1})")
    return position % length


def _top(probabilities: Float[Tensor, " vocab"], mass: float, most: int) -> list[int]:
    if not 0 < mass <= 1 or most < 1:
        raise InputError(f"target mass {mass} must lie in (0, 1] and their number {most} be at least 1")
    top = torch.topk(probabilities, min(most, len(probabilities)))
    count = int((torch.cumsum(top.values, 0) < mass).sum()) + 1
    return top.indices[:count].tolist()


def _weighted(targets: Sequence[Target]) -> tuple[Target, ...]:
    if len(targets) == 1:
        return (Target(**{**vars(targets[0]), "weight": 1.0}),)
    return tuple(targets)


def _head(recording: Recording) -> Unembed:
    last = recording.steps[-1]
    assert isinstance(last, Unembed)
    return last


def _target(subject: Subject, recording: Recording, spec: Spec, position: int) -> Target:
    head, dtype = _head(recording), recording.logits.dtype
    if isinstance(spec, Tensor):
        if spec.shape != (subject.d_model,):
            raise InputError(
                f"a target direction must have {subject.d_model} entries, this one has shape {tuple(spec.shape)}"
            )
        if not bool(torch.isfinite(spec).all()):
            raise InputError("the target direction holds NaN or infinity")
        return Target(label="direction", position=position, direction=spec.to(dtype), bias=0.0, weight=1.0)
    if isinstance(spec, str):
        parts = spec.split(" - ")
        if len(parts) == 2 and all(part.strip() for part in parts):
            plus, minus = (token_of(subject, part) for part in parts)
            direction = head.weight[plus].to(dtype) - head.weight[minus].to(dtype)
            bias = 0.0 if head.bias is None else float(head.bias[plus] - head.bias[minus])
            return Target(label=spec, position=position, direction=direction, bias=bias, weight=1.0)
        spec = token_of(subject, spec)
    if not 0 <= spec < len(head.weight):
        raise InputError(f"target id {spec} is outside the vocabulary 0..{len(head.weight) - 1}")
    probability = float(recording.probabilities[position, spec])
    return Target(
        label=subject.token_strings([spec])[0],
        position=position,
        direction=head.weight[spec].to(dtype) - head.weight.mean(0, dtype=dtype),
        bias=0.0 if head.bias is None else float(head.bias[spec] - head.bias.mean()),
        weight=probability,
        token=spec,
        probability=probability,
    )
