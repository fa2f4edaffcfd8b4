"""What spares memory on a large graph gives what the plain way gives: strongest edges, smallest sets, prunings."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clew.attribution import influence as influence_module
from clew.attribution import pruning
from clew.attribution.influence import cumulative_share, edge_influence, strongest_edges
from tests.graphs import MAKES, Make, random_graph


@settings(max_examples=25, deadline=None)
@given(MAKES, st.integers(0, 40), st.integers(1, 60))
def test_the_strongest_edges_are_those_of_a_sort_of_all(make: Make, count: int, at_once: int) -> None:
    graph = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influence_module, "_CHUNK", at_once)
        rows, cols, shares = strongest_edges(graph, count)
    carried = edge_influence(graph)
    places = graph.rows.nonzero()
    order = torch.sort(carried[places[:, 0], places[:, 1]], descending=True, stable=True)
    assert torch.equal(torch.stack([rows, cols], 1), places[order.indices][:count])
    expected = cumulative_share(order.values)[:count]
    torch.testing.assert_close(shares, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1e6, width=32) | st.floats(1, 1.001953125, width=32), min_size=1, max_size=60),
    st.floats(0.01, 0.999),
    st.sampled_from([torch.float32, torch.float64]),
)
@example([2.0, 1.001, 1.0005, 1.0], 0.7, torch.float64)  # the last three share their leading bits, and one is left out
def test_the_smallest_set_is_the_same_without_a_sorted_copy(
    values: list[float], wanted: float, dtype: torch.dtype
) -> None:
    numbers = torch.tensor(values, dtype=dtype)
    sorted_set = pruning._smallest_set(numbers, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "_SORTED", 0)
        patch.setattr(pruning, "_CHUNK", 7)
        kept = pruning._smallest_set(numbers, wanted)
    assert float(numbers[kept].sum(dtype=torch.float64)) >= wanted * float(numbers.sum(dtype=torch.float64)) * (
        1 - 1e-9
    )
    assert torch.equal(kept, sorted_set)


def test_a_graph_of_which_nothing_is_cut_is_not_copied() -> None:
    graph = random_graph(3)
    assert graph.prune(1.0, 1.0).rows.data_ptr() == graph.rows.data_ptr()
