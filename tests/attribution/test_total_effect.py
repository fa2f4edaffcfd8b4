"""Total effects against brute force: take a node away, let everything after it follow, look at what is left."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import over_left_out, total_effect
from clew.attribution.nodes import TargetInfo
from clew.attribution.trace import trace
from clew.intervention.clamp import Clamp, EditedRow, Regime
from clew.intervention.edit import Edit
from clew.intervention.run import outcomes
from clew.subject.frozen import freeze
from tests import models
from tests.graphs import MAKES, Make, build
from tests.models import DISTINCT, PROMPT

EXACT = {"rtol": 1e-9, "atol": 1e-9}


class Gated:
    """A linear model of layers with a random gate on every feature: a = gate * (weights @ activations + offset)."""

    def __init__(self, seed: int, n_layers: int = 4, n_positions: int = 3, n_features: int = 24) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        errors = torch.cartesian_prod(torch.arange(n_layers), torch.arange(n_positions))
        self.keys = torch.stack(
            [
                torch.randint(0, n_layers, (n_features,), generator=generator).sort().values,
                torch.randint(0, n_positions, (n_features,), generator=generator),
                torch.arange(n_features),
            ],
            1,
        )
        order = torch.argsort(self.keys[:, 0] * n_positions + self.keys[:, 1], stable=True)
        self.keys, self.errors = self.keys[order], errors
        self.n, self.n_tokens, self.n_targets = n_features, n_positions, 2
        layer = torch.cat([self.keys[:, 0], errors[:, 0], torch.full((n_positions,), -1), torch.full((2,), n_layers)])
        position = torch.cat(
            [self.keys[:, 1], errors[:, 1], torch.arange(n_positions), torch.full((2,), n_positions - 1)]
        )
        reads = (torch.arange(len(layer)) < n_features) | (layer == n_layers)
        sees = (layer[None] < layer[:, None]) & (position[None] <= position[:, None]) & reads[:, None]
        self.weights = draw(len(layer), len(layer)) * 0.5 * sees
        self.offset = draw(len(layer)) * reads
        self.gates = draw(len(layer)).abs() * (torch.rand(len(layer), generator=generator) < 0.7)
        self.gates[n_features:] = 1.0
        self.given = draw(len(layer)) * ~reads
        self.n_layers = n_layers

    def run(self, removed: int | None = None, held: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Pre-activations and activations; a removed node gives nothing, held features keep a given activation."""
        pre, act = self.offset.clone(), self.given.clone()
        if removed is not None:
            act[removed] = 0
        readers = [*range(self.n), *range(len(pre) - self.n_targets, len(pre))]
        for node in readers:
            pre[node] = self.weights[node] @ act + self.offset[node]
            act[node] = 0 if node == removed else self.gates[node] * pre[node]
            if held is not None and bool(held[0][node]) and node != removed:
                act[node] = held[1][node]
        return pre, act

    def graph(self) -> tuple[Graph, Tensor]:
        """The graph of the active nodes, and their places in this model."""
        pre, act = self.run()
        kept = torch.ones(len(pre), dtype=torch.bool)
        kept[: self.n] = self.gates[: self.n] > 0
        places = kept.nonzero()[:, 0]
        active = kept[: self.n]
        inputs = act.clone()
        inputs[len(pre) - self.n_targets :] = 0
        targets = tuple(
            TargetInfo(label=f"o{i}", position=self.n_tokens - 1, weight=0.4, value=0.0) for i in range(self.n_targets)
        )
        graph = build(
            (self.weights * inputs)[places][:, places],
            self.keys[active],
            self.errors,
            tuple("abcdefgh"[: self.n_tokens]),
            targets,
            self.n_layers,
            activations=act[: self.n][active],
        )
        return replace(graph, preactivations=pre[: self.n][active]), places

    def losses(self, places: Tensor, held: Tensor | None = None) -> Tensor:
        """By brute force: what each kept node loses when each in turn is removed."""
        pre, act = self.run()
        columns = []
        for place in places.tolist()[: -self.n_targets]:
            less, _ = self.run(place, None if held is None else (held, act))
            lost = (pre - less)[places]
            if place < self.n:
                lost[places == place] = pre[place]
            columns.append(lost)
        return torch.stack(columns, 1)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_total_effects_are_those_of_taking_a_node_away_in_a_linear_model_with_random_gates(seed: int) -> None:
    model = Gated(seed)
    graph, places = model.graph()
    found = total_effect(graph, list(range(graph.target_range.start)))
    torch.testing.assert_close(found, model.losses(places), **EXACT)


def test_features_that_are_held_pass_nothing_on_but_tell_what_they_would_lose() -> None:
    model = Gated(3)
    graph, places = model.graph()
    held = torch.zeros(len(model.given), dtype=torch.bool)
    held[: model.n] = model.keys[:, 0] == 2
    found = total_effect(graph, list(range(graph.target_range.start)), clamped=held[places][: graph.n_features])
    torch.testing.assert_close(found, model.losses(places, held), **EXACT)
    free = total_effect(graph, list(range(graph.target_range.start)))
    assert float((found - free).abs().max()) > 1e-3


def test_the_naive_inverse_of_the_raw_adjacency_is_wrong() -> None:
    """Summing (I - A)^-1 with undivided rows counts an activation as often as it is large."""
    model = Gated(1)
    graph, places = model.graph()
    adjacency = graph.adjacency
    naive = torch.linalg.inv(torch.eye(len(adjacency), dtype=torch.float64) - adjacency)
    truth = model.losses(places)[graph.target_range.start :]
    wrong = naive[graph.target_range.start :, : truth.shape[1]]
    right = total_effect(graph, list(range(truth.shape[1])))[graph.target_range.start :]
    torch.testing.assert_close(right, truth, **EXACT)
    assert float((wrong - truth).abs().max()) > 0.1 * float(truth.abs().max())
    with pytest.raises(AssertionError):
        torch.testing.assert_close(wrong, truth, rtol=0.05, atol=0.05)


@settings(max_examples=25)
@given(MAKES, st.integers(0, 10**6))
def test_a_source_without_paths_to_others_has_its_edges_as_total_effect(make: Make, seed: int) -> None:
    """In the last layer nothing lies between a feature and the targets."""
    graph = make()
    assume(graph.n_features > 0)
    last = (graph.feature_keys[:, 0] == graph.feature_keys[:, 0].max()).nonzero()[:, 0]
    source = int(last[seed % len(last)])
    found = total_effect(graph, [source])[graph.target_range.start :, 0]
    torch.testing.assert_close(found, graph.adjacency[graph.target_range.start :, source])


@models.in_turn("architecture", DISTINCT, "kind", models.KINDS)
def test_total_effects_are_what_the_frozen_model_does_with_its_active_set_held(architecture: str, kind: str) -> None:
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject)
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    sources = list(range(0, graph.n_features, max(1, graph.n_features // 12)))
    found = total_effect(graph, sources)
    ids, held = torch.tensor(PROMPT), freeze(subject, subject.record(PROMPT))
    given = [(), *(((Edit.ablate(str(graph.node(source).id))),) for source in sources)]
    rows = [EditedRow(edits=own, base=0, n_prompt=len(ids), first=1, through=0) for own in given]
    with torch.no_grad():
        base, *rest = outcomes(
            subject, dictionary, Clamp(dictionary, rows, Regime(semantics="linear", frozen=held)), [ids] * len(rows)
        )
    for column, one in enumerate(rest):
        lost = (base.logits - one.logits)[-1]
        targets = (lost - lost.mean())[[3, 17]]
        torch.testing.assert_close(found[graph.target_range.start :, column], targets, rtol=1e-8, atol=1e-9)
        for layer in range(subject.n_layers):
            own = graph.feature_keys[:, 0] == layer
            own[sources[column]] = False
            _, positions, ids_ = graph.feature_keys[own].T
            reads = (base.reads[layer] - one.reads[layer])[positions]
            felt = (reads * dictionary.encoder_rows(layer, ids_)).sum(1)
            torch.testing.assert_close(found[: graph.n_features][own, column], felt, rtol=1e-8, atol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_what_goes_over_left_out_nodes_is_what_is_lost_with_shown_features_held_less_the_edge(seed: int) -> None:
    """By brute force in the linear model: a shown feature passes nothing on, a left-out one does."""
    model = Gated(seed)
    graph, places = model.graph()
    shown = torch.rand(graph.n_nodes, generator=torch.Generator().manual_seed(seed)) < 0.5
    held = torch.zeros(len(model.given), dtype=torch.bool)
    held[places[: graph.n_features]] = shown[: graph.n_features]
    lost = model.losses(places, held)
    sources = torch.arange(graph.target_range.start)
    for node in graph.target_range:
        detour = lost[node] - graph.adjacency[node, sources]
        torch.testing.assert_close(over_left_out(graph, node, shown)[sources], detour, **EXACT)
