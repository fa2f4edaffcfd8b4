"""Typed forms of `settings.accepts` for a Kit's verbs: names and defaults of their leading parameters are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from clew.attribution.graph import Graph
from clew.intervention.edit import Edit
from clew.settings import with_keywords
from clew.subject.subject import Prompt

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _OnPrompt(Protocol[P, R_co]):
    def __call__(self, prompt: Prompt, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _WithEdits(Protocol[P, R_co]):
    def __call__(self, prompt: Prompt, edits: Sequence[Edit], *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _WithOrWithoutEdits(Protocol[P, R_co]):
    def __call__(self, prompt: Prompt, edits: Sequence[Edit] = (), *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _OnMany(Protocol[P, R_co]):
    def __call__(self, cases: Iterable[Any], *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _OnManyRead(Protocol[P, R_co]):
    def __call__(self, cases: Iterable[Any], targets: Sequence[object], *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _OnGraph(Protocol[P, R_co]):
    def __call__(self, graph: Graph, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def on_prompt(kind: Callable[P, S]) -> Callable[[Callable[[Any, Prompt, S], R]], _OnPrompt[P, R]]:
    """Of a verb on one prompt."""
    return lambda verb: with_keywords(verb, kind)


def with_edits(kind: Callable[P, S]) -> Callable[[Callable[[Any, Prompt, Sequence[Edit], S], R]], _WithEdits[P, R]]:
    """Of a verb on one prompt and its edits."""
    return lambda verb: with_keywords(verb, kind)


def with_or_without_edits(kind: Callable[P, S]) -> Callable[[Callable[..., R]], _WithOrWithoutEdits[P, R]]:
    """Of a verb on one prompt whose edits may be left out."""
    return lambda verb: with_keywords(verb, kind)


def on_many(kind: Callable[P, S]) -> Callable[[Callable[[Any, Iterable[Any], S], R]], _OnMany[P, R]]:
    """Of a verb on many prompts, or prompts with their edits."""
    return lambda verb: with_keywords(verb, kind)


def on_many_read(
    kind: Callable[P, S],
) -> Callable[[Callable[[Any, Iterable[Any], Sequence[object], S], R]], _OnManyRead[P, R]]:
    """Of a verb that reads targets in many cases."""
    return lambda verb: with_keywords(verb, kind)


def on_graph(kind: Callable[P, S]) -> Callable[[Callable[[Any, Graph, S], R]], _OnGraph[P, R]]:
    """Of a verb on one graph."""
    return lambda verb: with_keywords(verb, kind)
