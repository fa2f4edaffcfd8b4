"""Graphs as commands take them: a prompt that is traced, or a file that `clew trace --save` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clew.attribution.graph import Graph
from clew.attribution.trace import TraceSettings
from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import keywords
from clew.cli.progress_bar import bar

_SUFFIXES = (".graph", ".json")


def graphs_of(texts: Sequence[str], source: KitOptions, settings: TraceSettings) -> list[Graph]:
    """The graphs of prompts and files; the kit is loaded only where there is a prompt. Errors are those of both."""
    kit = None
    if not all(map(_is_file, texts)):
        kit = source.load()
        on_few_threads(kit)
    graphs = []
    for text in texts:
        if kit is None or _is_file(text):
            graphs.append(Graph.from_json(Path(text)) if text.endswith(".json") else Graph.load(text))
            continue
        with bar("tracing") as report:
            graphs.append(kit.trace(text, **keywords(replace(settings, effects=True, report=report))))
    return graphs


def _is_file(text: str) -> bool:
    return text.endswith(_SUFFIXES)
