"""A small net and models whose explanations are known."""

import numpy as np
import pytest
import torch
from torch import nn


class Linear(nn.Module):
    """w . x, one value a case: its attributions are w (x - baseline), whatever method finds them."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float64))

    def forward(self, x):
        return (x * self.weights).sum((1, 2))[:, None]


class OneChannel(nn.Module):
    """A classifier that reads channel 1 alone, by the mean of a ReLU."""

    def __init__(self, channels=3):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.classes = ("low", "high")

    def forward(self, x):
        z = self.gain * (torch.relu(x[:, 1]) - 0.3).mean(1)
        return torch.stack([-4 * z, 4 * z], 1)


@pytest.fixture
def linear():
    return Linear


@pytest.fixture
def one_channel():
    return OneChannel()


@pytest.fixture
def series():
    """Six cases of three channels and twelve times."""
    return np.random.default_rng(0).standard_normal((6, 3, 12))


@pytest.fixture(scope="session")
def gunpoint():
    """GunPoint's training and test cases, and a net trained on it for a few seconds."""
    from clew.timeseries import load_pair, train_net

    train, test = load_pair("GunPoint")
    return train, test, train_net(train.values, train.labels, epochs=20)
