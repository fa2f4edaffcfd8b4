"""Everything that can cause something on one recorded prompt, laid out for the sweep.

Columns stand position by position; within a position by layer, a layer's features before its error, the token last. So
what writes to one layer's output at one position is one contiguous run of columns, and one matrix product a position
contracts a gradient with all of it. `written(layer)` is that run: activation times decoder, errors as they are, and
zero where an earlier layer's error stands between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import ActiveFeatures
from clew.errors import InputError
from clew.subject.recording import Recording, SiteName


@dataclass(frozen=True)
class Span:
    """The columns that write to one layer at one position, and their rows in `written(layer)`."""

    first_column: int
    last_column: int
    first_row: int
    last_row: int


Piece = tuple[int, int, int, Tensor]
"""A position, its first and last column, and what is written there."""


class Sources:
    """Active features, errors and tokens of one recording under one Dictionary.

    `first_position` is 1 when the first position is left out: it then has no features and no errors. Of `kept`, if
    given, features alone are sources of their own; the others then count as error.
    """

    def __init__(
        self,
        recording: Recording,
        dictionary: Dictionary,
        *,
        first_position: int,
        cache_bytes: int,
        kept: Int[Tensor, "kept 3"] | None = None,
    ) -> None:
        self.recording, self.dictionary, self.first_position = recording, dictionary, first_position
        self.kept = kept
        self.n_layers, self.n_positions = recording.n_layers, len(recording)
        self.dtype, self.device = recording.logits.dtype, recording.logits.device
        self._encode()
        self._arrange()
        self._spans = [self._span(layer) for layer in range(self.n_layers)]
        self._shifts = [
            torch.tensor([s.first_row - s.first_column for s in spans], device=self.device) for spans in self._spans
        ]
        self.errors = torch.zeros(
            self.n_layers, self.n_positions, dictionary.d_model, dtype=self.dtype, device=self.device
        )
        self.sink = self.errors[:, 0].clone()
        self._cache: dict[int, Tensor] = {}
        self._pieces: dict[int, Sequence[Piece]] = {}
        n_rows = sum(spans[-1].last_row for spans in self._spans)
        if n_rows * dictionary.d_model * self.dtype.itemsize <= cache_bytes:
            self._cache = self._decoded(range(self.n_layers))
        for layer in range(self.n_layers):
            self._close(layer, self._cache[layer] if self._cache else self._decoded([layer])[layer])

    # --- features ---------------------------------------------------------------------------------------------

    def _encode(self) -> None:
        keys, activations, preactivations = [], [], []
        for layer in sorted(self.dictionary.layers):
            x = self.site(self.dictionary.read_site, layer)
            active = self.dictionary.encode(layer, x)
            counts = active.position >= self.first_position
            if self.kept is not None:
                counts &= self._among_kept(layer, active)
            index, position = active.index[counts], active.position[counts]
            keys.append(torch.stack([torch.full_like(index, layer), position, index], 1))
            activations.append(active.activation[counts])
            preactivations.append(active.preactivation[counts])
        self.feature_keys: Int[Tensor, "feature 3"] = torch.cat(keys)
        self.activations: Float[Tensor, " feature"] = torch.cat(activations).to(self.dtype)
        self.preactivations: Float[Tensor, " feature"] = torch.cat(preactivations).to(self.dtype)
        if not bool(torch.isfinite(self.activations).all()):
            layer = int(self.feature_keys[~torch.isfinite(self.activations)][0, 0])
            raise InputError(
                f"the dictionary's features in layer {layer} hold NaN or infinity: its weights are damaged"
            )
        sizes = torch.bincount(self.feature_keys[:, 0], minlength=self.n_layers)
        ends = torch.cumsum(sizes, 0).tolist()
        self.feature_ranges = [range(end - size, end) for end, size in zip(ends, sizes.tolist(), strict=True)]

    def _among_kept(self, layer: int, active: ActiveFeatures) -> Bool[Tensor, " active"]:
        assert self.kept is not None
        kept = torch.zeros(self.n_positions, self.dictionary.d_features(layer), dtype=torch.bool, device=self.device)
        _, positions, ids = self.kept[self.kept[:, 0] == layer].T
        kept[positions, ids] = True
        return kept[active.position, active.index]

    def site(self, name: SiteName, layer: int) -> Float[Tensor, "pos d_model"]:
        return self.recording.sites[name, layer]

    @property
    def n_features(self) -> int:
        return len(self.feature_keys)

    # --- columns ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        n_layers, n_positions, first = self.n_layers, self.n_positions, self.first_position
        places = torch.arange(first, n_positions, device=self.device)
        self.error_keys: Int[Tensor, "error 2"] = torch.stack(
            [torch.arange(n_layers, device=self.device).repeat_interleave(len(places)), places.repeat(n_layers)], 1
        )
        tokens = torch.arange(n_positions, device=self.device)
        layer = torch.cat([self.feature_keys[:, 0], self.error_keys[:, 0], torch.full_like(tokens, n_layers)])
        position = torch.cat([self.feature_keys[:, 1], self.error_keys[:, 1], tokens])
        is_error = torch.zeros_like(layer)
        is_error[self.n_features : self.n_features + len(self.error_keys)] = 1
        key = (position * (n_layers + 1) + layer) * 2 + is_error
        self.col_nodes: Int[Tensor, " col"] = torch.argsort(key, stable=True)
        self.n_nodes = len(key)  # sources only: features, errors, tokens
        self.column_of = torch.empty_like(self.col_nodes)
        self.column_of[self.col_nodes] = torch.arange(self.n_nodes, device=self.device)
        cells = torch.bincount(position * (n_layers + 1) + layer, minlength=n_positions * (n_layers + 1))
        ends = torch.cumsum(cells, 0).view(n_positions, n_layers + 1)
        starts = (ends.flatten() - cells).view(n_positions, n_layers + 1)
        self._starts, self._ends = starts.tolist(), ends.tolist()
        self.position_ends: list[int] = ends[:, -1].tolist()
        self.token_columns: Int[Tensor, " pos"] = starts[:, -1]

    def writers(self, layer: int) -> list[int]:
        """The read layers whose features write to `layer`."""
        return [source for source in sorted(self.dictionary.layers) if layer in self.dictionary.written_layers(source)]

    def _span(self, layer: int) -> list[Span]:
        lowest = min([*self.writers(layer), layer])
        spans, row = [], 0
        for position in range(self.n_positions):
            start, end = self._starts[position][lowest], self._ends[position][layer]
            spans.append(Span(start, end, row, row + end - start))
            row += end - start
        return spans

    def spans(self, layer: int) -> list[Span]:
        """One span a position."""
        return self._spans[layer]

    # --- what is written --------------------------------------------------------------------------------------

    def _rows_of(self, layer: int, nodes: Tensor, positions: Tensor) -> Tensor:
        """Rows in `written(layer)` of source nodes."""
        return self.column_of[nodes] + self._shifts[layer][positions]

    def _decoded(self, layers: Iterable[int]) -> dict[int, Float[Tensor, "row d_model"]]:
        """Activation times decoder of all that writes to these layers, errors still zero; each feature read once."""
        width = self.dictionary.d_model
        rows = {
            layer: torch.zeros(self._spans[layer][-1].last_row, width, dtype=self.dtype, device=self.device)
            for layer in layers
        }
        for source in sorted(self.dictionary.layers):
            slots = [(i, t) for i, t in enumerate(self.dictionary.written_layers(source)) if t in rows]
            features = self.feature_ranges[source]
            nodes = torch.arange(features.start, features.stop, device=self.device)
            if not slots or not len(nodes):
                continue
            _, positions, ids = self.feature_keys[nodes].T
            decoders = self.dictionary.decoder_rows(source, ids)
            for slot, layer in slots:
                scaled = decoders[:, slot].to(self.dtype) * self.activations[nodes, None]
                rows[layer][self._rows_of(layer, nodes, positions)] = scaled
        return rows

    def _close(self, layer: int, rows: Tensor) -> None:
        """Find the errors and put them into the rows: everything written plus bias and skip is the real output."""
        sizes = torch.tensor([span.last_row - span.first_row for span in self._spans[layer]], device=self.device)
        real = self.site(self.dictionary.write_site, layer)
        places = torch.arange(self.n_positions, device=self.device).repeat_interleave(sizes)
        rebuilt = torch.zeros_like(real).index_add_(0, places, rows) + self.bias(layer)
        skip = self.skip(layer)
        if skip is not None:
            rebuilt += self.site(self.dictionary.read_site, layer) @ skip.T
        self.errors[layer] = real - rebuilt
        self.errors[layer, : self.first_position] = 0
        self.sink[layer] = real[0] if self.first_position else 0
        if not bool(torch.isfinite(self.errors[layer]).all()):
            raise InputError(f"the dictionary writes NaN or infinity to layer {layer}: its weights are damaged")
        self._with_errors(layer, rows)

    def _with_errors(self, layer: int, rows: Tensor) -> Tensor:
        of_layer = self.error_keys[:, 0] == layer
        nodes = self.n_features + of_layer.nonzero()[:, 0]
        positions = self.error_keys[of_layer, 1]
        rows[self._rows_of(layer, nodes, positions)] = self.errors[layer, positions]
        return rows

    def written(self, layer: int) -> Float[Tensor, "row d_model"]:
        """What is written to `layer`, one row a column of its spans; rebuilt on each call when too large to keep."""
        if self._cache:
            return self._cache[layer]
        return self._with_errors(layer, self._decoded([layer])[layer])

    def pieces(self, layer: int) -> Sequence[Piece]:
        """`written(layer)` position by position, where something is written."""
        if layer in self._pieces:
            return self._pieces[layer]
        rows, spans = self.written(layer), list(enumerate(self.spans(layer)))[self.first_position :]
        pieces = [
            (position, span.first_column, span.last_column, rows[span.first_row : span.last_row])
            for position, span in spans
            if span.last_row > span.first_row
        ]
        if self._cache:
            self._pieces[layer] = pieces
        return pieces

    def bias(self, layer: int) -> Float[Tensor, " d_model"]:
        """The decoder bias of one output layer (zero where the Dictionary has no such layer)."""
        weights = self.dictionary.layers.get(layer)
        if weights is None:
            return torch.zeros(self.dictionary.d_model, dtype=self.dtype, device=self.device)
        return weights.decoder_bias.to(self.dtype)

    def skip(self, layer: int) -> Float[Tensor, "d_model d_model"] | None:
        """The skip connection of one layer, output += x @ skip.T."""
        weights = self.dictionary.layers.get(layer)
        return None if weights is None or weights.skip is None else weights.skip.to(self.dtype)
