"""What training takes by arithmetic: equal to what is counted, in proportion, and refused where it does not fit."""

import json
from dataclasses import replace

import pytest
import torch

from clew.errors import InputError
from clew.kernels.present import present_device
from clew.runs.cost import Shape, batched, layer_cost, least_devices, memory_cost, plan_on, step_cost
from clew.runs.devices import KINDS, devices_of
from clew.training import DictionaryConfig
from clew.training.run_state import RunState
from tests.cli.test_train import SMALL, refused, write_text

H100, H200 = KINDS["H100"], KINDS["H200"]
GPT2 = Shape(d_model=768, widths=(49152,) * 12, written=tuple(range(12, 0, -1)), k=16, batch=16384, steps=1000,
             model_parameters=124_000_000)  # fmt: skip


def test_parameters_and_bytes_are_those_that_a_run_allocates():
    changes = ({}, {"kind": "plt"}, {"reach": 2}, {"features": (20, 30, 9)}, {"precision": "lean"}, {"skip": True},
               {"nonlinearity": "jumprelu"})  # fmt: skip
    for change in changes:
        config = DictionaryConfig(**{"features": 20, "k": 3} | change)
        run, shape = RunState(3, 16, config), Shape.of(config, 3, 16)
        rows = [run.decoder_bias, run.skip, *(rows for layer in run.layers for rows in layer.rows.values())]
        thresholds = 3 * 20 if config.nonlinearity == "jumprelu" else 0
        assert shape.parameters + thresholds == sum(row.weight.numel() for row in rows)
        large = [run.skip, *(rows for layer in run.layers for rows in (layer.encoder, layer.decoder))]
        counted = sum(t.nbytes for rows in large for t in (rows.weight, rows.mean, rows.square))
        assert shape.state == pytest.approx(counted, rel=0.1)  # biases keep moments of 32 bits


def test_the_published_shapes_have_the_published_numbers_of_parameters():
    gemma = replace(GPT2, d_model=2304, widths=(98304,) * 26, written=tuple(range(26, 0, -1)))
    assert GPT2.parameters == pytest.approx(3.4e9, rel=0.01)
    assert gemma.parameters == pytest.approx(85e9, rel=0.01)


def test_two_devices_share_the_work_and_exchange_what_the_other_needs():
    rates = replace(H100.rates("bfloat16"), call=0.0)
    one = step_cost(GPT2, rates)
    assert (one.exchange, one.exchanged) == (0.0, 0.0)
    for split in ("features", "tokens"):
        two = step_cost(GPT2, rates, 2, exchange=1e15, split=split)
        assert two.decode == pytest.approx(one.decode / 2)
        assert 0.45 < two.encode / one.encode < 0.6  # by tokens each reads all encoders
        assert two.gradients == pytest.approx(one.gradients / (2 if split == "features" else 1))
        assert two.exchanged > GPT2.outputs
        slow = step_cost(GPT2, rates, 2, exchange=1e10, split=split)
        assert slow.exchange == pytest.approx(slow.exchanged / 1e10)
    beside = step_cost(GPT2, rates, 2, exchange=1e10, overlap=True)
    assert 0 < beside.exchange < step_cost(GPT2, rates, 2, exchange=1e10).exchange


def test_rare_features_cost_the_optimizer_little():
    rates = H100.rates("bfloat16")
    wide, narrow = (replace(GPT2, widths=(n,) * 12) for n in (400_000, 100_000))
    ratio = layer_cost(wide, 0, rates, 1, "features").optimizer / layer_cost(narrow, 0, rates, 1, "features").optimizer
    assert 1 < ratio < 2.5  # not 4: there are as many pairs in both


def test_a_run_by_features_needs_less_of_each_device_and_the_least_number_that_holds_it_is_told():
    assert memory_cost(GPT2, 8, "features", buffer=1 << 18) < memory_cost(GPT2, 8, "tokens", buffer=1 << 18) / 3
    gemma = replace(GPT2, d_model=2304, widths=(16384,) * 26, written=tuple(range(26, 0, -1)))
    least = least_devices(gemma, H100, buffer=1 << 18)
    assert least is not None
    assert plan_on(gemma, H100, least, buffer=1 << 18).fits
    assert not plan_on(gemma, H100, least // 2, buffer=1 << 18, split="features").fits
    assert least_devices(gemma, KINDS["L4"], buffer=1 << 18, most=1) is None
    fast, slow = (plan_on(GPT2, kind, 1, buffer=1 << 18) for kind in (H200, H100))
    assert fast.hours < slow.hours
    assert sum(fast.shares.values()) == pytest.approx(1)
    assert batched(GPT2, 4096, 10_000).steps == 3


def test_devices_are_named_by_number_and_kind():
    assert devices_of("8xH100") == (8, H100)
    assert devices_of(" h200 ") == (1, H200)
    for words in ("8xH9", "0xH100", "", "H100x8x", "x"):
        with pytest.raises(InputError, match="devices"):
            devices_of(words)


def test_a_device_that_is_not_there_is_refused_in_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert present_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"cuda:2 is not there.*cpu, cuda:0, cuda:1"):
        present_device("cuda:2")
    refused(run("trace", "The capital of France is", "--device", "cuda:5"), "the device cuda:5 is not there")
    refused(run("train", "a", "--device", "gpu"), "'gpu' is no device")
    for other in ("meta", "xpu"):
        with pytest.raises(InputError, match="no device that Clew computes on"):
            present_device(other)
    refused(run("train", "a", "--on", "8xH100"), "give --estimate too")
    refused(run("train", "--estimate", "--on", "8xH9"), "names no devices")
    assert not list(tmp_path.iterdir())


def test_an_estimate_for_other_devices_measures_nothing_and_says_what_each_needs(run, tmp_path):
    write_text(tmp_path)
    options = ("train", "--estimate", "--text", "text.txt", *SMALL)
    code, out, err = run(*options, "--on", "8xH100")
    assert code == 0, err
    assert "on 8 x H100, by arithmetic" in out
    assert "divided by features" in out or "divided by tokens" in out
    code, out, err = run(*options, "--features", "3000000", "--on", "H100", "--json")
    told = json.loads(out)
    assert (code, told["fits"], told["count"]) == (2, False, 1)
    assert told["disk_bytes"] > told["parameters"] * 28
    refused((code, "", err), "each of 1 x H100", "of them hold it", "--precision lean")
