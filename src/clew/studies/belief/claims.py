"""What the study `belief` claims of one process; the rules were written before anything was measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from clew.studies.belief.features import TellingFeatures
from clew.studies.belief.regression import Errors, fit, r2_gap, share_left
from clew.studies.belief.sequences import Sequences
from clew.studies.belief.steering import Shifts
from clew.studies.belief.streams import StreamReadings
from clew.studies.claim import Bar, Claim, Null

STREAM_BAR, FEATURE_BAR = 0.5, 0.25
"""Shares of what the history leaves that the stream, and the chosen features, must tell."""
COORDINATE_BAR = 0.05
"""By how much R2 of the coordinates must exceed that of single features."""
STEERING_BAR, SWAP_BAR = 0.5, 0.25
"""Shares of the wanted shift that must be reached by the stream, and by the features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BeliefMeasured:
    """All that was measured of one process."""

    asked: Sequences
    readings: StreamReadings
    telling: TellingFeatures
    shuffled: tuple[Float[np.ndarray, "row feature"], ...]
    """Activations of the neurons that are chosen in the same way in shuffled models."""
    shifts: Shifts

    def _beside_history(self, columns: Float[np.ndarray, "row feature"]) -> Errors:
        return self._errors(np.concatenate([self.asked.history, columns], 1), self.asked.rows)

    def _errors(self, columns: Float[np.ndarray, "row column"], wanted: Float[np.ndarray, "row number"]) -> Errors:
        held = self.asked.held_out
        read = fit(columns[self.asked.fit], wanted[self.asked.fit])(columns[held])
        return Errors.between(read, wanted[held], self.asked.length)

    @cached_property
    def feature_errors(self) -> list[Errors]:
        """Errors of the history with every set of features, the chosen one first."""
        sets = range(len(self.telling.sets))
        return [self._beside_history(self.telling.columns[:, self.telling.members(number)]) for number in sets]

    @cached_property
    def shuffled_errors(self) -> list[Errors]:
        """Errors of the history with the neurons chosen in every shuffled model."""
        return [self._beside_history(columns) for columns in self.shuffled]

    @cached_property
    def coordinates(self) -> list[dict[str, Errors]]:
        """Errors in the next symbol's distribution, of every set: by its coordinates, its best feature, its strongest.

        `coordinates`: beliefs read from all features of the set together, then the process's own map. `single`: the
        feature of the set that tells most in the sequences for fitting. `strongest`: which feature of the set is
        largest, each by its own mean, as if every feature stood for a piece of the simplex.
        """
        found = []
        for number in range(len(self.telling.sets)):
            columns = self.telling.columns[:, self.telling.members(number)].astype(np.float64)
            found.append(self._coordinates(columns))
        return found

    def _coordinates(self, columns: Float[np.ndarray, "row feature"]) -> dict[str, Errors]:
        asked, held = self.asked, self.asked.held_out
        wanted = asked.process.next_symbols(asked.rows)
        beliefs = fit(columns[asked.fit], asked.rows[asked.fit])(columns[held])
        mixed = Errors.between(asked.process.next_symbols(beliefs), wanted[held], asked.length)
        errors = [self._fit_error(columns[:, [place]], wanted) for place in range(columns.shape[1])]
        best = [int(np.argmin(errors))] if errors else []
        scale = np.abs(columns[asked.fit]).mean(0).clip(min=1e-12)
        tiles = (columns / scale).argmax(1) if errors else np.zeros(len(columns), dtype=int)
        one_hot = np.eye(max(columns.shape[1], 1))[tiles]
        total = np.tile(wanted[asked.fit].mean(0), (held.stop - held.start, 1))
        return {
            "total": Errors.between(total, wanted[held], asked.length),
            "coordinates": mixed,
            "single": self._errors(columns[:, best], wanted),
            "strongest": self._errors(one_hot, wanted),
        }

    def _fit_error(self, columns: Float[np.ndarray, "row column"], wanted: Float[np.ndarray, "row number"]) -> float:
        rows = self.asked.fit
        return float(np.square(fit(columns[rows], wanted[rows])(columns[rows]) - wanted[rows]).sum())


def claims_of(measured: BeliefMeasured) -> tuple[Claim, ...]:
    """The claims, in the order of the report."""
    return (stream_claim(measured), feature_claim(measured), coordinate_claim(measured), *steering_claims(measured))


def stream_claim(measured: BeliefMeasured) -> Claim:
    asked, errors = measured.asked, measured.readings.errors
    n = len(errors["history"].of)
    history, both = (
        float(1 - errors[name].of.sum() / errors["total"].of.sum()) for name in ("history", "history and stream")
    )
    return Claim(
        text=f"{_head(measured)}: the residual stream behind layer {measured.readings.layer} tells at least half of "
        f"the belief that the last {asked.last} symbols leave untold to a linear reading (held-out R2 {history:.4f} "
        f"with the symbols alone, {both:.4f} with the stream beside them).",
        value=share_left(errors["history"], errors["history and stream"]),
        null=Null(
            what="the same model with shuffled weights, its layer chosen in the same way",
            draws=tuple(share_left(errors["history"], each).value for each in measured.readings.nulls),
            size=n,
            tested=n,
            unit="sequences",
        ),
        bar=Bar(low=STREAM_BAR),
        reference="Shai et al. 2024 report the R2 of the stream alone",
    )


def feature_claim(measured: BeliefMeasured) -> Claim:
    before = measured.readings.errors["history"]
    telling, errors = measured.telling, [*measured.feature_errors, *measured.shuffled_errors]
    return Claim(
        text=f"{_head(measured)}: {len(telling.members(0))} features hold it: beside the last {measured.asked.last} "
        "symbols their activations tell at least a quarter of the belief that these leave untold.",
        value=share_left(before, errors[0]),
        null=_matched(
            measured,
            [share_left(before, each).value for each in errors[1:]],
            ", and neurons chosen in the same way in shuffled models",
        ),
        bar=Bar(low=FEATURE_BAR),
    )


def coordinate_claim(measured: BeliefMeasured) -> Claim:
    """The barycentric control: mixtures against single features and against tiles of the simplex."""
    sets = measured.coordinates

    def gaps(errors: dict[str, Errors]) -> tuple[float, str]:
        single, strongest = (
            r2_gap(errors["total"], errors["coordinates"], errors[each]) for each in ("single", "strongest")
        )
        return (single.value, "single") if single.value <= strongest.value else (strongest.value, "strongest")

    own = sets[0]
    return Claim(
        text=f"{_head(measured)}: these features hold a mixture, not tiles: the coordinates in the simplex that are "
        "read from all of them tell the next symbol's distribution better than the best of them alone and than which "
        "of them is strongest (difference of R2 to the better of the two).",
        value=r2_gap(own["total"], own["coordinates"], own[gaps(own)[1]]),
        null=_matched(measured, [gaps(each)[0] for each in sets[1:]]),
        bar=Bar(low=COORDINATE_BAR),
        reference="Levinson 2026, Finding Belief Geometries with Sparse Autoencoders: barycentric prediction",
    )


def steering_claims(measured: BeliefMeasured) -> tuple[Claim, Claim]:
    shifts, layer = measured.shifts, measured.readings.layer
    n = len(shifts.wanted)
    along = Claim(
        text=f"{_head(measured)}: moved along the belief in the stream behind layer {layer} at the last symbol, the "
        "next symbol's distribution moves as the process says it must for the other belief, by at least half (share "
        "of the wanted shift: 1 is exactly so, 0 no shift).",
        value=shifts.share(f"stream.{layer}"),
        null=Null(
            what="as long a move in a random direction in which the stream varies",
            draws=shifts.draws("random"),
            size=n,
            tested=n,
            unit="prompts",
        ),
        bar=Bar(low=STEERING_BAR),
    )
    swapped = Claim(
        text=f"{_head(measured)}: the {len(measured.telling.members(0))} features, set at the last symbol to what they "
        "are in a prompt of another belief that ends in the same symbol (MLP outputs clamped through the last edited "
        "layer), move the next symbol's distribution at least a quarter of the way.",
        value=shifts.share("features"),
        null=_matched(measured, list(shifts.draws("matched"))),
        bar=Bar(low=SWAP_BAR),
    )
    return along, swapped


def _matched(measured: BeliefMeasured, draws: list[float], others: str = "") -> Null:
    telling = measured.telling
    sizes = [len(telling.members(number)) for number in range(1, len(telling.sets))]
    return Null(
        what=f"other features of the same layers, matched on what they write{others}",
        draws=tuple(draws),
        size=round(float(np.mean(sizes))),
        tested=len(telling.members(0)),
    )


def _head(measured: BeliefMeasured) -> str:
    title = measured.asked.process.title
    return title[0].upper() + title[1:]
