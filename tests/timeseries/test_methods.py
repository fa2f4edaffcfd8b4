"""Methods give what their formulas give, where that can be computed another way."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from clew.errors import InputError
from clew.timeseries import METHODS, ConvNet, CubeNet, classifier, explain, regressor
from clew.timeseries.map_scores import truth_scores
from clew.timeseries.nets import cube
from clew.timeseries.temporal import ConditionalGaussian

ATTRIBUTIONS = [name for name, method in METHODS.items() if method.kind == "attribution"]
LINEAR = ("integrated-gradients", "gradient", "deep-lift", "gradient-shap", "feature-ablation", "occlusion",
          "temporal-integrated-gradients")  # fmt: skip


@pytest.mark.parametrize("method", LINEAR)
def test_a_linear_model_gives_weight_times_difference(method, linear, series):
    weights = np.random.default_rng(1).standard_normal((3, 12))
    settings = {"method": method, "baseline": series[::-1].copy(), "segments": "points"}
    if method == "gradient-shap":
        settings |= {"baseline": "zero"}
    base = 0.0 if method == "gradient-shap" else series[::-1]
    answer = explain(regressor(linear(weights)), series, **settings)
    assert answer.values == pytest.approx(weights * (series - base), abs=1e-6)


@pytest.mark.parametrize("method", ["shapley-sampling", "kernel-shap", "leftist"])
def test_segments_of_a_linear_model_get_their_sums_spread_evenly(method, linear, series):
    weights = np.random.default_rng(1).standard_normal((3, 12))
    case = series[:1] if method != "leftist" else np.repeat(series[:1, :, :1], 12, 2)
    answer = explain(regressor(linear(weights)), case, method=method, segments=2, baseline="zero", samples=400)
    expected = (weights * case[0]).reshape(3, 2, 6).sum(2) if method != "leftist" else np.zeros((3, 2))
    assert answer.values[0].reshape(3, 2, 6).sum(2) == pytest.approx(expected, abs=1e-5)


def test_shapley_values_are_the_mean_over_all_orders(series):
    def probability(X):
        a, b, c = X[:, 0, 0], X[:, 0, 1], X[:, 0, 2]
        p = 1 / (1 + np.exp(-(a * b + np.maximum(c, 0) * a)))
        return np.stack([1 - p, p], 1)

    case = np.array([[[1.0, -2.0, 1.5]]])
    answer = explain(probability, case, method="shapley-sampling", segments="points", baseline="zero", target=1)
    expected = np.zeros(3)
    for order in permutations(range(3)):
        x = np.zeros((1, 1, 3))
        for point in order:
            before = probability(x)[0, 1]
            x[0, 0, point] = case[0, 0, point]
            expected[point] += (probability(x)[0, 1] - before) / 6
    assert answer.values[0, 0] == pytest.approx(expected)
    assert answer.residual[0] == pytest.approx(0, abs=1e-12)
    kernel = explain(probability, case, method="kernel-shap", segments="points", baseline="zero", target=1, samples=500)
    assert kernel.values[0, 0] == pytest.approx(expected, abs=6e-3)


def test_integrated_gradients_of_squares_are_the_squares(series):
    class Squares(nn.Module):
        def forward(self, x):
            return (x**2).sum((1, 2))[:, None]

    answer = explain(regressor(Squares()), series, baseline="zero")
    assert answer.values == pytest.approx(series**2, abs=1e-6)
    assert answer.residual == pytest.approx(np.zeros(6), abs=1e-6)


def test_temporal_integrated_gradients_credit_the_later_of_two_times_that_multiply():
    class Product(nn.Module):
        def forward(self, x):
            return (x[:, 0, 0] * x[:, 0, 2])[:, None]

    answer = explain(
        regressor(Product()), np.array([[2.0, 1.0, 3.0]]), method="temporal-integrated-gradients", baseline="zero"
    )
    assert answer.values[0, 0] == pytest.approx([0, 0, 6])


def test_deep_lift_sums_to_the_difference_and_sums_are_checked_for_all_that_promise_it(gunpoint):
    train, test, net = gunpoint
    for name in ("deep-lift", "integrated-gradients", "shapley-sampling", "kernel-shap"):
        answer = explain(net, test.values[:2], method=name, unit="logit", baseline="reference", reference=train.values)
        assert np.abs(answer.residual).max() < 0.05, name


@pytest.mark.parametrize("method", [n for n in ATTRIBUTIONS if n not in ("cam", "grad-cam", "dcam")])
def test_channels_that_a_model_does_not_read_get_nothing(method, one_channel, series):
    fitted = method in ("lime", "kernel-shap", "leftist")  # regressions on random masks: few segments, many masks
    samples = {"extremal-mask": 150, "dynamask": 60}.get(method, 400 if fitted else 30)
    answer = explain(
        one_channel, series[:1] + 1, method=method, segments=2 if fitted else None, samples=samples,
        reference=series, baseline="zero",
    )  # fmt: skip
    others, read = np.abs(answer.values[:, [0, 2]]), np.abs(answer.values[:, 1])
    assert read.max() > 0
    if fitted:
        assert others.max() < 0.1 * read.max()
    elif method in ("extremal-mask", "dynamask", "fit"):  # a small mask, not none; an area; a mean over draws
        assert others.mean() < 0.6 * read.mean()
    else:
        assert others.max() < 1e-6


@pytest.mark.parametrize("method", ["temporal-saliency-rescaling", "dynamask", "extremal-mask"])
def test_the_points_that_a_model_reads_have_the_highest_values(method):
    class Window(nn.Module):
        def forward(self, x):
            return (3 * x[:, 1, 5:8] ** 2).sum(1)[:, None]

    X = 1 + np.abs(np.random.default_rng(0).standard_normal((2, 3, 16)))
    truth = np.zeros(X.shape, dtype=bool)
    truth[:, 1, 5:8] = True
    answer = explain(regressor(Window()), X, method=method, baseline="zero", samples=150)
    assert truth_scores(answer.values, truth)["AUROC"] > 0.95


def test_the_generator_of_fit_draws_the_conditional_of_a_gaussian():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 2.0, -0.3], [0.0, -0.3, 0.5]])
    X = rng.multivariate_normal(np.zeros(3), covariance, (400, 10)).transpose(0, 2, 1)
    generator = ConditionalGaussian.fitted(X)
    drawn = generator.draw(X[0, :, :5], 1, np.array([9.0, 1.5, 9.0]), 20000, rng)
    assert drawn[:, 1] == pytest.approx(1.5)
    assert drawn.mean(0) == pytest.approx([0.8 / 2 * 1.5, 1.5, -0.15 * 1.5], abs=0.08)
    assert drawn[:, 0].var() == pytest.approx(1 - 0.8**2 / 2, abs=0.08)


def test_a_class_activation_map_sums_to_the_logit_and_is_grad_cam_of_it(gunpoint):
    _, test, net = gunpoint
    X = test.values[:3]
    cam, grad = (explain(net, X, method=name, unit="logit") for name in ("cam", "grad-cam"))
    bias = net.head.bias.detach().numpy()[[cam.classes.index(label) for label in cam.target]]
    assert cam.values.sum((1, 2)) + bias == pytest.approx(cam.scores, abs=1e-4)
    assert grad.values == pytest.approx(cam.values, abs=1e-5)
    with pytest.raises(InputError, match=r"use grad-cam|use a gradient method"):
        explain(nn.Sequential(nn.Flatten(), nn.Linear(150, 2)), X, method="cam")
    with pytest.raises(InputError, match="needs a net over cubes"):
        explain(net, X, method="dcam")


def test_dcam_is_the_mean_map_by_place_times_its_variance():
    torch.manual_seed(0)
    net = CubeNet(3, ("a", "b"), width=4).double().eval()
    x, samples, seed = np.random.default_rng(0).standard_normal((1, 3, 10)), 4, 5
    answer = explain(net, x, method="dcam", samples=samples, seed=seed)
    rng, target = np.random.default_rng(seed), answer.classes.index(answer.target[0])
    orders = [np.arange(3), *(rng.permutation(3) for _ in range(samples - 1))]
    rows = []
    with torch.no_grad():
        for order in orders:
            tensor = torch.as_tensor(x[:, order])
            if net(tensor).argmax().item() != target:
                continue
            features, table = net.features(cube(tensor))[0], np.zeros((3, 3, 10))
            for row in range(3):
                for place in range(3):
                    table[order[(place + row) % 3], place] = (net.head.weight[target] @ features[:, row]).numpy()
            rows.append(table)
    means = np.mean(rows, 0)
    assert answer.values[0] == pytest.approx(means.var(1) * np.maximum(means.mean((0, 1)), 0))


def test_every_method_says_what_it_is(one_channel, series):
    for name, method in METHODS.items():
        assert method.summary, name
        assert method.paper, name
    with pytest.raises(InputError, match="attributions are integrated-gradients"):
        explain(one_channel, series, method="magic")
    answer = explain(classifier(ConvNet(3, ("a", "b"))), series, method="integrated_gradients", unit="logit")
    assert (answer.method, answer.units, answer.seed) == ("integrated-gradients", "logit", 0)


def test_explain_tests_its_own_answer(one_channel, series):
    X = series.copy()
    X[:, 1, 3:6] += 6
    answer = explain(one_channel, X, baseline="zero", target="high")
    assert (answer.deleted < answer.deleted_null).all()
