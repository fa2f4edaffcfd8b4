"""What a model says of prompts with some of its neurons and heads silent, all that follows live.

A neuron is silent where its activation is zero, at one position; a head where it writes nothing, at all positions. It
needs no graph, so that the neurons of one snapshot can be silenced in another. And it is a little harder on a circuit
than `clew.circuit.measuring`, where neurons stay off that did not fire on the prompt: here they may come on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.studies.development.lessons import PAD, LessonQuestion
from clew.subject.hooks import changing, module_at
from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Silent:
    """What is silent in one run."""

    neurons: frozenset[tuple[int, int, int]] = field(default_factory=frozenset)
    """Layer, position, index."""
    heads: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    """Layer, head."""

    def __or__(self, other: Silent) -> Silent:
        return Silent(neurons=self.neurons | other.neurons, heads=self.heads | other.heads)


NOTHING = Silent()


@torch.no_grad()
def probabilities(
    subject: Subject, questions: Sequence[LessonQuestion], silent: Sequence[Silent] | None = None
) -> Float[Tensor, "question vocab"]:
    """What follows every question, each with its own parts silent."""
    ends = [len(question.token_ids) for question in questions]
    ids = torch.full((len(questions), max(ends)), PAD)
    for row, question in zip(ids, questions, strict=True):
        row[: len(question.token_ids)] = torch.tensor(question.token_ids)
    with silencing(subject, silent or [NOTHING] * len(questions), ids.shape[1]):
        logits: Tensor = subject.model(input_ids=ids).logits
    return logits[torch.arange(len(ends)), torch.tensor(ends) - 1].float().softmax(-1)


@contextmanager
def silencing(subject: Subject, silent: Sequence[Silent], n_pos: int) -> Iterator[None]:
    """Runs of a batch with something silent in every row."""
    width = subject.d_model // subject.config.num_attention_heads
    changes: dict[torch.nn.Module, Callable[[Tensor], Tensor]] = {}
    for layer in range(subject.n_layers):
        if any(key[0] == layer for each in silent for key in each.neurons):
            mlp, size = module_at(subject.modules["mlp", layer], "c_proj"), len(subject.mlp_neurons(layer).w_in)
            marks = torch.zeros(len(silent), n_pos, size, dtype=torch.bool)
            for row, each in zip(marks, silent, strict=True):
                for at, position, index in each.neurons:
                    if at == layer:
                        row[position, index] = True
            changes[mlp] = _zeroed(marks)
        if any(key[0] == layer for each in silent for key in each.heads):
            marks = torch.zeros(len(silent), 1, subject.d_model, dtype=torch.bool)
            for row, each in zip(marks, silent, strict=True):
                for at, head in each.heads:
                    if at == layer:
                        row[:, head * width : (head + 1) * width] = True
            changes[module_at(subject.modules["attention", layer], "c_proj")] = _zeroed(marks)
    with changing(changes, {}):
        yield


def _zeroed(marks: Bool[Tensor, "row pos part"]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.masked_fill(marks, 0.0)
