"""Which features tell of the belief what the history does not, beside features of the same layers and size.

1. Of every feature the share of what the history leaves that it tells by itself is computed from sums over the
   sequences for fitting, so that no dictionary is too large.
2. Of the best of these, features are taken one after the other: always the one that tells most beside those taken.
3. Matched features are other active ones of the same layer, near in mean activation times decoder length.
4. Choosing helps by itself, also where nothing was learned. So neurons are chosen in the same way in shuffled models.

The columns of all of them are kept, for readings and for swaps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.prompt_activations import Activations, activations
from clew.ids import FeatureId
from clew.intervention.matched_sets import decoder_norms, matched_pairs
from clew.kit import Kit
from clew.progress import Progress
from clew.runs.nulls import with_random_weights
from clew.studies.belief.sequences import Sequences
from clew.studies.case import Steps

CANDIDATES = 96
"""Features among which is chosen, the best by themselves."""
_REPORT = 100  # sequences between two reports


@dataclass(frozen=True, kw_only=True, eq=False)
class TellingFeatures:
    """The chosen features and their matched sets, with activations at every symbol."""

    ids: tuple[FeatureId, ...]
    columns: Float[np.ndarray, "row feature"]
    size: Float[np.ndarray, " feature"]
    """Mean activation times decoder length."""
    norms: Float[np.ndarray, " feature"]
    """Decoder lengths, over all the layers that a feature writes to."""
    alone: Float[np.ndarray, " feature"]
    """The share of what the history leaves that a feature tells by itself, on the sequences for fitting."""
    sets: Int[np.ndarray, "set member"]
    """Places in `ids`; the first set is the chosen one, in its order; -1 where a layer has no other feature."""

    @classmethod
    def of(cls, part: Mapping[str, Tensor]) -> TellingFeatures:
        """From the tensors of a part."""
        return cls(
            ids=tuple(FeatureId(layer, index) for layer, index in part["ids"].tolist()),
            columns=part["columns"].numpy(),
            size=part["size"].numpy(),
            norms=part["norms"].numpy(),
            alone=part["alone"].numpy(),
            sets=part["sets"].numpy(),
        )

    def members(self, number: int) -> list[int]:
        """The places of one set."""
        return [int(place) for place in self.sets[number] if place >= 0]


def telling_features(asked: Sequences, count: int, draws: int, seed: int) -> Steps:
    """A part: see `TellingFeatures`."""
    keys, alone, norms, mean = yield from _alone(asked)
    size = norms * mean
    order = np.argsort(-alone)
    best, active = order[:CANDIDATES], np.flatnonzero(size > 0)
    candidates = best[alone[best] > 0]
    columns = yield from _columns(asked, keys[candidates], slice(0, asked.n_fit))
    chosen = candidates[_greedy(asked, columns, count)]
    generator = torch.Generator().manual_seed(seed + 2)
    sets = [chosen] + [_matched(keys, size, chosen, active, generator) for _ in range(draws)]
    kept = np.unique(np.concatenate([each[each >= 0] for each in sets]))
    place = {int(column): number for number, column in enumerate(kept)} | {-1: -1}
    return {
        "ids": torch.from_numpy(keys[kept].copy()),
        "columns": torch.from_numpy((yield from _columns(asked, keys[kept], slice(0, len(asked.ids))))),
        "size": torch.from_numpy(size[kept].copy()),
        "norms": torch.from_numpy(norms[kept].copy()),
        "alone": torch.from_numpy(alone[kept].copy()),
        "sets": torch.tensor([[place[int(column)] for column in each] for each in sets], dtype=torch.long),
    }


def shuffled_features(asked: Sequences, count: int, models: int, seed: int) -> Steps:
    """A part: activations at every symbol of the neurons that are chosen in so many shuffled models."""
    found: dict[str, Tensor] = {}
    for number in range(models):
        subject = with_random_weights(asked.kit.subject, seed=seed + 1 + number)
        part = yield from telling_features(replace(asked, kit=Kit(subject)), count, 0, seed)
        found[str(number)] = part["columns"]
    return found


def _alone(asked: Sequences) -> Generator[Progress, None, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Layer and index of every feature, what it tells by itself, its decoder's length, its mean activation's size."""
    kit, history = asked.kit, asked.history[asked.fit]
    gram = np.linalg.pinv(history.T @ history, rcond=1e-10, hermitian=True)
    of_history = gram @ (history.T @ asked.rows[asked.fit])
    left = asked.rows[asked.fit] - history @ of_history
    both = torch.from_numpy(np.concatenate([history, left], 1))
    sums: dict[int, Tensor] = {}
    squares: dict[int, Tensor] = {}
    prompts = asked.ids[: asked.n_fit].tolist()
    for number, read in enumerate(_read(asked, prompts)):
        if number % _REPORT == 0:
            yield Progress(what="features", done=number, of=len(prompts), unit="sequences")
        rows = both[number * asked.length : (number + 1) * asked.length]
        for layer, values in read.layers.items():
            wide = values.double().cpu()
            sums[layer] = sums.get(layer, 0) + wide.T @ rows
            squares[layer] = squares.get(layer, 0) + wide.square().sum(0)
    keys, alone, norms, mean = [], [], [], []
    for layer in sorted(sums):
        with_history, with_left = sums[layer][:, : history.shape[1]].numpy(), sums[layer][:, history.shape[1] :].numpy()
        own = squares[layer].numpy()
        free = own - np.einsum("fh,hk,fk->f", with_history, gram, with_history)
        told = np.square(with_left).sum(1) / np.where(free > 1e-8 * np.maximum(own, 1e-12), free, np.inf)
        n = len(own)
        norms.append(decoder_norms(kit.dictionary, layer, torch.arange(n)).double().numpy())
        keys.append(np.stack([np.full(n, layer), np.arange(n)], 1))
        alone.append(told / np.square(left).sum())
        mean.append(np.abs(with_history[:, 0]) / len(left))
    return np.concatenate(keys), np.concatenate(alone), np.concatenate(norms), np.concatenate(mean)


def _read(asked: Sequences, prompts: Sequence[Sequence[int]]) -> Iterator[Activations]:
    """Activations at every symbol; in front of the first stands a begin token at least, so no position is left out."""
    kit, positions = asked.kit, [asked.positions] * len(prompts)
    return activations(kit.subject, kit.dictionary, prompts, positions, leave_out_first=False)


def _columns(asked: Sequences, keys: np.ndarray, which: slice) -> Generator[Progress, None, np.ndarray]:
    """Activations of some features at every symbol of some sequences."""
    ids = [FeatureId(int(layer), int(index)) for layer, index in keys]
    prompts, rows = asked.ids[which].tolist(), []
    for number, read in enumerate(_read(asked, prompts)):
        if number % _REPORT == 0:
            yield Progress(what="activations", done=number, of=len(prompts), unit="sequences")
        rows.append(read.of(ids).float().cpu().numpy())
    return np.concatenate(rows)


def _greedy(asked: Sequences, columns: Float[np.ndarray, "row feature"], count: int) -> list[int]:
    """Features one after the other, always the one that tells most beside history and those taken."""
    history = asked.history[asked.fit]

    def beside_history(values: np.ndarray) -> np.ndarray:
        rest: np.ndarray = values - history @ np.linalg.lstsq(history, values, rcond=None)[0]
        return rest

    left, rest = beside_history(asked.rows[asked.fit]), beside_history(columns.astype(np.float64))
    least = 1e-6 * np.square(rest).sum(0).clip(min=1e-12)
    taken: list[int] = []
    for _ in range(min(count, rest.shape[1])):
        own = np.square(rest).sum(0)
        gain = np.where(own > least, np.square(rest.T @ left).sum(1) / own.clip(min=1e-30), 0.0)
        gain[taken] = 0.0
        if (best := int(gain.argmax())) in taken or gain[best] <= 0:
            break
        taken.append(best)
        direction = rest[:, best] / np.linalg.norm(rest[:, best])
        left = left - np.outer(direction, direction @ left)
        rest = rest - np.outer(direction, direction @ rest)
    return taken


def _matched(
    keys: np.ndarray, size: np.ndarray, chosen: np.ndarray, active: np.ndarray, generator: torch.Generator
) -> np.ndarray:
    """For each chosen feature another active one of its layer, near in size; -1 where there is none."""
    under_test, free = (torch.zeros(len(keys), dtype=torch.bool) for _ in range(2))
    under_test[chosen], free[active] = True, True
    layers, mass = torch.from_numpy(keys[:, 0].copy()), torch.from_numpy(size)
    pairs = matched_pairs(under_test, layers, mass, generator, free=free)
    return np.array([pairs.get(int(column), -1) for column in chosen], dtype=np.int64)
