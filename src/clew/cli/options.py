"""Options made from configurations: one option a field, its help the text that follows the field in the source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer


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

    from clew.training.presets import meanings

    module, name = config.split(":")
    kind = getattr(import_module(module), name)
    hints, help_of = get_type_hints(kind), meanings(kind)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                hints[field.name] | None,
                typer.Option(help=help_of[field.name], rich_help_panel=_panel(kind), show_default=False),
            ],
        )
        for field in fields(kind)
    ]


def _panel(kind: type) -> str:
    return f"{inspect.getdoc(kind)}".splitlines()[0].rstrip(".")
