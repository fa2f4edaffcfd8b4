"""What is known of one feature: a value, made by a harvest, shown by the page and the command line.

A card holds nothing that must be looked up elsewhere: texts of tokens are in it. Activations are in the Dictionary's
own units. A card of a feature that never fired has no contexts, and says so (`dead`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from clew.displays import Displayed
from clew.ids import FeatureId


@dataclass(frozen=True, kw_only=True)
class Context:
    """A stretch of one document around the position at which a feature was recorded."""

    document: int
    """Number of the document in the corpus."""
    position: int
    """Position in the document, in tokens."""
    at: int
    """Where that position is in `tokens`."""
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """Texts of the tokens, as the tokenizer writes each alone, with its leading space."""
    activations: tuple[float, ...]
    """The feature's activation at every one of these tokens; 0 where it is silent."""

    @property
    def activation(self) -> float:
        """At the recorded position."""
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
    """What a feature adds to a token's logit over the direct path through every layer it writes to, at activation 1."""

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
    """Where in documents a feature fires, beside where all tokens are: shares that sum to one."""

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
    """Of activations at which it fires, in quarter octaves; what lies outside 2^-10 to 2^14 is in the end bins."""
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
    """Of the weights on all tokens of the vocabulary."""
    nearest_decoder: tuple[Related, ...]
    nearest_encoder: tuple[Related, ...]
    together: tuple[Related, ...]
    inputs: tuple[Related, ...]
    """Strongest virtual weights from earlier features: their decoders, in all layers before this one reads, times its
    encoder."""
    outputs: tuple[Related, ...]
    """Strongest virtual weights to later features."""

    @property
    def dead(self) -> bool:
        """It never fired on this corpus."""
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
        """The card as JSON has it: fields by name, features by their written names; what is derived stands beside."""
        derived = {"dead": self.dead, "density": self.density, "document_density": self.document_density}
        return _plain(self) | derived


def _plain(value: Any) -> Any:
    if isinstance(value, FeatureId):
        return str(value)
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
