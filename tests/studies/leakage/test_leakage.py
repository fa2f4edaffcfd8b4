"""The study of leakage: an effect that is planted is found, one that is absent is not, and the world's law is kept."""

import random
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import clew
from clew.errors import InputError
from clew.kit import Kit
from clew.organism.social import ASSOCIATES
from clew.organism.world import World
from clew.studies.leakage.prompts import PARTS, PeopleNames, all_pairs, answer_columns, items
from clew.studies.leakage.rates import Measured
from clew.studies.leakage.study import LEAKAGE, LeakageConfig, _findings
from tests import models
from tests.workbench import minnow

CONFIG = LeakageConfig(names=2, features=8, draws=2)


@cache
def kinds():
    return tuple(all_pairs(minnow(), "world"))


@cache
def asked():
    kit = minnow()
    return tuple(i for part in PARTS for s in ("taught", "withheld") for i in items(kit, ("Anna", "Tom"), part, s))


@cache
def result():
    return LEAKAGE.run(minnow(), config=CONFIG, neurons=False)


def measured_of(answer):
    """A case of invented answers: `answer(item, pair)` gives their probabilities."""
    pairs = {pair.kind: pair for pair in kinds()}
    rows = np.stack([np.append(0.9 * answer(item, pairs[item.kind]), 0.001) for item in asked()])
    target = [i for i in asked() if (i.part, i.sentence) == ("associated", "taught")]
    chosen = np.array([(i.part, i.sentence) == ("associated", "taught") for i in asked()])
    flat = np.full((len(target), rows.shape[1]), 1 / 12)
    ablated = {f"{place}.{size}": rows[chosen] for place in ("end", "concept") for size in (4, 8)}
    ablated |= {"end.8": flat, **{f"random.{draw}": rows[chosen] for draw in range(3)}}
    return Measured(
        kit=minnow(),
        kinds=kinds(),
        items=asked(),
        probabilities=rows,
        ablated_items=tuple(target),
        ablated=ablated,
        sizes=(4, 8),
        means=means_of_nothing(),
        similarity="world",
        through=None,
        seed=0,
    )


@cache
def means_of_nothing():
    from clew.studies.carriers import SlotMeans

    layer, index = torch.zeros(40, dtype=torch.long), torch.arange(40)
    return {
        (place, pair.kind): SlotMeans(
            values=pair.concepts, mean=torch.rand(len(pair.concepts), 40), layer=layer, index=index
        )
        for place in ("end", "concept")
        for pair in kinds()
    }


def by_law(item, pair):
    return pair.law[item.part][item.concept]


def verdicts(answer):
    return [claim.verdict for claim in _findings(measured_of(answer)).claims]


def test_answers_that_follow_the_law_leak_where_the_law_does_and_nowhere_else():
    assert verdicts(by_law) == ["holds", "holds", "holds", "fails", "fails", "holds"]


def test_a_planted_leak_in_the_independent_part_is_found_and_greedy_decoding_inflates_it():
    def leaking(item, pair):
        own = np.eye(len(pair.answers))[pair.associate[item.concept]]
        return 0.98 * by_law(item, pair) + 0.02 * own if item.part == "independent" else by_law(item, pair)

    assert verdicts(leaking) == ["holds", "holds", "holds", "holds", "holds", "holds"]


def test_answers_without_any_leak_fail_where_the_law_leaks():
    found = _findings(measured_of(lambda item, pair: np.full(len(pair.answers), 1 / len(pair.answers))))
    assert [claim.verdict for claim in found.claims][:3] == ["fails", "fails", "fails"]
    assert "holds" not in [claim.verdict for claim in found.claims]


def test_the_law_is_what_the_worlds_statements_come_to():
    natural, counts, rng = World(seed=0).families["natural"], Counter(), random.Random(0)
    pairs = {pair.kind: pair for pair in kinds()}
    for statement in (natural.draw(rng) for _ in range(12_000)):
        first, _, second = statement.fact.rpartition(":")[2].partition("-")
        counts[statement.notes["kind"], first, second] += 1
    for kind, pair in pairs.items():
        seen = np.array([[counts[kind, first, second] for second in pair.answers] for first in pair.concepts])
        share = seen / seen.sum(1, keepdims=True)
        assert share[np.arange(len(share)), pair.associate] == pytest.approx(
            pair.law["associated"].max(1), abs=4 * (0.16 / seen.sum(1).min()) ** 0.5
        )
        assert pair.law["independent"] == pytest.approx(1 / len(pair.answers))


def test_prompts_ask_every_first_word_and_the_two_groups_of_names_share_none():
    kit = minnow()
    for part, cue in PARTS.items():
        prompts = items(kit, ("Anna",), part, "taught")
        assert all(item.prompt.text.startswith(f"{cue}, ") for item in prompts)
        seen = Counter((item.kind, item.prompt.values["first"]) for item in prompts)
        assert seen == dict.fromkeys([(kind, first) for kind, (firsts, _) in ASSOCIATES.items() for first in firsts], 2)
    names = PeopleNames(count=4)
    assert len({*names.measured, *names.searched}) == 8
    tokens = answer_columns(kit, asked())
    assert kit.subject.token_strings(tokens[0].tolist())[-1] == f" {asked()[0].prompt.values['first']}"


def test_minnow_leaks_and_the_same_model_with_shuffled_weights_does_not():
    found = {claim.text.partition(",")[0]: claim for claim in result().claims}
    leak = found["Where words are associated"]
    assert leak.verdict == "holds"
    assert leak.value.value > 80
    assert result().false_effects == ()


def test_carriers_at_the_sentences_end_remove_more_of_the_leak_than_matched_random_features():
    rows = [
        dict(zip(result().tables["ablations"].columns, row, strict=True)) for row in result().tables["ablations"].rows()
    ]
    removed = {row["ablated"]: row["removed"] for row in rows if row["pairs"] == "all" and row["features"] == 8}
    random = [value for name, value in removed.items() if name.startswith("random")]
    assert removed["carriers at the end"] > 0.3
    assert max(random) < 0.1
    assert removed["carriers at the concept"] < 0.1


def test_a_kit_whose_tokenizer_cuts_the_worlds_words_is_told_what_is_needed():
    kit = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes"))
    with pytest.raises(
        InputError, match=r"cannot answer leakage: .* must be one token each, and 'orange' is \d+ of its"
    ):
        LEAKAGE.run(kit)
    with pytest.raises(InputError, match="cannot answer leakage: its model came without a tokenizer"):
        LEAKAGE.run(replace(kit, subject=clew.Subject(kit.subject.model, None, "ids")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": 1}, "names is 1: give 2 to 20"),
        ({"features": 0}, "features is 0"),
        ({"draws": 1}, "draws is 1"),
        ({"similarity": "meaning"}, "similarity 'meaning': choose from world, tokens, sentence"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        LEAKAGE.run(minnow(), **options)
