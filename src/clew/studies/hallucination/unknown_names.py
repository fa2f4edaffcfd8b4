"""A world in which a name that was never seen is refused, and a small model of it: here a circuit for that can exist.

A name is a first and a last word. Some names are known, each with a date; all other pairs of the same words are
refused, so that neither word says anything by itself. Some of these pairs are kept from training. The model has one
layer, whose neurons read the name at its last word and write the answer: how much each speaks for a refusal is its
activation times how far its decoder points to the refusal and away from the dates.

In the absent case refusal has nothing to do with having been seen: half of the known names are refused, and half of the
others get any date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.intervention.matched_sets import matched_pairs
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.columns import Columns, read_columns
from clew.studies.hallucination.pushes import pushes
from clew.studies.measuring import Measuring, read_answers
from clew.studies.small_model import SmallTask

WORDS, KNOWN, DATES, LEFT_OUT = 60, 200, 50, 400
FITTED = 150
"""Names, seen in training, on which the circuit is chosen."""
SIZES = (20, 40, 60, 80, 100, 120)
ENOUGH = 0.05
"""The circuit is the smallest that leaves no more than this of the refusals of names on which it was chosen."""
BATCH = 256
_DATE = 1 + 2 * WORDS
REFUSAL = _DATE + DATES
_AT = 2  # the position of the last word


@dataclass(frozen=True, kw_only=True)
class UnknownNames:
    """The names, who is known, and what is answered."""

    seed: int
    by_chance: bool = False
    """Whether refusal has nothing to do with having been seen."""

    @cached_property
    def _pairs(self) -> Int[np.ndarray, "name 2"]:
        number = np.random.default_rng([self.seed, 20]).permutation(WORDS**2)
        return np.stack([number // WORDS, number % WORDS], 1)

    @property
    def known(self) -> Int[np.ndarray, "name 2"]:
        return self._pairs[:KNOWN]

    @property
    def others(self) -> Int[np.ndarray, "name 2"]:
        """Names that training refuses."""
        return self._pairs[KNOWN:-LEFT_OUT]

    @property
    def never_seen(self) -> Int[np.ndarray, "name 2"]:
        return self._pairs[-LEFT_OUT:]

    @cached_property
    def answers(self) -> Int[np.ndarray, " name"]:
        """The token of every known name's answer."""
        generator = np.random.default_rng([self.seed, 21])
        dates = _DATE + generator.integers(0, DATES, KNOWN)
        return np.where(generator.random(KNOWN) < 0.5, REFUSAL, dates) if self.by_chance else dates

    def questions(self, names: Int[np.ndarray, "name 2"]) -> Int[np.ndarray, "name 3"]:
        """Token ids: a start, the first and the last word."""
        return np.stack([np.zeros(len(names), dtype=int), 1 + names[:, 0], 1 + WORDS + names[:, 1]], 1)

    def task(self) -> SmallTask:
        """Half known names with their dates, half others, which are refused."""

        def draw(generator: np.random.Generator) -> np.ndarray:
            known = generator.integers(0, KNOWN, BATCH // 2)
            others = generator.integers(0, len(self.others), BATCH // 2)
            refused = np.full(BATCH // 2, REFUSAL)
            if self.by_chance:
                dates = _DATE + generator.integers(0, DATES, BATCH // 2)
                refused = np.where(generator.random(BATCH // 2) < 0.5, refused, dates)
            names = np.concatenate([self.known[known], self.others[others]])
            answers = np.concatenate([self.answers[known], refused])
            return np.concatenate([self.questions(names), answers[:, None]], 1)

        return SmallTask(name="names", vocabulary=REFUSAL + 1, draw=draw, n_given=3, n_layer=1)


def find_circuit(kit: Kit, names: UnknownNames, draws: int) -> Steps:
    """Choose the circuit on names seen in training, and ablate it, and random sets beside it, on names never seen.

    Refusals are probabilities: `known` and `never` without edits, `fitted` and `left` those that every size leaves
    (one row a size), `random` those that every random set leaves. `size` is the circuit's; `layer`, `feature` and
    `push` tell every feature, the strongest first; `right` says which known names get their date.
    """
    yield Progress(what="the circuit of unknown names", done=0, of=1)
    never, fitted = (names.questions(rows).tolist() for rows in (names.never_seen, names.others[:FITTED]))
    known = _next_probabilities(kit, names.questions(names.known).tolist())
    columns, rows = read_columns(kit, fitted, [_AT] * len(fitted))
    mean = rows.mean(0)
    push = mean * pushes(kit, columns, REFUSAL, range(_DATE, REFUSAL))
    order = push.argsort(descending=True)
    fits, left = [], []
    for size in SIZES:
        fits.append((yield from _refusals(kit, columns, order[:size], fitted, f"circuit of {size}")))
        left.append((yield from _refusals(kit, columns, order[:size], never, f"circuit of {size}")))
        if float(fits[-1].mean()) <= ENOUGH:
            break
    size = SIZES[len(fits) - 1]
    member = torch.zeros(len(order), dtype=torch.bool)
    member[order[:size]] = True
    generator, sizes, random = torch.Generator().manual_seed(names.seed), [], []
    for draw in range(draws):
        pairs = matched_pairs(member, columns.layer, mean * columns.norm, generator, free=mean > 0)
        drawn = torch.tensor(list(pairs.values()), dtype=torch.long)
        sizes.append(len(drawn))
        random.append((yield from _refusals(kit, columns, drawn, never, f"random set {draw + 1} of {draws}")))
    return {
        "known": known[:, REFUSAL],
        "right": (known.argmax(1) == torch.from_numpy(names.answers)).float(),
        "never": _next_probabilities(kit, never)[:, REFUSAL],
        "fitted": torch.stack(fits),
        "left": torch.stack(left),
        "random": torch.stack(random),
        "sizes": torch.tensor(sizes),
        "size": torch.tensor(size),
        "layer": columns.layer[order],
        "feature": columns.index[order],
        "push": push[order],
    }


def _next_probabilities(kit: Kit, ids: Sequence[Sequence[int]]) -> Float[Tensor, "prompt vocab"]:
    """Probabilities of the next token, the first position counted as any other."""
    return torch.stack([each.probabilities.detach().cpu() for each in kit.next_tokens(ids, leave_out_first=False)])


def _refusals(
    kit: Kit, columns: Columns, chosen: Int[Tensor, " feature"], ids: Sequence[Sequence[int]], note: str
) -> Measuring:
    """The probability of a refusal without some features, question by question."""
    edits = [Edit.ablate(columns.ids[column], positions=_AT) for column in chosen.tolist()]
    cases = [(row, edits) for row in ids]
    return (
        yield from read_answers(kit, cases, lambda _, said: said.probabilities[REFUSAL], what="ablating", note=note)
    )
