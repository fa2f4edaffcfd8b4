"""What was measured of a model's heads, and what follows from it: the best heads, domains, relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clew.stats import Interval, bootstrap, mean_interval, ranks, ratio
from clew.studies.heads import domains, scores
from clew.studies.heads.head_model import HeadModel
from clew.studies.heads.relations import KnownRelation
from clew.studies.heads.texts import OWN, DomainText

SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class ChosenHead:
    """The head that has most of a score on one half of the texts, and what it has on the rest."""

    head: int
    value: Interval
    draws: tuple[float, ...]
    """The same head's attention to random keys, on the rest."""
    tested: int
    """Texts of the rest."""


@dataclass(frozen=True, kw_only=True)
class DomainHead:
    """The head of whose part the domain says most on one half of the texts, and how much it says on the rest."""

    head: int
    value: Interval
    by_text: tuple[float, ...]
    """The same where domains are dealt out among the texts of the rest."""
    by_kind: tuple[float, ...] | None
    """And among whole kinds of sentences; None where no kinds are known."""
    tested: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadsMeasured:
    """All numbers of one case; heads are counted through all layers."""

    model: HeadModel
    texts: Sequence[DomainText]
    numbers: Mapping[str, Float[np.ndarray, "..."]]
    """By score: [text, head]; random keys as `previous.null` [draw, head]; `distance` [text, head, head]."""
    repeated: Mapping[str, Float[np.ndarray, "row head"]]
    """By `induction.KIND` and `duplicate.KIND`; random keys behind `.null`."""
    effects: Float[np.ndarray, "text head"]
    draws: int
    seed: int
    dealt: bool = False
    """Whether domains are dealt out to begin with."""
    relations: Sequence[KnownRelation] = field(default=())

    @property
    def n_heads(self) -> int:
        return self.effects.shape[1]

    def score(self, name: str) -> Float[np.ndarray, " head"]:
        """A score of every head, the mean over all texts or sequences."""
        rows = self.numbers[name] if name in self.numbers else self.repeated[name]
        mean: np.ndarray = np.nanmean(rows, 0)
        return mean

    def best(self, name: str) -> ChosenHead:
        """The head with most of a score on every other text, measured on the rest."""
        rows = self.numbers[name] if name in self.numbers else self.repeated[name]
        return self.at(name, int(np.nanmean(rows[::2], 0).argmax()))

    def at(self, name: str, head: int) -> ChosenHead:
        """A head that was chosen elsewhere, on the same rest."""
        source = self.numbers if name in self.numbers else self.repeated
        left = source[name][1::2, head]
        left = left[~np.isnan(left)]
        return ChosenHead(
            head=head,
            value=mean_interval(left.tolist()),
            draws=tuple(source[f"{name}.null"][:, head].tolist()),
            tested=len(left),
        )

    # --- distances ---------------------------------------------------------------------------------------------

    @cached_property
    def distance(self) -> Float[np.ndarray, "head head"]:
        """The mean divergence of every two heads, in bits."""
        mean: np.ndarray = self.numbers["distance"].mean(0)
        return mean

    @property
    def layers(self) -> Int[np.ndarray, " head"]:
        """The layer of every head."""
        return np.arange(self.n_heads) // self.model.n_heads

    @cached_property
    def layer_gap(self) -> Interval:
        """How much further heads of different layers are apart, resampled over texts."""
        gaps = np.array([scores.layer_gap(each, self.layers) for each in self.numbers["distance"]])
        return bootstrap(np.stack([np.ones_like(gaps), gaps]), lambda sums: ratio(sums[1], sums[0]))

    @cached_property
    def layer_gap_draws(self) -> tuple[float, ...]:
        """The same with heads dealt out among the layers."""
        generator = np.random.default_rng([self.seed, 5])
        return tuple(scores.layer_gap(self.distance, generator.permutation(self.layers)) for _ in range(self.draws))

    # --- domains -----------------------------------------------------------------------------------------------

    @property
    def domains_known(self) -> bool:
        """Whether texts have at least two domains."""
        return len({text.domain for text in self.texts}) > 1

    @cached_property
    def labels(self) -> Int[np.ndarray, " text"]:
        """The domain of every text; dealt out among the texts where that is asked."""
        labels = domains.numbered([text.domain for text in self.texts])
        generator = np.random.default_rng([self.seed, 6])
        return domains.dealt_among_texts(labels, generator) if self.dealt else labels

    @property
    def domain_names(self) -> list[str]:
        return sorted({text.domain for text in self.texts})

    @cached_property
    def _ranked(self) -> Float[np.ndarray, "text head"]:
        return domains.part_ranks(self.effects)

    @cached_property
    def eta(self) -> Float[np.ndarray, " head"]:
        """How much the domain says of every head's part."""
        return domains.eta_squared(self._ranked, self.labels)

    @cached_property
    def _dealt_eta(self) -> Float[np.ndarray, "draw head"]:
        generator = np.random.default_rng([self.seed, 7])
        draws = [domains.dealt_among_texts(self.labels, generator) for _ in range(self.draws)]
        return np.stack([domains.eta_squared(self._ranked, labels) for labels in draws])

    @cached_property
    def domain_head(self) -> DomainHead:
        """The interval is that of the jackknife: a bootstrap's repeated texts would add to what domains say."""
        part = domains.parts(self.effects)
        chosen = domains.eta_squared(domains.part_ranks(self.effects[::2]), self.labels[::2])
        head = int(chosen.argmax())
        left, labels = ranks(part[1::2, head])[:, None], self.labels[1::2]
        generator = np.random.default_rng([self.seed, 8])
        by_text = [domains.dealt_among_texts(labels, generator) for _ in range(self.draws)]
        kinds = [text.kind for text in self.texts[1::2]]
        by_kind = None
        if all(kinds):
            numbers = domains.numbered(kinds)
            plain = domains.numbered([text.domain for text in self.texts])[1::2]
            dealt = [domains.dealt_among_kinds(plain, numbers, generator) for _ in range(self.draws)]
            by_kind = tuple(float(domains.eta_squared(left, each)[0]) for each in dealt)
        return DomainHead(
            head=head,
            value=domains.jackknife(left, labels),
            by_text=tuple(float(domains.eta_squared(left, each)[0]) for each in by_text),
            by_kind=by_kind,
            tested=len(labels),
        )

    def _of_domain(self, number: int) -> Int[np.ndarray, " text"]:
        return np.flatnonzero(self.labels == number)

    @cached_property
    def domain_p(self) -> Float[np.ndarray, " head"]:
        """How often the largest eta of all heads is as large where domains are dealt out among texts."""
        largest = self._dealt_eta.max(1)
        shares: np.ndarray = (1 + (largest[:, None] >= self.eta).sum(0)) / (1 + len(largest))
        return shares

    @cached_property
    def domain_parts(self) -> Float[np.ndarray, "domain head"]:
        """The mean part of every head in the texts of a domain."""
        parts = domains.parts(self.effects)
        return np.stack([parts[self._of_domain(number)].mean(0) for number in range(len(self.domain_names))])

    # --- the heads that are shown ------------------------------------------------------------------------------

    @cached_property
    def shown(self) -> dict[str, int]:
        """The best head of every class that is looked at more closely."""
        names = {scores.PREVIOUS: scores.PREVIOUS} | ({} if self.model.causal else {scores.NEXT: scores.NEXT})
        names |= {scores.INDUCTION: f"{scores.INDUCTION}.{OWN}"}
        found = {title: self.best(name).head for title, name in names.items()}
        if self.domains_known:
            found["domain"] = self.domain_head.head
        return found
