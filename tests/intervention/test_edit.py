"""Edits as values: written and read back, in text, JSON and files, and every one that cannot be is refused by name."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given as for_any
from hypothesis import strategies as st

import clew
from clew import Edit, FeatureId
from clew.errors import FileError, InputError, MismatchError
from clew.intervention.edit import check, last_clamped, load_edits, on_prompt, save_edits
from tests import models

COUNTS = st.integers(0, 10**6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POSITIONS = st.sampled_from(["all", "prompt", "generated"]) | st.lists(COUNTS, min_size=1, max_size=5).map(tuple)


@st.composite
def written_edits(draw: st.DrawFn) -> dict[str, Any]:
    """Every edit that has a written form, as what `Edit` takes."""
    verb = draw(st.sampled_from(["ablate", "set", "scale", "add", "steer"]))
    return {
        "verb": verb,
        "feature": FeatureId(draw(COUNTS), draw(COUNTS)),
        "strength": 0.0 if verb == "ablate" else draw(NUMBERS),
        "positions": draw(POSITIONS),
        "layer": draw(st.none() | COUNTS) if verb == "steer" else None,
    }


DIRECTIONS = st.fixed_dictionaries(
    {
        "verb": st.just("steer"),
        "direction": st.lists(NUMBERS, min_size=1, max_size=5).map(tuple),
        "strength": NUMBERS,
        "layer": COUNTS,
        "positions": POSITIONS,
    }
)


# --- there and back ---------------------------------------------------------------------------------------------


@for_any(written_edits())
def test_the_written_form_is_a_bijection(given: dict[str, Any]) -> None:
    edit = Edit(**given)
    assert edit.written is not None
    again = Edit.parse(edit.verb, edit.written)
    assert again == edit
    assert again.written == edit.written
    verb, rest = str(edit).split(" ", 1)
    assert Edit.parse(verb, rest) == edit  # type: ignore[arg-type]


@for_any(written_edits(), written_edits())
def test_two_edits_are_never_written_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = Edit(**first), Edit(**second)
    assert (str(one) == str(other)) == (one == other)


@for_any(written_edits() | DIRECTIONS)
def test_json_gives_the_edit_back(given: dict[str, Any]) -> None:
    edit = Edit(**given)
    assert Edit.from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert Edit.from_json(edit.to_json()) == edit


@for_any(st.lists(written_edits() | DIRECTIONS, max_size=4))
def test_a_file_gives_the_edits_back(tmp_path_factory: pytest.TempPathFactory, given: list[dict[str, Any]]) -> None:
    edits = [Edit(**one) for one in given]
    path = tmp_path_factory.mktemp("edits") / "edits.json"
    save_edits(path, edits, DICTIONARY)
    assert load_edits(path, DICTIONARY) == tuple(edits)


@pytest.mark.parametrize(
    ("verb", "text", "edit"),
    [
        ("ablate", "L3/1207@4", Edit.ablate("L3/1207", positions=4)),
        ("ablate", "L3/1207", Edit.ablate(FeatureId(3, 1207))),
        ("set", "L3/1207@2,5=1.5", Edit.set("L3/1207", 1.5, positions=(2, 5))),
        ("set", "L3/1207@5,2,5=1.5", Edit.set("L3/1207", 1.5, positions=(2, 5))),
        ("scale", "L2/88=-3", Edit.scale("L2/88@all", -3.0)),
        ("add", "L2/88@prompt=1e-3", Edit.add("L2/88", 0.001, positions="prompt")),
        ("steer", "L2/88@generated=4", Edit.steer("L2/88@generated", 4.0)),
        ("steer", "L2/88:L4@7=4", Edit.steer("L2/88", 4.0, layer=4, positions=7)),
    ],
)
def test_what_is_written_is_what_is_meant(verb: Any, text: str, edit: Edit) -> None:
    assert Edit.parse(verb, text) == edit


def test_a_direction_is_kept_to_the_last_bit() -> None:
    direction = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edit = Edit.steer(direction, 0.1, layer=2)
    assert edit.direction == tuple(direction.tolist())
    assert Edit.steer([0.1, 1e300], 0.1, layer=2).direction == (0.1, 1e300)
    assert edit.written is None
    assert str(edit) == "steer a direction in layer 2=0.1"


def test_a_change_gives_a_new_value() -> None:
    edit = Edit.set("L1/3@5", 2.0)
    assert replace(edit, positions=(7, 6, 7)).positions == (6, 7)
    assert {edit: 1}[Edit.set("L1/3", 2.0, positions=5)] == 1


# --- positions --------------------------------------------------------------------------------------------------


@for_any(POSITIONS, st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 1))
def test_a_mask_says_which_positions_are_edited(
    positions: Any, start: int, length: int, n_prompt: int, first: int
) -> None:
    edit = Edit.ablate("L0/1", positions=positions)
    chosen = {
        "all": lambda p: True,
        "prompt": lambda p: p < n_prompt,
        "generated": lambda p: p >= n_prompt,
    }.get(positions, lambda p: p in positions)
    wanted = [bool(p >= first and chosen(p)) for p in range(start, start + length)]
    assert edit.mask(start, start + length, n_prompt=n_prompt, first=first).tolist() == wanted


@for_any(st.lists(written_edits(), max_size=4), st.integers(1, 10))
def test_on_a_prompt_edits_are_those_of_its_positions(given: list[dict[str, Any]], n_prompt: int) -> None:
    edits = [Edit(**one) for one in given]

    def masks(edits: Any) -> list[Any]:
        found = [(e.feature, e.mask(0, n_prompt, n_prompt=n_prompt, first=0).tolist()) for e in edits]
        return [(feature, mask) for feature, mask in found if any(mask)]

    kept = on_prompt(edits, n_prompt)
    assert masks(kept) == masks(edits)
    assert len(kept) == len(masks(edits))


# --- no edits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf])
def test_a_strength_that_is_no_number_is_refused(strength: float) -> None:
    for make in (Edit.set, Edit.scale, Edit.add, Edit.steer):
        with pytest.raises(InputError, match=str(strength)):
            make("L1/2", strength)
    with pytest.raises(InputError, match=str(strength)):
        Edit.parse("set", f"L1/2={strength}")
    with pytest.raises(InputError, match="NaN or infinity"):
        Edit.steer((1.0, strength), 1.0, layer=0)


@pytest.mark.parametrize(
    ("verb", "text", "message"),
    [
        ("ablate", "L3/1207=2", "L3/1207@4"),
        ("set", "L3/1207", "L3/1207@4=2.5"),
        ("set", "L3/1207=", "'' is not a number"),
        ("set", "L3/1207=2=3", "'2=3' is not a number"),
        ("set", "L3/1207=many", "'many' is not a number"),
        ("ablate", "1207", "is not a feature"),
        ("ablate", "L3/-1", "is not a feature"),
        ("ablate", "L3/1207@", "are no positions"),
        ("ablate", "L3/1207@-1", "are no positions"),
        ("ablate", "L3/1207@1,", "are no positions"),
        ("ablate", "L3/1207@everywhere", "are no positions"),
        ("ablate", "L3/1207@1@2", "are no positions"),
        ("steer", "L3/1207:4=1", "no layer to steer into"),
        ("set", "L3/1207:L4=1", "only steering"),
    ],
)
def test_a_form_that_is_none_is_refused(verb: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Edit.parse(verb, text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Edit.ablate("L1/2@4", positions=4), "a second time"),
        (lambda: Edit.steer("L1/2:L3", 1.0, layer=3), "a second time"),
        (lambda: Edit.ablate("L1/2", positions=-1), "count from 0"),
        (lambda: Edit.ablate("L1/2", positions=()), "at least one"),
        (lambda: Edit.steer([1.0, 2.0], 1.0), "needs the layer"),
        (lambda: Edit(verb="steer"), "a feature or a direction"),
        (lambda: Edit(verb="set", direction=(1.0,), layer=0), "only be steered along"),
        (lambda: Edit(verb="ablate", feature=FeatureId(0, 1), strength=2.0), "takes no strength"),
    ],
)
def test_an_edit_that_contradicts_itself_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not an edit"),
        ({}, "verb"),
        ({"verb": "explode", "feature": "L1/2"}, "explode"),
        ({"verb": ["set"], "feature": "L1/2"}, "verb"),
        ({"verb": "ablate"}, "a feature or a direction"),
        ({"verb": "ablate", "feature": 12}, "'12' is not a feature"),
        ({"verb": "ablate", "feature": None}, "is not a feature"),
        ({"verb": "ablate", "feature": "L1/2", "colour": 1}, "unknown colour"),
        ({"verb": "set", "feature": "L1/2", "strength": "3"}, "'3' is no number"),
        ({"verb": "set", "feature": "L1/2", "strength": True}, "no number"),
        ({"verb": "set", "feature": "L1/2", "strength": None}, "no number"),
        ({"verb": "ablate", "feature": "L1/2", "positions": 4}, "no list"),
        ({"verb": "ablate", "feature": "L1/2", "positions": [1.5]}, "1.5 is no layer or position"),
        ({"verb": "ablate", "feature": "L1/2", "positions": ["1"]}, "no layer or position"),
        ({"verb": "ablate", "feature": "L1/2", "positions": [True]}, "no layer or position"),
        ({"verb": "ablate", "feature": "L1/2", "positions": [-1]}, "count from 0"),
        ({"verb": "steer", "feature": "L1/2", "layer": "3"}, "no layer or position"),
        ({"verb": "steer", "direction": "12", "layer": 3}, "no list"),
        ({"verb": "steer", "direction": [1, "2"], "layer": 3}, "no number"),
        ({"verb": "steer", "direction": [1, math.nan], "layer": 3}, "NaN"),
    ],
)
def test_json_that_is_no_edit_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Edit.from_json(value)


# --- files ------------------------------------------------------------------------------------------------------

SUBJECT = models.subject("gpt2")
DICTIONARY = models.dictionary("clt", SUBJECT)
EDITS = (Edit.ablate("L1/3@4"), Edit.steer("L0/2:L1@generated", 2.5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_edits(tmp_path / "edits.json", EDITS, DICTIONARY)
    return tmp_path / "edits.json"


def test_edits_of_another_dictionary_are_refused_whatever_its_name(path: Path) -> None:
    other = replace(models.dictionary("clt", SUBJECT, seed=2), name=DICTIONARY.name)
    with pytest.raises(MismatchError, match="other meanings"):
        load_edits(path, other)
    assert load_edits(path, replace(DICTIONARY, name="renamed")) == EDITS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "JSON"),
        (lambda text: "", "JSON"),
        (lambda text: "[1, 2]", "1 is not an edit"),
        (lambda text: text.replace("clew.edits", "other"), "holds no edits"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9"),
        (lambda text: text.replace('"schema": 1', '"schema": "1"'), "schema '1'"),
        (lambda text: text.replace("L1/3", "L1"), "edits.json: 'L1' is not a feature"),
        (lambda text: text.replace("2.5", "NaN"), "edits.json"),
    ],
    ids=["half", "empty", "list", "foreign", "newer", "strange", "no feature", "nan"],
)
def test_a_broken_file_is_refused_by_name_and_reason(path: Path, change: Any, message: str) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(FileError, match=re.escape(message)):
        load_edits(path, DICTIONARY)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.json"):
        load_edits(tmp_path / "none.json", DICTIONARY)


# --- edits that a dictionary cannot do --------------------------------------------------------------------------


def refused(*edits: Edit, through: int | None = None, growing: int = 0, dictionary: Any = DICTIONARY) -> str:
    with pytest.raises(InputError) as caught:
        check(edits, dictionary, n_positions=9, first=1, through=through, growing=growing)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_exist_is_named_with_what_does() -> None:
    assert "no layer 3, only 0..2" in refused(Edit.ablate("L3/1"))
    assert "features 0..39" in refused(Edit.ablate("L1/40"))
    assert "position 9 is outside the prompt's 9 tokens" in refused(Edit.ablate("L1/3@4,9"))
    assert "position 12 is outside the prompt's 9 tokens and 3 generated ones" in refused(
        Edit.ablate("L1/3@12"), growing=3
    )
    assert "position 0 is left out" in refused(Edit.ablate("L1/3@0"))
    assert "no token is generated" in refused(Edit.ablate("L1/3@generated"))
    assert "writes to layers 1..2 only" in refused(Edit.steer("L1/3", 1.0, layer=0))
    assert "width is 32" in refused(Edit.steer([1.0, 2.0], 1.0, layer=0))
    assert "layers 0..2" in refused(Edit.steer([1.0] * 32, 1.0, layer=3))


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (Edit.ablate("L1/3"), Edit.set("L1/3@4", 2.0), True),
        (Edit.ablate("L1/3@prompt"), Edit.set("L1/3@generated", 2.0), False),
        (Edit.ablate("L1/3@generated"), Edit.set("L1/3@10", 2.0), True),
        (Edit.ablate("L1/3@4"), Edit.set("L1/3@5", 2.0), False),
        (Edit.add("L1/3", 1.0), Edit.add("L1/3@4", 2.0), False),
        (Edit.add("L1/3", 1.0), Edit.scale("L1/3@4", 2.0), True),
        (Edit.ablate("L1/3"), Edit.ablate("L1/4"), False),
        (Edit.ablate("L1/3"), Edit.ablate("L0/3"), False),
        (Edit.ablate("L1/3"), Edit.steer("L1/3", 2.0), False),
        (Edit.steer("L1/3", 2.0), Edit.steer("L1/3", 2.0), False),
    ],
)
def test_edits_contradict_when_they_say_two_things_of_one_activation(one: Edit, other: Edit, contradict: bool) -> None:
    for pair in ((one, other), (other, one)):
        if contradict:
            assert "contradict" in refused(*pair, growing=3)
        else:
            check(pair, DICTIONARY, n_positions=9, first=1, through=None, growing=3)


def test_the_last_clamped_layer_is_the_last_edited_one_or_a_later_one() -> None:
    edits = (Edit.ablate("L0/3"), Edit.ablate("L1/3"), Edit.steer("L2/3", 1.0))
    assert last_clamped(edits, DICTIONARY, None) == 1
    assert [last_clamped(edits, DICTIONARY, e) for e in (1, 2)] == [1, 2]
    assert "give one of 1..2" in refused(*edits, through=0)
    assert "give one of 1..2" in refused(*edits, through=3)
    assert "give one of 1..2" in refused(*edits, through=-1)
    assert "steering clamps nothing" in refused(Edit.steer("L2/3", 1.0), through=2)
    behind = replace(DICTIONARY, read_site="resid_post", layers={0: DICTIONARY.layers[1]}, writes={0: (1, 2)})
    assert last_clamped(edits[:1], behind, None) == 1  # its features write behind the layer that they read
    assert "give one of 1..2" in refused(edits[0], through=0, dictionary=behind)


def test_the_public_names_are_these() -> None:
    from clew.intervention.run import Effect

    assert (clew.Edit, clew.Effect) == (Edit, Effect)
    effect = clew.load("minnow").edit("The capital of France is", [clew.Edit.ablate("L1/78@4")])
    assert isinstance(effect, Effect)
