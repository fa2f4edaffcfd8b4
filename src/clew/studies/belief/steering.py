"""Does the next symbol follow the belief that is put into the stream, as the process says it must?

A case is a held-out sequence cut somewhere, and another cut of another sequence that ends in the same symbol but leaves
another belief. At the last token

- the stream of one layer is moved by slope x (other belief - own belief), slopes as they were fitted;
- or the chosen features are set to what they are in the other prompt.

    wanted shift  = next symbols at the other belief - next symbols at the own belief, by the process
    measured shift = the model's next symbols, edited - as they are
    share of the wanted shift = 1 - |measured - wanted|^2 / |wanted|^2, summed over cases

1 is exactly as the process says, 0 is no shift (or one that helps as much as it harms), below 0 a wrong one. Beside it
stand moves of equal length along random directions in which the stream varies, and matched features swapped alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.progress import Progress
from clew.stats import Interval, bootstrap
from clew.studies.belief.features import TellingFeatures
from clew.studies.belief.sequences import Sequences
from clew.studies.belief.streams import StreamReadings
from clew.studies.case import Steps

EARLIEST = 5
"""Symbols that a prompt shows at least."""
OFFERED = 16
"""Partners among which is taken the one whose next symbols differ most."""
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Shifts:
    """Wanted and measured shifts of the next symbol's distribution."""

    wanted: Float[np.ndarray, "case symbol"]
    measured: Mapping[str, Float[np.ndarray, "case symbol"]]
    """By what was done: `stream.3` (layer), `random.0`, `features`, `matched.0`."""
    written: Mapping[str, float]
    """How much the swapped features write in addition, beside the chosen ones."""

    @classmethod
    def of(cls, part: Mapping[str, Tensor]) -> Shifts:
        """From the tensors of a part."""
        names = [name.removeprefix("measured.") for name in part if name.startswith("measured.")]
        return cls(
            wanted=part["wanted"].numpy(),
            measured={name: part[f"measured.{name}"].numpy() for name in names},
            written={name: float(part[f"written.{name}"]) for name in names if f"written.{name}" in part},
        )

    def share(self, name: str) -> Interval:
        """The share of the wanted shift; resampled over cases."""
        wrong = np.square(self.measured[name] - self.wanted).sum(1)
        return bootstrap(np.stack([np.square(self.wanted).sum(1), wrong]), lambda s: 1 - s[1] / s[0])

    def draws(self, head: str) -> tuple[float, ...]:
        """The shares of the draws of a null."""
        return tuple(self.share(name).value for name in self.measured if name.startswith(f"{head}."))


@dataclass(frozen=True, kw_only=True, eq=False)
class BeliefPairs:
    """Cases: rows of two held-out symbols of equal kind, counted over all sequences."""

    own: Int[np.ndarray, " case"]
    other: Int[np.ndarray, " case"]


def pairs_of(asked: Sequences, count: int, seed: int) -> BeliefPairs:
    """Cuts of different held-out sequences that end in the same symbol; the partner differs most of those offered."""
    generator = np.random.default_rng([seed, 3])
    steps = asked.length
    rows = np.arange(asked.held_out.start, asked.held_out.stop)
    rows = rows[(rows % steps >= EARLIEST - 1) & (rows % steps < steps - 1)]
    symbols, following = asked.symbols.reshape(-1), asked.process.next_symbols(asked.rows)
    own, other = generator.permutation(rows)[:count], []
    for row in own:
        offered = rows[(symbols[rows] == symbols[row]) & (rows // steps != row // steps)]
        offered = generator.choice(offered, OFFERED)
        other.append(offered[np.square(following[offered] - following[row]).sum(1).argmax()])
    return BeliefPairs(own=own, other=np.array(other))


def steer(asked: Sequences, readings: StreamReadings, telling: TellingFeatures, *, cases: int, seed: int) -> Steps:
    """A part: see `Shifts`."""
    pairs = pairs_of(asked, cases, seed)
    following = asked.process.next_symbols(asked.rows)
    found: dict[str, Tensor] = {"wanted": torch.from_numpy(following[pairs.other] - following[pairs.own])}
    edits = _stream_edits(asked, readings, pairs, len(telling.sets) - 1, seed)
    for number in range(len(telling.sets)):
        name = "features" if number == 0 else f"matched.{number - 1}"
        edits[name], written = _swaps(asked, telling, pairs, number)
        found[f"written.{name}"] = torch.tensor(written)
    plain = yield from _next_symbols(asked, pairs, [()] * len(pairs.own), "plain runs")
    for name, of_cases in edits.items():
        said = yield from _next_symbols(asked, pairs, of_cases, f"steering: {name}")
        found[f"measured.{name}"] = torch.from_numpy(said - plain)
    return found


def _stream_edits(
    asked: Sequences, readings: StreamReadings, pairs: BeliefPairs, draws: int, seed: int
) -> dict[str, list[tuple[Edit, ...]]]:
    """Moves along the belief in every layer, and along random directions in the chosen one."""
    moved = torch.from_numpy(asked.rows[pairs.other] - asked.rows[pairs.own])
    positions = (asked.first + pairs.own % asked.length).tolist()

    def moves(directions: Tensor, layer: int) -> list[tuple[Edit, ...]]:
        rows = zip(directions, positions, strict=True)
        return [(Edit.steer(row, 1.0, layer=layer, positions=position),) for row, position in rows]

    edits = {f"stream.{layer}": moves(moved @ slopes.to(moved), layer) for layer, slopes in enumerate(readings.slopes)}
    length = (moved @ readings.slopes[readings.layer].to(moved)).norm(dim=1, keepdim=True)
    varying = _differences(asked, readings.layer, draws * len(moved), seed).view(draws, len(moved), -1)
    for draw, directions in enumerate(varying):
        unit = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        edits[f"random.{draw}"] = moves(unit * length, readings.layer)
    return edits


@torch.no_grad()
def _differences(asked: Sequences, layer: int, count: int, seed: int) -> Float[Tensor, "draw d_model"]:
    """Random directions in which the stream varies: sums of many differences from its mean, with random weights."""
    ids = torch.from_numpy(asked.ids[: min(asked.n_fit, AT_ONCE)])
    stream = asked.kit.subject.capture(ids, ["resid_post"])["resid_post", layer][:, asked.first :].flatten(0, 1)
    centred = (stream - stream.mean(0)).double().cpu()
    generator = torch.Generator().manual_seed(seed + 4)
    return torch.randn(count, len(centred), generator=generator, dtype=torch.float64) @ centred / len(centred) ** 0.5


def _swaps(
    asked: Sequences, telling: TellingFeatures, pairs: BeliefPairs, number: int
) -> tuple[list[tuple[Edit, ...]], float]:
    """A set of features set to what they are in the other prompt, and how much that writes beside the chosen set's."""
    members, edits = telling.members(number), []
    for own, other in zip(pairs.own.tolist(), pairs.other.tolist(), strict=True):
        position = asked.first + own % asked.length
        before, after = telling.columns[own], telling.columns[other]
        edits.append(
            tuple(
                Edit.set(telling.ids[place], float(after[place]), positions=position)
                for place in members
                if before[place] != after[place]
            )
        )
    written = np.abs(telling.columns[pairs.other] - telling.columns[pairs.own]).mean(0) * telling.norms
    chosen = written[telling.members(0)].sum()
    return edits, float(written[members].sum() / chosen) if chosen > 0 else 0.0


def _next_symbols(
    asked: Sequences, pairs: BeliefPairs, edits: Sequence[tuple[Edit, ...]], what: str
) -> Generator[Progress, None, Float[np.ndarray, "case symbol"]]:
    """The model's distribution over the symbols behind every own prompt, under edits."""
    ends, rows = asked.first + pairs.own % asked.length + 1, []
    prompts = [asked.ids[own // asked.length, :end].tolist() for own, end in zip(pairs.own, ends, strict=True)]
    tokens = torch.tensor(asked.symbol_ids)
    for start in range(0, len(prompts), AT_ONCE):
        yield Progress(what=what, done=start, of=len(prompts), unit="prompts")
        part = slice(start, start + AT_ONCE)
        for said in asked.kit.edits(list(zip(prompts[part], edits[part], strict=True)), leave_out_first=False):
            chosen = said.probabilities.detach().cpu()[tokens].double()
            rows.append((chosen / chosen.sum()).numpy())
    return np.stack(rows)
