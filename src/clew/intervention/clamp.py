"""What edits make of each site of a batch, row by row: the one engine under every semantics.

Every row has a base row in the same batch, the same text without edits. So what was recorded need not be kept: it is
computed beside. For a feature edit, difference = result(activation in the base row) - that activation; its decoder
vectors times the difference are what is written. An MLP output then becomes, by semantics:

- *live*: in layers l..e the base row's output plus what was written there; elsewhere what the real MLP makes of the
  row's own stream. Decoders beyond e are not written.
- *direct*: the base row's output plus what was written (and the skip connection's share): other features are held.
- *frozen*: features are recomputed on the row's own stream, and their differences are written too; errors are held.
- *linear*: as frozen, with the active set held: a feature that was active follows its pre-activation, others stay off.
  As a forward derivative, with nothing else frozen, this is what a graph's effects say: patterns and norm scales
  respond, errors are held, and so are the features of the layers from the first edited one to e.

An SAE's edit changes the stream at its site by decoder times difference, the difference taken on the row's own stream.
A steered direction is added last, and clamps nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import ActiveFeatures
from clew.intervention.edit import Edit
from clew.subject.frozen import FrozenParts
from clew.subject.recording import SiteAt, SiteName
from clew.subject.subject import Change, Seen

Semantics = Literal["live", "direct", "frozen", "linear"]


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What responds to an edit: the semantics, the parts that stay as recorded, values or forward derivatives."""

    semantics: Semantics = "live"
    frozen: FrozenParts | None = None
    tangent: bool = False
    """Nothing is moved: what the edits would write becomes the direction of a forward derivative."""

    @property
    def effects(self) -> bool:
        """Whether the derivative is that of the replacement model, as in a graph's effects."""
        return self.tangent and self.semantics == "linear"


LIVE = Regime()


@dataclass(frozen=True, kw_only=True)
class EditedRow:
    """One row of a batch: its edits, the base row beside it, its prompt's length, the last clamped layer e."""

    edits: tuple[Edit, ...]
    base: int
    n_prompt: int
    first: int
    through: int

    @property
    def edited_layers(self) -> list[int]:
        """The layers of edited features; directions do not count."""
        return [edit.feature.layer for edit in self.edits if edit.feature is not None and edit.verb != "steer"]


def needs_base(dictionary: Dictionary, edits: Sequence[Edit], through: int) -> bool:
    """Whether the clamped outputs of an edited row differ from its own: something has been changed upstream of them.

    Where nothing has, the row is its own base, and no row without edits is needed beside it.
    """
    layers = EditedRow(edits=tuple(edits), base=0, n_prompt=0, first=0, through=through).edited_layers
    if dictionary.kind == "sae" or not layers:
        return False
    steered = [_steered_layer(dictionary, edit) for edit in edits if edit.verb == "steer"]
    return min(layers) < through or min(steered, default=through) < through


def _steered_layer(dictionary: Dictionary, edit: Edit) -> int:
    if edit.layer is not None:
        return edit.layer
    assert edit.feature is not None
    return dictionary.written_layers(edit.feature.layer)[0]


@dataclass(frozen=True, eq=False)
class _Group:
    """The edits of one layer's features, over all rows."""

    rows: Int[Tensor, " edit"]
    ids: Int[Tensor, " edit"]
    edits: tuple[Edit, ...]
    results: Float[Tensor, "edit 2"]
    """Factor and constant of what each edit makes of an activation."""


@dataclass(frozen=True, eq=False)
class _Differences:
    """What edits add to activations: one entry an edit and position."""

    edit: Int[Tensor, " change"]
    position: Int[Tensor, " change"]
    value: Float[Tensor, " change"]


@dataclass(frozen=True, eq=False)
class _Steers:
    """What is steered along at one site, over all rows: direction times strength."""

    rows: Int[Tensor, " edit"]
    vectors: Float[Tensor, "edit d_model"]
    edits: tuple[Edit, ...]


class Clamp:
    """The edits of a batch under one semantics; `changes` gives what a run needs, `reads` what the changes look at.

    What does not depend on the run (decoders, directions, which positions are edited) is gathered once.
    """

    def __init__(self, dictionary: Dictionary, rows: Sequence[EditedRow], regime: Regime = LIVE) -> None:
        self.dictionary, self.rows, self.regime = dictionary, rows, regime
        self.device = dictionary.device
        n_layers, live = dictionary.n_layers, regime.semantics == "live"
        self.base = self._indices([row.base for row in rows])
        self.last = self._indices([row.through if live else n_layers - 1 for row in rows])
        self.clamped = torch.zeros(len(rows), n_layers, dtype=torch.bool, device=self.device)
        for place, row in enumerate(rows):
            if dictionary.kind != "sae" and live and row.edited_layers:
                self.clamped[place, min(row.edited_layers) : row.through + 1] = True
        if not live:
            self.clamped[:] = True
        self.held = torch.zeros_like(self.clamped)
        for place, row in enumerate(rows):
            if regime.effects and row.edited_layers:
                self.held[place, min(row.edited_layers) : row.through + 1] = True
        self.groups = self._grouped()
        self.steers = self._steered()
        self._decoders: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[_Group | _Steers, Tensor] = {}

    def _indices(self, numbers: Sequence[int]) -> Int[Tensor, " n"]:
        return torch.tensor(numbers, dtype=torch.long, device=self.device)

    @property
    def reads(self) -> list[SiteAt]:
        """The sites that changes look at in the run that they are part of."""
        if self.dictionary.kind == "sae":
            return []
        site = self.dictionary.read_site
        live = [
            layer
            for layer, weights in self.dictionary.layers.items()
            if layer in self.groups or weights.skip is not None
        ]
        return [(site, layer) for layer in (live if self.regime.semantics == "live" else self.dictionary.layers)]

    def _grouped(self) -> dict[int, _Group]:
        edits_of_layer: dict[int, list[tuple[int, int, Edit]]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            for edit in row.edits:
                if edit.feature is not None and edit.verb != "steer":
                    edits_of_layer[edit.feature.layer].append((place, edit.feature.index, edit))
        return {
            layer: _Group(
                self._indices([place for place, _, _ in layer_edits]),
                self._indices([index for _, index, _ in layer_edits]),
                tuple(edit for _, _, edit in layer_edits),
                torch.tensor([edit.linear for _, _, edit in layer_edits], dtype=torch.float64, device=self.device),
            )
            for layer, layer_edits in edits_of_layer.items()
        }

    def changes(self, start: int, n_pos: int) -> dict[SiteAt, Change]:
        """The changes of a run over the positions start..start+n_pos-1."""
        changes: dict[SiteAt, Change] = {}
        written = _Written(self, start, n_pos)
        sae = self.dictionary.kind == "sae"
        site = self.dictionary.write_site
        if sae:
            changes |= {(site, layer): partial(written.stream, layer) for layer in self.groups}
        outputs: SiteName = "mlp_raw_out" if sae else site
        reached = range(min(self.groups), int(self.last.max()) + 1) if self.groups and not sae else range(0)
        for layer in range(self.dictionary.n_layers):
            if bool(self.clamped[:, layer].any()) or layer in reached:
                changes[outputs, layer] = partial(written.output, layer)
        for site_at, steers in self.steers.items():
            mask = self.mask(steers, start, n_pos)
            if bool(mask.any()):
                vectors = steers.vectors.new_zeros(len(self.rows), n_pos, steers.vectors.shape[1])
                vectors.index_add_(0, steers.rows, mask[:, :, None] * steers.vectors[:, None])
                changes[site_at] = partial(self._shifted, vectors, changes.pop(site_at, None))
        return changes

    def _shifted(self, vectors: Tensor, before: Change | None, value: Tensor, seen: Seen) -> Tensor:
        value = value if before is None else before(value, seen)
        return value + self.moving(vectors.to(value))

    def moving(self, shift: Tensor) -> Tensor:
        """A shift as it is, or as the direction of a derivative."""
        return forward_ad.make_dual(torch.zeros_like(shift), shift) if self.regime.tangent else shift

    def mask(self, group: _Group | _Steers, start: int, n_pos: int) -> Bool[Tensor, "edit pos"]:
        """Which positions each edit is for."""
        masks_of_group, stop = self._masks.get(group), start + n_pos
        if masks_of_group is None or masks_of_group.shape[1] < stop:
            length = stop if masks_of_group is None else 2 * stop
            alike: dict[tuple[Any, int, int], Tensor] = {}
            masks = []
            for place, edit in zip(group.rows.tolist(), group.edits, strict=True):
                row = self.rows[place]
                key = edit.positions, row.n_prompt, row.first
                if key not in alike:
                    alike[key] = edit.mask(0, length, n_prompt=row.n_prompt, first=row.first)
                masks.append(alike[key])
            masks_of_group = self._masks[group] = torch.stack(masks).to(self.device)
        return masks_of_group[:, start:stop]

    def decoder(self, layer: int, edit: Int[Tensor, " change"], slot: int) -> Float[Tensor, "change d_model"]:
        """The decoders of the features that some edits of a layer are of, in one slot; each feature is read once."""
        if layer not in self._decoders:
            ids, places = torch.unique(self.groups[layer].ids, return_inverse=True)
            self._decoders[layer] = self.dictionary.decoder_rows(layer, ids), places
        rows, places = self._decoders[layer]
        return rows[places[edit], slot]

    def _steered(self) -> dict[SiteAt, _Steers]:
        edits_at_site: dict[SiteAt, list[tuple[int, Tensor, Edit]]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            for edit in row.edits:
                if edit.verb == "steer":
                    site, vector = self._direction(edit)
                    edits_at_site[site].append((place, vector * edit.strength, edit))
        return {
            site: _Steers(
                self._indices([place for place, _, _ in site_edits]),
                torch.stack([vector for _, vector, _ in site_edits]),
                tuple(edit for _, _, edit in site_edits),
            )
            for site, site_edits in edits_at_site.items()
        }

    def _direction(self, edit: Edit) -> tuple[SiteAt, Float[Tensor, " d_model"]]:
        if edit.feature is None:
            assert edit.direction is not None
            assert edit.layer is not None
            return ("mlp_out", edit.layer), torch.tensor(edit.direction, dtype=torch.float64, device=self.device)
        layer, into = edit.feature.layer, edit.layer
        written = self.dictionary.written_layers(layer)
        slot = 0 if into is None else written.index(into)
        decoder = self.dictionary.decoder_rows(layer, self._indices([edit.feature.index]))[0, slot]
        return (self.dictionary.write_site, written[slot]), decoder.to(torch.float64)


class _Written:
    """What one run's edits have written so far, by the layer whose output gets it."""

    def __init__(self, clamp: Clamp, start: int, n_pos: int) -> None:
        self.clamp, self.dictionary, self.start, self.n_pos = clamp, clamp.dictionary, start, n_pos
        self.waiting: dict[int, Tensor] = {}
        self.done: set[int] = set()

    def output(self, layer: int, real: Tensor, seen: Seen) -> Tensor:
        """The output of a layer's MLP in every row."""
        clamp = self.clamp
        if self.dictionary.kind != "sae":
            self._collect(layer, seen)
        clamped = clamp.clamped[:, layer]
        out = torch.where(clamped[:, None, None].to(real.device), real[clamp.base], real)
        shift = self.waiting.pop(layer, None)
        if shift is None:
            return out
        return out + clamp.moving(shift.to(out))

    def stream(self, layer: int, value: Tensor, seen: Seen) -> Tensor:
        """An SAE's site in every row."""
        group = self.clamp.groups[layer]
        source = group.rows if self.clamp.regime.semantics == "live" else self.clamp.base[group.rows]
        change = self._differences(layer, group, value, source)
        added = change.value[:, None] * self.clamp.decoder(layer, change.edit, 0)
        return value.index_put((group.rows[change.edit], change.position), added.to(value), accumulate=True)

    def _collect(self, layer: int, seen: Seen) -> None:
        """Write the edits of every layer whose features can be read by now."""
        recomputed = self.clamp.regime.semantics in ("frozen", "linear")
        for read in sorted(self.dictionary.layers):
            ready = read < layer or (read == layer and self.dictionary.read_site != "resid_post")
            if read in self.done or not ready:
                continue
            self.done.add(read)
            group = self.clamp.groups.get(read)
            if not recomputed and group is None and self.dictionary.layers[read].skip is None:
                continue
            x, moved = self._read(seen(self.dictionary.read_site, read))
            if recomputed:
                self._recompute(read, x, moved, group)
            elif group is not None:
                self._write(read, group, x)
            if self.clamp.regime.semantics != "live":
                self._skip(read, moved)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer reads in every row, and how far that is from what its base row reads."""
        if not self.clamp.regime.tangent:
            return x, x - x[self.clamp.base]
        dual = forward_ad.unpack_dual(x)
        return dual.primal, torch.zeros_like(x) if dual.tangent is None else dual.tangent

    def _differences(
        self, layer: int, group: _Group, x: Float[Tensor, "row pos d_model"], source: Int[Tensor, " edit"]
    ) -> _Differences:
        """What each edit adds to its feature's activation, read from the streams of its source row."""
        edit, position = self.clamp.mask(group, self.start, self.n_pos).nonzero(as_tuple=True)
        before = self.dictionary.activations_of(layer, x[source[edit], position][:, None], group.ids[edit])[:, 0]
        factor, constant = group.results[edit].to(before).T
        after = torch.where(factor == 0, 0.0, before * factor) + constant
        return _Differences(edit, position, after - before)

    def _write(self, layer: int, group: _Group, x: Float[Tensor, "row pos d_model"]) -> None:
        change = self._differences(layer, group, x, self.clamp.base[group.rows])
        for slot, out in enumerate(self.dictionary.written_layers(layer)):
            reaches = self.clamp.last[group.rows[change.edit]] >= out
            if bool(reaches.any()):
                edit, value = change.edit[reaches], change.value[reaches]
                added = value[:, None] * self.clamp.decoder(layer, edit, slot).to(value)
                place = group.rows[edit] * self.n_pos + change.position[reaches]
                empty = added.new_zeros(len(self.clamp.rows), *x.shape[1:])
                self._wait(out, empty.flatten(0, 1).index_add_(0, place, added).view_as(empty))

    def _wait(self, layer: int, added: Float[Tensor, "row pos d_model"]) -> None:
        waiting = self.waiting.get(layer)
        self.waiting[layer] = added if waiting is None else waiting + added

    def _recompute(
        self,
        layer: int,
        x: Float[Tensor, "row pos d_model"],
        moved: Float[Tensor, "row pos d_model"],
        group: _Group | None,
    ) -> None:
        """Write the differences of all features of a layer between each row and its base row."""
        n_rows, n_pos, d_model = x.shape
        if self.clamp.regime.semantics == "linear":
            difference = self.dictionary.responses(layer, x[self.clamp.base], moved)
        else:
            activations = self.dictionary.activations(layer, x)
            difference = activations - activations[self.clamp.base]
        difference[self.clamp.held[:, layer]] = 0
        if group is not None:
            change = self._differences(layer, group, x, self.clamp.base[group.rows])
            place = group.rows[change.edit], change.position, group.ids[change.edit]
            difference[place] = 0
            difference.index_put_(place, change.value, accumulate=True)
        position, index = difference.view(n_rows * n_pos, -1).nonzero(as_tuple=True)
        value = difference.view(n_rows * n_pos, -1)[position, index]
        changed = ActiveFeatures(position=position, index=index, activation=value, preactivation=value)
        for out, part in self.dictionary.decode_layer(layer, changed, n_rows * n_pos).items():
            self._wait(out, part.view(n_rows, n_pos, d_model))

    def _skip(self, layer: int, moved: Float[Tensor, "row pos d_model"]) -> None:
        skip = self.dictionary.layers[layer].skip
        if skip is not None:
            moved = moved.to(torch.promote_types(moved.dtype, torch.float32))
            self._wait(layer, torch.nn.functional.linear(moved, skip.to(moved)))
