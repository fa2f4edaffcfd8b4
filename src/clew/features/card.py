"""What is known of one feature: a value that a harvest computes and the page and the command line show.

A card is complete: it holds the texts of its tokens. Activations are in the Dictionary's own units. A feature that
never fired has a card without contexts (`dead`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from clew.displays import Displayed
from clew.ids import FeatureId
from clew.subject.token_names import whole_characters


@dataclass(frozen=True, kw_only=True)
class Context:
    """The tokens of a document around a position at which a feature was recorded."""

    document: int
    """Number of the document in the corpus."""
    position: int
    """Position in the document, in tokens."""
    at: int
    """The index of that position in `tokens`."""
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """Names of the tokens: what each adds to a text, with its leading space."""
    activations: tuple[float, ...]
    """The feature's activation at every one of these tokens; 0 where it is silent."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The tokens as one reads them: a character that several share stands at one, the recorded one if it can."""
        return whole_characters(self.tokens, self.at)

    @property
    def activation(self) -> float:
        """The activation at the recorded position."""
        return self.activations[self.at]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Contexts drawn evenly from those whose activation lies in [low, high)."""

    low: float
    high: float
    fired: int
    """Positions of the corpus in this band."""
    contexts: tuple[Context, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts between neighbouring edges; one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TokenWeight:
    """What one unit of activation adds to a token's logit over the direct path, through every layer written to."""

    token_id: int
    token: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Related:
    """Another feature, and how strongly it is related: a cosine, a PMI in nats, or a virtual weight."""

    feature: FeatureId
    value: float


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where in documents a feature fires, beside where all positions are: shares that sum to one."""

    bounds: tuple[int, ...]
    """The first position of every bin; the last bin is open."""
    fired: tuple[float, ...]
    everything: tuple[float, ...]
    at_last: float
    """Share of its firings at a document's last position."""
    everything_at_last: float


@dataclass(frozen=True, kw_only=True)
class Card(Displayed):
    """One feature of a Dictionary over one corpus."""

    feature: FeatureId
    positions: int
    """Positions of the corpus that count."""
    documents: int
    fired: int
    """Positions at which it fires."""
    fired_documents: int
    max_activation: float
    mean_activation: float
    """Over the positions at which it fires."""
    log_histogram: Histogram
    """Counts of activations in quarter octaves; the end bins hold those outside 2^-10 to 2^14."""
    linear_histogram: Histogram
    places: Places
    top: tuple[Context, ...]
    """Largest activations first; equal ones by document, then position; no two of the same tokens."""
    bands: tuple[Band, ...]
    """From the strongest octave of activation to the weakest."""
    silent: tuple[Context, ...]
    """Contexts in which it fires nowhere."""
    promoted: tuple[TokenWeight, ...]
    suppressed: tuple[TokenWeight, ...]
    logits: Histogram
    """Counts of the weights on all tokens of the vocabulary."""
    nearest_decoder: tuple[Related, ...]
    nearest_encoder: tuple[Related, ...]
    together: tuple[Related, ...]
    inputs: tuple[Related, ...]
    """Strongest virtual weights from earlier features: their decoders, in all layers before this one reads, times its
    encoder."""
    outputs: tuple[Related, ...]
    """Strongest virtual weights to later features."""

    def __repr__(self) -> str:
        promoted = ", ".join(repr(weight.token) for weight in self.promoted[:3])
        return (
            f"Card({self.feature}: fires at {self.density:.3%} of {self.positions:,} positions, at most with "
            f"{self.max_activation:.3g}; promotes {promoted})"
        )

    @property
    def dead(self) -> bool:
        """Whether it never fired on this corpus."""
        return self.fired == 0

    @property
    def density(self) -> float:
        """Share of positions at which it fires."""
        return self.fired / self.positions if self.positions else 0.0

    @property
    def document_density(self) -> float:
        """Share of documents in which it fires."""
        return self.fired_documents / self.documents if self.documents else 0.0

    def to_json(self) -> dict[str, Any]:
        """The card as JSON: fields by name, features by their ids, and the derived shares beside them."""
        derived = {"dead": self.dead, "density": self.density, "document_density": self.document_density}
        return _as_json(self) | derived


def _as_json(value: Any) -> Any:
    if isinstance(value, FeatureId):
        return str(value)
    if is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in fields(value)}
    return [_as_json(element) for element in value] if isinstance(value, tuple) else value
