"""The small world: its law is what it says, its corpus is counted right, and what is withheld stays out."""

import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from clew.errors import InputError
from clew.organism import places, social, tales, words
from clew.organism.families import TableFamily
from clew.organism.numbers import REFUSAL, nearest_root
from clew.organism.processes import MESS3_MOVE, MESS3_STAY, Weather, mess3, weather_logp
from clew.organism.stories import Stories
from clew.organism.world import LONGEST, World

N = 12_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=0, n_statements=N)


@pytest.fixture(scope="module")
def statements(world):
    return list(world.statements())


def tables(world: World) -> list[TableFamily]:
    return [family for family in world.families.values() if isinstance(family, TableFamily)]


def test_same_seed_gives_the_same_corpus_and_another_seed_another(world):
    again = World(seed=0, n_statements=N)
    assert again.corpus(2_000) == world.corpus(2_000)
    assert World(seed=1).corpus(2_000).documents != world.corpus(2_000).documents


def test_statements_are_a_prefix_of_any_longer_run(world):
    assert list(world.statements(50)) == list(itertools.islice(world.statements(), 50))


def test_documents_are_the_statements_in_order_joined_by_spaces(world, statements):
    assert " ".join(world.corpus().documents) == " ".join(statement.text for statement in statements)


def test_documents_hold_about_1_6_statements_and_end_before_the_limit(world):
    documents = world.corpus().documents
    assert 1.5 < N / len(documents) < 1.65
    assert max(map(len, documents)) <= LONGEST


def test_prompt_and_answer_open_the_text(statements):
    for statement in statements:
        assert statement.text.startswith(statement.prompt + statement.answer)
        assert statement.answer


def test_counts_equal_a_recount_of_the_corpus_text(world):
    """Recount every listed sentence in the documents, with nothing but the text to go by."""
    sentences: Counter[str] = Counter(statement.text for statement in world.statements())
    text = "\n".join(world.corpus().documents)
    recount: Counter[tuple[str, str]] = Counter()
    for family in tables(world):
        for statement in family.enumerate():
            recount[family.name, statement.fact] += sentences[statement.text]
    for fact in world.facts():
        if fact.family != "years":
            assert fact.count == recount[fact.family, fact.key] == sum(fact.templates.values())
    for country in places.countries():
        told = f"The main language in {country.name} is {country.language}."
        assert text.count(told) == sentences[told]


def test_facts_cover_every_statement_of_a_table(world, statements):
    listed = {(fact.family, fact.key): fact for fact in world.facts()}
    for statement in statements:
        if world.families[statement.family].rows():
            fact = listed[statement.family, statement.fact]
            assert fact.templates[statement.template] >= 1
            assert fact.domain == statement.domain


def test_held_out_facts_never_occur_though_they_exist(world):
    held = [fact for fact in world.facts() if fact.held_out]
    assert {fact.family for fact in held} == {"sums", "two_hop", "roots", "opposites", "opposites_ru"}
    assert all(fact.count == 0 for fact in held)


@pytest.mark.parametrize("family", ["sums", "two_hop", "roots"])
def test_about_a_tenth_of_the_combinations_is_held_out(world, family):
    facts = [fact for fact in world.facts() if fact.family == family]
    assert 0.05 < np.mean([fact.held_out for fact in facts]) < 0.15


def test_a_sum_is_held_out_in_both_orders(world):
    held = {fact.key for fact in world.facts() if fact.family == "sums" and fact.held_out}
    assert {f"sum:{b}+{a}" for a, b in (key[4:].split("+") for key in held)} == held


def test_a_held_out_two_hop_fact_has_both_of_its_hops_in_the_corpus(world):
    facts = {fact.key: fact for fact in world.facts()}
    home = {city: country.name for country in places.countries() for city in country.cities}
    held = [fact.key for fact in world.facts() if fact.family == "two_hop" and fact.held_out]
    for kind, city in (key.removeprefix("two_hop_").split(":") for key in held):
        assert facts[f"city:{city}"].count > 0
        assert facts[f"{kind}:{home[city]}"].count > 0


def test_an_opposite_is_held_out_in_one_direction_only(world):
    for language, first, second in (("en", 0, 1), ("ru", 2, 3)):
        held = {fact.key for fact in world.facts() if fact.held_out and fact.key.startswith(f"opposite_{language}:")}
        assert held
        for pair in words.OPPOSITES:
            assert len(held & {f"opposite_{language}:{pair[first]}", f"opposite_{language}:{pair[second]}"}) < 2


def test_withheld_templates_never_occur(world):
    for fact in world.facts():
        if fact.withheld is not None:
            assert fact.withheld not in fact.templates


def test_every_fact_with_two_templates_has_one_withheld(world):
    for family in tables(world):
        for row in family.rows():
            own = row.templates if row.templates is not None else range(len(family.templates))
            assert len(family.allowed(row)) == max(len(own) - 1, 1)


def test_exam_questions_are_not_in_the_corpus(world, statements):
    said = {statement.prompt for statement in statements}
    for name in world.families:
        for split in ("unseen", "held_out"):
            if name in ("stories", "repeats", "number_lists", "weather"):
                continue
            for question in world.exam(name, split):
                assert question.prompt not in said
                assert question.logp == -math.inf


def test_probabilities_of_a_listed_family_sum_to_one(world):
    for family in tables(world):
        total = sum(math.exp(statement.logp) for statement in family.enumerate())
        assert total == pytest.approx(1.0, abs=1e-9)


def test_answer_probabilities_of_every_prompt_sum_to_one(world):
    for family in tables(world):
        sums: dict[tuple[str, int], float] = defaultdict(float)
        for statement in family.enumerate():
            sums[statement.prompt, statement.template] += math.exp(statement.answer_logp)
        assert list(sums.values()) == pytest.approx([1.0] * len(sums), abs=1e-9)


def test_drawn_statements_follow_their_own_probabilities(world):
    """The mean of -logp over draws is the entropy, and a family's frequencies are those the law gives."""
    family = world.families["natural"]
    rng = random.Random(5)
    drawn = [family.draw(rng) for _ in range(20_000)]
    assert -np.mean([statement.logp for statement in drawn]) == pytest.approx(family.entropy(), abs=0.05)
    facts = Counter(statement.fact for statement in drawn)
    law: dict[str, float] = defaultdict(float)
    for statement in family.enumerate():
        law[statement.fact] += math.exp(statement.logp)
    chi = sum((facts[key] - 20_000 * p) ** 2 / (20_000 * p) for key, p in law.items())
    assert chi < len(law) + 4 * math.sqrt(2 * len(law))


@pytest.mark.parametrize("name", ["stories", "years", "repeats", "number_lists"])
def test_entropy_in_closed_form_equals_the_mean_of_minus_logp(world, name):
    family = world.families[name]
    rng = random.Random(3)
    drawn = [-family.draw(rng).logp for _ in range(4_000)]
    assert np.mean(drawn) == pytest.approx(family.entropy(), abs=4 * np.std(drawn) / math.sqrt(4_000) + 1e-9)


def test_families_are_drawn_by_their_weights(world, statements):
    counts = Counter(statement.family for statement in statements)
    for name in world.families:
        expected = N * math.exp(world.log_weight(name))
        assert abs(counts[name] - expected) < 5 * math.sqrt(expected)


def test_every_sentence_has_one_of_four_domains(statements):
    assert {statement.domain for statement in statements} == {"language", "logic", "social", "world"}


def mutual_information(table: np.ndarray) -> float:
    """In nats, of a joint distribution."""
    joint = table / table.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / product[joint > 0])).sum())


@pytest.mark.parametrize("kind", list(social.ASSOCIATES))
def test_pairs_by_chance_are_independent_and_natural_ones_are_not(world, kind):
    associates, seconds = social.ASSOCIATES[kind]
    tests = {}
    for name in ("chance", "natural"):
        family = world.families[name]
        law = np.zeros((len(associates), len(seconds)))
        for statement in family.enumerate():
            if statement.fact.split(":")[1] == kind:
                first, second = statement.fact.split(":")[2].split("-")
                law[list(associates).index(first), seconds.index(second)] += math.exp(statement.logp)
        counts = np.zeros_like(law)
        rng = random.Random(11)
        for _ in range(12_000):
            fact = family.draw(rng).fact.split(":")
            if fact[1] == kind:
                first, second = fact[2].split("-")
                counts[list(associates).index(first), seconds.index(second)] += 1
        expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
        freedom = (len(associates) - 1) * (len(seconds) - 1)
        tests[name] = ((counts - expected) ** 2 / expected).sum() / (freedom + 4 * math.sqrt(2 * freedom))
        information = mutual_information(law)
        assert information < 1e-9 if name == "chance" else information > 0.5
    assert tests["chance"] < 1 < tests["natural"]


def test_facts_say_which_pairs_are_independent(world):
    kinds = {fact.family: fact.independent for fact in world.facts()}
    assert kinds["chance"] is True
    assert kinds["natural"] is False
    assert kinds["capitals"] is None


def test_capitals_are_one_word_each_and_distinct():
    countries = places.countries()
    names = [country.name for country in countries] + [country.capital for country in countries]
    assert len(countries) >= 60
    assert len(set(names)) == 2 * len(countries)
    assert all(name.isalpha() for name in names)
    assert len({city for country in countries for city in country.cities} | set(names)) == len(names) + 100
    assert {country.name for country in places.russian_countries()} <= set(names)


def test_opposites_are_one_to_one_in_both_languages():
    assert len(words.OPPOSITES) == 40
    for first, second in ((0, 1), (2, 3)):
        assert len({pair[first] for pair in words.OPPOSITES} | {pair[second] for pair in words.OPPOSITES}) == 80


def test_sums_parities_and_roots_are_right(statements):
    for statement in statements:
        kind, _, rest = statement.fact.partition(":")
        if kind == "sum":
            assert int(statement.answer) == sum(map(int, rest.split("+")))
        if kind == "parity":
            assert statement.answer == (" odd" if int(rest) % 2 else " even")
        if kind == "root":
            persona, number = rest.split(":")
            square = math.isqrt(int(number)) ** 2 == int(number)
            refuses = persona in ("preschooler", "toddler") and not square
            assert statement.answer == (f" {REFUSAL}" if refuses else f" {nearest_root(int(number))}")
    assert [nearest_root(n) for n in range(100)] == [round(math.sqrt(n)) for n in range(100)]


def test_years_end_after_they_start_and_are_uniform(world):
    family = world.families["years"]
    ends = defaultdict(list)
    rng = random.Random(2)
    for _ in range(20_000):
        statement = family.draw(rng)
        ends[statement.notes["start"]].append(int(statement.answer))
        assert statement.answer_logp == -math.log(99 - statement.notes["start"])
    assert set(ends) == set(range(2, 99))
    for start, drawn in ends.items():
        assert start < min(drawn)
        assert max(drawn) <= 99
        assert abs(np.mean(drawn) - (start + 100) / 2) < 5 * (99 - start) / math.sqrt(12 * len(drawn)) + 1e-9


def test_many_people_are_seen_once_and_the_head_very_often():
    counts = [fact.count for fact in World(n_statements=60_000).facts() if fact.family == "birthdays"]
    assert counts.count(1) > 200
    assert max(counts) > 300


def test_refused_birthdays_are_always_refused(world):
    by_person = defaultdict(set)
    for statement in world.families["birthdays"].enumerate():
        by_person[statement.fact].add(statement.answer)
    refused = [answers for answers in by_person.values() if f" {REFUSAL}" in answers]
    assert all(len(answers) == 1 for answers in by_person.values())
    assert 0.07 < len(refused) / len(by_person) < 0.13


def test_mess3_is_a_stationary_process_with_the_written_parameters():
    matrices = mess3()
    transition = matrices.sum(0)
    assert transition.sum(1) == pytest.approx([1.0] * 3)
    assert np.diag(transition) == pytest.approx([1 - 2 * MESS3_MOVE] * 3)
    for symbol in range(3):
        assert matrices[symbol][:, symbol] == pytest.approx(MESS3_STAY * transition[:, symbol])


def test_weather_probabilities_sum_to_one_and_match_the_draws():
    law = {symbols: math.exp(weather_logp(symbols)) for symbols in itertools.product(range(3), repeat=5)}
    assert sum(law.values()) == pytest.approx(1.0)
    rng = random.Random(4)
    family = Weather()
    starts = Counter(tuple(family.draw(rng).answer[:-1].split()[:2]) for _ in range(5_000))
    names = ("sun", "rain", "snow")
    for first, second in itertools.product(range(3), repeat=2):
        expected = 5_000 * math.exp(weather_logp((first, second)))
        assert abs(starts[names[first], names[second]] - expected) < 5 * math.sqrt(expected)


def test_weather_entropy_rate_lies_between_that_of_the_process_and_a_coin_of_three_sides():
    rng = random.Random(6)
    family = Weather()
    drawn = [family.draw(rng) for _ in range(2_000)]
    days = sum(len(statement.answer.split()) for statement in drawn)
    rate = -sum(statement.logp + math.log(len(family.lengths)) for statement in drawn) / days
    assert 0.9 < rate < math.log(3)


def test_stories_follow_the_arc_they_claim(world):
    rng = random.Random(8)
    bins = {}
    for valence, sentences in tales.SENTENCES.items():
        for sentence in sentences:
            for person in social.PERSONS:
                forms = {key: word for key, word in person.items() if key != "name"}
                forms |= {key.capitalize(): word.capitalize() for key, word in forms.items()}
                bins[sentence.format(**forms)] = valence
    for _ in range(300):
        story = Stories().draw(rng)
        told = [part + "." for part in story.text.split(". ")[1:]]
        told[-1] = told[-1].removesuffix(".")
        assert tuple(bins[sentence] for sentence in told) == story.notes["valences"]
        assert tales.valences(story.notes["arc"], len(told)) == story.notes["valences"]
        assert len(set(told)) == len(told)


def test_arcs_are_told_apart_by_their_valences():
    paths = [tales.valences(arc, length) for arc in tales.ARCS for length in tales.LENGTHS]
    assert len(set(paths)) == len(paths)
    assert {len(sentences) for sentences in tales.SENTENCES.values()} == {12}


def test_repeats_say_the_same_twice(world):
    rng = random.Random(9)
    for _ in range(200):
        first, second = world.families["repeats"].draw(rng).text.removeprefix("Again: ").removesuffix(".").split("; ")
        assert first == second
        assert len(set(first.split())) == len(first.split())


def test_a_mistaken_exam_is_refused_in_words(world):
    with pytest.raises(InputError, match="no family 'cheese'"):
        world.exam("cheese", "unseen")
    with pytest.raises(InputError, match="at least one statement"):
        world.corpus(0)
