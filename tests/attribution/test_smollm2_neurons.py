"""A real model by its neurons: it adds up in single precision, and total effects are its own derivative."""

import resource
from typing import Any

import pytest
import torch

import clew
from clew.attribution.graph import Graph
from clew.intervention.ablation_effects import predicted

pytestmark = [pytest.mark.smollm2, pytest.mark.long]
PROMPT = "The capital of France is"
TWELVE = "The Eiffel Tower stands in the French city of Paris,"


@pytest.fixture(scope="module")
def kit() -> clew.Kit:
    return clew.load("smollm2")


def assert_adds_up(graph: Graph) -> None:
    torch.testing.assert_close(graph.rows.sum(1) + graph.row_offsets.sum(1), graph.values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rows", [512, pytest.param(4096, marks=pytest.mark.stress)])
def test_total_effects_are_the_live_derivative_whatever_has_a_row(kit: clew.Kit, rows: int) -> None:
    graph = kit.trace(PROMPT, max_features=rows, effects=True)
    assert graph.targets[0].label == " Paris"
    assert (graph.n_features, graph.settings["n_active"]) == (rows, 184_320)
    assert_adds_up(graph)
    sources = list(range(0, rows, rows // 64))
    layers = graph.feature_keys[sources, 0].tolist()
    total = predicted(graph.effects, sources, layers)[list(graph.target_range)].T
    live = kit.live_effects(graph)[sources]
    torch.testing.assert_close(total, live, rtol=0, atol=1e-3)
    assert float(live.abs().max()) > 0.5


def test_a_chat_is_traced_with_its_roles(kit: clew.Kit) -> None:
    messages = [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "What is the capital of Italy?"},
    ]
    graph = kit.trace(messages, max_features=256, targets=" Rome")
    assert "system" in graph.tokens
    assert_adds_up(graph)


@pytest.mark.alone
@pytest.mark.parametrize(("rows", "seconds"), [(512, 10), pytest.param(4096, 60, marks=pytest.mark.stress)])
def test_twelve_tokens_take_so_many_seconds(kit: clew.Kit, rows: int, seconds: float) -> None:
    def spent() -> float:
        usage: Any = resource.getrusage(resource.RUSAGE_SELF)
        return float(usage.ru_utime + usage.ru_stime)

    before = spent()
    graph = kit.trace(TWELVE, max_features=rows)
    assert spent() - before < seconds
    assert len(graph.tokens) == 12
