"""Which features are active on many prompts: dense activations of chosen positions, and their means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.ids import FeatureId
from clew.subject.batches import KEPT_BYTES, WINDOW, batches, padded, positions_at_once, windows
from clew.subject.positions import first_counted
from clew.subject.subject import Prompt, Subject

Places = int | Sequence[int | Sequence[int]] | None
"""Positions to read: one for every prompt (-1 is its last), or one or several a prompt; None for all."""
_TYPICAL = 32  # positions of a prompt, by which windows are sized


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations:
    """Every feature's activation on one prompt; 0 where it is off, and at a left-out first position."""

    token_ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Those that were read, as asked for: the first axis of every layer."""
    layers: Mapping[int, Float[Tensor, "pos feature"]]

    def __repr__(self) -> str:
        n_on = sum(int((values != 0).sum()) for values in self.layers.values())
        return f"Activations({len(self.positions)} positions of {len(self.token_ids)} tokens, {n_on:,} active)"

    def of(self, features: Sequence[FeatureId | str]) -> Float[Tensor, "pos feature"]:
        """The activations of some features; InputError for one that the dictionary does not have."""
        columns = []
        for feature in features:
            name = FeatureId.parse(feature) if isinstance(feature, str) else feature
            layer = self.layers.get(name.layer)
            if layer is None or not 0 <= name.index < layer.shape[1]:
                raise InputError(f"{name} is no feature of this dictionary")
            columns.append(layer[:, name.index])
        return torch.stack(columns, 1) if columns else torch.zeros(len(self.positions), 0)


def activations(
    subject: Subject,
    dictionary: Dictionary,
    prompts: Iterable[Prompt],
    positions: Places = None,
    *,
    leave_out_first: bool = True,
    add_bos: bool = True,
) -> Iterator[Activations]:
    """Activations on each prompt, in their order, a batch at a time.

    InputError for a prompt that cannot be encoded, a position outside its prompt, or as many positions as there are not
    prompts; MismatchError when the Dictionary belongs to another model.
    """
    dictionary.check_fits(subject)
    if isinstance(prompts, str):
        raise InputError(f"give a list of prompts: {prompts!r:.60} is one text")
    return _activations(subject, dictionary, prompts, positions, leave_out_first, add_bos)


def mean_activations(
    subject: Subject, dictionary: Dictionary, prompts: Iterable[Prompt], positions: Places = None
) -> dict[int, Float[Tensor, " feature"]]:
    """Every feature's mean over the positions of all prompts, by layer: left-out first positions do not count.

    In float64. Errors are those of `activations`, and InputError when no position counts.
    """
    sums = {layer: torch.zeros(dictionary.d_features(layer), dtype=torch.float64) for layer in dictionary.layers}
    count, firsts = 0, dict[tuple[int, ...], int]()
    for each in activations(subject, dictionary, prompts, positions):
        first = _first(subject, torch.tensor(each.token_ids, device=subject.device), firsts)
        counted = [i for i, position in enumerate(each.positions) if position >= first]
        count += len(counted)
        for layer, values in each.layers.items():
            sums[layer] += values[counted].double().sum(0).cpu()
    if not count:
        raise InputError("there is no position to take a mean over: give at least one prompt with more than one token")
    return {layer: total / count for layer, total in sums.items()}


@torch.no_grad()
def _activations(
    subject: Subject,
    dictionary: Dictionary,
    prompts: Iterable[Prompt],
    positions: Places,
    leave_out_first: bool,
    add_bos: bool,
) -> Iterator[Activations]:
    n_features = sum(dictionary.d_features(layer) for layer in dictionary.layers)
    most = positions_at_once(subject, 4 * max(dictionary.d_features(layer) for layer in dictionary.layers))
    size = max(1, min(WINDOW, KEPT_BYTES // (4 * 4 * n_features * _TYPICAL)))
    firsts: dict[tuple[int, ...], int] = {}
    done = 0
    for window in windows(prompts, size):
        ids = [subject.encode(prompt, add_bos=add_bos) for prompt in window]
        lengths = [len(row) for row in ids]
        places = [_places(positions, done + i, length) for i, length in enumerate(lengths)]
        results: dict[int, Activations] = {}
        for batch in batches(sorted(range(len(ids)), key=lambda i: lengths[i]), lengths, lengths, most):
            rows = [ids[i] for i in batch]
            first = [_first(subject, row, firsts) if leave_out_first else 0 for row in rows]
            of_batch = _of_batch(subject, dictionary, rows, [places[i] for i in batch], first)
            results |= dict(zip(batch, of_batch, strict=True))
        yield from (results[i] for i in range(len(ids)))
        done += len(window)
    if positions is not None and not isinstance(positions, int) and len(positions) != done:
        raise InputError(f"positions are given for {len(positions)} prompts, but there are {done}")


def _of_batch(
    subject: Subject,
    dictionary: Dictionary,
    rows: Sequence[Int[Tensor, " _"]],
    places: Sequence[tuple[int, ...]],
    first: Sequence[int],
) -> list[Activations]:
    sites = subject.capture(padded(rows), [dictionary.read_site])
    counts = [len(of_row) for of_row in places]
    row = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(counts)).to(subject.device)
    position = torch.tensor([p for of_row in places for p in of_row], dtype=torch.long, device=subject.device)
    counted = position >= torch.tensor(first, device=subject.device)[row]
    layers = {}
    for layer in sorted(dictionary.layers):
        values = dictionary.activations(layer, sites[dictionary.read_site, layer][row, position])
        layers[layer] = (values * counted[:, None]).split(counts)
    return [
        Activations(
            token_ids=tuple(rows[i].tolist()),
            positions=places[i],
            layers={layer: parts[i] for layer, parts in layers.items()},
        )
        for i in range(len(rows))
    ]


def _first(subject: Subject, ids: Int[Tensor, " pos"], known: dict[tuple[int, ...], int]) -> int:
    key = tuple(ids.tolist())
    if key not in known:
        known[key] = first_counted(subject, ids)
    return known[key]


def _places(positions: Places, number: int, length: int) -> tuple[int, ...]:
    """The positions of one prompt, counted from the first; InputError for one outside it."""
    if positions is None:
        return tuple(range(length))
    if not isinstance(positions, int) and number >= len(positions):
        raise InputError(f"positions are given for {len(positions)} prompts, but there are more")
    asked = positions if isinstance(positions, int) else positions[number]
    wanted = (asked,) if isinstance(asked, int) else tuple(asked)
    for position in wanted:
        if not -length <= position < length:
            raise InputError(f"prompt {number}: position {position} is outside its {length} tokens")
    return tuple(position % length for position in wanted)
