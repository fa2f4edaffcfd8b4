"""Transformers of planted series, trained once for all tests of mechanisms: seconds, and nothing from elsewhere."""

import pytest

from clew.timeseries.mechanisms import planted_bumps, read_series, train

SIZES = {"patch": 6, "heads": 4, "width": 32, "learning_rate": 8e-3}


@pytest.fixture(scope="session")
def one_cause():
    """Series whose class is the sign of one bump, read by two layers that were trained on others."""
    known, series = planted_bumps(500, causes=1, seed=0), planted_bumps(200, causes=1, seed=1)
    transformer = train(known.series, known.labels, layers=2, epochs=8, **SIZES)
    return series, read_series(transformer, series.series, series.labels)


@pytest.fixture(scope="session")
def two_causes():
    """Series whose class is whether two bumps are alike, read by one layer: attention alone cannot tell them all."""
    known, series = planted_bumps(500, seed=0), planted_bumps(200, seed=1)
    transformer = train(known.series, known.labels, layers=1, epochs=20, **SIZES)
    return series, read_series(transformer, series.series, series.labels)
