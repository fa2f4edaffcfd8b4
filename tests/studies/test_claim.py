"""What a claim says follows from its value, its null and their bars, and from nothing else."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import FileError, InputError
from clew.stats import UNKNOWN, Interval
from clew.studies.claim import Bar, Claim, Null


def null(*draws):
    return Null(what="random features", draws=draws, size=12, tested=12)


def claim(value, draws, **rest):
    return Claim(text="It falls.", value=Interval(*map(float, value)), null=null(*map(float, draws)), **rest)


@pytest.mark.parametrize(
    ("value", "draws", "bars", "verdict"),
    [
        ((70, 68, 72), (50, 51), {"bar": Bar(low=60.0)}, "holds"),
        ((70, 68, 72), (50, 51), {"bar": Bar(low=75.0)}, "fails"),
        ((70, 68, 72), (50, 51), {"bar": Bar(low=70.0)}, "cannot say"),  # straddles its bar
        ((70, 68, 72), (69, 71), {"bar": Bar(low=60.0)}, "cannot say"),  # overlaps with the null
        ((70, 68, 72), (60, 80), {"bar": Bar(low=60.0)}, "fails"),  # the null does as much
        ((70, 68, 72), (90, 95), {"bar": Bar(low=60.0)}, "fails"),  # the null does more
        ((0.1, 0.05, 0.15), (0.9, 0.95), {"bar": Bar(high=0.2)}, "holds"),
        ((0.1, 0.05, 0.15), (0.0, 0.01), {"bar": Bar(high=0.2)}, "fails"),
        ((70, 68, 72), (50, 51), {}, "holds"),  # without a bar: apart from the null, on whichever side
        ((40, 39, 41), (50, 51), {}, "holds"),
        ((0.9, 0.85, 0.95), (0.5, 0.6), {"bar": Bar(low=0.8), "null_bar": Bar(high=0.02)}, "fails"),
        ((0.9, 0.85, 0.95), (0.0, 0.01), {"bar": Bar(low=0.8), "null_bar": Bar(high=0.02)}, "holds"),
        ((0.9, 0.85, 0.95), (0.0, 0.03), {"bar": Bar(low=0.8), "null_bar": Bar(high=0.02)}, "cannot say"),
        ((math.nan, math.nan, math.nan), (0.0, 1.0), {}, "cannot say"),
        ((0.9, math.nan, math.nan), (0.0, 0.1), {}, "cannot say"),  # one value has no interval
        ((0.9, 0.8, 1.0), (math.nan, 0.1), {}, "cannot say"),
    ],
)
def test_the_verdict_follows_from_value_null_and_bars(value, draws, bars, verdict):
    assert claim(value, draws, **bars).verdict == verdict


def test_a_claim_without_a_null_is_refused():
    with pytest.raises(InputError, match="'random features' has no draws"):
        null()
    with pytest.raises((InputError, TypeError)):  # in tests types are checked first
        Claim(text="It falls.", value=UNKNOWN, null=None)


def test_a_stored_verdict_is_not_believed():
    stored = claim((70, 68, 72), (60, 80), bar=Bar(low=60.0)).to_json()
    assert Claim.from_json({**stored, "verdict": "holds"}).verdict == "fails"


@pytest.mark.parametrize("missing", ["null", "value", "bar", "text"])
def test_a_file_whose_claim_lacks_a_part_is_refused(missing):
    stored = claim((70, 68, 72), (50, 51)).to_json()
    del stored[missing]
    with pytest.raises(FileError, match="is not whole"):
        Claim.from_json(stored)


def test_a_file_whose_claim_has_an_empty_null_is_refused():
    stored = claim((70, 68, 72), (50, 51)).to_json()
    stored["null"]["draws"] = []
    with pytest.raises(FileError, match="a claim needs a null"):
        Claim.from_json(stored)


NUMBERS = st.floats(-1e6, 1e6) | st.just(math.nan)


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.lists(NUMBERS, min_size=1, max_size=5), NUMBERS, st.booleans())
def test_a_claim_is_read_as_it_was_written(value, draws, end, effect):
    bar = Bar() if math.isnan(end) else Bar(high=end)
    one = claim(value, draws, bar=bar, unit="%", effect=effect)
    written = one.to_json()
    again = Claim.from_json(json.loads(json.dumps(written, allow_nan=False)))
    assert again.to_json() == written
    assert again.verdict == one.verdict


def test_the_null_states_its_draws_and_their_sizes():
    assert str(null(1.0, 2.0)) == "random features, 2 draws of 12 features, 12 under test"
