"""What a harvest keeps of every feature: a frozen value, whose docstrings are the help texts of its options."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from clew.errors import InputError


@dataclass(frozen=True, kw_only=True)
class HarvestConfig:
    """What is kept of every feature."""

    contexts: int = 10
    """Contexts with the largest activations."""
    a_band: int = 2
    """Contexts drawn from every octave of activation."""
    silent: int = 12
    """Contexts in which the feature is silent: any, with the same token, and where similar features fire."""
    before: int = 12
    """Tokens shown before the position of a context."""
    after: int = 6
    """Tokens shown after it."""
    promoted: int = 10
    """Output tokens promoted most, and as many suppressed most."""
    related: int = 5
    """Features of every kind of relation; 0 saves comparing all with all, which takes long for very many."""
    pool: int = 2048
    """Positions of the corpus from which silent contexts are taken, about."""
    pairs: int = 32768
    """Positions of the corpus on which features that fire together are counted, about."""
    rules: bool = True
    """Label every feature by rule at the end, some ten milliseconds each."""
    scores: bool = True
    """Score these labels on contexts that they were not made from, which takes three times as long as making them."""

    def __post_init__(self) -> None:
        low = min(asdict(self).values())
        if low < 0 or min(self.contexts, self.a_band, self.promoted) < 1 or self.before + self.after > 254:
            raise InputError("a harvest keeps at least one context, one a band and one promoted token, of 255 tokens")

    @property
    def width(self) -> int:
        """Tokens of a context."""
        return self.before + 1 + self.after
