"""What the residual stream tells of the belief, layer by layer, beside streams of the model with shuffled weights.

The layer is the one whose stream, beside the history, tells most of the belief in the last quarter of the sequences for
fitting when it was fitted on the others. It is chosen for every shuffled model in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.progress import Progress
from clew.runs.nulls import with_random_weights
from clew.studies.belief.processes import pairs
from clew.studies.belief.regression import Errors, fit
from clew.studies.belief.sequences import Sequences
from clew.studies.case import Steps
from clew.subject.subject import Subject

AT_ONCE = 128
"""Sequences that run together."""
SHOWN = 3000
"""Rows of which the read belief is kept for the picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamReadings:
    """Errors by what was read, and the layer that was chosen."""

    layer: int
    layer_r2: Float[np.ndarray, " layer"]
    """Of the stream alone, by layer, on held-out sequences."""
    errors: Mapping[str, Errors]
    nulls: tuple[Errors, ...]
    """Of the history and the streams of shuffled models."""
    shown: Mapping[str, Float[np.ndarray, "row state"]]
    """Beliefs of some held-out rows: exact, and as they are read."""
    slopes: Float[Tensor, "layer state d_model"]
    """By how much the stream moves for every state's belief, the last symbol held."""

    @classmethod
    def of(cls, part: Mapping[str, Tensor]) -> StreamReadings:
        """From the tensors of a part."""

        def by_name(head: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(head): each.numpy() for name, each in part.items() if name.startswith(head)}

        return cls(
            layer=int(part["layer"]),
            layer_r2=part["layer_r2"].numpy(),
            errors={name: Errors(of=of) for name, of in by_name("errors.").items()},
            nulls=tuple(Errors(of=of) for of in by_name("null.").values()),
            shown=by_name("shown."),
            slopes=part["slopes"],
        )


def read_streams(asked: Sequences, draws: int, seed: int) -> Steps:
    """A part: see `StreamReadings`."""
    found: dict[str, Tensor] = {}
    beliefs, held = asked.rows, asked.held_out
    total = np.tile(beliefs[asked.fit].mean(0), (held.stop - held.start, 1))
    columns = {"history": asked.history, "pairs": _with_pairs(asked)}
    layer = 0
    for draw in range(-1, draws):
        yield Progress(what=f"streams on {asked.process.title}", done=draw + 1, of=draws + 1, unit="models")
        kit = asked.kit
        subject = kit.subject if draw < 0 else with_random_weights(kit.subject, seed=seed + 1 + draw)
        streams = _streams(subject, asked)
        chosen = _best_layer(asked, streams)
        both = np.concatenate([asked.history, streams[chosen]], 1)
        read = fit(both[asked.fit], beliefs[asked.fit])(both[held])
        if draw >= 0:
            found[f"null.{draw:03d}"] = torch.from_numpy(Errors.between(read, beliefs[held], asked.length).of)
        if draw == 0:
            columns["shuffled"] = streams[chosen]
        if draw < 0:
            layer = chosen
            found["errors.history and stream"] = torch.from_numpy(Errors.between(read, beliefs[held], asked.length).of)
            found["layer_r2"] = torch.tensor([_r2(asked, of_layer) for of_layer in streams])
            found["slopes"] = torch.stack([_slopes(asked, of_layer) for of_layer in streams])
            columns["stream"] = streams[chosen]
    for name, values in columns.items():
        read = fit(values[asked.fit], beliefs[asked.fit])(values[held])
        found[f"errors.{name}"] = torch.from_numpy(Errors.between(read, beliefs[held], asked.length).of)
        found[f"shown.{name}"] = torch.from_numpy(read[:SHOWN].copy())
    found["errors.total"] = torch.from_numpy(Errors.between(total, beliefs[held], asked.length).of)
    found["shown.exact"] = torch.from_numpy(beliefs[held][:SHOWN].copy())
    return found | {"layer": torch.tensor(layer)}


def _with_pairs(asked: Sequences) -> np.ndarray:
    return np.concatenate([asked.history, pairs(asked.history[:, 1:], asked.process.n_symbols)], 1)


@torch.no_grad()
def _streams(subject: Subject, asked: Sequences) -> list[Float[np.ndarray, "row d_model"]]:
    """The stream behind every layer at every symbol."""
    parts: list[list[np.ndarray]] = [[] for _ in range(subject.n_layers)]
    for start in range(0, len(asked.ids), AT_ONCE):
        ids = torch.from_numpy(asked.ids[start : start + AT_ONCE])
        kept = subject.capture(ids, ["resid_post"])
        for layer, rows in enumerate(parts):
            rows.append(kept["resid_post", layer][:, asked.first :].float().cpu().flatten(0, 1).numpy())
    return [np.concatenate(rows) for rows in parts]


def _best_layer(asked: Sequences, streams: list[np.ndarray]) -> int:
    """The layer whose stream, beside the history, tells most on sequences for fitting that were left out."""
    cut = asked.n_fit * 3 // 4 * asked.length
    early, late = slice(0, cut), slice(cut, asked.fit.stop)
    errors = []
    for stream in streams:
        both = np.concatenate([asked.history, stream], 1)
        errors.append(float(np.square(fit(both[early], asked.rows[early])(both[late]) - asked.rows[late]).sum()))
    return int(np.argmin(errors))


def _r2(asked: Sequences, stream: np.ndarray) -> float:
    read = fit(stream[asked.fit], asked.rows[asked.fit])(stream[asked.held_out])
    wanted = asked.rows[asked.held_out]
    return float(1 - np.square(read - wanted).sum() / np.square(wanted - asked.rows[asked.fit].mean(0)).sum())


def _slopes(asked: Sequences, stream: np.ndarray) -> Tensor:
    """The part of the stream that goes with the belief when the last symbol is the same."""
    symbols = asked.history[:, 1 : 1 + asked.process.n_symbols]
    causes = np.concatenate([asked.rows, symbols], 1)[asked.fit]
    weights = fit(causes, stream[asked.fit].astype(np.float64)).weights[: asked.process.n_states]
    return torch.from_numpy(weights)
