"""What the study `greater-than` asks: an event that lasted from a year to a later one, and which tokens are years.

The template is written as in the literature, "The {noun} lasted from the year {XXYY} to {XX}": XX is the century, YY
the start year, and the next token is the end year. Whether years are tokens of two digits is checked, never assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.contrast import Contrast
from clew.errors import InputError
from clew.kit import Kit
from clew.organism.words import EVENTS
from clew.settings import option
from clew.studies.config_checks import at_least
from clew.studies.slots import SlottedPrompt, Template

YEARS = 100
"""Two digits."""
START = "year-1"
"""The place of the start year's token."""
_MORE = (
    "march",
    "quest",
    "debate",
    "visit",
    "search",
    "festival",
    "trip",
    "dispute",
    "journey",
    "storm",
    "tour",
    "sale",
)
NOUNS = (*EVENTS, *_MORE)
FEWEST = 20
"""Start years that must be there."""


@dataclass(frozen=True, kw_only=True)
class GreaterThanConfig:
    """Settings of the study."""

    template: str = "The {noun} lasted from the year {XXYY} to {XX}"
    """A sentence with {noun}, the start year {XXYY} and, as its last word, the century {XX}."""
    nouns: tuple[str, ...] | None = field(default=None, metadata=option("--noun", kind=list[str] | None))
    """An event; repeat it for several. Left out, 24 events, half of them of the world."""
    first_century: int = 11
    """The first two digits of the earliest years."""
    last_century: int = 18
    """Those of the latest years."""
    copies: int = 4
    """Prompts of every start year, each with another noun and century."""
    graphs: int = 49
    """How many start years are traced, evenly spread; their graphs are merged."""
    features: int = 160
    """How many features are looked at: those with the most influence in the merged graph."""
    permutations: int = 4000
    """How often start years are exchanged for the classes' nulls."""
    draws: int = 8
    """How many sets of matched random features are ablated."""
    scales: int = 16
    """Prompts in which single, joint and summed effects are compared."""
    dealt: bool = field(default=False, metadata={"option": False})
    """Judge every prompt by another start year than its own: the case in which nothing must be found."""
    seed: int = 0
    """Seed of nouns, centuries, permutations and random features."""

    def __post_init__(self) -> None:
        at_least(self, copies=1, graphs=4, features=1, permutations=100, draws=2, scales=1)
        if not 10 <= self.first_century <= self.last_century <= 99:
            raise InputError(f"centuries {self.first_century} to {self.last_century}: give two digits, the first first")
        object.__setattr__(self, "nouns", tuple(self.nouns or NOUNS))
        if self.template.count("{XXYY}") != 1 or self.template.count("{XX}") != 1:
            raise InputError(f"the template {self.template!r} must have {{XXYY}} and {{XX}} once each")
        if not self.template.rstrip().endswith("{XX}"):
            raise InputError(f"the template {self.template!r} must end with {{XX}}: the next token is the end year")
        if set(self.parsed.slots) != {"noun", "century", "year", "again"}:
            raise InputError(f"the template {self.template!r} must have {{noun}} and no further slot")

    @property
    def parsed(self) -> Template:
        """The template with a slot for the start year alone."""
        text = self.template.rstrip().replace("{XXYY}", "{century}{year}").replace("{XX}", "{again}")
        return Template(text)


@dataclass(frozen=True, kw_only=True, eq=False)
class YearPrompts:
    """Prompts with their start years."""

    prompts: tuple[SlottedPrompt, ...]
    starts: Int[np.ndarray, " prompt"]
    """The start year that stands in each prompt."""
    judged: Int[np.ndarray, " prompt"]
    """The start year by which each is judged: the same, but for the absent case."""
    years: Int[Tensor, " year"]
    """The token of every two-digit year."""

    @property
    def ids(self) -> list[tuple[int, ...]]:
        return [prompt.token_ids for prompt in self.prompts]

    def first_of_each(self, count: int) -> list[int]:
        """A prompt of each of so many start years, evenly spread."""
        first = {int(start): place for place, start in reversed([*enumerate(self.starts)])}
        order = sorted(first)
        picked = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
        return [first[order[place]] for place in picked]


def year_tokens(kit: Kit) -> Int[Tensor, " year"]:
    """The tokens that go on with two digits; InputError where the tokenizer has none for some year."""
    ids = [kit.subject.encode(f"{year:02d}", add_bos=False).tolist() for year in range(YEARS)]
    if longer := [year for year, tokens in enumerate(ids) if len(tokens) != 1]:
        raise InputError(f"{longer[0]:02d} is {len(ids[longer[0]])} tokens, and years must be tokens of two digits")
    return torch.tensor([tokens[-1] for tokens in ids])


def ask(kit: Kit, config: GreaterThanConfig) -> YearPrompts:
    """All prompts: every start year from 02 to 98 with some nouns and centuries.

    InputError where start years are no tokens of two digits, and where too few years are left.
    """
    years, rng = year_tokens(kit), np.random.default_rng(config.seed)
    nouns = config.nouns or ()
    prompts, starts = [], []
    for start in range(2, 99):
        for _ in range(config.copies):
            noun = nouns[int(rng.integers(len(nouns)))]
            century = str(int(rng.integers(config.first_century, config.last_century + 1)))
            prompt = _filled(kit, config, noun, century, start, years)
            if prompt is not None:
                prompts.append(prompt)
                starts.append(start)
    if len(set(starts)) < FEWEST:
        raise InputError(f"{len(set(starts))} start years are tokens of their own, and {FEWEST} are needed")
    numbers = np.array(starts, dtype=np.int64)
    judged = _dealt(numbers, rng) if config.dealt else numbers
    return YearPrompts(prompts=tuple(prompts), starts=numbers, judged=judged, years=years)


def _filled(
    kit: Kit, config: GreaterThanConfig, noun: str, century: str, start: int, years: Tensor
) -> SlottedPrompt | None:
    """One prompt; None where the start year is not the year's own token, or the century is no token of its own."""
    values = {"noun": noun, "century": century, "year": f"{start:02d}", "again": century}
    try:
        prompt = config.parsed.fill(kit.subject, values, single=("year",))
    except InputError:
        return None
    at_end = prompt.last("again") == len(prompt.token_ids) - 1
    return prompt if at_end and prompt.token_ids[prompt.last("year")] == int(years[start]) else None


def _dealt(starts: Int[np.ndarray, " prompt"], rng: np.random.Generator) -> Int[np.ndarray, " prompt"]:
    """Another start year for each, the same for all prompts of one."""
    own = np.unique(starts)
    order = rng.permutation(len(own))
    other = dict(zip(own[order].tolist(), own[np.roll(order, 1)].tolist(), strict=True))
    return np.array([other[int(start)] for start in starts], dtype=np.int64)


def later_years(asked: YearPrompts, start: int) -> Contrast:
    """Years after a start year against the others, as something to trace and to measure."""
    years, cut = asked.years.tolist(), min(start, YEARS - 2) + 1
    return Contrast(f"years after {start:02d}", plus=years[cut:], minus=years[:cut])


# --- what is measured of a distribution over years ------------------------------------------------------------------


def difference(
    years: Float[np.ndarray, "prompt year"], starts: Int[np.ndarray, " prompt"]
) -> Float[np.ndarray, " prompt"]:
    """The probability of later years less that of the others (Hanna et al. 2023)."""
    later = np.arange(YEARS)[None] > starts[:, None]
    return np.where(later, years, -years).sum(1)


def sharpness(
    years: Float[np.ndarray, "prompt year"], starts: Int[np.ndarray, " prompt"]
) -> Float[np.ndarray, " prompt"]:
    """The probability of the next year less that of the one before the start year (Hanna et al. 2023)."""
    rows = np.arange(len(starts))
    sharp: np.ndarray = years[rows, np.minimum(starts + 1, YEARS - 1)] - years[rows, np.maximum(starts - 1, 0)]
    return sharp


def law(starts: Int[np.ndarray, " prompt"]) -> Float[np.ndarray, "prompt year"]:
    """The world's own law: every later year of the century is as likely."""
    later = (np.arange(YEARS)[None] > starts[:, None]).astype(float)
    return later / later.sum(1, keepdims=True)


def renormalised(years: Float[np.ndarray, "prompt year"]) -> Float[np.ndarray, "prompt year"]:
    """Shares of the probability that lies on two-digit years."""
    return years / np.maximum(years.sum(1, keepdims=True), 1e-12)


def of_years(
    probabilities: Float[Tensor, "prompt vocab"], years: Sequence[int] | Tensor
) -> Float[np.ndarray, "prompt year"]:
    """What is said of the years."""
    found: np.ndarray = probabilities[:, torch.as_tensor(years)].double().numpy()
    return found
