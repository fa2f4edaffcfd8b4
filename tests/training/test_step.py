"""The sparse step against the dense loss, in float64: outputs and the gradient of every weight."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear

from clew.kernels import compiled, torch_rows
from clew.kernels.decode import largest
from clew.training import selection
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState
from clew.training.selection import activate, candidate
from clew.training.step import reconstruct, take_step, terms_of
from tests import dense

L, D, F, POS = 3, 10, 40, 24
SCOPES = {"all": {}, "window": {"reach": 2}, "own": {"kind": "plt"}, "skip": {"skip": True}}
KERNELS = {"plain": torch_rows, "compiled": compiled}


def planted(kernels, scope: str, nonlinearity: str, seed: int = 0, **change) -> tuple[RunState, Batch]:
    """A run with weights of every size, features that never fire and, for TopK, equal pre-activations."""
    config = DictionaryConfig(
        features=F, k=4, batch=POS, precision="float32", nonlinearity=nonlinearity, seed=seed, **SCOPES[scope] | change
    )
    run, g = RunState(L, D, config, dtype=torch.float64, kernels=kernels), torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    for own in run.layers:
        own.encoder.weight.copy_(draw(F, D) * (0.1 if nonlinearity == "jumprelu" else 1.0))
        own.bias.weight.copy_(0.1 * draw(F, 1))
        own.bias.weight[5:9] = -50.0
        if nonlinearity == "topk":
            own.encoder.weight[20:26] = own.encoder.weight[26]
            own.bias.weight[20:26] = own.bias.weight[26]
        own.decoder.weight.mul_(30 * draw(F, 1).exp())
        own.norm.copy_(own.decoder.weight.norm(dim=1))
        own.quiet[5:15] = 1e6
        if own.log_threshold is not None:
            own.log_threshold.weight.copy_((0.02 + draw(F, 1).square() * 0.1).log())
    run.decoder_bias.weight.copy_(draw(L, D))
    run.skip.weight.copy_(draw(*run.skip.weight.shape))
    return run, Batch(inputs=draw(L, POS, D), outputs=draw(L, POS, D))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("nonlinearity", ["topk", "batchtopk", "jumprelu", "relu"])
@pytest.mark.parametrize("seed", [0, 1])
def test_outputs_and_every_gradient_equal_the_dense_ones(
    kernels: str, scope: str, nonlinearity: str, seed: int
) -> None:
    step_equals_the_dense_one(KERNELS[kernels], scope, nonlinearity, seed)


def step_equals_the_dense_one(kernels, scope: str, nonlinearity: str, seed: int) -> None:
    """Assert that a step with these kernels has the dense loss's outputs and gradients."""
    run, batch = planted(kernels, scope, nonlinearity, seed)
    leaves = dense.weights(run)
    dead = [own.quiet > 1000 for own in run.layers]
    wanted_loss, wanted = dense.loss_of(run, leaves, batch.inputs, batch.outputs, 4, 0.3, dead)
    active = activate(run, batch.inputs, 4.0)
    on = [terms_of(run, i, batch.inputs[i], a, 0.3) for i, a in enumerate(active)]
    out = reconstruct(run, batch.inputs, active, on).view(POS, L, D).transpose(0, 1)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-10, atol=1e-10)
    gradients = dict(
        zip(leaves, torch.autograd.grad(wanted_loss, leaves.values(), materialize_grads=True), strict=True)
    )
    if nonlinearity != "relu":
        assert all((gradients[f"{i}.encoder"] == 0).all(1).any() or nonlinearity == "jumprelu" for i in range(L))
    outcome = take_step(run, batch, 4.0, 0.3, 1e-3, 1000)
    got = dense.first_gradients(run)
    for name, gradient in gradients.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    errors = (batch.outputs - wanted.detach()).square().mean((1, 2))
    torch.testing.assert_close(torch.tensor(outcome.nmse, dtype=torch.float64), errors)


@pytest.mark.parametrize("nonlinearity", ["topk", "batchtopk", "jumprelu", "relu"])
def test_compiled_and_plain_kernels_take_the_same_steps(nonlinearity: str) -> None:
    (one, batch), (two, _) = (planted(kernels, "all", nonlinearity) for kernels in (torch_rows, compiled))
    for _ in range(5):
        for run in (one, two):
            take_step(run, batch, 4.0, 0.3, 1e-2, 1000)
    for a, b in zip(one.layers, two.layers, strict=True):
        torch.testing.assert_close(a.norm, b.norm, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(a.quiet, b.quiet)
        for name, rows in a.rows.items():
            for part in ("weight", "mean", "square"):
                torch.testing.assert_close(getattr(rows, part), getattr(b.rows[name], part), rtol=1e-8, atol=1e-10)
                assert getattr(rows, part).abs().sum() > 0


@pytest.mark.parametrize("kernels", KERNELS)
def test_features_that_take_no_part_keep_weights_and_moments(kernels: str) -> None:
    run, batch = planted(KERNELS[kernels], "all", "topk")
    take_step(run, batch, 4.0, 0.0, 1e-2, 10**9)
    before = [{name: rows.weight.clone() for name, rows in own.rows.items()} for own in run.layers]
    active = activate(run, batch.inputs, 4.0)
    take_step(run, batch, 4.0, 0.0, 1e-2, 10**9)
    for own, a, old in zip(run.layers, active, before, strict=True):
        idle = a.pairs.counts == 0
        assert 0 < int(idle.sum()) < F
        for name, rows in own.rows.items():
            assert torch.equal(rows.weight[idle], old[name][idle])
            assert (rows.weight[~idle] != old[name][~idle]).any(1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 150), st.integers(1, 20), st.booleans(), st.booleans())
def test_the_k_largest_are_found_whatever_the_ties(
    seed: int, n_pos: int, n: int, k: int, ties: bool, half: bool
) -> None:
    pre = torch.randn(n_pos, n, generator=torch.Generator().manual_seed(seed))
    pre = (pre * 2).round() if ties else pre
    pre = pre.bfloat16() if half else pre
    positive, k = pre.relu(), min(k, n)
    wanted = (largest(positive, k) & (positive > 0)).nonzero(as_tuple=True)
    for kernels in KERNELS.values():
        pairs = kernels.top(pre, k)
        assert torch.equal(pairs.position, wanted[0])
        assert torch.equal(pairs.index, wanted[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 150), st.booleans())
def test_all_values_above_their_cut_are_found(seed: int, n_pos: int, n: int, half: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    pre, cut = torch.randn(n_pos, n, generator=g), torch.rand(n, generator=g)
    pre = pre.bfloat16() if half else pre
    wanted = (pre.float() > cut.to(pre.dtype).float()).nonzero(as_tuple=True)
    for kernels in KERNELS.values():
        pairs = kernels.above(pre, cut)
        assert torch.equal(pairs.position, wanted[0])
        assert torch.equal(pairs.index, wanted[1])


def test_features_are_picked_in_16_bits_only_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    for precision in ("bfloat16", "lean", "float32"):
        run = RunState(3, 8, DictionaryConfig(features=F, k=4, precision=precision), kernels=compiled)
        for fast in (True, False):
            monkeypatch.setattr(selection, "fast_in_16_bits", lambda device, fast=fast: fast)
            short = fast and precision != "float32"
            assert selection.selecting(run, 0, x).dtype == (torch.bfloat16 if short else torch.float32)


def test_features_picked_in_16_bits_have_values_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "fast_in_16_bits", lambda device: True)
    for kernels in KERNELS.values():
        config = DictionaryConfig(features=F, k=4, precision="bfloat16", nonlinearity="topk")
        run = RunState(3, 8, config, kernels=kernels)
        x = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
        found, own = candidate(run, 1, x, 4.0, 0.0), run.layers[1]
        wanted = (x @ own.encoder.weight.T + own.bias.weight[:, 0])[found.pairs.position, found.pairs.index]
        torch.testing.assert_close(found.value, wanted, rtol=1e-5, atol=1e-6)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    runs = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            run, batch = planted(compiled, "all", "topk")
            for _ in range(3):
                take_step(run, batch, 4.0, 0.0, 1e-2, 1000)
            runs.append(run)
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(runs[0].layers, runs[1].layers, strict=True):
        assert torch.equal(a.decoder.weight, b.decoder.weight)
        assert torch.equal(a.encoder.weight, b.encoder.weight)


def test_moments_in_16_bits_are_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one of the two 16-bit neighbours of the float32 value, and their mean over many is not biased."""
    found = {}
    for precision in ("float32", "lean"):
        config = DictionaryConfig(features=64, k=8, batch=256, precision="float32", nonlinearity="topk")
        run = RunState(2, 64, replace(config, precision=precision), kernels=compiled)
        if precision == "lean":
            monkeypatch.setattr(run, "config", config)
        g = torch.Generator().manual_seed(0)
        batch = Batch(inputs=torch.randn(2, 256, 64, generator=g), outputs=torch.randn(2, 256, 64, generator=g))
        take_step(run, batch, 8.0, 0.0, 1e-3, 10**9)
        found[precision] = run.layers[0]
    for name in ("encoder", "decoder"):
        one, two = found["float32"].rows[name], found["lean"].rows[name]
        assert two.mean.dtype == two.square.dtype == torch.bfloat16
        torch.testing.assert_close(one.weight, two.weight)
        for exact, rounded in ((one.mean, two.mean.float()), (one.square, two.square.float())):
            assert (exact != 0).float().mean() > 0.9
            error = (rounded - exact)[exact != 0] / exact[exact != 0]
            assert float(error.abs().max()) <= 2**-7
            assert abs(float(error.mean())) < 4 * float(error.std()) / len(error) ** 0.5
            assert float(error.std()) > 2**-10


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("nonlinearity", ["topk", "batchtopk", "jumprelu", "relu"])
def test_a_feature_is_quiet_for_as_many_positions_as_have_passed_since_it_fired(
    kernels: str, nonlinearity: str
) -> None:
    run, batch = planted(KERNELS[kernels], "all", nonlinearity)
    before = [layer.quiet.clone() for layer in run.layers]
    leaves = dense.weights(run)
    pre = [linear(batch.inputs[i], leaves[f"{i}.encoder"], leaves[f"{i}.bias"][:, 0]) for i in range(L)]
    norms = [layer.norm * len(run.written(i)) ** -0.5 for i, layer in enumerate(run.layers)]
    active = dense.activate(nonlinearity, leaves, pre, norms, 4)
    losses = take_step(run, batch, 4.0, 0.3, 1e-3, 1000)
    for layer, old, values, l0 in zip(run.layers, before, active, losses.l0, strict=True):
        fired = (values > 0).any(0)
        assert 0 < int(fired.sum()) < F
        assert layer.quiet.tolist() == torch.where(fired, 0.0, old + POS).tolist()
        assert l0 == int((values > 0).sum()) / POS
