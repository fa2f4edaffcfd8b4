"""Training of the small world's model: what a step sees, what resuming means, what is saved."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.organism.training import (
    TrainingConfig,
    _step,
    build_model,
    documents_of_step,
    learning_rate,
    padded_parts,
    train,
)

TINY = TrainingConfig(
    statements=400, steps=52, documents=8, n_layer=1, n_embd=16, n_head=2, warmup=5, checkpoint_seconds=1e9
)


@pytest.fixture(autouse=True)
def _small_tokenizer(monkeypatch):
    """Train the tokenizer on less text; it is not what these tests are about."""
    monkeypatch.setattr("clew.organism.tokenizer.SAMPLE", 2_000)
    monkeypatch.setattr("clew.organism.tokenizer.REPEATED", 50)


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path):
    whole = list(train(TINY, tmp_path / "whole"))
    checkpoints = dataclasses.replace(TINY, checkpoint_seconds=0.0)
    started = train(checkpoints, tmp_path / "stopped")
    assert next(started).step == 25
    started.close()
    step = int(files.load_note(tmp_path / "stopped" / "checkpoint.safetensors")["step"])
    assert 0 < step < TINY.steps
    resumed = list(train(checkpoints, tmp_path / "stopped"))
    assert resumed[-1].step == whole[-1].step == TINY.steps
    first = files.load_tensors(tmp_path / "whole" / "checkpoint.safetensors")
    second = files.load_tensors(tmp_path / "stopped" / "checkpoint.safetensors")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    config = dataclasses.replace(TINY, steps=2)
    list(train(config, tmp_path))
    with pytest.raises(MismatchError, match="another configuration"):
        next(train(dataclasses.replace(config, seed=1), tmp_path))


def test_the_saved_model_is_the_trained_one_in_half_precision(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = dataclasses.replace(TINY, steps=3)
    list(train(config, tmp_path))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    kept = files.load_tensors(tmp_path / "checkpoint.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, kept[f"weight.{name}"].half().float())
    assert model.config.activation_function == "relu"
    assert tokenizer.decode(tokenizer.encode("Столица Франции")) == "Столица Франции"
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["config"] == dataclasses.asdict(config)
    assert record["packages"]["torch"]


def test_snapshots_are_log_spaced_and_begin_before_training(tmp_path):
    list(train(dataclasses.replace(TINY, steps=9), tmp_path))
    kept = sorted(path.stem for path in (tmp_path / "snapshots").iterdir())
    assert kept == [f"step-{step:06d}" for step in (0, 1, 2, 4, 8)]


def test_every_epoch_sees_every_document_once():
    config = dataclasses.replace(TINY, documents=7)
    seen = np.concatenate([documents_of_step(50, config, step) for step in range(50)])
    for epoch in range(7):
        assert sorted(seen[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    assert seen[:50].tolist() != seen[50:100].tolist()


def test_cutting_a_step_into_parts_leaves_the_gradient():
    """One padded part and five give the same loss and the same weights after a step."""
    config = dataclasses.replace(TINY, documents=40, precision="float32")
    rng = np.random.default_rng(0)
    corpus = [np.array([0, *rng.integers(2, 60, size=rng.integers(1, 20)), 1]) for _ in range(40)]
    results = []
    for parts in (1, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clew.organism.training.PARTS", parts)
            model = build_model(config, 60)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            results.append((_step(model, optimizer, corpus, config, 0), model.state_dict()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for name, tensor in results[0][1].items():
        assert torch.allclose(tensor, results[1][1][name], atol=1e-6), name


def test_parts_hold_every_token_once():
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 9, size=size) for size in rng.integers(2, 30, size=23)]
    told = itertools.chain.from_iterable(ids[real].tolist() for ids, real in padded_parts(rows))
    assert sorted(told) == sorted(token for row in rows for token in row.tolist())


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [learning_rate(TINY, step) for step in range(TINY.steps + 1)]
    assert max(rates) == rates[TINY.warmup] == pytest.approx(TINY.learning_rate)
    assert rates[-1] == 0.0
    assert all(later > earlier for earlier, later in itertools.pairwise(rates[: TINY.warmup]))
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[TINY.warmup :]))


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("n_layer", -1), ("documents", 0), ("n_head", 5)])
def test_a_mistaken_configuration_is_refused_in_words(field, value):
    with pytest.raises(InputError, match=field):
        dataclasses.replace(TINY, **{field: value})


def test_a_training_that_is_asked_to_stop_saves_itself_and_goes_on_to_the_same_weights(tmp_path):
    config = dataclasses.replace(TINY, steps=9)
    list(train(config, tmp_path / "whole"))
    answers = iter([False] * 3 + [True])
    assert [report.step for report in train(config, tmp_path / "part", stop=lambda: next(answers))] == [4]
    assert not (tmp_path / "part" / "model").exists()
    list(train(config, tmp_path / "part"))
    first, second = (files.load_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"schema": "clew-organism-checkpoint-2"}, "has schema 'clew-organism-checkpoint-2', this program reads"),
        ({"step": "many"}, "is damaged"),
        ("weight.transformer.wpe.weight", "is damaged: transformer.wpe.weight is"),
        ("optimizer.exp_avg.transformer.h.0.ln_1.bias", "is damaged: exp_avg of transformer.h.0.ln_1.bias is"),
    ],
)
def test_a_damaged_or_newer_checkpoint_is_one_line(tmp_path, damage, words):
    config = dataclasses.replace(TINY, steps=2)
    list(train(config, tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    note, tensors = files.load_note(path), {name: t.clone() for name, t in files.load_tensors(path).items()}
    if isinstance(damage, dict):
        note |= damage
    else:
        tensors[damage] = tensors[damage][:1].clone()  # it would spread to all of them
    files.save_tensors(path, tensors, note)
    with pytest.raises(FileError, match=words):
        next(train(config, tmp_path))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        next(train(config, tmp_path))
