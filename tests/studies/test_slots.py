"""Slots: the tokens that a span of a prompt became, in whatever way a tokenizer cuts it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import clew
from clew.errors import InputError
from clew.kit import Kit
from clew.studies.slots import Template, align, last_positions
from clew.subject.subject import Subject
from tests import models
from tests.workbench import minnow


def subject_of(tokenizer, vocab):
    return Subject(models.model("gpt2", torch.float32, vocab_size=vocab), tokenizer, "a model")


BYTES = subject_of(models.byte_tokenizer(), 257)
MARKED = subject_of(models.marked_tokenizer(), 400)


def test_a_slot_is_its_tokens_in_the_bundled_model():
    subject = minnow().subject
    prompt = Template("In {country} the capital is").fill(subject, {"country": "France"}, single=["country"])
    assert prompt.text == "In France the capital is"
    assert prompt.positions == {"country": (2,)}
    tokens = subject.token_strings(prompt.token_ids)
    assert tokens[2] == " France"
    assert prompt.places == ("start+0", "text0+0", "country-1", "text1+0", "text1+1", "text1+2")
    assert prompt.last("country") == 2
    assert list(prompt.token_ids) == subject.encode(prompt.text).tolist()


def test_a_slot_of_several_tokens_has_all_of_them():
    subject = minnow().subject
    prompt = Template("The {noun} lasted").fill(subject, {"noun": "xylophone quest"})
    places = prompt.at("noun")
    assert len(places) > 1
    assert places == tuple(range(places[0], places[-1] + 1))
    assert "".join(subject.token_strings([prompt.token_ids[i] for i in places])).strip() == "xylophone quest"
    assert [prompt.places[i] for i in places] == [f"noun-{n}" for n in range(len(places), 0, -1)]
    with pytest.raises(InputError, match=rf"in slot 'noun' is {len(places)} tokens of minnow .*give another word"):
        Template("The {noun} lasted").fill(subject, {"noun": "xylophone quest"}, single=["noun"])


def test_a_slot_that_is_merged_with_its_neighbour_is_refused_with_what_was_seen():
    subject = minnow().subject
    template = Template("The war lasted from the year 17{year} to 17")
    assert template.fill(subject, {"year": "11"}).at("year")  # two-digit numbers are tokens of their own
    with pytest.raises(InputError, match=r"'hin' in slot 'part' is no run of whole tokens of minnow: its tokens are"):
        Template("A mac{part}e and a clown").fill(subject, {"part": "hin"})


def plain_positions(subject, before, value, after):
    """The tokens of the text that have a byte in the value: a tokenizer of bytes has one for each."""
    n, m = len(before.encode()), len(value.encode())
    return tuple(len(subject.start_ids) + n + i for i in range(m))


WORDS = st.text(st.sampled_from("abc é☃ж"), min_size=1, max_size=6).filter(lambda text: text == text.strip())


@given(WORDS, WORDS, WORDS)
def test_bytes_of_a_slot_are_found_as_a_plain_count_finds_them(before, value, after):
    prompt = Template(f"{before} {{slot}} {after}").fill(BYTES, {"slot": value})
    assert prompt.at("slot") == plain_positions(BYTES, f"{before} ", value, after)


@given(WORDS, WORDS)
def test_every_token_has_a_place_and_no_two_have_one(one, two):
    prompt = Template("{one}, {two}.").fill(BYTES, {"one": one, "two": two})
    assert len(prompt.places) == len(prompt.token_ids) == len(set(prompt.places))


def test_places_agree_over_values_of_different_lengths():
    template = Template("a {one} b {two} c")
    short = template.fill(BYTES, {"one": "x", "two": "y"})
    long = template.fill(BYTES, {"one": "xxx", "two": "yy"})
    for prompt, other in ((short, long), (long, short)):
        for place, token in zip(prompt.places, prompt.token_ids, strict=True):
            if place.startswith(("start", "text")):
                assert other.token_ids[other.places.index(place)] == token
    assert "one-1" in short.places
    assert "one-3" in long.places


def test_a_tokenizer_with_a_mark_at_the_front_of_every_text_has_slots_too():
    prompt = Template("the {city} the").fill(MARKED, {"city": "Paris"}, single=["city"])
    assert MARKED.token_strings([prompt.token_ids[prompt.last("city")]]) == (" Paris",)
    first = Template("{city} the").fill(MARKED, {"city": "Paris"})
    assert first.at("city") == (len(MARKED.start_ids),)


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("no slot", {}, "has no slot"),
        ("{a} and {a}", {"a": "x"}, "has a slot twice"),
        ("{a} and {b c}", {"a": "x"}, "belongs to no slot"),
        ("{a} and {b}", {"a": "x"}, "the slot 'b' of '{a} and {b}' has no value"),
        ("{a} and so on", {"a": "  "}, "the slot 'a' of '{a} and so on' is empty"),
        ("{a} and so on", {"a": "\ud800"}, "holds half a character"),
    ],
)
def test_mistakes_are_told_with_what_was_seen(text, values, words):
    with pytest.raises(InputError, match=words):
        Template(text).fill(BYTES, values)


def test_an_unknown_slot_is_told_with_those_that_there_are():
    with pytest.raises(InputError, match="no slot 'c' in 'x b': there are a"):
        Template("{a} b").fill(BYTES, {"a": "x"}).last("c")


def test_a_model_without_offsets_has_no_slots():
    with pytest.raises(InputError, match="without a tokenizer"):
        Template("{a} b").fill(models.subject("gpt2", with_tokenizer=False), {"a": "x"})


def test_every_combination_of_values_is_listed_once():
    template = Template("{a} {b}")
    values = {"b": ["1", "2"], "a": ["x", "y"]}
    assert template.product(values) == [{"a": a, "b": b} for a in "xy" for b in "12"]


def test_graphs_are_lined_up_by_slot_as_a_plain_loop_lines_them_up():
    subject = BYTES
    kit = Kit(subject, models.dictionary("clt", subject, dtype=torch.float32), name="tiny")
    template = Template("{one} ab {two}")
    values = (("x", "yz"), ("xx", "y"), ("xyz", "y"))
    prompts = [template.fill(subject, {"one": one, "two": two}) for one, two in values]
    graphs = [kit.trace(list(prompt.token_ids), targets=["#5"]) for prompt in prompts]
    aligned = align(graphs, prompts)
    values = aligned.values([graph.activations.numpy() for graph in graphs], absent=-1.0)
    for g, (graph, prompt) in enumerate(zip(graphs, prompts, strict=True)):
        seen = set()
        for k, (layer, place, feature) in enumerate(aligned.keys):
            if place in prompt.places:
                key = [layer, prompt.places.index(place), feature]
                held = [row for row, other in enumerate(graph.feature_keys.tolist()) if other == key]
            else:
                held = []
            assert aligned.rows[g, k] == (held[0] if held else -1)
            assert values[g, k] == pytest.approx(float(graph.activations[held[0]]) if held else -1.0)
            seen |= {*held}
        assert seen == {*range(graph.n_features)}
    assert np.allclose(aligned.share, (aligned.rows >= 0).mean(0))
    assert list(last_positions(prompts, "one")) == [prompt.last("one") for prompt in prompts]
    assert list(last_positions(prompts, None)) == [len(prompt.token_ids) - 1 for prompt in prompts]


def test_a_graph_of_another_prompt_is_refused():
    kit = minnow()
    template = Template("The capital of {country} is")
    graph = kit.trace("The capital of France is")
    with pytest.raises(InputError, match="has other tokens than the prompt 'The capital of Spain is'"):
        align([graph], [template.fill(kit.subject, {"country": "Spain"})])
    with pytest.raises(InputError, match="0 graphs and 0 prompts"):
        align([], [])
    assert isinstance(graph, clew.Graph)
