"""Carriers are the features that were planted, and random features beside them are others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.studies.capital.carriers import GROUPS, find_carriers
from clew.studies.columns import Columns
from clew.studies.slots import SlottedPrompt
from clew.studies.swaps import Swap

N = 12
"""Countries."""


def planted():
    """Four kinds of feature in two sentences that ask for the capital and two that ask for something else."""
    eye = torch.eye(N)
    ones, none = torch.ones(N, 1), torch.zeros(N, 1)
    capital = torch.cat([eye, ones, eye, ones], 1)  # country, capital of, answer, always on
    other = torch.cat([eye, none, torch.zeros(N, N), ones], 1)
    return [capital, 1.1 * capital], [other, 0.9 * other]


def test_planted_features_are_told_apart():
    capital, other = planted()
    carriers = find_carriers(capital, other, torch.ones(2 * N + 2), 0.999)
    country, question, answer = range(N), N, range(N + 1, 2 * N + 1)
    assert [int(carriers.group[place]) for place in country] == [GROUPS.index("country")] * N
    assert int(carriers.group[question]) == GROUPS.index("capital of")
    assert carriers.identity.nonzero()[:, 0].tolist() == [*country, *answer]
    assert carriers.question[question]
    assert not carriers.question[[*country]].any()
    assert carriers.highest[list(country)].tolist() == carriers.highest[list(answer)].tolist() == [*range(N)]


def test_where_nothing_depends_on_the_country_nothing_carries_it():
    same = [torch.ones(N, 5)] * 2
    carriers = find_carriers(same, same, torch.ones(5), 0.9)
    assert not carriers.identity.any()
    assert not carriers.question.any()


def test_a_feature_that_writes_little_is_no_carrier():
    capital, other = planted()
    norm = torch.ones(2 * N + 2)
    norm[0] = 1e-4
    assert not find_carriers(capital, other, norm, 0.9).identity[0]


def swap_of(own, other, chosen, layers=None):
    n = len(own)
    layer = torch.zeros(n, dtype=torch.long) if layers is None else torch.tensor(layers)
    columns = Columns(layer=layer, index=torch.arange(n), norm=torch.arange(1, n + 1).float())
    prompt = SlottedPrompt(text="a b", token_ids=(1, 2), values={}, positions={}, places=("text0+0", "text0+1"))
    values = (torch.tensor(own), torch.tensor(other), torch.tensor(chosen))
    return columns, Swap(prompt=prompt, position=1, own=values[0], other=values[1], chosen=values[2])


def test_a_swap_sets_what_differs_and_nothing_else():
    columns, swap = swap_of([1.0, 2.0, 0.0, 4.0], [1.0, 3.0, 5.0, 0.0], [True, True, True, False])
    assert [str(edit) for edit in swap.edits(columns)] == ["set L0/1@1=3", "set L0/2@1=5"]


ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([0.0, 1.0, 4.0]), st.booleans()), min_size=2
)


@given(ROWS, st.integers(0, 3), st.integers(0, 9))
def test_matched_features_are_active_others_of_the_same_layer_and_write_as_much(rows, n_layers, seed):
    layers = [place % (n_layers + 1) for place in range(len(rows))]
    columns, swap = swap_of(*map(list, zip(*rows, strict=True)), layers=layers)
    edits, share = swap.matched(columns, torch.Generator().manual_seed(seed))
    drawn = [edit.feature.index for edit in edits]
    assert len(set(drawn)) == len(drawn) <= len(swap.changed)
    for place in drawn:
        assert not rows[place][2]
        assert max(rows[place][:2]) > 0
    for layer in set(layers):
        changed = [place for place in swap.changed.tolist() if layers[place] == layer]
        free = [
            place for place, (a, b, chosen) in enumerate(rows) if not chosen and (a or b) and layers[place] == layer
        ]
        assert sum(layers[place] == layer for place in drawn) == min(len(changed), len(free))
    written = sum(abs(edit.strength) * float(columns.norm[edit.feature.index]) for edit in edits)
    changed = swap.changed
    wanted = float(((swap.other - swap.own).abs() * columns.norm)[changed].sum())
    assert written == pytest.approx(share * wanted, rel=1e-4, abs=1e-6)
