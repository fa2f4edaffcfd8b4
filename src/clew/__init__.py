"""Clew: see how a language model came to its answer, and check it.

    import clew

    kit = clew.load("minnow")
    graph = kit.trace("The capital of France is")
    graph.scores()
    clew.export_html(graph, "graph.html")

Names are imported when they are first used, so that `import clew` costs nothing; not even `typing` is, because until
`clew.__main__` runs, behind this file, Ctrl-C leaves a traceback.
"""

from __future__ import annotations

from importlib import import_module

from clew.displays import RENDERERS
from clew.errors import ClewError, FileError, InputError, MismatchError, RankError, UnsupportedModelError
from clew.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from clew.attribution.contrast import Contrast
    from clew.attribution.graph import Graph
    from clew.attribution.influence import Scores
    from clew.attribution.nodes import ErrorNode, FeatureNode, TargetNode, TokenNode
    from clew.attribution.trace import trace
    from clew.circuit.circuit import Circuit
    from clew.dictionary.dictionary import Dictionary
    from clew.features.card import Card
    from clew.ids import FeatureId, NodeId
    from clew.intervention.audit import Audit
    from clew.intervention.edit import Edit
    from clew.intervention.run import Effect
    from clew.kit import Kit, load
    from clew.runs.evaluate import evaluate
    from clew.runs.train import train
    from clew.search.searchable_atlas import SearchableAtlas as Atlas
    from clew.studies.catalogue import study
    from clew.studies.study import Study
    from clew.subject.recording import Recording
    from clew.subject.subject import Subject
    from clew.web.export import export_html

RENDERERS.update(
    {
        "Attribution": "clew.web.series:attribution_html",
        "Audit": "clew.web.notebook:audit_html",
        "Card": "clew.web.notebook:card_html",
        "Counterfactual": "clew.web.series:counterfactual_html",
        "Effect": "clew.web.notebook:effect_html",
        "Graph": "clew.web.notebook:graph_html",
        "Graph.show": "clew.web.notebook:show",
        "Result": "clew.web.report:result_html",
        "Result.report": "clew.web.report:report_html",
        "SeriesEvaluation": "clew.web.series:evaluation_html",
    }
)
_HOMES = {
    "Atlas": "clew.search.searchable_atlas:SearchableAtlas",
    "Audit": "clew.intervention.audit",
    "Card": "clew.features.card",
    "Circuit": "clew.circuit.circuit",
    "Contrast": "clew.attribution.contrast",
    "Dictionary": "clew.dictionary.dictionary",
    "Edit": "clew.intervention.edit",
    "Effect": "clew.intervention.run",
    "ErrorNode": "clew.attribution.nodes",
    "FeatureId": "clew.ids",
    "FeatureNode": "clew.attribution.nodes",
    "Graph": "clew.attribution.graph",
    "Kit": "clew.kit",
    "NodeId": "clew.ids",
    "Recording": "clew.subject.recording",
    "Scores": "clew.attribution.influence",
    "Study": "clew.studies.study",
    "Subject": "clew.subject.subject",
    "TargetNode": "clew.attribution.nodes",
    "TokenNode": "clew.attribution.nodes",
    "evaluate": "clew.runs.evaluate",
    "export_html": "clew.web.export",
    "load": "clew.kit",
    "study": "clew.studies.catalogue",
    "trace": "clew.attribution.trace",
    "train": "clew.runs.train",
}

__all__ = [
    "Atlas",
    "Audit",
    "Card",
    "Circuit",
    "ClewError",
    "Contrast",
    "Dictionary",
    "Edit",
    "Effect",
    "ErrorNode",
    "FeatureId",
    "FeatureNode",
    "FileError",
    "Graph",
    "InputError",
    "Kit",
    "MismatchError",
    "NodeId",
    "RankError",
    "Recording",
    "Scores",
    "Study",
    "Subject",
    "TargetNode",
    "TokenNode",
    "UnsupportedModelError",
    "__version__",
    "evaluate",
    "export_html",
    "load",
    "study",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
