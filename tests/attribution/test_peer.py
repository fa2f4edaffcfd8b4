"""Parity with circuit-tracer: edges between nodes that both graphs have are the same.

It runs in an environment of its own (`tests.peer`), which `make check-long` sets up. It leaves out features and errors
of the first position, as our graphs do for a BOS, and has no offsets.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.files import load_tensors
from clew.subject.subject import Subject
from tests.peer import KINDS, needs_peer, peer_inputs

pytestmark = [pytest.mark.peer, needs_peer]


@pytest.fixture(scope="module", params=["llama", "gemma2", "qwen3"])
def folder(request: pytest.FixtureRequest) -> Path:
    return peer_inputs(request.param)


def peer_order(graph: Graph, theirs: dict[str, Tensor], n_layers: int) -> tuple[Tensor, Tensor]:
    """Places of common nodes in our matrix and in theirs: features, errors (layer-major), tokens, logits."""
    n_tokens = len(graph.tokens)
    features = [tuple(key) for key in theirs["active_features"].tolist()]
    mine = {tuple(key): i for i, key in enumerate(graph.feature_keys.tolist())}
    assert set(mine) == set(features), "the same features are active"
    pairs = [(mine[key], i) for i, key in enumerate(features)]
    first_error, first_token = len(features), len(features) + n_layers * n_tokens
    for i, (layer, position) in enumerate(graph.error_keys.tolist()):
        pairs.append((graph.error_range.start + i, first_error + layer * n_tokens + position))
    pairs += [(graph.token_range.start + p, first_token + p) for p in range(n_tokens)]
    logits = theirs["logit_tokens"].tolist()
    assert [t.token for t in graph.targets] == logits, "the same outputs are explained"
    pairs += [(graph.target_range.start + i, first_token + n_tokens + i) for i in range(len(logits))]
    ours, other = torch.tensor(pairs).T
    return ours, other


@pytest.mark.parametrize("kind", KINDS)
def test_edges_between_common_nodes_equal_circuit_tracers(folder: Path, kind: str) -> None:
    subject, dictionary = Subject.load(folder / "model"), Dictionary.load(folder / kind)
    theirs = load_tensors(folder / f"{kind}.safetensors")
    ids = [1, *range(10, 25)]  # the prompt of benchmarks/peer_trace.py
    graph = trace(subject, dictionary, ids)
    ours, other = peer_order(graph, theirs, subject.n_layers)
    mine, reference = graph.adjacency[ours][:, ours], theirs["adjacency"][other][:, other]
    scale = float(reference.abs().max())
    assert graph.first_position == 1
    for name, columns in (
        ("features", range(graph.n_features)),
        ("errors", range(graph.n_features, graph.n_features + graph.n_errors)),
        ("tokens", range(graph.n_features + graph.n_errors, len(ours) - len(graph.targets))),
    ):
        part = slice(columns.start, columns.stop)
        for rows in (slice(0, graph.n_features), slice(len(ours) - len(graph.targets), None)):
            assert float(reference[rows, part].abs().max()) > 1e-3 * scale
            difference = float((mine[rows, part] - reference[rows, part]).abs().max()) / scale
            assert difference < 1e-5, f"edges from {name} differ by {difference:.1e} of the largest"
    lost = torch.ones(len(theirs["adjacency"]), dtype=torch.bool)
    lost[other] = False
    assert not bool(theirs["adjacency"][:, lost].any()), "nodes that only the peer has are empty"
