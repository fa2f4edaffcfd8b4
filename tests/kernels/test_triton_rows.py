"""Triton's kernels against the references, run by Triton's interpreter: no GPU is needed."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from clew.kernels import compiled, torch_rows
from clew.kernels.decode import decode_dense
from clew.kernels.select import kernels_for
from clew.kernels.types import Adam, Features, Pairs, Rows, Terms
from clew.training import selection
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState
from clew.training.selection import candidate
from tests.training.test_step import SCOPES, step_equals_the_dense_one

pytest.importorskip("triton", reason="triton is not installed: `make check-kernels` fetches it and runs these tests")
import triton

if not triton.knobs.runtime.interpret:
    pytest.skip("needs TRITON_INTERPRET=1, which `make check-kernels` sets", allow_module_level=True)

from clew.kernels import triton_decode, triton_rows

MANY = triton_decode.Blocks(items=1, pairs=2, cols=8, groups=16, product=(16, 16, 16))
"""Small blocks: many programs, several tiles of columns, and loops that go round more than once."""


@pytest.mark.parametrize(
    ("nonlinearity", "scope"),
    [*(("batchtopk", scope) for scope in SCOPES), ("topk", "all"), ("jumprelu", "all"), ("relu", "all")],
)
def test_outputs_and_every_gradient_equal_the_dense_ones(nonlinearity: str, scope: str) -> None:
    """Every shape of `tests.training.test_step`, and every way to choose."""
    step_equals_the_dense_one(triton_rows, scope, nonlinearity, seed=0)


def drawn_layer(
    n_pos: int, n: int, d: int, width: int, k: int, dtype: torch.dtype, moments: torch.dtype
) -> tuple[Features, Pairs, Terms, Tensor, Tensor]:
    """A layer whose first features are never active, its pairs and terms, the gradient of outputs, and its inputs."""
    g = torch.Generator().manual_seed(n)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    index = torch.stack([3 + torch.randperm(n - 3, generator=g)[:k].sort().values for _ in range(n_pos)]).flatten()
    pairs = Pairs.of_counts(torch.full((n_pos,), k), index, n)
    value = draw(n_pos * k).abs()
    terms = Terms(
        activation=value, gate=(value > 0.2).to(dtype), extra=draw(n_pos * k), penalty=value.sum(),
        shrink=torch.where(torch.arange(n) == 1, 0.3, 0.0).to(dtype),
        drift=torch.where(torch.arange(n) == 2, 0.1, 0.0).to(dtype),
    )  # fmt: skip
    layer = Features(
        encoder=Rows.of(draw(n, d), moments), bias=Rows.of(draw(n, 1), dtype), decoder=Rows.of(draw(n, width), moments),
        log_threshold=None, norm=torch.zeros(n, dtype=dtype), quiet=torch.zeros(n),
    )  # fmt: skip
    return layer, pairs, terms, draw(n_pos, 2 * width)[:, width:], draw(n_pos, d)


@pytest.mark.parametrize("kernels", ["blocks", "small blocks"])
def test_an_update_is_the_plain_one_and_idle_features_stay(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels == "small blocks":
        monkeypatch.setattr(triton_decode, "INTERPRETER", MANY)
        triton_decode.columns.cache_clear()
    shape = (5, 11, 9, 20, 3, torch.float64, torch.float64)
    layers = []
    for module in (torch_rows, triton_rows):
        layer, pairs, terms, slope, x = drawn_layer(*shape)
        before = layer.decoder.weight.clone()
        for step in (1, 2):
            got = module.update(pairs, terms, slope, x, layer, Adam(rate=0.01, step=step))
        assert torch.equal(layer.decoder.weight[0], before[0])
        assert not torch.equal(layer.decoder.weight[1], before[1])
        out = torch.ones(5, 40, dtype=torch.float64)
        module.decode(pairs, terms.activation, layer.decoder.weight, out[:, 20:])
        value = module.preactivations(pairs, x, layer.encoder.weight, layer.bias.weight[:, 0])
        layers.append([*got, out, value, layer.norm, *(t for rows in layer.rows.values() for t in vars(rows).values())])
    triton_decode.columns.cache_clear()
    for one, two in zip(*layers, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-12)


def test_moments_in_16_bits_have_the_bits_of_the_compiled_kernels() -> None:
    """Rounded at random by the same hash; sums in another order change few of them, by their last bit."""
    shape = (32, 14, 12, 40, 5, torch.float32, torch.bfloat16)
    layers = []
    for module in (compiled, triton_rows):
        layer, pairs, terms, slope, x = drawn_layer(*shape)
        for step in (1, 2, 3):
            module.update(pairs, terms, slope, x, layer, Adam(rate=0.01, step=step))
        layers.append(layer)
    for name in ("encoder", "decoder"):
        one, two = (layer.rows[name] for layer in layers)
        torch.testing.assert_close(two.weight, one.weight, rtol=1e-3, atol=1e-5)
        for part in ("mean", "square"):
            bits = [getattr(rows, part).view(torch.int16).int() for rows in (one, two)]
            assert (bits[0] != 0).float().mean() > 0.8
            assert (bits[0] == bits[1]).float().mean() > 0.97
            plain = getattr(one, part).float()
            assert ((plain.view(torch.int32) & 0xFFFF) == 0).all()


@pytest.mark.parametrize(
    ("n_pos", "n", "k", "dtype", "ties"),
    [
        (5, 150, 20, torch.float32, True), (3, 1, 1, torch.float32, False), (4, 40, 40, torch.bfloat16, True),
        (2, 33, 7, torch.float64, False), (4, 150, 3, torch.bfloat16, True),
    ],
)  # fmt: skip
def test_the_k_largest_are_found_whatever_the_ties(n_pos: int, n: int, k: int, dtype: torch.dtype, ties: bool) -> None:
    pre = torch.randn(n_pos, n, generator=torch.Generator().manual_seed(n))
    pre = ((pre * 2).round() if ties else pre).to(dtype)
    pre[0] = 1.0  # more candidates than there is room for, where the row is long
    pre[-1] = -1.0
    wanted, pairs = torch_rows.top(pre, k), triton_rows.top(pre, k)
    assert torch.equal(pairs.position, wanted.position)
    assert torch.equal(pairs.index, wanted.index)


@pytest.mark.parametrize("room", [2, 16, 256])
def test_values_above_their_cut_are_listed_however_little_room_there_is(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_rows, "LISTED", room)
    monkeypatch.setattr(triton_rows, "MOST_LISTED", 1.0 if room > 2 else 0.1)
    g = torch.Generator().manual_seed(room)
    x, encoder, bias, cut = torch.randn(37, 18, generator=g), torch.randn(90, 18, generator=g), torch.zeros(90), \
        torch.rand(90, generator=g)  # fmt: skip
    pre = x @ encoder.T
    wanted = torch_rows.above(pre, cut)
    assert wanted.starts.diff().max() > 16
    pairs, value = triton_rows.encode(x, encoder, bias, 4, cut)
    assert torch.equal(pairs.position, wanted.position)
    assert torch.equal(pairs.index, wanted.index)
    torch.testing.assert_close(value, pre[wanted.position, wanted.index], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("nonlinearity", ["topk", "batchtopk"])
def test_features_picked_in_16_bits_have_values_in_full_precision(
    nonlinearity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "fast_in_16_bits", lambda device: True)
    config = DictionaryConfig(features=40, k=4, precision="bfloat16", nonlinearity=nonlinearity)
    runs = [RunState(3, 8, config, kernels=kernels) for kernels in (triton_rows, torch_rows)]
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    got, plain = (candidate(run, 1, x, 4.0, 0.5 * float(run.weight(1).mean())) for run in runs)
    features = runs[0].layers[1]
    wanted = x @ features.encoder.weight.T + features.bias.weight[:, 0]
    torch.testing.assert_close(got.value, wanted[got.pairs.position, got.pairs.index], rtol=1e-5, atol=1e-6)
    both = {*zip(got.pairs.position.tolist(), got.pairs.index.tolist(), strict=True)}
    other = {*zip(plain.pairs.position.tolist(), plain.pairs.index.tolist(), strict=True)}
    assert len(both ^ other) <= 0.05 * len(other)  # what lies within a rounding of the cut


def test_decoders_stored_in_16_bits_are_read_as_they_are() -> None:
    layer, pairs, terms, _, _ = drawn_layer(6, 13, 8, 24, 4, torch.float32, torch.float32)
    stored, out = layer.decoder.weight.bfloat16(), torch.zeros(6, 24)
    triton_rows.decode(pairs, terms.activation, stored, out)
    assert torch.equal(triton_decode.decode_rows(pairs.position, pairs.index, terms.activation, stored, 6), out)
    activations = torch.zeros(6, 13)
    activations[pairs.position, pairs.index] = terms.activation
    torch.testing.assert_close(out, decode_dense(activations, stored[:, None])[0])


def test_cuda_gets_these_kernels_and_a_cpu_those_of_numba() -> None:
    assert kernels_for("cuda") is triton_rows
    assert kernels_for("cpu") is compiled
    assert kernels_for("cuda", compiled=False) is torch_rows


@pytest.mark.long
def test_every_kernel_compiles_for_gpus_that_are_not_there() -> None:
    """To machine code of the H100 and the A100, by Triton's own assembler."""
    subprocess.run([sys.executable, "-m", "tests.kernels.compiled_for_gpus"], check=True, timeout=600)
