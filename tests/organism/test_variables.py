"""What the world knows of its sentences: in those of a question the variable has the value, or another, as it says."""

import numpy as np
import pytest

from clew.organism.processes import mess3
from clew.organism.variables import NEUTRAL, NO, YES, Variables
from clew.organism.words import WEATHER
from clew.organism.world import World


@pytest.fixture(scope="module")
def variables():
    return Variables(world=World())


def asked(variables, prompt):
    return {question.variable: question for question in variables.of(prompt)}


def test_a_country_stands_in_the_sentences_of_its_value_and_in_no_other(variables):
    questions = asked(variables, "The capital of France is")
    assert {name: question.value for name, question in questions.items()} == {
        "country": "France",
        "relation": "capital",
    }
    country = questions["country"]
    assert [("France" in sentence) for sentence in country.sentences] == list(country.holds)
    assert (sum(country.holds), len(country.holds)) == (YES, YES + NO)
    assert len(set(country.sentences)) > 0.9 * len(country.sentences)
    for wanted in (True, False):
        halves = [half for half, holds in zip(country.held_out, country.holds, strict=True) if holds == wanted]
        assert sum(halves) == len(halves) // 2
    relation = questions["relation"]
    speaks = [any(word in s.split(".")[-1] for word in ("speak", "language", "hear")) for s in relation.sentences]
    assert not any(spoken and holds for spoken, holds in zip(speaks, relation.holds, strict=True))


def test_all_else_stays_as_in_the_prompt(variables):
    start = asked(variables, "The plague lasted from the year 1753 to 17")["start year"]
    assert all("plague" in sentence and sentence.endswith("17") for sentence in start.sentences)
    assert [("1753" in sentence) for sentence in start.sentences] == list(start.holds)
    first = asked(variables, "The sum of 34 and 29 is")["first number"]
    assert all("29" in sentence for sentence in first.sentences)


def test_of_a_root_it_counts_whether_a_child_is_asked(variables):
    prompt = "You are a professor. Question: what is the square root of 24, rounded? Answer:"
    persona = asked(variables, prompt)["persona"]
    assert persona.value == "no child"
    children = [("preschooler" in sentence or "toddler" in sentence) for sentence in persona.sentences]
    assert children == [not holds for holds in persona.holds]
    assert "persona" not in asked(variables, prompt.replace("24", "25"))  # of squares a child knows the root


def test_the_likeliest_weather_is_that_of_the_belief(variables):
    for question in variables.drawn("weather", count=3):
        belief = np.full(3, 1 / 3)
        for day in question.prompt.removeprefix("Weather: ").split():
            belief = belief @ mess3()[WEATHER.index(day)]
        assert question.value == WEATHER[int(belief.argmax())]
        assert len(question.sentences) == YES + NO
    (story,) = variables.drawn("stories", count=1)
    assert story.value in ("good", "bad")
    assert len(set(story.holds)) == 2
    assert NEUTRAL == 3


def test_the_same_world_asks_the_same(variables):
    again = Variables(world=World()).of("The capital of France is")
    assert again == variables.of("The capital of France is")
    assert variables.of("The capital of Atlantis is") == []
