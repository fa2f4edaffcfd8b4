"""What is flagged valid is valid, and every method stands beside the nearest unlike neighbour."""

from itertools import combinations

import numpy as np
import pytest

from clew.errors import InputError
from clew.timeseries import METHODS, classifier, explain

SAMPLES = {"tsevo": 12, "wachter": 200}
KINDS = [name for name, method in METHODS.items() if method.kind == "counterfactual"]


@pytest.mark.parametrize("method", KINDS)
def test_validity_is_what_the_model_says_and_the_neighbour_stands_beside(method, gunpoint):
    train, test, net = gunpoint
    answer = explain(net, test.values[:2], method=method, reference=train.values, samples=SAMPLES.get(method))
    model = classifier(net)
    said = [model.classes[n] for n in model.predicted(answer.series)]
    assert answer.valid.tolist() == [a == b for a, b in zip(said, answer.target, strict=True)]
    assert all(a != b for a, b in zip(answer.origin, answer.target, strict=True))
    rows = answer.summary()
    assert rows["nearest unlike neighbour"]["valid"] == 1
    inside = train.values[model.predicted(train.values) == model.classes.index(answer.target[0])]
    least = np.abs(inside - test.values[0]).sum((1, 2)).min()
    assert answer.distance(neighbour=True)[0] == pytest.approx(least)
    if method in ("native-guide", "comte", "tsevo"):
        assert answer.valid.all()
        assert (answer.distance() <= answer.distance(neighbour=True) + 1e-9).all()
    again = explain(net, test.values[:2], method=method, reference=train.values, samples=SAMPLES.get(method))
    assert np.array_equal(answer.series, again.series)


def three(X):
    """A model that needs two channels to be high."""
    high = (X.mean(2) > 0).sum(1)
    p = 1 / (1 + np.exp(-4.0 * (high - 1.5)))
    return np.stack([1 - p, p], 1)


def test_comte_swaps_as_few_channels_as_any_swap_of_channels_needs():
    rng = np.random.default_rng(0)
    low, high = rng.random((5, 4, 8)) - 2, rng.random((5, 4, 8)) + 1
    low[:, 0] = 1.0
    answer = explain(three, low, method="comte", reference=np.concatenate([low, high]))
    assert answer.valid.all()
    for case in range(5):
        swapped = sorted({channel for channel, _, _ in answer.changes(case)})
        fewest = next(
            size
            for size in range(1, 5)
            for chosen in combinations(range(4), size)
            if three(np.where(np.isin(range(4), chosen)[None, :, None], high[:1], low[case : case + 1]))[0, 1] > 0.5
        )
        assert len(swapped) == fewest == 1


def test_native_guide_copies_one_run_that_no_shorter_one_at_its_place_would_do():
    def late(X):
        p = 1 / (1 + np.exp(-6 * (X[:, 0, 10:16].mean(1))))
        return np.stack([1 - p, p], 1)

    X = np.full((1, 1, 30), -1.0)
    reference = np.concatenate([X, -X])
    answer = explain(late, X, method="native-guide", reference=reference)
    [(_, start, end)] = answer.changes(0)
    assert answer.valid.all()
    assert start >= 7
    assert end <= 18
    assert answer.distance()[0] == pytest.approx(2 * (end - start + 1))


def test_a_counterfactual_towards_the_own_class_is_refused(gunpoint):
    train, test, net = gunpoint
    label = classifier(net).classes[classifier(net).predicted(test.values[:1])[0]]
    with pytest.raises(InputError, match="already"):
        explain(net, test.values[:1], method="comte", reference=train.values, target=label)
    with pytest.raises(InputError, match="needs reference cases"):
        explain(net, test.values[:1], method="comte")
