"""Graphs from elsewhere: graph JSON of Neuronpedia and circuit-tracer, Clew's own file, or the HTML page it exports.

Whatever is none is refused in one line with 422, before anything is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import MOST_ENTRIES, check_whole
from clew.attribution.json_values import parsed
from clew.errors import ClewError, FileError
from clew.web.errors import RefusedError, TooLargeError, UnreadableError, disk_is_full
from clew.web.schema.graphs import Arrangement
from clew.web.validation_errors import plain_line
from clew.web.workbench.page_import import is_page, read_page
from clew.web.workbench.pins_json import marks_of

_BYTE_MARK = b"\xef\xbb\xbf"
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What broken values lead to where no check has named them."""


@dataclass(frozen=True)
class ImportedGraph:
    """A graph from elsewhere, and what a person did to it there."""

    graph: Graph
    arrangement: Arrangement | None = None


def read_import(content: bytes, staged: Callable[[bytes], AbstractContextManager[Path]]) -> ImportedGraph:
    """What a file holds, checked; `staged` lends it as a file where it has to be one.

    UnreadableError when it is no graph, TooLargeError when its edges would not fit.
    """
    content = content.removeprefix(_BYTE_MARK)
    with refusing("this file"):
        if content[:4096].lstrip()[:1] == b"{":
            return _read_json(content)
        if is_page(content):
            return ImportedGraph(*read_page(content))
        with staged(content) as path:
            return ImportedGraph(check_whole(read_graph_file(path)))


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """UnreadableError for whatever is wrong in this block with what came from elsewhere."""
    try:
        yield
    except RefusedError:
        raise
    except ClewError as error:
        if disk_is_full(error):
            raise
        raise UnreadableError(str(error)) from error
    except ValidationError as error:
        raise UnreadableError(f"{what} is no whole graph: {plain_line(error.errors())}") from error
    except _FAULTS as error:
        raise UnreadableError(f"{what} is no whole graph ({type(error).__name__}: {str(error)[:200]})") from error


def read_graph_file(path: Path) -> Graph:
    """A graph that Clew saved; UnreadableError when the file is none. The line names no path of the server."""
    try:
        return Graph.load(path)
    except FileError as error:
        if disk_is_full(error):
            raise
        raise UnreadableError(_refusal(str(error).replace(str(path), "this file"))) from error


def _refusal(reason: str) -> str:
    """What the owner of a refused file can do about it, where the reason speaks of bytes only."""
    if "safetensors" not in reason:
        return reason
    return (
        "this file is no graph, or a part of one: give one that Clew saved (.graph), a page that it exported (.html), "
        "or graph JSON of Neuronpedia or circuit-tracer"
    )


def _read_json(content: bytes) -> ImportedGraph:
    try:
        value = parsed(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"this file is not whole JSON ({str(error)[:200]})") from error
    try:
        nodes, tokens = len(value["nodes"]), len(value["metadata"]["prompt_tokens"])
    except (KeyError, TypeError) as error:
        lacks = f"it has no {error.args[0]}" if isinstance(error, KeyError) else "its nodes or tokens are no lists"
        raise UnreadableError(f"this JSON is no graph of Neuronpedia or circuit-tracer: {lacks}") from error
    if nodes * (nodes + tokens) > MOST_ENTRIES:
        raise TooLargeError(f"a graph of {nodes:,} nodes and {tokens:,} tokens is too large: prune it first")
    return ImportedGraph(Graph.from_json(value), marks_of(value))
