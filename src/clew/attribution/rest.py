"""What has no row in a graph, and how it responds.

A graph keeps the strongest features. What the others write at a position of a layer goes on being there: as a source of
its own (of neurons), or as the offset `left_out` (of a trained dictionary). In *effects* it may respond: a gradient
that comes to what they write goes on, through their derivative, to what they read, less those that have rows. So the
total effects of a graph do not depend on how many rows it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.dictionary.neurons import Jacobian
from clew.subject.recording import Recording

_MOST_DRAWN = 1 << 27
"""Entries of the maps of all layers at all positions that are multiplied out."""
_WORTH = 1024
"""Readers from which on multiplying out costs less than it saves."""


@runtime_checkable
class Rest(Protocol):
    """The derivative of what has no row."""

    def back(
        self, layer: int, gradient: Float[Tensor, "pos d_model target"]
    ) -> Iterator[tuple[int, Float[Tensor, "pos d_model target"]]]:
        """From the gradient of a layer's output to those of what earlier or the same layers read."""
        ...

    def forward(
        self, layer: int, moved: Mapping[int, Float[Tensor, "case pos d_model"]]
    ) -> Float[Tensor, "case pos d_model"]:
        """How a layer's output changes when what layers read moves."""
        ...


class NeuronRest:
    """The neurons without a row of every MLP."""

    def __init__(
        self, recording: Recording, dictionary: Dictionary, kept: Int[Tensor, "kept 3"], *, first_position: int
    ) -> None:
        """`kept` are layer, position and index of those that have rows."""
        self.first = first_position
        entries = recording.n_layers * len(recording) * dictionary.d_model**2
        drawn = len(kept) >= _WORTH and entries <= _MOST_DRAWN
        self.jacobians = {
            layer: Jacobian(
                weights,
                recording.sites[dictionary.read_site, layer],
                kept[kept[:, 0] == layer][:, 1:],
                drawn=drawn,
            )
            for layer, weights in dictionary.layers.items()
        }

    def back(
        self, layer: int, gradient: Float[Tensor, "pos d_model target"]
    ) -> Iterator[tuple[int, Float[Tensor, "pos d_model target"]]]:
        """See `Rest`."""
        if layer in self.jacobians:
            back = self.jacobians[layer].transpose(gradient)
            back[: self.first] = 0
            yield layer, back

    def forward(
        self, layer: int, moved: Mapping[int, Float[Tensor, "case pos d_model"]]
    ) -> Float[Tensor, "case pos d_model"]:
        """See `Rest`."""
        change = self.jacobians[layer].forward(moved[layer])
        change[:, : self.first] = 0
        return change


class FeatureRest:
    """The active features of a trained dictionary that have no row."""

    def __init__(self, recording: Recording, dictionary: Dictionary, left_out: Int[Tensor, "feature 3"]) -> None:
        """`left_out` are layer, position and index of those that have no row."""
        self.dictionary, dtype = dictionary, recording.logits.dtype
        self.parts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for layer in sorted(dictionary.layers):
            _, positions, ids = left_out[left_out[:, 0] == layer].T
            if len(ids):
                rows = (dictionary.encoder_rows(layer, ids), dictionary.decoder_rows(layer, ids))
                self.parts[layer] = (positions, *(part.to(dtype) for part in rows))

    def back(
        self, layer: int, gradient: Float[Tensor, "pos d_model target"]
    ) -> Iterator[tuple[int, Float[Tensor, "pos d_model target"]]]:
        """See `Rest`."""
        for read, encoders, decoders, positions in self._writers(layer):
            reached = positions < len(gradient)
            back = torch.zeros_like(gradient)
            for position in torch.unique(positions[reached]).tolist():
                own = (positions == position).nonzero()[:, 0]
                back[position] = encoders[own].T @ (decoders[own] @ gradient[position])
            yield read, back

    def forward(
        self, layer: int, moved: Mapping[int, Float[Tensor, "case pos d_model"]]
    ) -> Float[Tensor, "case pos d_model"]:
        """See `Rest`."""
        change = torch.zeros_like(next(iter(moved.values())))
        for read, encoders, decoders, positions in self._writers(layer):
            value = (moved[read][:, positions] * encoders).sum(2)
            change.index_add_(1, positions, value[:, :, None] * decoders)
        return change

    def _writers(self, layer: int) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Of every layer that writes to one: encoders, decoders into it, positions."""
        for read, (positions, encoders, decoders) in self.parts.items():
            written = self.dictionary.written_layers(read)
            if layer in written:
                yield read, encoders, decoders[:, written.index(layer)], positions


class Heard:
    """A rest that tells a listener the gradient of every output that reaches it."""

    def __init__(self, rest: Rest, hear: Callable[[int, Float[Tensor, "pos d_model target"]], None]) -> None:
        self.rest, self.hear = rest, hear

    def back(
        self, layer: int, gradient: Float[Tensor, "pos d_model target"]
    ) -> Iterator[tuple[int, Float[Tensor, "pos d_model target"]]]:
        """See `Rest`."""
        self.hear(layer, gradient)
        return self.rest.back(layer, gradient)

    def forward(
        self, layer: int, moved: Mapping[int, Float[Tensor, "case pos d_model"]]
    ) -> Float[Tensor, "case pos d_model"]:
        """See `Rest`."""
        return self.rest.forward(layer, moved)
