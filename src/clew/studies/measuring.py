"""Next tokens after many prompts as whole tensors: what the core streams, stacked, with reports of progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.intervention.batches import NextTokens
from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.progress import Progress

AT_ONCE = 64
"""Cases between two reports of progress."""
Measuring = Generator[Progress, None, Float[Tensor, "case *number"]]
"""Reports of progress, then one row a case; use it with `yield from`."""


def next_probabilities(kit: Kit, token_ids: Sequence[Sequence[int]]) -> Float[Tensor, "prompt vocab"]:
    """The probabilities of the next token behind every prompt."""
    return torch.stack(
        [said.probabilities.detach().cpu() for said in kit.next_tokens([list(ids) for ids in token_ids])]
    )


def read_answers(
    kit: Kit,
    cases: Sequence[tuple[Sequence[int], Sequence[Edit]]],
    read: Callable[[int, NextTokens], Tensor],
    *,
    what: str,
    note: str = "",
    through: int | None = None,
) -> Measuring:
    """What `read(case, its next tokens)` takes from every case, a prompt with its own edits; see `Kit.edits`."""
    rows: list[Tensor] = []
    for start in range(0, len(cases), AT_ONCE):
        yield Progress(what=what, done=start, of=len(cases), unit="prompts", note=note)
        part = [(list(ids), edits) for ids, edits in cases[start : start + AT_ONCE]]
        rows += [read(case, said).detach().cpu() for case, said in enumerate(kit.edits(part, through=through), start)]
    return torch.stack(rows) if rows else torch.zeros(0)


def likeliest(case: int, said: NextTokens) -> Tensor:
    """The most likely next token, for `read_answers`."""
    return said.probabilities.argmax()
