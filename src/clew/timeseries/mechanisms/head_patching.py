"""Which attention heads carry the class from one series to another: patched one by one, at a false discovery rate.

1. Series are put in pairs, a donor and a receiver: of different classes, none in two pairs; or clean and corrupted,
   where the receiver is the donor with noise on it that turns the right class into a wrong one.
2. The receiver runs with the output of one head (what it gives to the output projection, at every position) as it was
   in the donor's run. What is measured is the change of the probability of the donor's class.
3. *Null*: the same with another donor, a series of another class than the pair's donor. Where a head does not carry
   the class, the two changes of a pair may be exchanged, so that the signs of their differences are random: a sign-flip
   test, one-sided. A head whose output breaks the receiver whatever donor it is from does not pass.
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

from clew.circuit.telling import percent
from clew.errors import InputError
from clew.progress import Progress
from clew.settings import Settings, accepts
from clew.stats import FALSE_DISCOVERY_RATE, Interval, bootstrap, discovered, mean_interval, sign_flip_p
from clew.subject.hooks import changing, watching
from clew.timeseries.mechanisms.cases import SeriesCases
from clew.timeseries.mechanisms.series_subject import SeriesSubject
from clew.timeseries.mechanisms.transformer import class_logits

LEAST_PAIRS = 8


@dataclass(frozen=True, kw_only=True)
class HeadPatchingSettings(Settings):
    """How heads are patched."""

    pairs: int = 150
    """At most so many pairs of series."""
    noise: float = 0.0
    """With 0 the receiver is a series of another class; else the donor itself with white noise on it, of so many
    standard deviations of each channel, where that turns the right class into a wrong one. Where it does so of too few
    series, those are taken whose class loses most."""
    rate: float = FALSE_DISCOVERY_RATE
    """The false discovery rate."""
    seed: int = 0
    """Seed of the pairs and of the test."""

    def __post_init__(self) -> None:
        if self.pairs < LEAST_PAIRS:
            raise InputError(f"pairs is {self.pairs}: give at least {LEAST_PAIRS}")
        if not 0 <= self.noise < float("inf"):
            raise InputError(f"noise is {self.noise}: give 0, or standard deviations of the channels such as 1")
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
    """Of the sign-flip test: how often chance makes the donor's change exceed the other's by so much."""
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
    before: Interval
    """The probability of the donors' classes in the receivers as they are."""
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
        do = "carry the class" if self.tells else "pass the test"
        mean, null = (f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (self.mean, self.null))
        said = (
            f"{len(self.carriers)} of {len(self.heads)} heads {do} at a false discovery rate of {self.rate:.0%}; mean "
            f"change {mean}, with other donors {null}, {self.pairs} pairs"
        )
        if self.tells:
            return said
        return (
            f"cannot say: the right class is said of {percent(self.accuracy.value)} of the series, and with permuted "
            f"classes of {percent(self.chance.low)} to {percent(self.chance.high)}; {said}"
        )


@accepts(HeadPatchingSettings)
@torch.no_grad()
def patch_heads(cases: SeriesCases, settings: HeadPatchingSettings) -> HeadPatching:
    """Patch every head of a transformer between series of different classes.

    InputError where the classes of the series are not known, or there are too few for pairs.
    """
    generator = np.random.default_rng(settings.seed)
    labels = _class_places(cases)
    if settings.noise:
        subject = _with_noise(cases, settings.noise, generator)
        donors, receivers = _corrupted(subject, labels, settings.pairs, generator)
    else:
        subject = cases.subject
        donors, receivers = _of_two_classes(labels, settings.pairs, generator)
    others, wanted = _other_donors(labels, donors, receivers, generator), torch.from_numpy(labels[donors])
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
    p = np.array([sign_flip_p(each[0] - each[1], generator) for each in measured])
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
        before=mean_interval(before.tolist()),
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


Pairs = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]
"""Donors and receivers; a receiver with noise stands behind all series as they are."""


def _of_two_classes(labels: Int[np.ndarray, " case"], most: int, generator: np.random.Generator) -> Pairs:
    """Pairs of different classes, none of them sharing a series."""
    order = generator.permutation(len(labels)).tolist()
    pairs: list[tuple[int, int]] = []
    while order and len(pairs) < most:
        donor = order.pop()
        receiver = next((case for case in order if labels[case] != labels[donor]), None)
        if receiver is not None:
            order.remove(receiver)
            pairs.append((donor, receiver))
    if len(pairs) < LEAST_PAIRS:
        raise InputError(
            f"the series make {len(pairs)} pairs of different classes: give at least {2 * LEAST_PAIRS} series of "
            "several classes"
        )
    donors, receivers = np.array(pairs).T
    return donors, receivers


def _with_noise(cases: SeriesCases, noise: float, generator: np.random.Generator) -> SeriesSubject:
    """A Subject that reads the series, and behind them the same with noise."""
    noisy = cases.series + noise * cases.transformer.std[:, None] * generator.normal(size=cases.series.shape)
    return SeriesSubject(cases.transformer, np.concatenate([cases.series, noisy]), cases.subject.dtype)


def _corrupted(
    subject: SeriesSubject, labels: Int[np.ndarray, " case"], most: int, generator: np.random.Generator
) -> Pairs:
    """Series, and the same with noise where that turns the right class into a wrong one."""
    n = len(labels)
    if n < LEAST_PAIRS or len(set(labels.tolist())) < 2:
        raise InputError(f"there are {n} series: give at least {LEAST_PAIRS}, of several classes")
    right = subject.class_logits.argmax(-1).view(2, n).numpy() == labels
    turned = generator.permutation((right[0] & ~right[1]).nonzero()[0])
    if len(turned) < LEAST_PAIRS:
        of_class = torch.softmax(subject.class_logits.double(), -1).view(2, n, -1).numpy()[:, np.arange(n), labels]
        turned = np.argsort(of_class[1] - of_class[0], kind="stable")
    return turned[:most], n + turned[:most]


def _other_donors(
    labels: Int[np.ndarray, " case"], donors: np.ndarray, receivers: np.ndarray, generator: np.random.Generator
) -> Int[np.ndarray, " pair"]:
    """For every pair a series of another class than its donor, which is not the receiver where another is left."""
    chosen = []
    for donor, receiver in zip(donors, receivers, strict=True):
        others = (labels != labels[donor]).nonzero()[0]
        chosen.append(generator.choice(others[others != receiver] if len(others) > 1 else others))
    return np.array(chosen)


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


def _over_pairs(changes: Float[np.ndarray, "head pair"]) -> Interval:
    """The mean over heads and pairs, with its interval over pairs."""
    sums = np.stack([changes.mean(0), np.ones(changes.shape[1])])
    return bootstrap(sums, lambda each: each[0] / each[1])
