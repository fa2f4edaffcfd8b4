"""What a graph explains: outputs as directions on the final normed stream.

A token's direction is its unembedding row minus the mean row, so that its value is the centred logit (before a final
soft-cap). A difference of two tokens, or any direction, may stand for it, at any position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.contrast import Contrast, Readout
from clew.attribution.named_tokens import difference, token_of
from clew.attribution.nodes import TargetInfo
from clew.errors import InputError
from clew.kernels.wide_rows import mean_row
from clew.subject.recording import Recording, Unembed
from clew.subject.subject import Subject
from clew.subject.text import as_id, is_whole

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

    Spec = str | int | Contrast | Tensor | np.ndarray
    """A token's name (its text, or `#1234`), "Paris - Berlin", a token id, a Contrast, or a direction [d_model]."""
else:
    Spec = object  # what is none of these is refused by `resolve`, in words


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
    readout: Readout | None = None
    """Of a contrast: what reads it."""

    def info(self, value: float) -> TargetInfo:
        """What the graph keeps of the target; `value` is its centred logit."""
        return TargetInfo(
            label=self.label,
            position=self.position,
            weight=self.weight,
            value=value,
            token=self.token,
            probability=self.probability,
            plus=() if self.readout is None else self.readout.plus,
            minus=() if self.readout is None else self.readout.minus,
        )


def spec_of(info: TargetInfo) -> Spec:
    """What names a graph's target anew: its token, its contrast, or its label."""
    if info.plus:
        return Contrast(info.label, info.plus, info.minus)
    return info.label if info.token is None else info.token


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

    InputError for a position outside the prompt, a token that is none, a target that is zero, or a list without any.
    """
    place = _place(position, len(recording))
    if specs is None:
        specs = _top(recording.probabilities[place], mass, most)
    targets = _weighted([_target(subject, recording, spec, place) for spec in _listed(specs, subject.d_model)])
    if not any(target.weight for target in targets):
        raise InputError("every target has probability 0, so that none weighs anything: trace one target alone")
    return targets


def targets_of_answer(subject: Subject, recording: Recording, ids: Sequence[int]) -> tuple[Target, ...]:
    """The tokens of an answer, each at the position that predicts it; the recorded text ends with all but the last."""
    start = len(recording) - len(ids)
    return _weighted([_target(subject, recording, token, start + i) for i, token in enumerate(ids)])


def _listed(specs: Any, d_model: int) -> list[Any]:
    """Targets one by one; an array of whole numbers holds ids."""
    if isinstance(specs, Tensor | np.ndarray):
        if specs.ndim == 1 and len(specs) and is_whole(specs):
            if len(specs) == d_model:
                raise InputError(
                    "the target is an array of whole numbers: give ids in a list, or a direction as floats"
                )
            return specs.tolist()
        return [specs]
    if isinstance(specs, str | Mapping) or not isinstance(specs, Iterable):
        return [specs]
    specs = list(specs)
    if not specs:
        raise InputError("the list of targets is empty: name at least one token, or leave it out")
    return specs


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
    token = as_id(spec)
    if token is not None:
        return _of_token(subject, recording, token, position)
    if isinstance(spec, Contrast):
        return _of_contrast(recording, spec.readout(subject), position)
    if isinstance(spec, Tensor | np.ndarray):
        return _of_direction(subject, recording, spec, position)
    if not isinstance(spec, str):
        raise InputError(f"a target is a token, an id, a difference, a Contrast or a direction, not {spec!r:.60}")
    pair = difference(subject, spec)
    if pair is None:
        return _of_token(subject, recording, token_of(subject, spec), position)
    head, dtype = _head(recording), recording.logits.dtype
    plus, minus = (_in_vocabulary(token, head) for token in pair)
    direction = head.weight[plus].to(dtype) - head.weight[minus].to(dtype)
    if not bool(direction.any()):
        raise InputError(f"target {spec!r} is zero: its two tokens have one direction, name two that differ")
    bias = 0.0 if head.bias is None else float(head.bias[plus] - head.bias[minus])
    return Target(label=spec, position=position, direction=direction, bias=bias, weight=1.0)


def _of_contrast(recording: Recording, readout: Readout, position: int) -> Target:
    head, dtype = _head(recording), recording.logits.dtype
    direction = readout.of_rows(head.weight, head.mean, dtype)
    if not bool(direction.any()):
        raise InputError(f"target {readout.name!r} is zero: its two sides have one direction, name tokens that differ")
    bias = 0.0 if head.bias is None else float(readout.of_rows(head.bias, head.bias.mean(), dtype))
    return Target(
        label=readout.name, position=position, direction=direction, bias=bias, weight=1.0, readout=readout
    )  # fmt: skip


def _of_direction(subject: Subject, recording: Recording, values: Tensor | np.ndarray, position: int) -> Target:
    if "float" not in str(values.dtype) and not is_whole(values):
        raise InputError(f"a target direction is made of floats, this one of {values.dtype}")
    direction = torch.as_tensor(values.astype(np.float64) if isinstance(values, np.ndarray) else values)
    if direction.shape != (subject.d_model,):
        raise InputError(
            f"a target direction must have {subject.d_model} entries, this one has shape {tuple(direction.shape)}"
        )
    direction = direction.detach().to(recording.final)
    if not bool(torch.isfinite(direction).all()):
        raise InputError("the target direction holds NaN or infinity")
    if not bool(direction.any()):
        raise InputError("the target direction is zero everywhere: there is nothing to explain")
    return Target(label="direction", position=position, direction=direction, bias=0.0, weight=1.0)


def _of_token(subject: Subject, recording: Recording, token: int, position: int) -> Target:
    head, dtype = _head(recording), recording.logits.dtype
    direction = head.weight[_in_vocabulary(token, head)].to(dtype) - head.mean.to(dtype)
    label = subject.token_strings([token])[0]
    if not bool(direction.any()):
        raise InputError(f"target {label!r} is zero: its unembedding is the mean of all, name another token")
    probability = float(recording.probabilities[position, token])
    return Target(
        label=label,
        position=position,
        direction=direction,
        bias=0.0 if head.bias is None else float(head.bias[token] - head.bias.mean()),
        weight=probability,
        token=token,
        probability=probability,
    )


def _in_vocabulary(token: int, head: Unembed) -> int:
    if not 0 <= token < len(head.weight):
        raise InputError(f"target id {token} is outside the vocabulary 0..{len(head.weight) - 1}")
    return token


def target_directions(subject: Subject, graph: Graph) -> Float[Tensor, "target d_model"]:
    """What every target reads of the final normed stream; InputError for a direction that the graph does not keep."""
    return _of_targets(subject, graph, subject.unembedding)


def target_biases(subject: Subject, graph: Graph) -> Float[Tensor, " target"]:
    """What every target has beside what it reads, where the model's head has a bias; errors as `target_directions`."""
    bias = getattr(subject.model.get_output_embeddings(), "bias", None)
    bias = subject.unembedding.new_zeros(len(subject.unembedding)) if bias is None else bias.detach()
    return _of_targets(subject, graph, bias[:, None])[:, 0]


def _of_targets(subject: Subject, graph: Graph, rows: Tensor) -> Tensor:
    """Rows of tokens as targets are made of them: less the mean row, or one less another."""
    dtype = torch.promote_types(subject.dtype, torch.float32)
    mean = mean_row(rows, dtype)
    directions = []
    for target in graph.targets:
        if target.token is not None:
            directions.append(rows[target.token].to(dtype) - mean)
            continue
        if target.plus:
            directions.append(
                Readout(name=target.label, plus=target.plus, minus=target.minus).of_rows(rows, mean, dtype)
            )
            continue
        tokens = difference(subject, target.label)
        if tokens is None:
            raise InputError(
                f"target {target.label!r} is a direction that the graph does not keep: it can't be measured"
            )
        plus, minus = tokens
        directions.append(rows[plus].to(dtype) - rows[minus].to(dtype))
    return torch.stack(directions)
