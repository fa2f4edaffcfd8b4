"""Options as values: frozen dataclasses whose fields are the keyword arguments of a verb.

An option, its default and its help text stand in one place, the field of a settings class. `accepts` gives a function
the fields as keyword arguments: editors complete them and type checkers check them, because the arguments are the
parameters of the class itself. The command line makes its options from the same fields, the page its request bodies.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from clew.errors import InputError
from clew.progress import Report, silent

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")
S = TypeVar("S")

HIDDEN = {"option": False}
"""Metadata of a field that is an argument in Python only: no option of the command line, no field of a request."""


def option(*flags: str, kind: Any) -> dict[str, Any]:
    """Metadata of a field whose option on the command line has other flags than its name, and takes another type."""
    return {"flags": flags, "type": kind}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the settings of every verb have."""

    report: Report = field(default=silent, repr=False, compare=False, metadata=HIDDEN)
    """Called as the work goes on. It changes nothing of the result; an error that it raises ends the work."""


class Accepts(Generic[P, S]):
    """The decorator that `accepts` gives, typed for functions of one to four leading parameters."""

    def __init__(self, kind: Callable[P, S]) -> None:
        self.kind = kind

    @overload
    def __call__(self, verb: Callable[[A, S], R]) -> Callable[Concatenate[A, P], R]: ...
    @overload
    def __call__(self, verb: Callable[[A, B, S], R]) -> Callable[Concatenate[A, B, P], R]: ...
    @overload
    def __call__(self, verb: Callable[[A, B, C, S], R]) -> Callable[Concatenate[A, B, C, P], R]: ...
    @overload
    def __call__(self, verb: Callable[[A, B, C, D, S], R]) -> Callable[Concatenate[A, B, C, D, P], R]: ...
    def __call__(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        return with_keywords(verb, self.kind)


def accepts(kind: Callable[P, S]) -> Accepts[P, S]:
    """Give a function, whose last parameter is `settings`, the fields of a settings class as keyword arguments.

    `verb(..., settings=value)` is accepted too; keyword arguments beside it replace its fields.
    """
    return Accepts(kind)


def with_keywords(verb: Callable[..., R], kind: Callable[..., Any]) -> Callable[..., R]:
    """`accepts` without its static types."""
    options = fields(kind)  # type: ignore[arg-type]
    names = {option.name for option in options}

    @wraps(verb)
    def called(*args: Any, **kwargs: Any) -> R:
        chosen = {name: kwargs.pop(name) for name in list(kwargs) if name in names}
        settings = kwargs.pop("settings", None)
        return verb(*args, settings=kind(**chosen) if settings is None else replace(settings, **chosen), **kwargs)

    called.__signature__ = _signature(verb, options)  # type: ignore[attr-defined]
    return called


def _signature(verb: Callable[..., Any], options: tuple[Field[Any], ...]) -> inspect.Signature:
    """What `help` shows: the leading parameters of the verb, then every option."""
    signature = inspect.signature(verb)
    *leading, last = signature.parameters.values()
    assert last.name == "settings", f"{verb.__name__} must end with its settings"
    kind = inspect.Parameter.KEYWORD_ONLY
    return signature.replace(
        parameters=[
            *leading,
            *(inspect.Parameter(o.name, kind, default=o.default, annotation=o.type) for o in options),
        ]
    )


def one_of(**choices: Any) -> None:
    """InputError when more than one of these options is given; None, False and an empty list count as not given.

    The message names the keyword and the option of the command line.
    """
    names = [name for name, value in choices.items() if _is_given(value)]
    if len(names) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in names)
        raise InputError(f"{flags} cannot be honoured together ({', '.join(names)}): give one of them")


def _is_given(value: Any) -> bool:
    return not (value is None or value is False or (isinstance(value, list) and not value))


def options_of(kind: type) -> tuple[Field[Any], ...]:
    """The fields of a settings class that a person may set on the command line or in a request."""
    return tuple(option for option in fields(kind) if option.metadata.get("option", True))


@cache
def help_of(kind: type) -> dict[str, str]:
    """What every field means: the text that follows it in the source, of the classes above it too."""
    texts: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if "__dataclass_fields__" in vars(part):
            texts |= _texts(part)
    return texts


def _texts(kind: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for option, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(option, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(option.target, ast.Name)
            texts[option.target.id] = " ".join(str(after.value.value).split())
    return texts
