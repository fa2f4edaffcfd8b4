"""Maps of activations: CAM, Grad-CAM, dCAM.

1. CAM (Zhou et al. 2016; Wang et al. 2017): where features of the last convolution, weighted by the class's weights,
   are; exact for nets that end in a mean over time and one linear layer, and refused for others.
2. Grad-CAM (Selvaraju et al. 2017): weights are mean gradients. The sign stays, there is no final ReLU.
3. dCAM (Boniol et al. 2022): for nets over cubes of rotated channels; maps of many orders of the channels, and how much
   a channel's map depends on its row, give a map with channels.

CAM and Grad-CAM have no channels: all channels of a case get the same share.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clew.errors import InputError
from clew.subject.hooks import watching
from clew.timeseries.nets import CubeNet, cube
from clew.timeseries.question import SeriesQuestion

_CLOSE = 1e-3


def _leaves(module: nn.Module) -> dict[str, nn.Module]:
    return {name: part for name, part in module.named_modules() if not list(part.children())}


def _maps(question: SeriesQuestion) -> tuple[Tensor, Tensor, nn.Linear | None, Tensor | None]:
    """The last activations of (case, feature, time), the outputs in the unit, the last linear layer and its input."""
    assert question.model.module is not None
    leaves = _leaves(question.model.module)
    with watching(leaves) as watch:
        outputs = question.model.forward(question.model.tensor(question.X).requires_grad_(True), question.unit)
    maps = [(name, out) for name, out in watch.outputs.items() if isinstance(out, Tensor) and out.ndim == 3]
    if not maps or maps[-1][1].shape[2] < 2:
        raise InputError(f"{question.model.name} has no activations of (case, feature, time): use a gradient method")
    linear = [name for name in watch.outputs if isinstance(leaves[name], nn.Linear)]
    last = leaves[linear[-1]] if linear else None
    assert last is None or isinstance(last, nn.Linear)
    return maps[-1][1], outputs, last, watch.inputs[linear[-1]] if linear else None


def cam(question: SeriesQuestion) -> np.ndarray:
    """The class's weights times the last features, over their number of times: logits without the bias."""
    with question.seeded(), torch.no_grad():
        features, _, linear, pooled = _maps(question)
        if linear is None or pooled is None or pooled.shape != features.mean(2).shape:
            raise InputError(f"{question.model.name} does not end in a mean over time and a linear layer: use grad-cam")
        if (pooled - features.mean(2)).abs().max() > _CLOSE * (1 + pooled.abs().max()):
            raise InputError(f"{question.model.name} does not end in a mean over time: use grad-cam")
        weights = _class_weights(linear, question.target_tensor())
        return _over_channels(question, torch.einsum("nk,nkt->nt", weights, features))


def _class_weights(linear: nn.Linear, targets: Tensor) -> Tensor:
    if linear.out_features == 1:
        return torch.where(targets[:, None] == 1, linear.weight, -linear.weight)
    return linear.weight[targets]


def grad_cam(question: SeriesQuestion) -> np.ndarray:
    """The mean gradient of the output by feature, times the feature."""
    with question.seeded():
        features, outputs, _, _ = _maps(question)
        total = outputs.gather(1, question.target_tensor()[:, None]).sum()
        weights = torch.autograd.grad(total, features)[0].mean(2)
        return _over_channels(question, torch.einsum("nk,nkt->nt", weights * features.shape[2], features).detach())


def _over_channels(question: SeriesQuestion, rows: Tensor) -> np.ndarray:
    """A map of (case, time of the features) over the times of the series, the sum kept up to its mean."""
    channels, times = question.X.shape[1:]
    if rows.shape[1] != times:
        rows = nn.functional.interpolate(rows[:, None], size=times, mode="linear", align_corners=False)[:, 0]
    shares = (rows / (times * channels)).double().cpu().numpy()
    return np.broadcast_to(shares[:, None], question.X.shape).copy()


def dcam(question: SeriesQuestion) -> np.ndarray:
    """Mean map of a channel and time, times the variance over rows; InputError for a net that is not over cubes."""
    net = question.model.module
    if not isinstance(net, CubeNet):
        raise InputError(f"dcam needs a net over cubes (clew.timeseries.nets.CubeNet), {question.model.name} is none")
    with question.seeded(), torch.no_grad():
        return np.concatenate([_dcam_case(q, net) for q in question.cases("dcam")])


def _dcam_case(question: SeriesQuestion, net: CubeNet) -> np.ndarray:
    channels, times = question.X.shape[1:]
    rng, target = question.generator(), int(question.targets[0])
    x = question.model.tensor(question.X)[0]
    orders = np.stack([np.arange(channels), *(rng.permutation(channels) for _ in range(question.samples - 1))])
    features = net.features(_cubes(x, orders))
    maps = torch.einsum("k,nkrt->nrt", net.head.weight[target], features)  # (order, row, time)
    right = net.head(features.mean((2, 3))).argmax(1) == target
    if right.any():  # an order in which the net misses the class says nothing of it
        orders, maps = orders[right.cpu().numpy()], maps[right]
    by_place = torch.zeros(len(orders), channels, channels, times, dtype=x.dtype, device=x.device)
    for row in range(channels):  # in row r, place p holds the channel orders[:, (p + r) % channels]
        for place in range(channels):
            held = torch.as_tensor(orders[:, (place + row) % channels], device=x.device)
            by_place[torch.arange(len(orders)), held, place] = maps[:, row]
    means = by_place.mean(0)  # (channel, place, time)
    values = means.var(1, unbiased=False) * means.mean((0, 1)).clamp_min(0)
    return values.double().cpu().numpy()[None]


def _cubes(x: Tensor, orders: np.ndarray) -> Tensor:
    return cube(x[torch.as_tensor(orders, device=x.device)])
