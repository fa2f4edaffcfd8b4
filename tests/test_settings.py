"""Options as values: one field is the keyword argument, its default and its help text."""

import inspect
from dataclasses import dataclass

import pytest

from clew.settings import Settings, accepts, help_of, options_of


@dataclass(frozen=True, kw_only=True)
class SpeedSettings(Settings):
    """How fast."""

    fast: bool = False
    """Whether to hurry."""
    steps: int = 3
    """Steps to take, two
    lines of help."""


@accepts(SpeedSettings)
def walk(start: int, settings: SpeedSettings) -> tuple[int, SpeedSettings]:
    """Go."""
    return start + settings.steps, settings


def test_fields_are_keyword_arguments_and_an_unknown_one_is_refused():
    assert walk(1)[0] == 4
    assert walk(1, steps=5)[0] == 6
    with pytest.raises(TypeError, match="stepz"):
        walk(1, stepz=5)


def test_settings_may_be_given_whole_and_changed_in_part():
    end, settings = walk(1, settings=SpeedSettings(fast=True), steps=7)
    assert end == 8
    assert settings == SpeedSettings(fast=True, steps=7)


def test_the_signature_shows_every_option_with_its_default():
    parameters = inspect.signature(walk).parameters
    assert list(parameters) == ["start", "report", "fast", "steps"]
    assert parameters["steps"].default == 3


def test_a_callback_is_no_option_and_does_not_make_settings_differ():
    assert [option.name for option in options_of(SpeedSettings)] == ["fast", "steps"]
    assert SpeedSettings(report=print) == SpeedSettings()


def test_the_help_of_a_field_is_the_text_behind_it():
    texts = help_of(SpeedSettings)
    assert texts["steps"] == "Steps to take, two lines of help."
    assert texts["report"].startswith("Called as the work goes on")
