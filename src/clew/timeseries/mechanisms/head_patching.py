"""Which attention heads carry the class from one series to another: patched one by one, at a false discovery rate.

1. Series are put in pairs of different classes, none in two pairs: a donor and a receiver.
2. The receiver runs with the output of one head (what it gives to the output projection, at every position) as it was
   in the donor's run. What is measured is the change of the probability of the donor's class.
3. *Null*: the same with another donor, of another class than the pair's donor. Where a head does not carry the class,
   the two changes of a pair may be exchanged, so that the signs of their differences are random: a sign-flip test.
4. Of all heads those are said to carry the class that pass Benjamini and Hochberg's procedure.

Activation patching of time-series transformers is Kalnare et al. 2025's; they give changes without a null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.progress import Progress
from clew.settings import Settings, accepts
from clew.stats import FALSE_DISCOVERY_RATE, Interval, bootstrap, discovered, mean_interval
from clew.subject.hooks import changing, watching
from clew.timeseries.mechanisms.cases import SeriesCases
from clew.timeseries.mechanisms.series_subject import SeriesSubject
from clew.timeseries.mechanisms.transformer import class_logits

FLIPS = 10_000
LEAST_PAIRS = 8


@dataclass(frozen=True, kw_only=True)
class HeadPatchingSettings(Settings):
    """How heads are patched."""

    pairs: int = 150
    """At most so many pairs of series."""
    rate: float = FALSE_DISCOVERY_RATE
    """The false discovery rate."""
    seed: int = 0
    """Seed of the pairs and of the test."""

    def __post_init__(self) -> None:
        if self.pairs < LEAST_PAIRS:
            raise InputError(f"pairs is {self.pairs}: give at least {LEAST_PAIRS}")
        if not 0 < self.rate < 1:
            raise InputError(f"rate is {self.rate}: give a share in (0, 1), such as 0.05")


@dataclass(frozen=True, kw_only=True)
class PatchedHead:
    """One head: how far the probability of the donor's class rises with its output, beside another donor's."""

    layer: int
    head: int
    change: Interval
    null: Interval
    p: float
    """Of the sign-flip test, two-sided."""
    carries: bool
    """Whether it is a discovery."""

    @property
    def name(self) -> str:
        """`L0H3`."""
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True, kw_only=True)
class HeadPatching:
    """All heads of a transformer, layer by layer."""

    heads: tuple[PatchedHead, ...]
    mean: Interval
    """Of the change over all heads; the interval is over pairs."""
    null: Interval
    """The same with the other donors."""
    pairs: int
    rate: float
    accuracy: Interval
    chance: Interval

    @property
    def carriers(self) -> tuple[PatchedHead, ...]:
        """The heads that carry the class."""
        return tuple(head for head in self.heads if head.carries)

    @property
    def tells(self) -> bool:
        """Whether the transformer tells the classes at all: its accuracy lies above that with permuted classes."""
        return self.accuracy.low > self.chance.high

    @property
    def sentence(self) -> str:
        """What came out."""
        said = (
            f"{len(self.carriers)} of {len(self.heads)} heads carry the class at a false discovery rate of "
            f"{self.rate:.0%}; mean change {self.mean.value:.3f} [{self.mean.low:.3f}, {self.mean.high:.3f}], with other "
            f"donors {self.null.value:.3f} [{self.null.low:.3f}, {self.null.high:.3f}], {self.pairs} pairs"
        )
        if self.tells:
            return said
        return (
            f"cannot say: the right class is said of {self.accuracy.value:.0%} of the series, and with permuted classes "
            f"of {self.chance.low:.0%} to {self.chance.high:.0%}; {said}"
        )


@accepts(HeadPatchingSettings)
@torch.no_grad()
def patch_heads(cases: SeriesCases, settings: HeadPatchingSettings) -> HeadPatching:
    """Patch every head of a transformer between series of different classes.

    InputError where the classes of the series are not known, or there are too few for pairs.
    """
    generator = np.random.default_rng(settings.seed)
    labels = _class_places(cases)
    donors, receivers, others = _pairs(labels, settings.pairs, generator)
    subject, wanted = cases.subject, torch.from_numpy(labels[donors])
    config = subject.config
    outputs = _outputs(subject, subject.rows)
    before = _probability(subject, subject.rows[receivers], wanted, {})
    changes = []
    for layer in range(config.n_layer):
        for head in range(config.n_head):
            patched = [_patched(subject, outputs, (layer, head), receivers, each, wanted) for each in (donors, others)]
            changes.append(np.stack([(each - before).numpy() for each in patched]))
            done = layer * config.n_head + head + 1
            total = config.n_layer * config.n_head
            settings.report(Progress(what="patching", done=done, of=total, unit="heads"))
    measured = np.stack(changes)  # head, donor or other, pair
    p = np.array([_sign_flips(each[0] - each[1], generator) for each in measured])
    carries = discovered(p, settings.rate)
    heads = tuple(
        PatchedHead(
            layer=place // config.n_head,
            head=place % config.n_head,
            change=mean_interval(each[0].tolist()),
            null=mean_interval(each[1].tolist()),
            p=float(p[place]),
            carries=bool(carries[place]),
        )
        for place, each in enumerate(measured)
    )
    return HeadPatching(
        heads=heads,
        mean=_over_pairs(measured[:, 0]),
        null=_over_pairs(measured[:, 1]),
        pairs=len(donors),
        rate=settings.rate,
        accuracy=cases.accuracy,
        chance=cases.chance,
    )


def _class_places(cases: SeriesCases) -> Int[np.ndarray, " case"]:
    """The place of every series' class; InputError for a class that the transformer does not have."""
    if cases.labels is None:
        raise InputError("heads are patched between series of different classes: give labels to read_series")
    classes = cases.transformer.classes
    if unknown := sorted(set(cases.labels) - set(classes)):
        raise InputError(f"class {unknown[0]!r} is not one of the transformer's, which are {', '.join(classes)}")
    return np.array([classes.index(label) for label in cases.labels])


def _pairs(
    labels: Int[np.ndarray, " case"], most: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Donors, receivers of another class, and donors of the null: series of another class than the pair's donor."""
    order = generator.permutation(len(labels)).tolist()
    donors, receivers = [], []
    while order and len(donors) < most:
        donor = order.pop()
        receiver = next((case for case in order if labels[case] != labels[donor]), None)
        if receiver is None:
            continue
        order.remove(receiver)
        donors.append(donor)
        receivers.append(receiver)
    if len(donors) < LEAST_PAIRS:
        raise InputError(
            f"the series make {len(donors)} pairs of different classes: give at least {2 * LEAST_PAIRS} series of "
            "several classes"
        )
    others = [
        int(generator.choice([c for c in range(len(labels)) if labels[c] != labels[donor] and c != receiver]))
        for donor, receiver in zip(donors, receivers, strict=True)
    ]
    return np.array(donors), np.array(receivers), np.array(others)


def _projections(subject: SeriesSubject) -> dict[int, Any]:
    """The output projection of every layer, which reads what its heads give, head after head."""
    return {layer: subject.modules["attention", layer].c_proj for layer in range(subject.n_layers)}


def _outputs(subject: SeriesSubject, ids: Int[Tensor, "case pos"]) -> dict[int, Float[Tensor, "case pos d_model"]]:
    """What the heads of every layer give in the runs of all series."""
    with watching(_projections(subject), {}) as watch:
        class_logits(subject.model, ids)
    return dict(watch.inputs)


def _patched(
    subject: SeriesSubject,
    outputs: dict[int, Tensor],
    head: tuple[int, int],
    receivers: np.ndarray,
    donors: np.ndarray,
    wanted: Int[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """The probability of the wanted classes with a head's output taken from the donors."""
    layer, place = head
    size = subject.d_model // subject.config.n_head
    part = slice(place * size, (place + 1) * size)

    def changed(x: Tensor) -> Tensor:
        x[..., part] = outputs[layer][donors][..., part]
        return x

    return _probability(subject, subject.rows[receivers], wanted, {_projections(subject)[layer]: changed})


def _probability(
    subject: SeriesSubject, ids: Int[Tensor, "pair pos"], wanted: Int[Tensor, " pair"], changes: Any
) -> Float[Tensor, " pair"]:
    with changing(changes, {}):
        probabilities = torch.softmax(class_logits(subject.model, ids).double(), -1).cpu()
    return probabilities[torch.arange(len(wanted)), wanted]


def _sign_flips(differences: Float[np.ndarray, " pair"], generator: np.random.Generator) -> float:
    """The share of sign flips whose mean is as far from zero; two-sided, the flip that was measured counted."""
    signs = generator.choice((-1.0, 1.0), (FLIPS, len(differences)))
    flipped = np.abs(signs @ differences)
    return float((1 + (flipped >= abs(differences.sum()) - 1e-12).sum()) / (1 + FLIPS))


def _over_pairs(changes: Float[np.ndarray, "head pair"]) -> Interval:
    """The mean over heads and pairs, with its interval over pairs."""
    sums = np.stack([changes.mean(0), np.ones(changes.shape[1])])
    return bootstrap(sums, lambda each: each[0] / each[1])
