"""A search as a value: what is searched for, in exactly one of five ways, and which hits are kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from clew.errors import InputError
from clew.ids import FeatureId
from clew.settings import Settings

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
Order = Literal["activation", "share"]
WAYS = ("words", "meaning", "token", "text", "like")


@dataclass(frozen=True, kw_only=True)
class Query(Settings):
    """InputError unless exactly one of WAYS is given, and where the limit or the density is out of range."""

    words: str | None = field(default=None, kw_only=False)
    """Words that stand in a label, or begin a word of it."""
    meaning: str | None = None
    """What a label should mean; needs the extra minilm."""
    token: str | None = None
    """One of the five tokens that a feature promotes most."""
    text: str | None = None
    """A text on which features fire."""
    like: FeatureId | str | None = None
    """A feature; hits write alike, read alike or fire with it."""
    by_token: bool = False
    """Of a search by text: the strongest features at every token, `limit` each."""
    max_density: float = 1.0
    """Of a search by text: leave out features that fire on a larger share of the atlas' corpus."""
    order: Order = "activation"
    """Of a search by text: strongest by activation, or by its share of the feature's largest activation."""
    add_bos: bool = True
    """Of a search by text: begin it with what the tokenizer puts there, or its BOS."""
    within: Collection[FeatureId] | None = None
    """Only these features are hits."""
    limit: int = 20
    """How many hits there are at most."""

    def __post_init__(self) -> None:
        if sum(getattr(self, way) is not None for way in WAYS) != 1:
            raise InputError(f"search in one way: {', '.join(WAYS)}")
        if self.limit < 1:
            raise InputError(f"the limit is {self.limit}: give at least one")
        if not 0 <= self.max_density <= 1:
            raise InputError(f"the largest density is {self.max_density:g}: it is a share between 0 and 1")


def takes_query(
    query: Callable[P, Query],
) -> Callable[[Callable[[A, Query], R]], Callable[Concatenate[A, P], R]]:
    """Give a method of one query the query's fields as arguments, `words` first.

    `clew.settings.accepts` does the same for settings, whose fields are keyword arguments all.
    """

    def decorate(verb: Callable[[A, Query], R]) -> Callable[Concatenate[A, P], R]:
        @wraps(verb)
        def called(self: A, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return verb(self, query(*args, **kwargs))

        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        signature = inspect.signature(query)
        called.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[first, *signature.parameters.values()], return_annotation=Any
        )
        return called

    return decorate
