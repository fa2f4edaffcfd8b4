"""Models of every library answer in one form, with classes of their own; faults of other libraries are absent here."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from torch import nn

from clew.errors import InputError
from clew.timeseries import classifier, explain, regressor

METHODS = ("feature-ablation", "shapley-sampling", "leftist")


@pytest.fixture
def logistic(series):
    labels = np.where(series[:, 1].mean(1) > 0, "up", "down")
    labels[:3] = ("down", "up", "flat")
    return LogisticRegression().fit(series.reshape(len(series), -1), labels)


def test_an_estimator_keeps_its_classes_whatever_batch_is_explained(logistic, series):
    whole = classifier(logistic).probabilities(series)
    for case in range(len(series)):
        answer = explain(logistic, series[case], axes="channel time", method="feature-ablation", segments=3)
        assert answer.classes == ("down", "flat", "up")
        assert answer.predicted == (answer.classes[whole[case].argmax()],)
        assert answer.scores[0] == pytest.approx(whole[case].max())


def test_a_single_column_is_the_second_class_and_logits_are_told_from_probabilities(series):
    class Net(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.inner, self.last = nn.Linear(36, 2).double(), last

        def forward(self, x):
            return self.last(self.inner(x.flatten(1)))

    logits = Net(nn.Identity())
    sums = Net(nn.Softmax(1))
    sums.inner = logits.inner
    assert classifier(logits).probabilities(series) == pytest.approx(classifier(sums).probabilities(series))
    column = Net(nn.Identity())
    column.inner = nn.Linear(36, 1).double()
    z = column(torch.as_tensor(series)).detach().numpy()[:, 0]
    assert classifier(column).probabilities(series)[:, 1] == pytest.approx(1 / (1 + np.exp(-z)))


@pytest.mark.parametrize(
    "model",
    [
        RidgeClassifier().fit(np.eye(4), [0, 1, 0, 1]),
        lambda X: np.zeros(len(X), dtype=int),
        lambda X: np.array(["a"] * len(X)),
    ],
)
def test_a_model_that_returns_labels_only_is_refused(model):
    with pytest.raises(InputError, match="labels only"):
        explain(model, np.zeros((2, 1, 4)), method="feature-ablation")


def test_models_that_do_not_fit_are_refused_in_one_line(series, one_channel):
    for model, reason in (
        (nn.Conv1d(5, 2, 3), r"3 channels, 12 times.*axes="),
        (lambda X: np.ones((len(X), 2)), "does not return probabilities"),
        (lambda X: np.full((len(X), 2), np.nan), "NaN"),
        (3, "no model"),
    ):
        with pytest.raises(InputError, match=reason):
            explain(model, series, method="feature-ablation")
    with pytest.raises(InputError, match="needs the gradients of a torch module"):
        explain(lambda X: np.full((len(X), 2), 0.5), series)
    with pytest.raises(InputError, match="no class 'middle': its classes are low, high"):
        explain(one_channel, series, target="middle")
    with pytest.raises(InputError, match="2 outputs"):
        explain(classifier(lambda X: np.full((len(X), 2), 0.5), ["a", "b", "c"]), series, method="feature-ablation")


def test_a_regressor_is_explained_in_its_own_units(series):
    model = LinearRegression().fit(series.reshape(6, -1), np.arange(6.0))
    answer = explain(model, series, method="feature-ablation", baseline="zero")
    assert answer.units == "value"
    assert answer.values.reshape(6, -1) == pytest.approx(model.coef_ * series.reshape(6, -1))
    with pytest.raises(InputError, match="predicts values"):
        explain(regressor(model), series, method="native-guide", reference=series)


@pytest.mark.parametrize("method", ["shapley-sampling", "lime", "kernel-shap", "gradient-shap", "leftist", "fit"])
def test_the_same_seed_gives_the_same_answer_and_global_generators_are_left_alone(method, one_channel, series):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    settings = {"method": method, "reference": series, "samples": 7, "segments": 6}
    first, again, other = (explain(one_channel, series[:2], seed=seed, **settings) for seed in (3, 3, 4))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_a_recurrent_net_is_explained_in_evaluation_mode_without_cudnn_and_gets_its_mode_back(series):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.drop, self.head = nn.GRU(3, 4, batch_first=True), nn.Dropout(0.5), nn.Linear(4, 2)
            self.seen = []

        def forward(self, x):
            self.seen.append((self.training, torch.backends.cudnn.enabled))
            return self.head(self.drop(self.gru(x)[0][:, -1]))

    net = Net().train()
    enabled = torch.backends.cudnn.enabled
    first, again = (explain(classifier(net, layout="case time channel"), series) for _ in range(2))
    assert np.array_equal(first.values, again.values)
    assert set(net.seen) == {(False, False)}
    assert net.training
    assert torch.backends.cudnn.enabled == enabled
    assert np.abs(first.residual).max() < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_integer_series_are_explained_as_the_same_numbers(method, one_channel):
    whole = np.random.default_rng(0).integers(-3, 4, (2, 3, 12))
    first, second = (explain(one_channel, X, method=method, segments=4) for X in (whole, whole.astype(float)))
    assert np.array_equal(first.values, second.values)


@pytest.mark.parametrize("method", [*METHODS, "integrated-gradients", "temporal-saliency-rescaling", "fit", "lime"])
def test_a_constant_series_is_explained_and_said(method, one_channel):
    flat = np.ones((1, 3, 12))
    answer = explain(one_channel, flat, method=method, segments=4, samples=10, reference=flat)
    assert np.isfinite(answer.values).all()
    assert "channel 0 of case 0 and 2 more is constant" in answer.notes
    assert any("equals its baseline" in note for note in answer.notes)


def test_a_class_that_is_never_predicted_can_be_asked_about_and_is_said(one_channel, series):
    low = series - 5
    answer = explain(one_channel, low, target="high", method="feature-ablation", baseline="zero")
    assert answer.scores.max() < 0.5
    assert "the model predicts high for none of these cases" in answer.notes
    with pytest.raises(InputError, match="puts none of the 6 reference cases into class 'high'"):
        explain(one_channel, low, method="native-guide", reference=low)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # aeon's compiled loops warn of their own casts
def test_an_aeon_classifier_is_read_with_its_classes(gunpoint):
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    train, test, _ = gunpoint
    model = KNeighborsTimeSeriesClassifier(distance="euclidean", n_neighbors=5).fit(
        train.values, np.array(train.labels)
    )
    answer = explain(model, test.values[:2], method="feature-ablation", segments=5, reference=train.values)
    assert answer.classes == ("1", "2")
    assert answer.predicted == tuple(model.predict(test.values[:2]))
