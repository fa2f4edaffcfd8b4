"""Neurons of any MLP: what they read, their derivatives, the MLP they make up, against formulas and autograd."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev
from transformers.activations import ACT2FN

from clew.dictionary import Dictionary, neurons
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.circuit_tracer import save_circuit_tracer
from clew.dictionary.nonlinearity import Elementwise
from clew.errors import InputError
from clew.subject.routing import Router
from tests import models

D, F, P = 5, 8, 4
FUNCTIONS = ("gelu", "gelu_new", "silu", "relu")
KINDS: list[tuple[str, bool, Any]] = [(name, gated, None) for name in FUNCTIONS for gated in (False, True)]
KINDS += [
    ("silu", True, (1, False)),
    ("silu", True, (3, False)),
    ("relu", True, (2, True)),
    ("gelu", False, (2, False)),
]
"""Function, whether there is a gate, and of a mixture how many of 4 experts are chosen, whether shares sum to one."""


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=KINDS, ids=str)
def layer(request: pytest.FixtureRequest) -> Layer:
    name, gated, routed = request.param
    gate: dict[str, Any] = {"gate": randn(F, D, seed=1), "gate_bias": randn(F, seed=2)} if gated else {}
    return Layer(
        encoder=randn(F, D, seed=3),
        bias=randn(F, seed=4),
        nonlinearity=Elementwise(name=name, function=ACT2FN[name]),
        decoder=randn(F, 1, D, seed=5),
        decoder_bias=randn(D, seed=6),
        router=routed and Router(weight=randn(4, D, seed=10), n_chosen=routed[0], normalised=routed[1]),
        **gate,
    )


def share(layer: Layer, x: Tensor) -> Tensor:
    """What a neuron's activation is multiplied by: of a mixture what the router gives to its expert; else one."""
    if (router := layer.router) is None:
        return torch.ones(F, dtype=x.dtype)
    odds = (x @ router.weight.T).exp()
    least = odds.sort(-1).values[..., -router.n_chosen, None]
    chosen = odds * (odds >= least)
    shares = chosen / (chosen if router.normalised else odds).sum(-1, keepdim=True)
    return torch.stack([shares[..., neuron // 2] for neuron in range(F)], -1)


def plain(layer: Layer, x: Tensor) -> Tensor:
    """The activations, by the formula."""
    return unrouted(layer, x) * share(layer, x)


def unrouted(layer: Layer, x: Tensor) -> Tensor:
    inner = x @ layer.encoder.T + layer.bias
    assert isinstance(layer.nonlinearity, Elementwise)
    if layer.gate is None:
        return layer.nonlinearity.function(inner)
    return layer.nonlinearity.function(x @ layer.gate.T + layer.gate_bias) * inner


def pairs() -> tuple[Tensor, Tensor]:
    """Every neuron at every position: positions and indices."""
    return torch.arange(P).repeat_interleave(F), torch.arange(F).repeat(P)


def test_what_a_neuron_reads_adds_up_to_its_activation(layer: Layer) -> None:
    x, (positions, ids) = randn(P, D), pairs()
    rows, biases = neurons.reader_rows(layer, ids, x[positions])
    found = (rows * x[positions]).sum(1) + biases
    torch.testing.assert_close(found, plain(layer, x)[positions, ids], rtol=1e-12, atol=1e-13)


def test_half_of_a_gated_activation_is_credited_to_each_factor(layer: Layer) -> None:
    if layer.gate is None:
        pytest.skip("not gated")
    x, (positions, ids) = randn(P, D), pairs()
    rows, _ = neurons.reader_rows(layer, ids, x[positions])
    inner, gate = x @ layer.encoder.T + layer.bias, x @ layer.gate.T + layer.gate_bias
    factor = plain(layer, x) / (inner * gate)
    assert layer.router is None or bool((share(layer, x) == 0).any()), "nothing is left out"
    wanted = (factor * inner)[..., None] * layer.gate / 2 + (factor * gate)[..., None] * layer.encoder / 2
    torch.testing.assert_close(rows, wanted[positions, ids], rtol=1e-10, atol=1e-12)


def test_slopes_are_autograds(layer: Layer) -> None:
    x, (positions, ids) = randn(P, D), pairs()
    wanted = torch.stack([jacrev(lambda row: plain(layer, row))(row) for row in x])
    found = neurons.slope_rows(layer, ids, x[positions])
    torch.testing.assert_close(found, wanted[positions, ids], rtol=1e-10, atol=1e-12)


def test_responses_are_slopes_along_what_moved(layer: Layer) -> None:
    x, moved = randn(P, D), randn(P, D, seed=9)
    slopes = torch.stack([jacrev(lambda row: plain(layer, row))(row) for row in x])
    wanted = torch.einsum("pfd,pd->pf", slopes, moved)
    torch.testing.assert_close(neurons.responses(layer, x, moved), wanted, rtol=1e-10, atol=1e-12)


def test_activations_of_some_are_those_of_all(layer: Layer) -> None:
    x, ids = randn(3, P, D), torch.tensor([6, 0, 2])
    found = neurons.activations_of(layer, x, ids)
    torch.testing.assert_close(found, torch.stack([plain(layer, x[i])[:, n] for i, n in enumerate(ids.tolist())]))


@pytest.mark.parametrize("drawn", [False, True])
def test_the_jacobian_is_autograds_less_what_is_held(layer: Layer, drawn: bool) -> None:
    x, held = randn(P, D), torch.tensor([[0, 3], [2, 1], [2, 6]])
    stays = torch.ones(P, F, dtype=torch.float64)
    stays[held[:, 0], held[:, 1]] = 0

    def output(row: Tensor, mask: Tensor) -> Tensor:
        return (plain(layer, row) * mask) @ layer.decoder[:, 0]

    wanted = torch.stack([jacrev(output)(row, mask) for row, mask in zip(x, stays, strict=True)])  # [pos, out, in]
    found = neurons.Jacobian(layer, x, held, drawn=drawn)
    gradients = randn(3, D, 6, seed=8)  # of the first three positions
    torch.testing.assert_close(found.transpose(gradients), wanted[:3].mT @ gradients, rtol=1e-10, atol=1e-12)
    moved = randn(2, P, D, seed=7)
    torch.testing.assert_close(found.forward(moved), torch.einsum("poi,bpi->bpo", wanted, moved))


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "silu"])
def test_at_zero_the_factor_is_its_limit(name: str) -> None:
    function = Elementwise(name=name, function=ACT2FN[name])
    near = torch.tensor([-1e-7, 0.0, 1e-7], dtype=torch.float64)
    torch.testing.assert_close(function.factor(near), torch.full_like(near, 0.5), rtol=0, atol=1e-6)


NAMED = [(name, {}) for name in models.ARCHITECTURES if name != "gpt_oss"]
NAMED += [("gpt2", {"activation_function": "gelu_new"}), ("gptj", {"activation_function": "gelu"})]
NAMED += [("neox", {"hidden_act": "gelu"}), ("llama", {"mlp_bias": True}), ("llama", {"hidden_act": "relu"})]


@pytest.mark.parametrize(("architecture", "changes"), NAMED, ids=str)
def test_neurons_make_up_the_mlp_of_every_family(architecture: str, changes: dict[str, Any]) -> None:
    subject = models.subject(architecture, **changes)
    captured = subject.capture(torch.tensor([models.PROMPT]), ["mlp_in", "mlp_raw_out"])
    dictionary = Dictionary.from_neurons(subject)
    inputs = {layer: captured["mlp_in", layer][0] for layer in range(subject.n_layers)}
    active = {layer: dictionary.encode(layer, x) for layer, x in inputs.items()}
    rebuilt = dictionary.reconstruct(active, inputs, len(models.PROMPT))
    for layer, output in rebuilt.items():
        torch.testing.assert_close(output, captured["mlp_raw_out", layer][0], rtol=1e-9, atol=1e-11)
    dictionary.check_fits(subject)


@pytest.mark.parametrize("changes", [{}, {"activation_function": "gelu_new"}], ids=str)
def test_neurons_that_no_layout_can_say_are_not_written(changes: dict[str, Any], tmp_path: Path) -> None:
    subject = models.subject("gpt2", **changes) if changes else models.subject("llama")
    dictionary = Dictionary.from_neurons(subject)
    with pytest.raises(InputError, match="cannot be written"):
        dictionary.save(tmp_path / "native")
    with pytest.raises(InputError, match="cannot be written"):
        save_circuit_tracer(dictionary, tmp_path / "peer", model_name="tiny", scan="toy")
    assert not any(tmp_path.iterdir())


def test_experts_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"several experts.*give a dictionary") as caught:
        Dictionary.from_neurons(models.subject("gpt_oss"))
    assert "\n" not in str(caught.value)
