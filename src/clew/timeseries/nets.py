"""Small nets of series that train in seconds: a convolutional classifier, one over dimension cubes, a recurrent one.

1. `ConvNet`: three convolutions, mean over time, a linear layer (fully convolutional net, Wang et al. 2017): the mean
   makes its class activation maps exact.
2. `CubeNet`: the same over a cube of channel rotations, for dCAM (Boniol et al. 2022).
3. `StateNet`: a GRU with an output at every time, for planted hidden-Markov series.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clew.errors import InputError
from clew.progress import Progress, Report, silent


class _Scaled(nn.Module):
    """Series less a mean, over a scale, one of each a channel, taken from the training cases."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1))
        self.register_buffer("scale", torch.ones(channels, 1))

    def fit(self, X: Tensor) -> None:
        self.mean.copy_(X.mean((0, 2))[:, None])
        self.scale.copy_(X.std((0, 2))[:, None].clamp_min(1e-8))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class ConvNet(nn.Module):
    """A fully convolutional classifier of (case, channel, time); gives out logits."""

    def __init__(self, channels: int, classes: tuple[str, ...], width: int = 24) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.scaled = _Scaled(channels)
        parts: list[nn.Module] = []
        for before, after, kernel in ((channels, width, 9), (width, 2 * width, 5), (2 * width, 2 * width, 3)):
            parts += [nn.Conv1d(before, after, kernel, padding=kernel // 2), nn.BatchNorm1d(after), nn.ReLU()]
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(2 * width, len(classes))

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case class"]:
        return self.head(self.features(self.scaled(x)).mean(2))


class CubeNet(nn.Module):
    """A convolutional classifier of cubes (case, channel, row, time), row r the channels rotated by r; logits."""

    def __init__(self, channels: int, classes: tuple[str, ...], width: int = 16) -> None:
        super().__init__()
        self.classes = tuple(classes)
        parts: list[nn.Module] = []
        for before, after in ((channels, width), (width, 2 * width), (2 * width, 2 * width)):
            parts += [nn.Conv2d(before, after, (1, 3), padding=(0, 1)), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(2 * width, len(classes))

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case class"]:
        return self.head(self.features(cube(x)).mean((2, 3)))


def cube(x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case channel row time"]:
    """Row r holds all channels, rotated by r, so that every channel meets every other in some row."""
    return torch.stack([x.roll(-row, dims=1) for row in range(x.shape[1])], 2)


class StateNet(nn.Module):
    """A GRU over (case, channel, time) that gives out a logit of the second class at every time."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.recurrent = nn.GRU(channels, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "case channel time"]) -> Float[Tensor, "case time"]:
        return self.head(self.recurrent(x.transpose(1, 2))[0])[..., 0]


def train_net(
    X: Float[np.ndarray, "case channel time"],
    labels: tuple[str, ...],
    *,
    kind: type[ConvNet] | type[CubeNet] = ConvNet,
    epochs: int = 80,
    batch: int = 16,
    seed: int = 0,
    report: Report = silent,
) -> ConvNet | CubeNet:
    """Train a small net (Adam, one-cycle rate, cross-entropy); the same seed gives the same net on the same machine.

    InputError when there is only one label.
    """
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise InputError(f"the training cases have one label, {classes[0]!r}: a classifier needs two")
    x, y = torch.as_tensor(X, dtype=torch.float32), torch.tensor([classes.index(label) for label in labels])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kind(X.shape[1], classes)
    if isinstance(net, ConvNet):
        net.scaled.fit(x)
    batches = max(1, round(len(x) / batch))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=epochs * batches)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(x), generator=generator).chunk(batches):
            if len(chosen) < 2:  # a batch norm needs two
                chosen = torch.arange(min(2, len(x)))
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimiser.step()
            schedule.step()
        report(Progress(what="training", done=epoch + 1, of=epochs, unit="epochs"))
    return net.eval()


def train_state_net(
    X: Float[np.ndarray, "case channel time"],
    labels: Float[np.ndarray, "case time"],
    *,
    epochs: int = 20,
    batch: int = 50,
    width: int = 32,
    seed: int = 0,
    report: Report = silent,
) -> StateNet:
    """Train a recurrent net on a label (0 or 1) at every time."""
    x, y = torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StateNet(X.shape[1], width)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(x), generator=generator).split(batch):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(net(x[chosen]), y[chosen]).backward()
            optimiser.step()
        report(Progress(what="training", done=epoch + 1, of=epochs, unit="epochs"))
    return net.eval()
