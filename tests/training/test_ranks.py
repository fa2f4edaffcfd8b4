"""Training on two and four ranks is training in one process: the same weights, counters and checkpoints."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from torch import Tensor

from clew.distributed import ALONE, ManyRanks, Ranks, joined
from clew.kernels import torch_rows
from clew.training import trainer
from clew.training.activations import Batch
from clew.training.checkpoint import _state
from clew.training.run_state import RunState
from clew.training.split import split_among
from clew.training.trainer import advance
from tests.ranks import on_ranks
from tests.toy import SMALL, D, L

STEPS, POSITIONS = 50, 37  # a number that four ranks do not divide
KINDS = [
    {"kind": kind, "nonlinearity": nonlinearity, "skip": kind == "plt", "sparsity": 1e-3}
    for kind in ("clt", "plt", "sae")
    for nonlinearity in ("topk", "batchtopk", "jumprelu")
]
IDS = [f"{case['kind']}-{case['nonlinearity']}" for case in KINDS]


def batches(n: int) -> list[Batch]:
    """Sparse sums of directions, some positions twice, so that scores tie."""
    g = torch.Generator().manual_seed(5)
    directions = torch.randn(L, 60, D, generator=g, dtype=torch.float64)
    drawn = []
    for _ in range(n):
        strength = torch.rand(L, POSITIONS, 60, generator=g, dtype=torch.float64)
        x = (strength * (strength > 0.93)) @ directions
        x[:, 20:24] = x[:, 3:7]
        drawn.append(Batch(inputs=x, outputs=x.roll(1, 2) + 0.1 * x.roll(1, 0)))
    return drawn


def trained(case: dict[str, object], ranks: Ranks) -> tuple[dict[str, Tensor], list[float]]:
    """The state after fifty steps in float64, and the losses; features that are silent for some steps are revived."""
    config = replace(SMALL, steps=STEPS, batch=POSITIONS, **case)
    run = RunState(L, D, config, dtype=torch.float64, kernels=torch_rows, split=split_among(ranks))
    drawn = batches(STEPS)
    run.fit_scales(drawn[:4])
    losses = [advance(run, run.normalised(batch)).loss for batch in drawn]
    return {name: tensor.clone() for name, tensor in _state(run)} | {"cut": torch.tensor(run.cut)}, losses


def far(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30)) if one.numel() else 0.0


def _worlds(ranks: Ranks) -> dict[int, Ranks]:
    """Two of the four ranks, and all."""
    import torch.distributed as dist

    pair = dist.new_group([0, 1])
    assert isinstance(ranks, ManyRanks)
    return {4: ranks} | ({2: ManyRanks(ranks._store, pair)} if ranks.rank < 2 else {})


def on_all() -> dict[tuple[int, str], tuple[dict[str, Tensor], list[float]]]:
    trainer.DEAD_AFTER = 200
    with joined(os.environ, timedelta(seconds=60)) as ranks:
        worlds = _worlds(ranks)
        return {
            (size, name): tuple(  # type: ignore[misc]
                ({k: t.numpy() for k, t in part.items()} if isinstance(part, dict) else part)
                for part in trained(case, world)
            )
            for name, case in zip(IDS, KINDS, strict=True)
            for size, world in worlds.items()
        }


@pytest.fixture(scope="module")
def by_rank() -> list[dict[tuple[int, str], tuple[dict[str, Tensor], list[float]]]]:
    return on_ranks(4, on_all)


@pytest.fixture(scope="module", params=range(len(KINDS)), ids=IDS)
def alone(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor], list[float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "DEAD_AFTER", 200)
        return IDS[request.param], *trained(KINDS[request.param], ALONE)


@pytest.mark.parametrize("size", [2, 4])
def test_fifty_steps_of_several_ranks_are_those_of_one_process(alone, by_rank, size: int) -> None:
    name, state, losses = alone
    assert losses[-1] < 0.6 * losses[0]
    ours, our_losses = by_rank[0][size, name]
    assert our_losses == pytest.approx(losses, rel=1e-5)
    assert {key: d for key in state if (d := far(torch.as_tensor(ours[key]), state[key])) > 1e-5} == {}


def test_every_rank_ends_with_the_same_bits(by_rank) -> None:
    for key, (state, losses) in by_rank[0].items():
        for other in by_rank[1 : key[0]]:
            assert losses == other[key][1]
            assert all((state[name] == other[key][0][name]).all() for name in state)
