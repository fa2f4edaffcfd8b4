"""Features as the page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Search:
    """What features are looked for, and which part of them is wanted."""

    how: Literal["browse", "words", "meaning", "promotes", "fires", "alike"]
    query: str
    layer: int | None
    min_density: float
    max_density: float
    dead: Literal["hide", "show", "only"]
    sort: Literal["feature", "density", "max_activation"]
    descending: bool
    offset: int
    limit: int
