"""Graphs from elsewhere: graph JSON of Neuronpedia and circuit-tracer, or Clew's own file, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import MOST_ENTRIES
from clew.errors import FileError
from clew.web.errors import RefusedError, TooLargeError, disk_is_full


def read_graph_file(path: Path) -> Graph:
    """A graph that Clew saved; RefusedError when the file is none. The line names no path of the server."""
    try:
        return Graph.load(path)
    except FileError as error:
        if disk_is_full(error):
            raise
        raise RefusedError(_refusal(str(error).replace(str(path), "this file"))) from error


def _refusal(reason: str) -> str:
    """What the owner of a refused file can do about it, where the reason speaks of bytes only."""
    if "safetensors" not in reason:
        return reason
    return (
        "this file is no graph, or a part of one: give one that Clew saved (.graph), or graph JSON of Neuronpedia or "
        "circuit-tracer"
    )


def read_graph_json(content: bytes) -> tuple[Graph, dict[str, Any]]:
    """A graph and the JSON it was read from.

    RefusedError when it is no graph JSON, TooLargeError when its edges would not fit, FileError when it is damaged.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"this file is not whole JSON ({str(error)[:200]})") from error
    try:
        nodes, tokens = len(value["nodes"]), len(value["metadata"]["prompt_tokens"])
    except (KeyError, TypeError) as error:
        lacks = f"it has no {error.args[0]}" if isinstance(error, KeyError) else "its nodes or tokens are no lists"
        raise RefusedError(f"this JSON is no graph of Neuronpedia or circuit-tracer: {lacks}") from error
    if nodes * (nodes + tokens) > MOST_ENTRIES:
        raise TooLargeError(f"a graph of {nodes:,} nodes and {tokens:,} tokens is too large: prune it first")
    try:
        return Graph.from_json(value), value
    except (RuntimeError, RecursionError, MemoryError) as error:
        raise FileError(f"this graph JSON is damaged ({error})") from error
