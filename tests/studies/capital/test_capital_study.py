"""The study on toy outcomes, on the bundled kit, and what it says to kits that cannot answer."""

from dataclasses import replace

import pytest
import torch

from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.studies.capital.claims import CapitalMeasured, claims_of
from clew.studies.capital.facts import CapitalConfig, CountryPair, CountryPrompts, Facts, facts_of
from clew.studies.capital.runs import CountryFeatures
from clew.studies.capital.study import CAPITAL, asked_of, dealt
from clew.studies.columns import Columns
from clew.studies.swaps import SwapAnswers
from tests import models
from tests.workbench import minnow

N, PAIRS = 10, 200
ANSWERS = torch.arange(100, 100 + N)


NONE = Columns(layer=torch.zeros(0, dtype=torch.long), index=torch.zeros(0, dtype=torch.long), norm=torch.zeros(0))
NOTHING = CountryFeatures(columns=NONE, reads={}, token_columns=NONE, token_reads=(), carriers=())
"""What is under test reads no features."""


def outcome(tops, features=40.0):
    return SwapAnswers(top=torch.as_tensor(tops), features=features)


def measured(*, planted, answers=ANSWERS):
    """Outcomes in which the answer follows every swap that it must follow, or never does."""
    pairs = [CountryPair(sentence=i % 2, two=0, a=i % N, b=(i + 1 + i // N) % N, thirds=(0, 1)) for i in range(PAIRS)]
    pairs = [pair if pair.a != pair.b else replace(pair, b=(pair.b + 1) % N) for pair in pairs]
    stays, follows = ([int(ANSWERS[getattr(pair, name)]) for pair in pairs] for name in "ab")
    moved = follows if planted else stays
    found = {"swap": moved, "first": moved, "transplant": moved, "token": stays, "ablate.identity": [0] * PAIRS}
    for draw in range(5):
        found |= {f"{name}.null.{draw}": stays for name in ("swap", "first", "ablate.identity")}
        found[f"third.{draw}"] = [0] * PAIRS
    facts = Facts(countries=("x",) * N, capitals=("y",) * N, cities=((),) * N)
    patterns = torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(0)) / 10
    return CapitalMeasured(
        asked=CountryPrompts(facts=facts, prompts={"one_hop": ((), ())}, known={}),
        answers=answers,
        pairs=pairs,
        two_hop_pairs=pairs,
        features=NOTHING,
        layers=[0, 1],
        found={name: outcome(tops) for name, tops in found.items()},
        looks={"own": patterns + 0.8, "others": patterns},
        head=0,
    )


def test_planted_outcomes_hold():
    assert [claim.verdict for claim in claims_of(measured(planted=True))] == ["holds"] * 6


def test_where_nothing_follows_no_effect_holds():
    claims = claims_of(measured(planted=False))
    assert [claim.verdict for claim in claims[:4]] == [
        "fails",
        "fails",
        "cannot say",
        "fails",
    ]  # 0 of both in the third
    assert claims[4].verdict == "holds"  # the ablation is planted in both


def test_with_capitals_dealt_anew_no_effect_holds():
    claims = claims_of(measured(planted=True, answers=ANSWERS.roll(3)))
    assert not [claim.text for claim in claims if claim.effect and claim.verdict == "holds"]


def test_the_deal_gives_no_country_its_own_capital():
    kit = minnow()
    facts = facts_of(kit, CapitalConfig())
    asked = CountryPrompts(facts=facts, prompts={}, known={})
    own, other = dealt(asked, kit, CapitalConfig()), dealt(asked, kit, CapitalConfig(dealt=True))
    assert (own != other).all()
    assert own.sort().values.tolist() == other.sort().values.tolist()


def test_the_bundled_model_knows_its_capitals_and_pairs_differ():
    config = CapitalConfig(pairs=50)
    asked = asked_of(minnow(), config)
    assert bool(asked.known["one_hop"].all())
    assert float(asked.known["two_hop"].float().mean()) > 0.9
    pairs = asked.pairs(config)
    assert len({(pair.sentence, pair.a, pair.b) for pair in pairs}) == 50
    assert all(len({pair.a, pair.b, *pair.thirds}) == 2 + config.draws for pair in pairs)


def test_a_kit_that_cannot_answer_is_told_what_it_lacks():
    silent = Kit(models.subject("gpt2", torch.float32, with_tokenizer=False), name="silent")
    with pytest.raises(InputError, match="silent cannot answer capital: its model has no tokenizer"):
        CAPITAL.run(silent)
    ignorant = Kit(models.subject("gpt2", torch.float32), name="ignorant")
    with pytest.raises(InputError, match="ignorant cannot answer capital: "):
        CAPITAL.run(ignorant)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": 1}, "pairs is 1: give at least 4"),
        ({"share": 0.0}, "share is 0.0: give a share between 0 and 1"),
        ({"one_hop": ("The capital of {country} is",)}, "give two"),
        ({"one_hop": ("The capital of {land} is",) * 2}, r"must have the slot \{country\} and no other"),
        ({"two_hop": ("The capital of {country} is",)}, r"must have the slot \{city\} and no other"),
    ],
)
def test_mistakes_in_the_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        CapitalConfig(**options)


def test_facts_of_a_user_are_read_with_all_cities(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text("country,capital,city\nFrance,Paris,Lyon\nFrance,Paris,Marseille\nItaly,Rome,\n")
    facts = facts_of(minnow(), CapitalConfig(facts=path))
    assert facts.countries == ("France", "Italy")
    assert facts.cities == (("Lyon", "Marseille"), ())
    with pytest.raises(InputError, match="2 capitals begin with tokens of their own, and 8 are needed"):
        CAPITAL.check(minnow(), CapitalConfig(facts=path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("country,city\nFrance,Lyon\n", "has no column 'capital'"),
        ("country,capital\nFrance,Paris\nFrance,Lyon\n", "line 3 of .* calls 'Lyon' the capital of France"),
    ],
)
def test_a_malformed_table_of_facts_is_told_with_its_line(tmp_path, text, words):
    path = tmp_path / "facts.csv"
    path.write_text(text)
    with pytest.raises((FileError, InputError), match=words):
        facts_of(minnow(), CapitalConfig(facts=path))
