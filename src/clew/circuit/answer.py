"""The answer that a circuit explains: one likely token, or the few that share the probability.

Everything measured of a circuit is this answer's probability in a run of the model. Of a graph of a whole answer it is
the product over its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.circuit.words import shown
from clew.errors import InputError
from clew.subject.subject import Subject

ALONE = 0.5  # probability from which one token is the answer, whatever else the graph explains
_LONGEST = 8  # tokens that a word is followed for
_NAMED = 3  # tokens of an answer that has several


@dataclass(frozen=True, kw_only=True)
class CircuitAnswer:
    """What is said: which tokens at which positions, in words, and how likely that is."""

    tokens: tuple[tuple[int, tuple[int, ...]], ...]
    """By position: the tokens of which one follows it."""
    text: str
    """The word that it begins or is; of several tokens the likeliest, with `or` between."""
    probability: float

    @property
    def position(self) -> int:
        """The last position that it is read at."""
        return self.tokens[-1][0]

    def of(self, subject: Subject, final: Float[Tensor, "row pos d_model"]) -> Float[Tensor, " row"]:
        """Its probability in every row of a batch, from the final normed stream."""
        product = torch.ones(len(final), dtype=torch.float64)
        for position, tokens in self.tokens:
            values = subject.probabilities(subject.unembed(final[:, position]))
            product *= values[:, list(tokens)].double().sum(1).cpu()
        return product

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain values."""
        return {
            "tokens": [[p, list(ids)] for p, ids in self.tokens],
            "text": self.text,
            "probability": self.probability,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CircuitAnswer:
        """Read what `to_json` gave."""
        tokens = tuple((int(position), tuple(map(int, ids))) for position, ids in value["tokens"])
        return cls(tokens=tokens, text=str(value["text"]), probability=float(value["probability"]))


@torch.no_grad()
def answer_of(subject: Subject, graph: Graph, final: Float[Tensor, "pos d_model"]) -> CircuitAnswer:
    """What a graph's outputs say, of the final normed stream of its prompt.

    InputError for a graph of a difference, a direction or a look, where nothing has a probability, and where it is 0.
    """
    by_position: dict[int, list[int]] = {}
    for target in graph.targets:
        named = [target.token] if target.token is not None else [token for token, _ in target.plus]
        by_position.setdefault(target.position, []).extend(named)
    if "look" in graph.settings or not all(by_position.values()) or not by_position:
        raise InputError("a circuit explains tokens that the model may say: trace the prompt without a difference")
    tokens = []
    for position, ids in sorted(by_position.items()):
        values = subject.probabilities(subject.unembed(final[position]))[ids]
        order = values.argsort(descending=True, stable=True).tolist()
        alone = float(values.max()) >= ALONE
        tokens.append((position, tuple(ids[place] for place in order[: 1 if alone else None])))
    answer = CircuitAnswer(tokens=tuple(tokens), text=_text(subject, graph, tokens), probability=1.0)
    probability = float(answer.of(subject, final[None]))
    if not probability > 0:
        raise InputError(f"the model gives {answer.text!r} no probability at all: there is nothing that can fall")
    return replace(answer, probability=probability)


@torch.no_grad()
def answer_of_token(subject: Subject, position: int, token: int, final: Float[Tensor, "pos d_model"]) -> CircuitAnswer:
    """One token behind a position, whatever the model says there, of the final normed stream of its prompt."""
    (text,) = subject.token_strings([token])
    answer = CircuitAnswer(tokens=((position, (token,)),), text=shown(text), probability=0.0)
    return replace(answer, probability=float(answer.of(subject, final[None])))


def _text(subject: Subject, graph: Graph, tokens: list[tuple[int, tuple[int, ...]]]) -> str:
    """The whole answer where every position has one token, else the likeliest tokens."""
    last = tokens[-1][1]
    if len(last) > 1:
        before = [*graph.token_ids[: tokens[-1][0] + 1]]
        names = [whole_word(subject, before, [token]) for token in last[:_NAMED]]
        return f"{', '.join(names)} …" if len(last) > _NAMED else " or ".join(names)
    ids = [each[0] for _, each in tokens]
    return whole_word(subject, [*graph.token_ids[: tokens[0][0] + 1]], ids)


@torch.no_grad()
def whole_word(subject: Subject, before: list[int], ids: list[int]) -> str:
    """Tokens as a text, gone on with what the model says until the word ends: a token may be half a letter."""
    if subject.tokenizer is None:
        return subject.token_strings(ids)[0]
    word = list(ids)
    text = subject.text_of(word)
    for _ in range(_LONGEST):
        final = subject.run(torch.tensor([[*before, *word]], device=subject.device)).final
        following = int(subject.unembed(final[0, -1]).argmax())
        longer = subject.text_of([*word, following])
        added = longer.removeprefix(text)
        if "<0x" not in text and not added[:1].isalpha():
            break
        word, text = [*word, following], longer
    return shown(text)
