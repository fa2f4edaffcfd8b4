"""Options of runs and evaluations beside the settings of dictionary and text, and functions that take all of them.

A preset, a file or an earlier run may lie under the settings of a call, so that it matters which ones were left out.
`keywords_of` therefore passes on those that were chosen and no defaults, unlike `clew.settings.accepts`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from clew.settings import HIDDEN

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run trains on, and how often it is measured."""

    kit: str | None = None
    """Train on this kit's model: a bundled kit by name, or a folder; left out, minnow."""
    model: str | None = None
    """A model folder or hub id, in place of a kit."""
    preset: str | None = None
    """Settings scaled to the model's size: tiny, small, medium or large; left out, small."""
    start: str | None = None
    """Begin with the weights of this dictionary (a kit, a folder or hub id), or run."""
    layer_weights: tuple[float, ...] | None = field(default=None, metadata=HIDDEN)
    """How much each layer's error counts beside the others', such as 1,1,4."""
    cache: bool = False
    """Keep the model's activations on disk; the command line asks before it writes."""
    check_every: int = 500
    """Steps between two measurements on held-out text; 0 for none."""
    shard: Literal["tokens", "features"] = "tokens"
    """Under torchrun, what the ranks share: the positions of a batch, or every layer's features (less memory each)."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What a dictionary is measured on, and beside which nulls."""

    kit: str | None = None
    """The kit whose model it is for, by name or folder; left out, the run's model, or minnow."""
    model: str | None = None
    """A model folder or hub id, in place of a kit."""
    other_model: bool = False
    """Measure the dictionary although it was made for another model."""
    count: int = 100
    """How many prompts are traced; 0 for none. Left out, all of those that were given."""
    nulls: bool = True
    """Train the null on the model with shuffled weights; it takes as long as its steps."""
    null_steps: int = 500
    """The most steps that this null is trained."""
    by_layer: bool = True
    """Also replace one layer at a time."""


def keywords_of(
    kind: Callable[P, object],
) -> Callable[[Callable[[A, dict[str, Any]], R]], Callable[Concatenate[A, P], R]]:
    """Give a function, whose last parameter is a dict of settings, the fields of a class as keyword arguments.

    The dict has those that were chosen. TypeError at a keyword that is no field.
    """
    options = fields(kind)  # type: ignore[arg-type]
    names = {option.name for option in options}

    def decorate(verb: Callable[[A, dict[str, Any]], R]) -> Callable[Concatenate[A, P], R]:
        @wraps(verb)
        def called(argument: A, *args: P.args, **settings: P.kwargs) -> R:
            if args:
                raise TypeError(f"{verb.__name__}() takes one positional argument; the rest are keywords")
            for name in settings.keys() - names:
                raise TypeError(f"{verb.__name__}() got an unexpected keyword argument {name!r}")
            return verb(argument, dict(settings))

        signature = inspect.signature(verb)
        first, last = signature.parameters.values()
        assert last.name == "settings"
        keywords = [
            inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.type)
            for o in options
        ]
        called.__signature__ = signature.replace(parameters=[first, *keywords])  # type: ignore[attr-defined]
        return called

    return decorate
