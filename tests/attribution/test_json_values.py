"""Values of JSON from elsewhere: each kind is taken up to its bounds, and what only looks like it is refused."""

import pytest

from clew.attribution.json_values import (
    DEEPEST,
    LARGEST,
    bare,
    layer_number,
    parsed,
    plain_json,
    real_number,
    shown,
    whole_number,
)


@pytest.mark.parametrize("value", [-1, 0, 2.0, 1 << 53])
def test_a_whole_number_is_one_from_minus_one_to_two_to_the_53(value: float) -> None:
    assert whole_number(value, "x") == value
    assert type(whole_number(value, "x")) is int


@pytest.mark.parametrize("value", [-2, (1 << 53) + 1, 2.5, True, "1", None, float("inf")])
def test_what_is_no_such_whole_number_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^the place is .*, not a whole number"):
        whole_number(value, "the place")


def test_a_layer_is_a_number_or_up_to_eight_digits() -> None:
    assert [layer_number(value, "x") for value in (3, "3", "0", "12345678")] == [3, 3, 0, 12345678]
    for value in (-1, "-1", "123456789", "²", ""):
        with pytest.raises(ValueError, match="not a whole number"):
            layer_number(value, "x")


def test_a_real_number_is_finite_and_within_its_bounds() -> None:
    assert [real_number(value, "x") for value in (-LARGEST, 3, LARGEST)] == [-LARGEST, 3.0, LARGEST]
    assert real_number(1.0, "x", low=0.0, high=1.0) == 1.0
    with pytest.raises(ValueError, match="not a number from 0 to 1"):
        real_number(1.1, "x", low=0.0, high=1.0)
    for value in (True, "1", float("nan"), 2 * LARGEST):
        with pytest.raises(ValueError, match=r"not a number$"):
            real_number(value, "x")


@pytest.mark.parametrize("wrong", ["\ud800", float("nan"), 10**30, object()])
def test_json_that_could_not_be_written_is_refused_however_deep_it_stands(wrong: object) -> None:
    plain_json({"a": [1, {"b": (True, None, "c", 2.5)}]}, "x")
    for value in (wrong, [1, wrong], {"a": {"b": wrong}}, [{"a": (wrong,)}]):
        with pytest.raises(ValueError, match=r"^x is .*, not "):
            plain_json(value, "x")


def test_lists_and_objects_stand_in_one_another_only_so_deep() -> None:
    value: object = 1
    for depth in range(DEEPEST):
        value = [value] if depth % 2 else {"a": value}
    plain_json(value, "x")
    with pytest.raises(ValueError, match=f"x is nested more than {DEEPEST} deep"):
        plain_json([value], "x")


def test_a_key_that_stands_twice_and_a_nan_are_no_json() -> None:
    assert parsed('{"a": {"b": 1}, "b": [2.5]}') == {"a": {"b": 1}, "b": [2.5]}
    with pytest.raises(ValueError, match="the key 'b' twice"):
        parsed('[{"a": 1, "b": 1, "b": 2}]')
    with pytest.raises(ValueError, match="NaN is no number of JSON"):
        parsed('{"a": NaN}')


def test_a_message_shows_sixty_characters_whole_and_of_more_the_first() -> None:
    assert shown("a" * 58) == f"'{'a' * 58}'"
    assert shown("a" * 59) == f"'{'a' * 56}..."
    assert shown(10**100) == "a number of very many digits"
    assert bare("a\n") == "a\\n"
