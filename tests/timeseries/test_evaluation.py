"""Scores are those of their definitions, planted causes are found, and what knows nothing scores as chance."""

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score
from torch import nn

from clew.errors import InputError
from clew.timeseries import classifier, evaluate_methods, evaluate_planted, planted, truth_scores
from clew.timeseries.map_scores import curve
from clew.timeseries.nets import StateNet
from clew.timeseries.planted_series import hidden_markov
from clew.timeseries.states import state_maps


def test_truth_scores_are_those_of_scikit_learn_on_pooled_scaled_maps():
    rng = np.random.default_rng(0)
    maps, truth = rng.random((4, 3, 10)).round(1), rng.random((4, 3, 10)) < 0.3
    flat = maps.reshape(4, -1)
    low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
    scaled, wanted = ((flat - low) / (high - low + 1e-12)).ravel(), truth.ravel()
    precision, recall, thresholds = precision_recall_curve(wanted, scaled)
    scores = truth_scores(maps, truth)
    assert scores["AUROC"] == pytest.approx(roc_auc_score(wanted, scaled))
    assert scores["AUPRC"] == pytest.approx(auc(recall, precision))
    assert scores["AUP"] == pytest.approx(auc(thresholds, precision[:-1]))
    assert scores["AUR"] == pytest.approx(auc(thresholds, recall[:-1]))
    assert truth_scores(truth.astype(float), truth)["AUROC"] == 1
    with pytest.raises(InputError, match="all points or none"):
        truth_scores(maps, np.zeros_like(truth))


def test_deletion_of_a_linear_model_is_the_sum_of_what_is_left():
    case, weights = np.array([[4.0, 1.0, 3.0, 2.0]]), np.ones((1, 4))
    line = curve(lambda X: (X * weights).sum((1, 2)), case, np.zeros((1, 4)), case)
    assert sorted({round(value, 6) for value in line}, reverse=True) == [10, 6, 3, 1, 0]
    line = curve(lambda X: (X * weights).sum((1, 2)), case, np.zeros((1, 4)), case, insert=True)
    assert sorted({round(value, 6) for value in line}) == [0, 4, 7, 9, 10]


def test_the_rare_feature_is_found_and_noise_wins_on_aur_alone():
    found = evaluate_planted(planted("rare-feature", cases=4), ["integrated-gradients", "feature-ablation"],
                             baseline="zero")  # fmt: skip
    exact, noise = found["integrated-gradients"].truth, found["random"].truth
    assert exact["AUROC"] > 0.99
    assert exact["AUPRC"] > 0.99 > 0.1 > noise["AUPRC"]
    assert noise["AUR"] > exact["AUR"]
    assert found["oracle"].truth["AUROC"] == 1
    assert found["integrated-gradients"].deletion.value < found["random"].deletion.value
    assert found["integrated-gradients"].stability == 1


def test_a_planted_pulse_is_found_and_labels_without_a_cause_show_none():
    methods, settings = ["integrated-gradients", "cam"], {"cases": 8, "unit": "logit", "baseline": "zero"}
    caused = evaluate_planted(planted("arma-cause", cases=70, times=40), methods, **settings)
    absent = evaluate_planted(planted("absent", cases=70, times=40), methods, **settings)
    x, chance = caused["|x|"].truth["AUPRC"], caused["random"].truth["AUPRC"]
    ours = caused["integrated-gradients"]
    assert ours.truth["AUPRC"] > x > chance
    assert absent["integrated-gradients"].truth["AUPRC"] < 0.75 * ours.truth["AUPRC"]
    assert ours.randomised < 0.9
    assert "nearest unlike neighbour" in [score.name for score in caused.scores if score.null]


def test_the_hidden_markov_law_has_its_states_means_and_labels():
    data = hidden_markov(400, 100, seed=0)
    for state, means in ((0, [0.1, 1.6, 0.5]), (1, [-0.1, -0.4, -1.5])):
        inside = data.truth[:, 1 + state]
        values = data.values.transpose(0, 2, 1)[inside]
        assert values.mean(0) == pytest.approx(means, abs=0.05)
        assert values.var(0) == pytest.approx([0.801] * 3, abs=0.03)
    cause = np.where(data.truth[:, 1], data.values[:, 1], data.values[:, 2])
    near = np.abs(cause - 0.5) < 0.1
    assert data.labels[near].mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
    state = data.truth[:, 2]
    assert (state[:, 1:] != state[:, :-1]).mean() == pytest.approx(0.055, abs=0.02)


def test_maps_of_states_are_gradients_at_each_time_in_its_window():
    torch.manual_seed(0)
    net, X = StateNet(3, 4).double(), hidden_markov(2, 9, seed=0).values
    maps = state_maps(net, X, "gradient", window=9, baseline="zero", unit="logit")
    x = torch.as_tensor(X).requires_grad_(True)
    [slope] = torch.autograd.grad(net(x)[:, -1].sum(), x)
    assert maps[:, :, 0] == pytest.approx((slope * x).detach().numpy()[:, :, -1])
    assert state_maps(net, X, "fit", window=5, samples=3).shape == (2, 3, 5)
    assert state_maps(net, X, "extremal-mask", window=5, samples=3).shape == (2, 3, 5)


def test_random_weights_are_put_into_a_net_that_reads_time_before_channels(series):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])

    score = evaluate_methods(classifier(Net(), layout="case time channel"), series, ["gradient"])["gradient"]
    assert score.stability == pytest.approx(1)
    assert score.randomised < 0.999


def test_what_cannot_be_evaluated_is_said(one_channel, series):
    found = evaluate_methods(one_channel, series, ["integrated-gradients", "cam"])
    assert "cam" in found.skipped
    with pytest.raises(InputError, match="takes none of these"):
        evaluate_methods(one_channel, series, ["cam"])
    with pytest.raises(InputError, match="counterfactuals"):
        evaluate_methods(one_channel, series, ["comte"])
    with pytest.raises(InputError, match="no planted set"):
        planted("storms")
