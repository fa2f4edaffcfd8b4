"""A first choice in 16 bits leaves the k largest of float32 in, whatever its rounding did."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.kernels import compiled
from clew.kernels.types import Pairs
from clew.training.run_state import RunState
from clew.training.selection import UNIT_16, candidate, narrowed, selecting
from tests.toy import SMALL

F, D, POS, K = 512, 48, 40, 6


def crowded(seed: int, spread: float) -> tuple[RunState, Tensor]:
    """A TopK run many of whose features are near copies of one another, closer than 16 bits can tell."""
    g = torch.Generator().manual_seed(seed)
    run = RunState(1, D, replace(SMALL, features=F, k=K, nonlinearity="topk", precision="float32"), kernels=compiled)
    own = run.layers[0]
    own.encoder.weight.copy_(torch.randn(F // 8, D, generator=g).repeat_interleave(8, 0))
    own.encoder.weight.add_(1e-3 * torch.randn(F, D, generator=g)).mul_((spread * torch.randn(F, 1, generator=g)).exp())
    own.bias.weight.copy_(0.3 * torch.randn(F, 1, generator=g))
    return run, torch.randn(POS, D, generator=g) * torch.randn(POS, 1, generator=g).exp()


def shortfall(run: RunState, x: Tensor, pairs: Pairs) -> float:
    """How far the smallest picked value of a row lies below its k-th largest, in float64, at worst."""
    own = run.layers[0]
    pre = x.double() @ own.encoder.weight.double().T + own.bias.weight[:, 0].double()
    picked = torch.full((len(x), K), torch.inf, dtype=torch.float64)
    for p in range(len(x)):
        ids = pairs.index[pairs.starts[p] : pairs.starts[p + 1]]
        assert len(ids) == K == len(set(ids.tolist()))
        picked[p] = pre[p, ids]
    return float((pre.topk(K).values[:, -1] - picked.min(1).values).max() / pre.abs().max())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 0.1]))
def test_the_k_largest_of_float32_are_found_through_16_bits(seed: int, spread: float) -> None:
    run, x = crowded(seed, spread)
    found = narrowed(run, 0, x, K)
    if found is None:  # as it may where the list has no room
        return
    assert shortfall(run, x, found.pairs) < 1e-6
    torch.testing.assert_close(found.value, selecting(run, 0, x)[found.pairs.position, found.pairs.index])


def test_sixteen_bits_alone_would_pick_others() -> None:
    run, x = crowded(0, 0.0)
    assert narrowed(run, 0, x, K) is not None
    rough = compiled.top(selecting(run, 0, x, torch.bfloat16), K)
    assert shortfall(run, x, rough) > 1e-5


def test_a_list_holds_what_may_be_larger_and_no_more() -> None:
    row = torch.tensor([[0.1, 1.1, 1.2, 0.9, -3.0]]).bfloat16()
    for off, unit, wanted in ((0.0, 0.0, [2]), (0.03, 0.0, [2]), (0.06, 2.0**-8, [1, 2]), (0.16, 2.0**-8, [1, 2, 3])):
        found = compiled.shortlist(row, 1, torch.tensor([off]), unit)
        assert found is not None
        assert found.index.tolist() == wanted
    assert compiled.shortlist(row, 1, torch.tensor([0.7]), 0.0) is None  # -0.1 might be positive


def test_too_long_a_list_or_too_few_positive_values_fall_back_to_the_whole_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "narrows", lambda: True)
    run, x = crowded(1, 0.0)
    wanted = compiled.top(selecting(run, 0, x).clone(), K)
    monkeypatch.setattr(compiled, "ROOM", 1)
    assert narrowed(run, 0, x, K) is None
    assert torch.equal(candidate(run, 0, x, float(K), 0.0).pairs.index, wanted.index)
    monkeypatch.undo()
    assert narrowed(run, 0, x, K) is not None
    run.layers[0].encoder.weight[7] *= 10
    assert narrowed(run, 0, x, K) is None
    run.layers[0].encoder.weight[7] /= 10
    run.layers[0].bias.weight.sub_(1e3)
    assert narrowed(run, 0, x, K) is None
    assert len(candidate(run, 0, x, float(K), 0.0).pairs) == 0


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), max_size=9), min_size=1, max_size=5),
    k=st.integers(1, 4),
)
def test_the_strongest_are_positive_and_the_first_of_equals(rows: list[list[float]], k: int) -> None:
    counts = torch.tensor([len(row) for row in rows])
    index = torch.cat([torch.arange(len(row)) for row in rows])
    value = torch.tensor([x for row in rows for x in row])
    pairs, values = compiled.strongest(Pairs.of_counts(counts, index, 9), value, k)
    wanted = [
        sorted(sorted((i for i, x in enumerate(row) if x > 0), key=lambda i, row=row: (-row[i], i))[:k]) for row in rows
    ]
    got = [pairs.index[pairs.starts[p] : pairs.starts[p + 1]].tolist() for p in range(len(rows))]
    assert got == wanted
    assert values.tolist() == [rows[p][i] for p, ids in enumerate(wanted) for i in ids]


def test_the_bound_holds_where_rounding_moves_every_product_the_same_way() -> None:
    """The second largest is rounded down in every term, the third up: in 16 bits their order is turned.

    The largest is such that the bisection for the second ends at it, so that nothing but the bound keeps the list long.
    """
    u, half = UNIT_16, 31
    config = replace(SMALL, features=64, k=2, nonlinearity="topk", precision="float32")
    run = RunState(1, 2 * half + 1, config, kernels=compiled)
    features, x = run.layers[0], torch.ones(1, 2 * half + 1)
    down, up = 1 + 0.999 * u, 1 + 3.001 * u  # one is rounded to 1, the other to 1 + 4 u
    x[0, :half], x[0, half : 2 * half] = down, up
    features.encoder.weight.zero_()
    features.encoder.weight[0, :half] = down
    features.encoder.weight[1, half : 2 * half], features.encoder.weight[1, -1] = up, -0.5
    features.encoder.weight[2] = 130 / 256
    features.encoder.weight[3:] = -0.5
    features.bias.weight.zero_()
    exact, rough = selecting(run, 0, x)[0].clone(), selecting(run, 0, x, torch.bfloat16)[0].float()
    assert exact[2] > exact[0] > exact[1] > 0 > exact[3:].max()
    assert rough[1] > rough[0] * (1 + 3 * u)
    strongest = narrowed(run, 0, x, 2)
    assert strongest is not None
    assert strongest.pairs.index.tolist() == [0, 2]
    assert strongest.value.tolist() == pytest.approx(exact[[0, 2]].tolist(), rel=1e-6)
