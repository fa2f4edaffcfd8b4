"""Training on two and four ranks is training in one process: the same weights, counters and checkpoints."""

import os
from datetime import timedelta

import pytest
import torch
from torch import Tensor

from clew.distributed import ALONE, ManyRanks, Ranks, joined
from clew.kernels import torch_rows
from clew.training import trainer
from clew.training.activations import Batch
from clew.training.checkpoint import _state
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState
from clew.training.split import split_among
from clew.training.trainer import advance
from tests.ranks import on_ranks

D, L, STEPS, POSITIONS = 10, 2, 50, 37  # positions that neither two nor four ranks divide
SMALL = DictionaryConfig(features=22, k=3, steps=STEPS, batch=POSITIONS, learning_rate=5e-3, precision="float32")
KINDS = [
    {"kind": kind, "nonlinearity": nonlinearity, "skip": kind == "plt", "sparsity": 1e-3}
    for kind in ("clt", "plt", "sae")
    for nonlinearity in ("topk", "batchtopk", "jumprelu")
]
CASES = {f"{case['kind']}-{case['nonlinearity']}": case for case in KINDS}
WAYS = ("tokens", "features")
QUICK = [(4, ("clt-batchtopk", "plt-jumprelu", "sae-topk")), (2, ("clt-topk", "plt-batchtopk", "sae-jumprelu"))]
RUNS = [(size, way, name) for size in (2, 4) for way in WAYS for name in CASES]
FEW = [(size, way, name) for size, names in QUICK for way in WAYS for name in names]
ALL = [pytest.param(*run, id=str(run), marks=() if run in FEW else pytest.mark.stress) for run in RUNS]


def batches(n: int) -> list[Batch]:
    """Sparse sums of directions, some positions twice, so that scores tie."""
    g = torch.Generator().manual_seed(5)
    directions = torch.randn(L, 30, D, generator=g, dtype=torch.float64)
    drawn = []
    for _ in range(n):
        strength = torch.rand(L, POSITIONS, 30, generator=g, dtype=torch.float64)
        x = (strength * (strength > 0.9)) @ directions
        x[:, 20:24] = x[:, 3:7]
        drawn.append(Batch(inputs=x, outputs=x.roll(1, 2) + 0.1 * x.roll(1, 0)))
    return drawn


def trained(name: str, way: str, ranks: Ranks) -> tuple[dict[str, Tensor], list[float]]:
    """The state after fifty steps in float64, and the losses; features that are silent for some steps are revived."""
    config = DictionaryConfig(**(vars(SMALL) | CASES[name]))
    split = split_among(ranks, way)  # type: ignore[arg-type]
    run = RunState(L, D, config, dtype=torch.float64, kernels=torch_rows, split=split)
    drawn = batches(STEPS)
    run.fit_scales(drawn[:4])
    losses = [advance(run, run.normalised(batch)).loss for batch in drawn]
    state = {key: split.rows(t) if key[0].isdigit() else t.clone() for key, t in _state(run)}
    return state | {"cut": torch.tensor(run.cut)}, losses


def far(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30)) if one.numel() else 0.0


def on_all(runs: list[tuple[int, str, str]], dead_after: int) -> dict[tuple[int, str, str], object]:
    """State and losses of every run in which this rank takes part; two of the four ranks are a group of their own."""
    import torch.distributed as dist

    trainer.DEAD_AFTER = dead_after  # type: ignore[misc]
    with joined(os.environ, timedelta(seconds=60)) as ranks:
        assert isinstance(ranks, ManyRanks)
        pair = dist.new_group([0, 1])
        worlds = {4: ranks} | ({2: ManyRanks(ranks._store, pair)} if ranks.rank < 2 else {})
        results = {run: trained(run[2], run[1], worlds[run[0]]) for run in runs if run[0] in worlds}
        return {run: ({key: t.numpy() for key, t in state.items()}, loss) for run, (state, loss) in results.items()}


DEAD_AFTER = 150


@pytest.fixture(scope="module")
def by_rank(request: pytest.FixtureRequest) -> list[dict[tuple[int, str, str], object]]:
    """Of the runs that are asked for."""
    asked = {item.callspec.id.split("]")[0] for item in request.session.items if item.fspath == request.node.fspath
             and hasattr(item, "callspec")}  # fmt: skip
    runs = [run for run in RUNS if str(run) in asked]
    return on_ranks(4, on_all, runs, DEAD_AFTER)


@pytest.mark.parametrize(("size", "way", "name"), ALL)
def test_fifty_steps_of_several_ranks_are_those_of_one_process(
    by_rank, monkeypatch: pytest.MonkeyPatch, size: int, way: str, name: str
) -> None:
    monkeypatch.setattr(trainer, "DEAD_AFTER", DEAD_AFTER)
    state, losses = trained(name, "tokens", ALONE)
    assert losses[-1] < 0.9 * losses[0]
    ours, our_losses = by_rank[0][size, way, name]
    assert our_losses == pytest.approx(losses, rel=1e-5)
    assert {key: d for key in state if (d := far(torch.as_tensor(ours[key]), state[key])) > 1e-5} == {}
    for other in by_rank[1:size]:
        their_state, their_losses = other[size, way, name]
        assert our_losses == their_losses
        assert [key for key in ours if (ours[key] != their_state[key]).any()] == []
