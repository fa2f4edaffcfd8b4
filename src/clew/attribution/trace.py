"""From a prompt to its Graph.

1. Record the run; find the active features, the errors, the targets.
2. Sweep the targets' rows, then the features' rows. With `max_features`, features are taken in batches by the influence
   that the rows so far give them, so that the ranking sharpens as rows arrive.
3. Features without a row lose their column too; the sum of what they contributed goes to the offset `left_out`, so that
   incoming edges and offsets still add up to every pre-activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.graph_rows import GraphRows
from clew.attribution.local_model import LocalModel, check_traceable
from clew.attribution.room import check_recording
from clew.attribution.strongest import with_strongest
from clew.attribution.sweep import Block
from clew.attribution.target_rows import TargetRows
from clew.attribution.targets import Spec, Target, resolve, targets_of_answer
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.settings import HIDDEN, Settings, accepts, one_of, option
from clew.subject.positions import FirstPosition, first_position
from clew.subject.recording import Recording
from clew.subject.subject import Prompt, Subject

MOST_FEATURES = 8192
"""Features with a row unless another number is asked for: 300 MB of edges."""
_HASHED_BYTES = 256 << 20  # larger dictionaries are not hashed: it would take longer than the trace


@dataclass(frozen=True, kw_only=True)
class TraceSettings(Settings):
    """What to explain, and how much of it."""

    targets: Spec | Sequence[Spec] | None = field(
        default=None, metadata=option("--target", "-t", kind=list[str] | None)
    )
    """Output to explain: a token, or a difference such as "Paris - Berlin"; left out, the likeliest tokens."""
    position: int = -1
    """Position whose next token is explained; -1 is the last."""
    answer: str | None = None
    """Trace this text after the prompt, token by token, each at the position that predicts it."""
    max_features: int | None = MOST_FEATURES
    """Rows for this many features at most, the most influential ones; the rest goes to the offset `left_out`."""
    rest_responds: bool = False
    """In effects, let the features beyond `max_features` respond to what changes, so that total effects do not depend
    on how many have rows; a model's own neurons always do."""
    only_targets: bool = field(default=False, metadata=HIDDEN)
    """Find the rows of the targets alone: what every feature does to them directly, and nothing between features; far
    cheaper, for many prompts. Its influence is direct, and its scores say little."""
    effects: bool = False
    """Also find what changes when a source goes (`Graph.effects`); about as much work again, and twice the memory."""
    target_mass: float = 0.95
    """Without targets: the smallest top set of tokens with this probability is explained."""
    max_targets: int = 10
    """Without targets: at most so many tokens are explained."""
    leave_out_first: bool = True
    """Leave the first position out when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""
    budget: int = 512 << 20
    """Bytes of gradients held at once, and of decoder rows kept."""

    def __post_init__(self) -> None:
        if self.max_features is not None and self.max_features < 1:
            raise InputError(f"max_features is {self.max_features}: give at least 1")
        one_of(answer=self.answer, target=self.targets)
        one_of(answer=self.answer, position=None if self.position == -1 else self.position)
        for name in ("target_mass", "max_targets"):
            if getattr(self, name) != getattr(type(self), name):
                one_of(answer=self.answer, target=self.targets, **{name: True})


@accepts(TraceSettings)
def trace(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: TraceSettings) -> Graph:
    """The attribution graph of one prompt.

    InputError for a prompt, target or limit that cannot be used (an SAE among them), MismatchError when the Dictionary
    was made for another model.
    """
    return trace_with(subject, dictionary, prompt, settings)


@torch.no_grad()
def trace_with(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: TraceSettings) -> Graph:
    """`trace` with its settings as a value."""
    check_traceable(subject, dictionary)
    ids = subject.encode(prompt, add_bos=settings.add_bos)
    answer_ids = _answer_ids(subject, settings.answer)
    if answer_ids:
        ids = subject.encode(torch.cat([ids, ids.new_tensor(answer_ids[:-1])]))
    check_recording(subject, len(ids), effects=settings.effects)
    recording = subject.record(ids)
    first = first_position(subject, ids, recording)
    targets = _targets(subject, recording, answer_ids, settings)
    model = LocalModel(
        subject=subject,
        recording=recording,
        dictionary=dictionary,
        first_position=int(settings.leave_out_first and first.left_out),
        cache_bytes=settings.budget,
    )
    return graph_of(model, _OutputRows(model, targets), prompt, first, settings)


class _OutputRows:
    """Rows of tokens, differences and directions: what is read of the final normed stream."""

    def __init__(self, model: LocalModel, targets: Sequence[Target]) -> None:
        self.targets = targets
        values = model.target_values(targets)
        self.infos = tuple(target.info(value) for target, value in zip(targets, values, strict=True))

    def fill(self, model: LocalModel, rows: Tensor, offsets: Tensor, effects: Tensor | None) -> int:
        block = Block(model.target_readers(self.targets), [])
        model.fill(block, rows, offsets)
        if effects is not None:
            model.fill_effects(block, effects)
        return block.last_position


def graph_of(
    model: LocalModel, outputs: TargetRows, prompt: Prompt, first: FirstPosition, settings: TraceSettings, **more: Any
) -> Graph:
    """Fill all rows, and describe the graph; `more` goes into its settings."""
    subject, recording, dictionary = model.subject, model.recording, model.dictionary
    ids = recording.ids.tolist()
    if dictionary.reads_by_position:
        model, n_active = with_strongest(model, outputs, settings.max_features)
    else:
        n_active = model.sources.n_features
    rows = GraphRows(
        model,
        outputs,
        max_features=settings.max_features,
        effects=settings.effects,
        rest_responds=settings.rest_responds,
        only_targets=settings.only_targets,
        budget=settings.budget,
        report=settings.report,
    )
    rows.fill()
    return rows.graph(
        prompt=prompt if isinstance(prompt, str) else subject.text_of(ids),
        first_reason=first.reason,
        first_ratio=first.ratio,
        next_tokens=_likely(subject, recording, outputs.infos[-1].position),
        tokens=subject.token_strings(ids),
        token_ids=tuple(ids),
        subject=subject.name,
        dictionary=dictionary.name,
        dictionary_kind=dictionary.kind,
        dictionary_fingerprint=_fingerprint(dictionary),
        provenance=dictionary.other_model,
        settings={
            "n_active": n_active,
            "max_features": settings.max_features,
            "position": settings.position,
            "answer": settings.answer,
            **({"only_targets": True} if settings.only_targets else {}),
            "budget": settings.budget,
            **rows.rest,
            **more,
        },
    )


def _targets(
    subject: Subject, recording: Recording, answer_ids: Sequence[int], settings: TraceSettings
) -> tuple[Target, ...]:
    if answer_ids:
        return targets_of_answer(subject, recording, answer_ids)
    mass, most = settings.target_mass, settings.max_targets
    return resolve(subject, recording, settings.targets, position=settings.position, mass=mass, most=most)


def _answer_ids(subject: Subject, answer: str | None) -> list[int]:
    if answer is None:
        return []
    ids = subject.token_ids(answer)
    if not ids:
        raise InputError("the answer is empty: give the text that follows the prompt, with its leading space")
    return ids


def _fingerprint(dictionary: Dictionary) -> str:
    """The Dictionary's hash, or nothing where reading all of it would take longer than the trace."""
    if dictionary.reads_by_position:
        return dictionary.fingerprint
    size = sum(tensor.nbytes for layer in dictionary.layers.values() for tensor in layer.tensors().values())
    return dictionary.fingerprint if size <= _HASHED_BYTES else ""


def _likely(subject: Subject, recording: Recording, position: int, count: int = 10) -> tuple[tuple[str, float], ...]:
    """The most probable next tokens at one position."""
    probabilities = recording.probabilities[position]
    top = torch.topk(probabilities, min(count, len(probabilities)))
    return tuple(zip(subject.token_strings(top.indices.tolist()), top.values.tolist(), strict=True))
