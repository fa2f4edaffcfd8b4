"""What the study `capital` asks about: countries, their capitals and cities, and the sentences that ask for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.geography import families
from clew.organism.places import countries
from clew.settings import option
from clew.studies.config_checks import at_least, is_share
from clew.studies.slots import SlottedPrompt, Template
from clew.studies.user_rows import read_rows

FEWEST = 8
"""Countries whose capital the model must know."""


@dataclass(frozen=True, kw_only=True)
class CapitalConfig:
    """Settings of the study."""

    facts: Path | None = None
    """A CSV file with the columns country and capital, and city where the two-hop prompts are asked too (one of the
    country's other cities); left out, the countries of the world."""
    one_hop: tuple[str, ...] | None = field(default=None, metadata=option("--one-hop", kind=list[str] | None))
    """A sentence that asks for the capital of {country}; repeat it for several, of which two are needed."""
    two_hop: tuple[str, ...] | None = field(default=None, metadata=option("--two-hop", kind=list[str] | None))
    """A sentence that asks for the capital of the country of {city}; repeat it for several."""
    other: tuple[str, ...] | None = field(default=None, metadata=option("--other", kind=list[str] | None))
    """A sentence that asks for something else of {country}, beside which features of the question are found."""
    pairs: int = 200
    """How many pairs of countries are swapped."""
    share: float = 0.9
    """Carriers are the fewest features that hold this share of what is written by country."""
    draws: int = 5
    """How many sets of matched random features, or third countries, are put in beside them."""
    looks: int = 6
    """Of how many prompts the look at the country is taken apart."""
    dealt: bool = field(default=False, metadata={"option": False})
    """Deal the capitals out anew, so that none is its country's: the case in which nothing must be found."""
    seed: int = 0
    """Seed of pairs, random features and the deal."""

    def __post_init__(self) -> None:
        at_least(self, pairs=4, draws=2, looks=1)
        is_share("share", self.share)
        asked = {family.name: [text.split("|")[0] for text in family.templates] for family in families()}
        defaults = {"one_hop": asked["capitals"], "two_hop": asked["two_hop"][:4], "other": asked["languages"]}
        for name, slot in (("one_hop", "country"), ("two_hop", "city"), ("other", "country")):
            texts = tuple(getattr(self, name) or defaults[name])
            object.__setattr__(self, name, texts)
            for text in texts:
                if Template(text).slots != (slot,):
                    raise InputError(f"{name} is {text!r}: it must have the slot {{{slot}}} and no other")
        if len(self.templates("one_hop")) < 2:
            raise InputError("one sentence asks for the capital: give two, since carriers are found in the others")

    def templates(self, kind: str) -> tuple[Template, ...]:
        """The sentences of one kind, `one_hop`, `two_hop` or `other`."""
        assert kind in {each.name for each in fields(self)}
        return tuple(Template(text) for text in getattr(self, kind))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Countries with their capitals, and other cities of theirs."""

    countries: tuple[str, ...]
    capitals: tuple[str, ...]
    cities: tuple[tuple[str, ...], ...]

    def answers(self, kit: Kit) -> Int[Tensor, " country"]:
        """The first token of every capital."""
        return torch.tensor([int(kit.subject.encode(f" {name}", add_bos=False)[0]) for name in self.capitals])


def facts_of(kit: Kit, config: CapitalConfig) -> Facts:
    """The facts that are asked: of the world, or of the user's file; without capitals whose first token is shared."""
    rows = _read(config.facts) if config.facts else [(c.name, c.capital, c.cities) for c in countries()]
    first = [int(kit.subject.encode(f" {capital}", add_bos=False)[0]) for _, capital, _ in rows]
    kept = [row for row, token in zip(rows, first, strict=True) if Counter(first)[token] == 1]
    names, capitals, cities = zip(*kept, strict=True) if kept else ((), (), ())
    return Facts(countries=names, capitals=capitals, cities=cities)


def _read(path: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """A user's facts: a country may have several rows, each with another city."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for row in read_rows(path, ("country", "capital"), optional=("city",)):
        country, capital, city = row.cells["country"], row.cells["capital"], row.cells.get("city", "")
        known, cities = found.get(country, (capital, ()))
        if known != capital:
            raise InputError(f"line {row.line} of {path} calls {capital!r} the capital of {country}, before {known!r}")
        found[country] = capital, (*cities, city) if city else cities
    return [(country, capital, cities) for country, (capital, cities) in found.items()]


@dataclass(frozen=True, kw_only=True, eq=False)
class CountryPrompts:
    """All prompts, by kind and sentence, one a country; two-hop prompts are asked with the country's first city."""

    facts: Facts
    prompts: dict[str, tuple[tuple[SlottedPrompt | None, ...], ...]]
    """`one_hop`, `two_hop`, `other`: [sentence][country]; None where a country has no city."""
    known: dict[str, Bool[Tensor, "sentence country"]]
    """Where the model answers the capital; of `one_hop` and `two_hop`."""

    def pairs(self, config: CapitalConfig) -> list[CountryPair]:
        """Pairs of countries that differ in all but the sentence; fewer than asked for where there are no more."""
        generator = torch.Generator().manual_seed(config.seed)
        n = len(self.facts.countries)
        chosen: dict[tuple[int, ...], CountryPair] = {}
        for _ in range(40 * config.pairs):
            sentence, two = (
                int(torch.randint(len(self.prompts[k]), (), generator=generator)) for k in ("one_hop", "two_hop")
            )
            a, b, *thirds = torch.randperm(n, generator=generator).tolist()
            knows = self.known["one_hop"][sentence]
            thirds = [c for c in thirds if knows[c]][: config.draws]
            if knows[a] and knows[b] and len(thirds) == config.draws:
                pair = CountryPair(sentence=sentence, two=two, a=a, b=b, thirds=tuple(thirds))
                chosen.setdefault((sentence, a, b), pair)
            if len(chosen) == config.pairs:
                break
        return [*chosen.values()]


@dataclass(frozen=True, kw_only=True)
class CountryPair:
    """Country b's features go into country a's prompt."""

    sentence: int
    two: int
    a: int
    b: int
    thirds: tuple[int, ...]
    """Other countries, whose features are the null of a transplant."""


def ask(kit: Kit, config: CapitalConfig) -> tuple[Facts, dict[str, tuple[tuple[SlottedPrompt | None, ...], ...]]]:
    """The facts and all prompts; InputError for a slot that is no run of whole tokens."""
    facts = facts_of(kit, config)
    values: dict[str, Sequence[str | None]] = {
        "one_hop": facts.countries,
        "other": facts.countries,
        "two_hop": [cities[0] if cities else None for cities in facts.cities],
    }
    prompts = {}
    for kind, words in values.items():
        prompts[kind] = tuple(
            tuple(None if word is None else each.fill(kit.subject, {each.slots[0]: word}) for word in words)
            for each in config.templates(kind)
        )
    return facts, prompts
