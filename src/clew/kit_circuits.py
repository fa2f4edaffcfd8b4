"""The verbs of a Kit that make circuits: find one, change its groups, put another prompt's group into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew.attribution.graph import Graph
from clew.circuit.circuit import Circuit
from clew.circuit.find_circuit import CircuitSettings, find_circuit
from clew.circuit.regroup import GroupChange, regroup
from clew.circuit.swapping import GroupSwap, swap_groups
from clew.circuit.words import Lexicon, lexicon_of_model
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.kit_verbs import on_graph
from clew.subject.subject import Subject

if TYPE_CHECKING:
    from clew.search.searchable_atlas import SearchableAtlas


class CircuitVerbs:
    """What a Kit does with circuits."""

    subject: Subject
    dictionary: Dictionary
    provenance: dict[str, Any]
    atlas_path: Path | None

    if TYPE_CHECKING:

        @cached_property
        def atlas(self) -> SearchableAtlas:
            """That of the Kit."""

    @on_graph(CircuitSettings)
    def circuit(self, graph: Graph, settings: CircuitSettings) -> Circuit:
        """A graph's features in a few named groups, what each does, and one sentence: `kit.circuit(graph).sentence`.

        What it says is measured. InputError for outputs that are no tokens, MismatchError for another's graph.
        """
        settings = replace(settings, lexicon=settings.lexicon or self._lexicon)
        return find_circuit(self.subject, self.dictionary, graph, settings, self.atlas if self.atlas_path else None)

    def regroup(self, circuit: Circuit, changes: Sequence[GroupChange], graph: Graph | None = None) -> Circuit:
        """A circuit with changed groups, measured anew.

            kit.regroup(circuit, [GroupChange.merge("G1", "G5"), GroupChange.rename("G1", "the country")]).sentence

        One that was read from a file needs its `graph`. Errors are those of `clew.circuit.regroup`.
        """
        atlas = self.atlas if self.atlas_path else None
        graph = _graph_of(circuit) if graph is None else graph
        return regroup(self.subject, self.dictionary, graph, circuit, changes, self._lexicon, atlas)

    def swap(
        self, circuit: Circuit, group: str, other: Circuit, other_group: str = "", *, other_graph: Graph | None = None
    ) -> GroupSwap:
        """A group of another prompt's circuit in the place of one of this circuit: does the answer follow?

            kit.swap(france, "country: France", italy).sentence

        Left out, the other group is the one that does what this one does. Beside it stand random features of the other
        prompt. A circuit that was read from a file needs its `other_graph`. Errors are those of
        `clew.circuit.swapping`.
        """
        other_graph = _graph_of(other) if other_graph is None else other_graph
        return swap_groups(self.subject, self.dictionary, circuit, group, other, other_graph, other_group)

    @cached_property
    def _lexicon(self) -> Lexicon:
        return lexicon_of_model(self.provenance.get("model", {}))


def _graph_of(circuit: Circuit) -> Graph:
    """The graph that a circuit was found in; InputError for one that was read from a file."""
    if circuit.runs is None:
        raise InputError(
            f"the circuit of {circuit.prompt!r} was read from a file: trace its prompt, and give the graph"
        )
    return circuit.runs.graph
