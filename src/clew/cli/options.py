"""Options made from configurations: one option a field, its help the text that follows the field in the source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import UnionType
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from clew.settings import help_of, options_of


def with_settings(*configs: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command whose last parameter is `**settings` an option for every field of some configurations.

    Configurations are named `module:Class`. An option that is left out is not in `settings`, so that defaults stay
    where they are written.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        *before, rest = own.parameters.values()
        assert rest.kind is inspect.Parameter.VAR_KEYWORD
        made = [option for config in configs for option in _options(config)]

        @wraps(command)
        def called(**given: Any) -> None:
            names = {parameter.name for parameter in made}
            settings = {name: given.pop(name) for name in list(given) if name in names}
            command(**given, **{name: value for name, value in settings.items() if value is not None})

        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in before), *made]
        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return called

    return decorate


def _options(config: str) -> list[inspect.Parameter]:
    from importlib import import_module

    module, name = config.split(":")
    kind = getattr(import_module(module), name)
    hints, texts = get_type_hints(kind), help_of(kind)
    return [_option(field.name, hints[field.name], texts[field.name], _panel(kind)) for field in options_of(kind)]


def _option(name: str, hint: Any, help: str, panel: str) -> inspect.Parameter:
    """The option of one field; a whole number or several becomes text that is read here."""
    several: dict[str, Any] = {}
    if get_origin(hint) is UnionType:
        hint, several = Any, {"parser": _numbers, "metavar": "<int>[,<int>...]"}
    option = typer.Option(help=help, rich_help_panel=panel, show_default=False, **several)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=Annotated[hint | None, option])


def _numbers(text: str) -> int | tuple[int, ...]:
    """`2048`, or `4096,2048,2048`."""
    from clew.training.presets import parted

    found = parted(text, int)
    return found[0] if len(found) == 1 else found


def _panel(kind: type) -> str:
    return f"{inspect.getdoc(kind)}".splitlines()[0].rstrip(".")
