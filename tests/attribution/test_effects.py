"""Effects: the same walk with every step's full derivative, against autograd through the live modules."""

import pytest
import torch
from torch import Tensor

from clew.attribution.local_model import LocalModel
from clew.attribution.targets import resolve
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.subject.jacobian import linearized
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_sweep import FEATURES, TARGETS, Reference
from tests.models import ARCHITECTURES, KINDS, PROMPT


@pytest.fixture(autouse=True)
def _exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention rounds its patterns to float32, which is coarser than these tests."""
    softmax = torch.nn.functional.softmax

    def exact(x: Tensor, dim: int | None = None, dtype: torch.dtype | None = None, **rest: object) -> Tensor:
        return softmax(x, dim=dim, dtype=x.dtype if x.dtype == torch.float64 else dtype)

    monkeypatch.setattr(torch.nn.functional, "softmax", exact)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def effects_of(subject: Subject, dictionary: Dictionary, first: int) -> tuple[Tensor, LocalModel, list[int]]:
    model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=first)
    targets = resolve(subject, model.recording, TARGETS)
    everything = torch.arange(model.sources.n_features)
    block, order = model.block(everything, model.target_readers(targets))
    rows = torch.zeros(block.n_readers, model.sources.n_nodes, dtype=torch.float64)
    model.fill_effects(block, rows)
    return rows, model, order.tolist()


def assert_effects_equal_autograd(subject: Subject, dictionary: Dictionary, first: int = 1) -> None:
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, leave_out_first=bool(first))
    reference = Reference(subject, dictionary, first, graph, live=True)
    rows, model, order = effects_of(subject, dictionary, first)
    by_node = torch.zeros(len(rows), graph.n_nodes, dtype=torch.float64)
    by_node[:, model.sources.col_nodes] = rows
    scale = float(by_node.abs().max())
    nodes = [*graph.target_range, *order]
    for row, node in zip(by_node, nodes, strict=True):
        torch.testing.assert_close(row, reference.row(node)[0], rtol=1e-8, atol=1e-10 * scale)
    assert float((by_node[len(TARGETS) :] - graph.adjacency[order]).abs().max()) > 0.01 * scale  # not the values


@pytest.mark.parametrize("kind", KINDS)
def test_every_effect_equals_autograd_through_the_live_model(subject: Subject, kind: str) -> None:
    assert_effects_equal_autograd(subject, models.dictionary(kind, subject, features=FEATURES))


@pytest.mark.parametrize(("read", "write"), [("resid_pre", "mlp_raw_out"), ("mlp_normalized", "mlp_out")])
def test_every_effect_equals_autograd_at_other_sites_with_the_first_position_kept(
    subject: Subject, read: str, write: str
) -> None:
    dictionary = models.dictionary("skip-clt", subject, features=FEATURES, read=read, write=write)
    assert_effects_equal_autograd(subject, dictionary, first=0)
