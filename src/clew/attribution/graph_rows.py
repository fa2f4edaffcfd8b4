"""The rows of one graph as they arrive, and which features get one.

Without a limit rows are swept where they stay. With one, a block of rows is swept into a *tile*, [column, reader],
which is what products write and read fastest, and features are taken in batches by the influence that the rows so far
give them:

1. The rows have columns for what surely stays: errors, tokens, and every feature that has a row or is about to.
2. Influence among the features with rows follows from these columns alone; one product with every tile gives what they
   pass on to all others.
3. In the end the other columns are added up into the offset `left_out`, and the tiles go.

So no column is gathered twice, and nothing of the size of all tiles is ever copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import flow
from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import OFFSETS
from clew.attribution.room import check_rows
from clew.attribution.target_rows import TargetRows
from clew.kernels.buffers import untouched
from clew.kernels.shares import share
from clew.kernels.wide_rows import absolute_times, reorder_columns, take_rows, times_absolute
from clew.progress import Progress

# A block takes positions until it has this many readers. With half of them it ends when it reaches over a quarter of
# the positions so far, with fewer over half: a reader is walked over all positions of the block's last, but every walk
# has its price.
_WIDE, _REACH = 192, 4


@dataclass(frozen=True)
class _Tile:
    """Neighbouring rows over all columns that they see, turned: [column, reader]."""

    rows: slice
    values: Float[Tensor, "col reader"]
    effects: Float[Tensor, "col reader"] | None


class GraphRows:
    """The rows of one graph: which are wanted, which are filled."""

    def __init__(
        self,
        model: LocalModel,
        outputs: TargetRows,
        *,
        max_features: int | None,
        effects: bool,
        rest_responds: bool,
        only_targets: bool,
        budget: int,
        report: Callable[[Progress], None],
    ) -> None:
        self.only_targets = only_targets
        self.model, self.outputs, self.budget, self.report = model, outputs, budget, report
        self.targets = targets = outputs.infos
        sources = self.sources = model.sources
        self.n_wanted = min(sources.n_features if max_features is None else max_features, sources.n_features)
        self.limited = self.n_wanted < sources.n_features and not only_targets
        self.n_wanted = 0 if only_targets else self.n_wanted
        check_rows(sources, len(targets), self.n_wanted, kinds=1 + effects)
        n_rows, device = len(targets) + self.n_wanted, sources.device
        n_columns = sources.n_nodes - (sources.n_features - self.n_wanted if self.limited else 0)
        self.rows = untouched(n_rows, n_columns, sources.dtype, device)
        self.effects = untouched(n_rows, n_columns, sources.dtype, device) if effects else None
        self.offsets = torch.zeros(n_rows, len(OFFSETS), dtype=sources.dtype, device=device)
        self.mass = torch.zeros(n_rows, dtype=sources.dtype, device=device)
        self.row_features = torch.full((n_rows,), -1, device=device)  # the feature of each row; -1 for a target's
        self.n_filled = 0
        self.tiles: list[_Tile] = []
        self.later = rest_responds and model.rest is None and self.limited
        """Effects are swept once it is known which features have no row."""
        self.rest = {"rest": "neurons"} if model.rest is not None else {"rest": "left_out"} if self.later else {}
        every = torch.arange(sources.n_nodes, device=device)
        self.columns = every[sources.col_nodes >= sources.n_features] if self.limited else every

    # --- which rows -------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Sweep every wanted row."""
        n_features, device = self.sources.n_features, self.sources.device
        self._run_targets()
        if self.only_targets:
            return
        if not self.limited:
            for features in self._blocks(torch.arange(n_features, device=device)):
                self._run(features)
            return
        batch = max(64, min(1024, self.n_wanted // 8))
        while self.n_filled < len(self.rows):
            chosen = self._most_influential(min(batch, len(self.rows) - self.n_filled))
            self._keep_columns(self.sources.column_of[chosen])
            for features in self._blocks(chosen):
                self._run(features)

    def _most_influential(self, count: int) -> Int[Tensor, " feature"]:
        """The features without a row through which the rows so far pass the most influence."""
        n_targets, n_nodes, n_filled, sources = len(self.targets), self.sources.n_nodes, self.n_filled, self.sources
        features, mass = self.row_features[:n_filled], self.mass[:n_filled]
        target_nodes = n_nodes + torch.arange(n_filled, device=features.device).clamp_max(n_targets - 1)
        row_nodes = torch.where(features >= 0, features, target_nodes)
        layers = torch.where(features >= 0, sources.feature_keys[features, 0], sources.n_layers)
        start = mass.new_zeros(n_nodes + n_targets)
        start[n_nodes:] = mass.new_tensor([target.weight for target in self.targets])
        rows = self.rows[:n_filled, : len(self.columns)]
        reach = start + flow(rows, row_nodes, sources.col_nodes[self.columns], layers, mass, start)
        weights = reach[row_nodes] * share(torch.ones_like(mass), mass)
        through = mass.new_zeros(n_nodes)
        for tile in self.tiles:
            through[: len(tile.values)] += absolute_times(tile.values, weights[tile.rows])
        through = through[sources.column_of[: sources.n_features]]
        through[features[features >= 0]] = -1
        return torch.sort(through, descending=True, stable=True).indices[:count]

    def _keep_columns(self, columns: Int[Tensor, " new"]) -> None:
        """Columns of features that are about to get rows, for the rows that are there."""
        first, end = len(self.columns), len(self.columns) + len(columns)
        self.columns = torch.cat([self.columns, columns])
        for tile in self.tiles:
            self.rows[tile.rows, first:end] = take_rows(tile.values, columns).T

    def _blocks(self, features: Int[Tensor, " feature"]) -> Iterator[Int[Tensor, " feature"]]:
        """Cut features into blocks of neighbouring positions, within the budget for gradients."""
        keys = self.sources.feature_keys[features]
        order = torch.argsort(keys[:, 1] * self.sources.n_layers - keys[:, 0], stable=True)
        features, positions = features[order], keys[order, 1].tolist()
        start, width = 0, self.model.dictionary.d_model * self.rows.itemsize * 5  # the gradient and what it becomes
        for end in range(1, len(positions) + 1):
            full = end == len(positions) or (
                positions[end] != positions[end - 1] and self._is_whole(end - start, positions[start], positions[end])
            )
            if full or (end - start + 1) * (positions[end] + 1) * width > self.budget:
                yield features[start:end]
                start = end

    @staticmethod
    def _is_whole(n_readers: int, first: int, following: int) -> bool:
        """Whether a block that begins at the first position ends before the following one."""
        reach = following - first
        half = n_readers >= _WIDE // 2 and reach >= max(_REACH, following // 4)
        return n_readers >= _WIDE or half or reach >= max(8 * _REACH, following // 2)

    # --- one block --------------------------------------------------------------------------------------------

    def _run_targets(self) -> None:
        tile = self._tile(len(self.targets), self.sources.n_nodes)
        effects = None if tile.effects is None else tile.effects.T
        last = self.outputs.fill(self.model, tile.values.T, self.offsets[tile.rows], effects)
        self._filled(tile, self.sources.position_ends[last])

    def _run(self, features: Int[Tensor, " feature"]) -> None:
        """Sweep one block of features."""
        block, row_features = self.model.block(features)
        reached = self.sources.position_ends[block.last_position]
        tile = self._tile(block.n_readers, reached)
        self.model.fill(block, tile.values.T, self.offsets[tile.rows])
        if tile.effects is not None:
            if self.model.dictionary.reads_by_position:
                block, _ = self.model.block(features, slopes=True)
            self.model.fill_effects(block, tile.effects.T)
        self.row_features[tile.rows] = row_features
        self._filled(tile, reached)

    def _tile(self, n_readers: int, n_columns: int) -> _Tile:
        """Zeros for the next rows: where all columns stay the rows themselves, turned."""
        part = slice(self.n_filled, self.n_filled + n_readers)
        if not self.limited:
            effects = None if self.effects is None else self.effects[part, :n_columns].T
            return _Tile(part, self.rows[part, :n_columns].T, effects)
        values = self.rows.new_zeros(n_columns, n_readers)
        return _Tile(part, values, None if self.effects is None or self.later else torch.zeros_like(values))

    def _filled(self, tile: _Tile, reached: int) -> None:
        """Keep a tile, whose columns end at `reached`, and turn what surely stays of it into rows."""
        part = tile.rows
        if self.limited:
            tile = _Tile(part, tile.values[:reached], None if tile.effects is None else tile.effects[:reached])
            self.mass[part] = times_absolute(tile.values.new_ones(reached), tile.values)
            self.rows[part, : len(self.columns)] = take_rows(tile.values, self.columns).T
            self.tiles.append(tile)
        else:
            self.mass[part] = absolute_times(self.rows[part, :reached], self.rows.new_ones(reached))
        self.n_filled = part.stop
        self.report(Progress(what="tracing", done=self.n_filled, of=len(self.rows), unit="rows"))

    # --- the graph --------------------------------------------------------------------------------------------

    def graph(self, **described: Any) -> Graph:
        """The Graph on the features that have rows; its tensors are on the CPU, wherever the model is."""
        sources, n_targets = self.sources, len(self.targets)
        kept = torch.ones(sources.n_nodes, dtype=torch.bool, device=sources.device)
        kept[: sources.n_features] = self.only_targets
        kept[self.row_features[n_targets:]] = True
        number = torch.cumsum(kept.long(), 0) - 1
        if self.limited:
            self._close()
        features = kept[: sources.n_features]
        row_nodes = int(kept.sum()) + torch.arange(len(self.rows), device=sources.device)
        row_nodes[n_targets:] = number[self.row_features[n_targets:]]
        tensors: dict[str, Any] = {
            "feature_keys": sources.feature_keys[features],
            "activations": sources.activations[features],
            "preactivations": sources.preactivations[features],
            "error_keys": sources.error_keys,
            "rows": self.rows,
            "row_nodes": row_nodes,
            "col_nodes": number[sources.col_nodes[self.columns]],
            "row_offsets": self.offsets,
            "input_mass": self.mass,
        }
        if self.effects is not None:
            tensors["effect_rows"] = self.effects
        return Graph(
            n_layers=sources.n_layers,
            first_position=sources.first_position,
            targets=self.targets,
            **{name: tensor.cpu() for name, tensor in tensors.items()},
            **described,
        )

    def _run_effects(self, effects: Float[Tensor, "row col"]) -> None:
        """Sweep the effects of all rows, features without one responding."""
        sources, n_targets = self.sources, len(self.targets)
        chosen = self.row_features[n_targets:]
        left_out = torch.ones(sources.n_features, dtype=torch.bool, device=chosen.device)
        left_out[chosen] = False
        model = self.model.with_left_out(left_out.nonzero()[:, 0])
        whole = effects.new_zeros(n_targets, sources.n_nodes)
        self.outputs.fill(model, torch.zeros_like(whole), torch.zeros_like(self.offsets[:n_targets]), whole)
        effects[:n_targets] = whole[:, self.columns]
        row_of = torch.empty(sources.n_features, dtype=torch.long, device=chosen.device)
        row_of[chosen] = torch.arange(n_targets, len(self.rows), device=chosen.device)
        for features in self._blocks(chosen):
            block, features = model.block(features, slopes=True)
            whole = effects.new_zeros(block.n_readers, sources.n_nodes)
            model.fill_effects(block, whole)
            effects[row_of[features]] = whole[:, self.columns]

    def _close(self) -> None:
        """Bring the columns into the order of the sources, and add up those that are not kept."""
        order = torch.argsort(self.columns)
        self.columns = self.columns[order]
        dropped = self.rows.new_ones(self.sources.n_nodes)
        dropped[self.columns] = 0
        while self.tiles:
            tile = self.tiles.pop()
            self.offsets[tile.rows, OFFSETS.index("left_out")] = dropped[: len(tile.values)] @ tile.values
            if self.effects is not None and tile.effects is not None:
                self.effects[tile.rows] = take_rows(tile.effects, self.columns).T
        if self.later and self.effects is not None:
            self._run_effects(self.effects)
        reorder_columns(self.rows, order)
        self.mass = absolute_times(self.rows, self.rows.new_ones(self.rows.shape[1]))
