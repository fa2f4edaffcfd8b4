"""The training loss written densely, for automatic differentiation: what the sparse step is compared with."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from clew.kernels.decode import decode_dense, largest
from clew.training.objective import BANDWIDTH, PULL, SHARPNESS
from clew.training.run_state import RunState

AUXILIARY_K, AUXILIARY_SHARE, AUXILIARY_WEIGHT = 32, 1 / 4, 1 / 32  # not the step's own, which may be wrong


class Step(torch.autograd.Function):
    """pre above threshold, with a rectangle in the place of the step's derivative by the threshold."""

    @staticmethod
    def forward(ctx, pre, threshold):
        ctx.save_for_backward(pre, threshold)
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx, grad):
        pre, threshold = ctx.saved_tensors
        width = torch.minimum(torch.full_like(threshold, BANDWIDTH), 2 * threshold)
        near = (pre - threshold).abs() < width / 2
        return grad * (pre > threshold), (-grad * threshold / width * near).sum(0)


def weights(run: RunState) -> dict[str, Tensor]:
    """Leaves with the run's weights, by the names that the step's moments have."""
    found = {f"{i}.{name}": rows.weight for i, own in enumerate(run.layers) for name, rows in own.rows.items()}
    found |= {"decoder_bias": run.decoder_bias.weight, "skip": run.skip.weight}
    return {name: weight.detach().clone().requires_grad_() for name, weight in found.items()}


def first_gradients(run: RunState) -> dict[str, Tensor]:
    """The gradients of a run's first step, read off the means that Adam holds after it."""
    found = {f"{i}.{name}": rows.mean for i, own in enumerate(run.layers) for name, rows in own.rows.items()}
    found |= {"decoder_bias": run.decoder_bias.mean, "skip": run.skip.mean}
    return {name: mean / (1 - 0.9) for name, mean in found.items()}


def loss_of(
    run: RunState, w: dict[str, Tensor], inputs: Tensor, outputs: Tensor, k: int, price: float, dead: list[Tensor]
):
    """The loss, and the outputs [layer, pos, d_model]."""
    kind, n_layers, n_pos, d = run.config.nonlinearity, *inputs.shape
    pre = [linear(inputs[i], w[f"{i}.encoder"], w[f"{i}.bias"][:, 0]) for i in range(n_layers)]
    norms = [w[f"{i}.decoder"].norm(dim=1) for i in range(n_layers)]
    weights = [n * len(run.written(i)) ** -0.5 for i, n in enumerate(norms)]
    activations, penalty = activate(kind, w, pre, weights, k), torch.zeros((), dtype=inputs.dtype)
    for i, (a, n) in enumerate(zip(activations, norms, strict=True)):
        if kind == "relu":
            penalty = penalty + price * (a * n).sum() / n_pos
        if kind == "jumprelu":
            short = (w[f"{i}.log_threshold"][:, 0].exp() - pre[i]).relu()
            penalty = penalty + price / n_pos * ((SHARPNESS * a * n).tanh().sum() + PULL * (short * n).sum())
    out = [w["decoder_bias"][i].expand(n_pos, d) for i in range(n_layers)]
    for i in range(n_layers):
        if run.config.skip:
            out[i] = out[i] + linear(inputs[i], w["skip"].view(n_layers, d, d)[i])
        parts = decode_dense(activations[i], w[f"{i}.decoder"].view(len(norms[i]), -1, d))
        for layer, part in zip(run.written(i), parts, strict=True):
            out[layer] = out[layer] + part
    missing = [outputs[i] - out[i] for i in range(n_layers)]
    errors = [m.square().mean() for m in missing]
    extra = sum(auxiliary(run, w, i, inputs[i], missing, errors[i], dead[i], activations[i]) for i in range(n_layers))
    return sum(errors) + penalty + extra, torch.stack(out)


def activate(kind, w, pre, norms, k):
    if kind == "relu":
        return [p.relu() for p in pre]
    if kind == "topk":
        return [p.relu() * largest(p.detach().relu(), k) for p in pre]
    if kind == "jumprelu":
        return [Step.apply(p, w[f"{i}.log_threshold"][:, 0].exp()) for i, p in enumerate(pre)]
    score = torch.cat([(p.relu() * n).detach().flatten() for p, n in zip(pre, norms, strict=True)])
    marks = largest(score, k * len(pre) * len(pre[0])).split([p.numel() for p in pre])
    return [p.relu() * m.view_as(p) for p, m in zip(pre, marks, strict=True)]


def auxiliary(run, w, i, x, missing, error, dead, activation):
    """Dead features that are idle in this batch explain what is missing at its first positions."""
    ids = (dead & (activation <= 0).all(0)).nonzero().flatten()
    if run.config.nonlinearity not in ("topk", "batchtopk") or not len(ids):
        return 0.0
    n = max(1, int(len(x) * AUXILIARY_SHARE))
    residual = torch.cat([missing[layer] for layer in run.written(i)], 1)[:n].detach()
    pre = linear(x[:n], w[f"{i}.encoder"][ids], w[f"{i}.bias"][ids, 0]).relu()
    rebuilt = (pre * largest(pre.detach(), AUXILIARY_K)) @ w[f"{i}.decoder"][ids]
    share = (rebuilt - residual).square().sum() / residual.square().sum()
    return AUXILIARY_WEIGHT * error.detach() * share
