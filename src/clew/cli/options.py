"""Options made from classes: a parameter of a command that is a frozen dataclass becomes an option for every field.

A field of the command line's own classes says its option itself (`KitOptions.kit: KitOption`). A field of a settings
class of the library becomes an option of its name, whose help is the text that follows the field in the source; its
metadata may give other flags or another type (`clew.settings.option`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_origin

import typer

from clew.errors import InputError
from clew.settings import help_of, options_of

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class Only:
    """Beside a settings class: the fields that this command takes. The others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = names


def with_settings(*kinds: type, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make options of a command's parameters that are dataclasses, and of the fields of `kinds`.

    A parameter gets a whole value of its class. The fields of `kinds`, but those `without`, reach the command as
    `**settings`, and only those that were given, so that a preset or a file can stand between them and their defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        groups = {name: group for name, p in signature.parameters.items() if (group := _group(p.annotation))}
        rest = [option for kind in kinds for option in _left_out(kind) if option.name not in without]
        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            if name in groups:
                parameters += groups[name].parameters
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                parameters += rest
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def called(**arguments: Any) -> None:
            settings = {option.name: arguments.pop(option.name) for option in rest}
            values = {name: group.value(arguments) for name, group in groups.items()}
            command(**arguments, **values, **{name: value for name, value in settings.items() if value is not None})

        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
        return called

    return decorate


@dataclass(frozen=True)
class _Group:
    """The options of one parameter that is a dataclass."""

    kind: type
    parameters: tuple[inspect.Parameter, ...]

    def value(self, arguments: dict[str, Any]) -> Any:
        """Take its options out of the arguments; an option that may be repeated and was not given is None."""
        chosen = {parameter.name: arguments.pop(parameter.name) for parameter in self.parameters}
        return self.kind(**{name: None if value == [] else value for name, value in chosen.items()})


def _group(annotation: Any) -> _Group | None:
    """The options of a parameter; None when it is no dataclass."""
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    names = next((note.names for note in notes if isinstance(note, Only)), None)
    taken = [field for field in options_of(kind) if names is None or field.name in names]
    return _Group(kind, tuple(_parameter(kind, field) for field in taken))


def _parameter(kind: type, field: Field[Any]) -> inspect.Parameter:
    """The option of one field of a parameter's class, with the field's default."""
    hint = field.metadata.get("type") or _hint(kind, field)
    if get_origin(hint) is not Annotated:
        flags = field.metadata.get("flags", ())
        hint = Annotated[hint, typer.Option(*flags, help=help_of(kind)[field.name])]
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _left_out(kind: type) -> Iterator[inspect.Parameter]:
    """The options of a class that stay None when they are left out, under a heading of their own."""
    texts, panel = help_of(kind), f"{inspect.getdoc(kind)}".splitlines()[0].rstrip(".")
    for field in options_of(kind):
        hint: Any = _hint(kind, field)
        parser: dict[str, Any] = {}
        if any(get_origin(part) is tuple for part in get_args(hint)):  # one number, or one for each layer
            hint, parser = Any, {"parser": _numbers, "metavar": "<int>[,<int>...]"}
        flags = field.metadata.get("flags", ())
        option = typer.Option(*flags, help=texts[field.name], rich_help_panel=panel, show_default=False, **parser)
        annotation: Any = Annotated[hint | None, option]
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _hint(kind: type, field: Field[Any]) -> Any:
    """The type of a field, read in the module where its class is written."""
    home = next(c for c in kind.__mro__ if field.name in vars(c).get("__annotations__", {}))
    return eval(field.type, vars(sys.modules[home.__module__])) if isinstance(field.type, str) else field.type


def _numbers(text: str) -> int | tuple[int, ...]:
    """`2048`, or `4096,2048,2048`."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r} is not what is wanted: give whole numbers with commas between them") from None
    return numbers[0] if len(numbers) == 1 else numbers


def keywords(settings: Any) -> dict[str, Any]:
    """The fields of a settings value, as the keyword arguments of its verb."""
    return {field.name: getattr(settings, field.name) for field in fields(settings)}
