"""Options that are made from classes."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from clew.attribution.trace import TraceSettings
from clew.cli.options import Only, with_settings
from clew.labels.endpoint_config import EndpointConfig
from clew.training.config import DictionaryConfig


def called(command, *arguments):
    """What comes of calling a command with these arguments."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A class of the command line's own."""

    name: Annotated[str, typer.Option("--name", "-n", help="Its name.")] = "here"
    words: Annotated[list[str] | None, typer.Option("--word", help="May be repeated.")] = None


def command_of(*kinds, annotation=Place, **options):
    seen = []

    def command(place: annotation, **settings: Any) -> None:
        seen.append((place, settings))

    return with_settings(*kinds, **options)(command), seen


@pytest.mark.parametrize(
    ("arguments", "place"),
    [((), Place()), (("-n", "there", "--word", "a", "--word", "b"), Place(name="there", words=["a", "b"]))],
)
def test_a_parameter_that_is_a_dataclass_gets_a_value_of_it(arguments, place):
    command, seen = command_of()
    assert called(command, *arguments).exit_code == 0
    assert seen == [(place, {})]


def test_only_some_fields_of_a_settings_class_are_options_with_its_help_and_flags():
    command, seen = command_of(annotation=Annotated[TraceSettings, Only("targets", "position")])
    assert called(command, "-t", "Paris", "--target", "Rome", "--position", "4").exit_code == 0
    assert seen == [(TraceSettings(targets=["Paris", "Rome"], position=4), {})]
    text = " ".join(called(command, "--help").output.replace("│", " ").split())
    assert "Position whose next token is explained" in text
    assert "--budget" not in text


def test_fields_that_are_left_out_do_not_reach_the_command_and_numbers_keep_their_kind():
    command, seen = command_of(EndpointConfig, DictionaryConfig, without=("model",))
    assert called(command, "--budget-money", "0.5", "--features", "4096,2048").exit_code == 0
    assert seen[0][1] == {"budget_money": 0.5, "features": (4096, 2048)}
    assert called(command, "--features", "512").exit_code == 0
    assert seen[1][1] == {"features": 512}
    assert called(command, "--model", "x").exit_code == 2
