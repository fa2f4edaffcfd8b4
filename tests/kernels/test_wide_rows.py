"""Sums over large matrices in pieces are those of the whole, and no piece is large."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from clew.kernels import wide_rows
from clew.kernels.wide_rows import absolute_times, mean_row, reorder_columns, take_rows, times_absolute


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
def test_products_with_absolute_values_are_those_of_the_whole(seed: int, n_rows: int, n_cols: int, cached: int) -> None:
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n_rows, n_cols, generator=g, dtype=torch.float64)
    members = torch.randint(n_rows, (5,), generator=g)
    of_rows, of_cols = torch.randn(n_rows, generator=g).double(), torch.randn(n_cols, generator=g).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_rows, "_CACHED", cached)
        torch.testing.assert_close(absolute_times(matrix, of_cols), matrix.abs() @ of_cols)
        torch.testing.assert_close(times_absolute(of_rows, matrix), of_rows @ matrix.abs())
        chosen = of_rows[members]
        torch.testing.assert_close(times_absolute(chosen, matrix, members), chosen @ matrix[members].abs())
        order = torch.randperm(n_cols, generator=g)
        reordered = matrix.clone()
        reorder_columns(reordered, order)
        assert torch.equal(reordered, matrix[:, order])


def test_rows_behind_the_end_are_zero() -> None:
    matrix = torch.arange(6.0).view(3, 2) + 1
    assert take_rows(matrix, torch.tensor([2, 3, 0, 9])).tolist() == [[5, 6], [0, 0], [1, 2], [0, 0]]


def test_the_mean_row_of_16_bits_is_that_of_float64_and_needs_no_copy_of_the_matrix() -> None:
    matrix = (torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0)) + 3).bfloat16()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        mean = mean_row(matrix, torch.float32)
    torch.testing.assert_close(mean, matrix.double().mean(0).float(), rtol=1e-6, atol=0)
    assert mean.dtype == torch.float32
    assert max(event.cpu_memory_usage for event in profiled.events()) <= 4 << 17 < 4 * matrix.numel()
