"""Circuits of the graphs of an open kit: found, changed, saved under names, swapped.

Whoever asks for one holds the lock of the model; the latest are kept, so that saving one does not find it again.
"""

from __future__ import annotations

import json
from functools import cached_property

from clew.attribution.graph import Graph
from clew.circuit.ablation_claim import AblationClaim, check_claim
from clew.circuit.circuit import Circuit
from clew.circuit.regroup import GroupChange, regroup
from clew.circuit.swapping import swap_groups
from clew.circuit.words import Lexicon, lexicon_of_model
from clew.web.errors import RefusedError
from clew.web.responses import Download
from clew.web.schema.bodies import ChangedCircuit, CircuitChoice, ClaimBody, RivalBody, SaveCircuitBody, SwapBody
from clew.web.schema.circuits import AblationClaimView, CircuitEntry, CircuitList, CircuitView, RivalView, SwapView
from clew.web.views.circuits import circuit_view, claim_view, rival_view, swap_view, told
from clew.web.workbench.latest_values import LatestValues
from clew.web.workbench.open_kit import OpenKit

_KEPT, _KEPT_OTHERS = 16, 4


class WorkbenchCircuits:
    """Circuits of an open kit.

    Every method raises NotFoundError for a graph or circuit that there is not, and RefusedError for a graph of another
    kit; other errors are those of the library.
    """

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit, self.saved = open_kit, open_kit.workspace.circuits
        self._circuits: LatestValues[Circuit] = LatestValues(_KEPT)
        self._others: LatestValues[tuple[Graph, Circuit]] = LatestValues(_KEPT_OTHERS)

    def check(self, body: ChangedCircuit) -> str:
        """The prompt of a circuit's graph; the errors of `find`, as far as they show without the model."""
        graph = self._graph(body.graph)
        if body.saved is not None:
            self.saved.get(body.graph, body.saved)
        return graph.prompt

    def find(self, body: ChangedCircuit) -> CircuitView:
        """A circuit with its changes. To be called by the holder of the model's lock."""
        unchanged = body.saved is not None and not body.changes
        name = self.saved.get(body.graph, body.saved)[0] if body.saved is not None else ""
        return self._view(body.graph, self._circuit(body), body.saved if unchanged else None, name)

    def exported(self, graph: str, choice: CircuitChoice) -> CircuitView:
        """The explanation of an exported page. To be called by the holder of the model's lock."""
        body = _chosen(graph, choice)
        self.check(body)
        with self.open_kit.model_lock.short():
            return self.find(body)

    def swap(self, body: SwapBody) -> SwapView:
        """A group swapped with that of another prompt. To be called by the holder of the model's lock."""
        kit = self.open_kit.labelled_kit

        def traced() -> tuple[Graph, Circuit]:
            other = kit.trace(body.prompt, add_bos=body.add_bos)
            return other, kit.circuit(other)

        circuit = self._circuit(body)
        other_graph, other = self._others.get((body.prompt, body.add_bos), traced)
        swap = swap_groups(kit.subject, kit.dictionary, circuit, body.group, other, other_graph, body.other_group)
        return swap_view(body.graph, circuit, other, swap)

    def claim(self, graph: str, body: ClaimBody) -> AblationClaimView:
        """A claim about features of a graph, checked in the model beside random ones."""
        traced, kit = self._graph(graph), self.open_kit.kit
        claim = AblationClaim(**{**body.model_dump(), "features": tuple(body.features)})
        with self.open_kit.model_lock.short():
            return claim_view(graph, check_claim(kit.subject, kit.dictionary, traced, claim))

    def rival(self, graph: str, body: RivalBody) -> RivalView:
        """What holds another token down where a circuit says its answer."""
        traced = self._graph(graph)
        choice = _chosen(graph, body)
        self.check(choice)
        with self.open_kit.model_lock.short():
            circuit = self._circuit(choice)
            if circuit.runs is None:  # it was read from the workspace
                circuit = self._regrouped(traced, circuit, [])
            return rival_view(graph, circuit.why_not(body.token))

    def _circuit(self, body: ChangedCircuit) -> Circuit:
        changes = [GroupChange.from_json(change.model_dump()) for change in body.changes]
        key = (body.graph, body.saved, body.groups, json.dumps([change.to_json() for change in changes]))
        return self._circuits.get(key, lambda: self._made(body, changes))

    def _made(self, body: ChangedCircuit, changes: list[GroupChange]) -> Circuit:
        graph, kit = self._graph(body.graph), self.open_kit.labelled_kit
        if body.saved is not None:
            start = self.saved.get(body.graph, body.saved)[1]
        elif changes:
            start = self._circuit(body.model_copy(update={"changes": []}))
        else:
            return kit.circuit(graph, groups=body.groups)
        if not changes:
            return start
        return self._regrouped(graph, start, changes)

    def _regrouped(self, graph: Graph, circuit: Circuit, changes: list[GroupChange]) -> Circuit:
        kit = self.open_kit.labelled_kit
        return regroup(kit.subject, kit.dictionary, graph, circuit, changes, self._lexicon, self.open_kit.atlas)

    @cached_property
    def _lexicon(self) -> Lexicon:
        return lexicon_of_model(self.open_kit.kit.provenance.get("model", {}))

    def _graph(self, graph: str) -> Graph:
        open_graph, of_kit = self.open_kit.graph(graph)
        if not of_kit:
            raise RefusedError(f"graph {graph} was not traced with {self.open_kit.dictionary.name!r}: open its own kit")
        return open_graph.graph

    def _view(self, graph: str, circuit: Circuit, saved: str | None, name: str) -> CircuitView:
        return circuit_view(circuit, graph, self.open_kit.names.of, saved=saved, name=name)

    # --- saved ones ---------------------------------------------------------------------------------------------

    def all(self, graph: str) -> CircuitList:
        """The saved circuits of a graph."""
        known = self.open_kit.workspace.entry(graph).id
        return CircuitList(
            circuits=[
                CircuitEntry(id=id, name=name, date=date, sentence=told(circuit), n_groups=len(circuit.groups))
                for id, name, date, circuit in self.saved.of(known)
            ]
        )

    def save(self, graph: str, body: SaveCircuitBody) -> CircuitView:
        """Save a circuit under a name; NameTakenError where one has it and is not to be replaced."""
        self._graph(graph)
        with self.open_kit.model_lock.short():
            circuit = self._circuit(_chosen(graph, body))
        name = " ".join(body.name.split())
        if not name or not name.isprintable():
            raise RefusedError(f"a circuit's name is of visible characters, not {body.name!r}")
        id = self.saved.keep(graph, name, circuit, replace=body.replace)
        return self._view(graph, circuit, id, name)

    def get(self, graph: str, id: str) -> CircuitView:
        """A saved circuit, with the numbers that it was saved with."""
        self._graph(graph)
        name, circuit = self.saved.get(graph, id)
        return self._view(graph, circuit, id, name)

    def file(self, graph: str, id: str) -> Download:
        """A saved circuit as the file that `clew.Circuit.load` reads."""
        name, content = self.saved.content(self.open_kit.workspace.entry(graph).id, id)
        return Download(content, "application/json", f"{name}.circuit.json")

    def remove(self, graph: str, id: str) -> None:
        """Remove a saved circuit."""
        self.saved.remove(self.open_kit.workspace.entry(graph).id, id)


def _chosen(graph: str, choice: CircuitChoice) -> ChangedCircuit:
    """A choice as one of a graph."""
    return ChangedCircuit(graph=graph, saved=choice.saved, groups=choice.groups, changes=choice.changes)
