"""Features that are nearly one: they fire together, or write the same, or both.

Their names are the same or nearly so, and a list of several tells no more than one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from clew.features.card import Card
from clew.ids import FeatureId

TOGETHER = 0.8  # share of the positions at which either fires that both must fire at
SAME = 0.9  # cosine of decoders


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Another feature that does the same, and in what."""

    feature: FeatureId
    together: float | None
    """Share of the positions at which either fires at which both do, estimated; None below TOGETHER."""
    decoder: float | None
    """Cosine of the decoders; None below SAME."""

    @property
    def text(self) -> str:
        """What they share, in words."""
        parts = [] if self.together is None else [f"fires with it ({self.together:.0%})"]
        return " and ".join(parts + ([] if self.decoder is None else [f"writes the same ({self.decoder:.2f})"]))


def alike(card: Card, density_of: Callable[[FeatureId], float]) -> list[Likeness]:
    """The features that are nearly the one of a card, those that share most first."""
    together = {}
    for related in card.together:
        density = density_of(related.feature)
        both = math.exp(related.value) * card.density * density
        either = max(card.density + density - both, both, 1e-30)
        if (share := min(1.0, both / either)) >= TOGETHER:
            together[related.feature] = share
    decoder = {related.feature: related.value for related in card.nearest_decoder if related.value >= SAME}
    found = [
        Likeness(feature=feature, together=together.get(feature), decoder=decoder.get(feature))
        for feature in {**together, **decoder}
    ]
    return sorted(found, key=lambda each: (-(each.together or 0.0) - (each.decoder or 0.0), each.feature))
