"""A model that nobody here taught, by its own neurons: it says Paris, and its graph adds up."""

import json
from pathlib import Path

import pytest
import torch

import clew
from clew.subject.packaged import SMOLLM2, load_packaged, model_installed
from clew.subject.subject import Subject

pytestmark = pytest.mark.smollm2
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def subject(user_cache: Path) -> Subject:
    if not model_installed(SMOLLM2):
        pytest.skip("the extra 'smollm2' is not installed")
    return load_packaged(SMOLLM2, cache=user_cache / "clew" / "models")


@pytest.fixture
def kit(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> clew.Kit:
    monkeypatch.setattr("clew.kit.load_packaged", lambda model, device: subject)
    return clew.load("smollm2")


def assert_adds_up(graph: clew.Graph) -> None:
    total = graph.rows.sum(1) + graph.row_offsets.sum(1)
    assert float(((total - graph.values).abs() / graph.values.abs().clamp_min(1)).max()) < 1e-4


def test_the_kit_is_the_model_with_its_neurons(kit: clew.Kit) -> None:
    assert (kit.name, kit.dictionary.kind) == ("smollm2", "plt")
    assert sum(kit.dictionary.d_features(layer) for layer in range(30)) == 30 * 1536
    assert kit.provenance["sha256"] == SMOLLM2.sha256


def test_a_graph_of_paris_adds_up(kit: clew.Kit) -> None:
    graph = kit.trace("The capital of France is", max_features=64)
    assert graph.next_tokens[0][0] == " Paris"
    assert graph.n_features == 64
    assert_adds_up(graph)
    logits = kit.subject.logits(kit.subject.encode("The capital of France is")[None])[0, -1]
    target = graph.over_nodes(graph.values)[graph.target_range.start]
    torch.testing.assert_close(target, logits.max() - logits.mean(), rtol=1e-4, atol=1e-3)


def test_a_graph_of_a_chat_adds_up(kit: clew.Kit) -> None:
    graph = kit.trace(CHAT, max_features=32, targets=["The"])
    assert graph.tokens[:3] == ("<|im_start|>", "system", "\n")
    assert_adds_up(graph)


def test_kit_show_says_where_the_model_came_from(kit, run, monkeypatch):
    monkeypatch.setattr("clew.cli.kits.model_installed", lambda model: False)  # nothing is unpacked here
    code, out, _ = run("kit", "show", "smollm2")
    first, _, rest = out.partition("\n")
    assert (code, first) == (0, "smollm2: 30 layers of width 576, neurons of smollm2")
    assert json.loads(rest) == kit.provenance
