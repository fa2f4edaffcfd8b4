"""What a graph explains, as the sweep is asked for it: outputs, or the two sides of a look."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import TargetInfo


@runtime_checkable
class TargetRows(Protocol):
    """What a graph explains: how its targets are described, and how their rows are found."""

    infos: tuple[TargetInfo, ...]

    def fill(self, model: LocalModel, rows: Tensor, offsets: Tensor, effects: Tensor | None) -> int:
        """Fill the targets' rows, offsets and effects, which are zero; returns the last position that they reach."""
        ...
