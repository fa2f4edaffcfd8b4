"""Means over the slots' values: what a number owes to one slot, and what to two of them together.

With cells c[a, b, ...] (the mean over the prompts in which the slots have the values a, b, ...):

    grand = mean of all cells
    main[A][a] = mean of the cells with a - grand
    both[A, B][a, b] = mean of the cells with a and b - main[A][a] - main[B][b] - grand

Every cell counts the same, however many prompts it has. Main effects sum to zero over their values, interactions over
either of theirs; with two factors they add up to the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from clew.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorialMeans:
    """What numbers owe to each factor and to each pair of them; the last axis is that of the numbers."""

    levels: Mapping[str, tuple[str, ...]]
    """The values of every factor, in the order in which they first occur."""
    cells: Float[Tensor, "*levels number"]
    """One axis a factor."""
    grand: Float[Tensor, " number"]
    main: Mapping[str, Float[Tensor, "level number"]]
    both: Mapping[tuple[str, str], Float[Tensor, "level level2 number"]]

    def spread(self, *factors: str) -> Float[Tensor, " number"]:
        """The mean square of a factor's main effects, or of two factors' interactions, over the cells."""
        if len(factors) == 1:
            return self.main[factors[0]].square().mean(0)
        one, other = sorted(factors, key=list(self.levels).index)
        return self.both[one, other].square().mean((0, 1))


def factorial_means(numbers: Float[Tensor, "prompt number"], factors: Mapping[str, Sequence[str]]) -> FactorialMeans:
    """Main effects and interactions of the slots' values; `factors` has the value of every prompt by slot.

    InputError when a factor has not one value a prompt, and when a combination of values has no prompt.
    """
    if not factors:
        raise InputError("no factor is given: name a slot whose values differ")
    for name, values in factors.items():
        if len(values) != len(numbers):
            raise InputError(f"the factor {name!r} has {len(values)} values for {len(numbers)} prompts: give one each")
    levels = {name: tuple(dict.fromkeys(values)) for name, values in factors.items()}
    cells = _cells(numbers, factors, levels)
    names = list(levels)
    grand = cells.flatten(0, -2).mean(0)
    main = {name: _mean_over_others(cells, [place]) - grand for place, name in enumerate(names)}
    both = {}
    for (a, one), (b, other) in combinations(enumerate(names), 2):
        pair = _mean_over_others(cells, [a, b])
        both[one, other] = pair - main[one][:, None] - main[other][None] - grand
    return FactorialMeans(levels=levels, cells=cells, grand=grand, main=main, both=both)


def _cells(numbers: Tensor, factors: Mapping[str, Sequence[str]], levels: Mapping[str, tuple[str, ...]]) -> Tensor:
    """The mean over the prompts of every combination of values."""
    shape = [len(values) for values in levels.values()]
    cell = torch.zeros(len(numbers), dtype=torch.long)
    for name, values in factors.items():
        number = {value: place for place, value in enumerate(levels[name])}
        cell = cell * len(levels[name]) + torch.tensor([number[value] for value in values], dtype=torch.long)
    n_cells = int(torch.tensor(shape).prod())
    counts = torch.bincount(cell, minlength=n_cells)
    if bool((counts == 0).any()):
        place = list(torch.unravel_index((counts == 0).nonzero()[0, 0], shape))
        empty = ", ".join(f"{name} {levels[name][int(i)]!r}" for name, i in zip(levels, place, strict=True))
        raise InputError(f"no prompt has {empty}: give every combination of the slots' values")
    sums = numbers.new_zeros(n_cells, numbers.shape[1], dtype=torch.float64)
    sums.index_add_(0, cell.to(numbers.device), numbers.to(torch.float64))
    return (sums / counts.to(sums)[:, None]).view(*shape, numbers.shape[1])


def _mean_over_others(cells: Tensor, kept: Sequence[int]) -> Tensor:
    """The mean over all axes but those kept and the last."""
    others = [axis for axis in range(cells.ndim - 1) if axis not in kept]
    return cells.mean(others) if others else cells
