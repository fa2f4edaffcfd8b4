"""Fine-tuning on the divergence of the replacement model: its gradients are those of the dense model, and it helps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear
from transformers import GPT2Config, GPT2LMHeadModel

from clew.dictionary import Dictionary
from clew.errors import FileError, InputError
from clew.kernels.decode import decode_dense
from clew.kernels.types import Adam
from clew.runs.fidelity import measure_fidelity
from clew.subject.subject import Subject
from clew.training import Documents, train_dictionary
from clew.training.config import FineTuneConfig
from clew.training.finetune import divergence_step, fine_tune
from clew.training.run_state import RunState
from tests import dense, toy


def divergence(run: RunState, subject: Subject, ids, weights: dict, cut: float) -> torch.Tensor:
    """All MLPs replaced by dense dictionaries, by hooks of its own; the first position stays real."""
    s, d, n_layers = run.scales, run.d_model, run.n_layers
    real = subject.model(ids).logits.log_softmax(-1)
    written: dict[int, torch.Tensor] = {}

    def hook(layer: int):
        def swap(module, args, output):
            x = (args[0] - s["input_centre"][layer]) / s["input_scale"][layer]
            pre = linear(x, weights[f"{layer}.encoder"], weights[f"{layer}.bias"][:, 0])
            decoder = weights[f"{layer}.decoder"]
            share = len(run.written(layer)) ** -0.5
            on = pre * (pre * decoder.detach().norm(dim=1) * share > cut)
            parts = decode_dense(on.flatten(0, 1), decoder.view(len(decoder), -1, d))
            for out, part in zip(run.written(layer), parts, strict=True):
                written[out] = written.get(out, 0) + part
            made = written[layer].view_as(output) + weights["decoder_bias"][layer]
            made = made + linear(x, weights["skip"].view(n_layers, d, d)[layer])
            made = made * s["output_scale"][layer] + s["output_centre"][layer]
            return torch.cat([output[:, :1], made[:, 1:]], 1)

        return swap

    blocks = subject.model.transformer.h
    handles = [block.mlp.register_forward_hook(hook(i)) for i, block in enumerate(blocks)]
    new = subject.model(ids).logits.log_softmax(-1)
    for handle in handles:
        handle.remove()
    return (real.exp() * (real - new)).sum(-1)[:, 1:].mean()


def test_the_gradients_of_the_divergence_equal_those_through_a_dense_replacement(
    subject: Subject, documents: Documents
) -> None:
    run, rows = toy.untrained_run(subject, documents), torch.arange(20)
    cut, leaves = 0.25, dense.weights(run)
    wanted = divergence(run, subject, documents.padded(rows)[0], leaves, cut)
    gradients = dict(zip(leaves, torch.autograd.grad(wanted, leaves.values()), strict=True))
    found = divergence_step(run, subject, documents, rows, cut, 1.0, Adam(rate=1e-3, step=1))
    assert found == pytest.approx(float(wanted.detach()), rel=1e-4)
    for name, got in dense.first_gradients(run).items():
        scale = float(gradients[name].abs().max())
        assert scale > 0
        torch.testing.assert_close(got, gradients[name], rtol=1e-3, atol=1e-4 * scale, msg=lambda m, n=name: n + m)


def test_fine_tuning_lowers_the_divergence_on_text_it_has_not_seen(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    seen, held_out = documents.slice(0, 150), documents.slice(150, 200)
    config = replace(toy.SMALL, features=32, k=3, steps=150)
    list(train_dictionary(subject, seen, config, tmp_path, buffer=toy.BUFFER))
    before = measure_fidelity(subject, Dictionary.load(tmp_path / "dictionary"), held_out)
    reports = list(fine_tune(subject, seen, FineTuneConfig(steps=100, positions=500, weight=3.0), tmp_path))
    after = measure_fidelity(subject, Dictionary.load(tmp_path / "tuned"), held_out)
    assert reports[-1].step == 100
    assert measure_fidelity(subject, Dictionary.load(tmp_path / "dictionary"), held_out).kl == before.kl
    assert after.kl < 0.8 * before.kl
    assert sum(after.nmse) < 1.3 * sum(before.nmse)
    assert sum(after.l0) / toy.L == pytest.approx(3, rel=0.1)


def test_a_model_of_one_layer_has_no_answers_to_tune(tmp_path: Path) -> None:
    shape = {"vocab_size": toy.VOCAB, "n_positions": 16, "n_embd": toy.D, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, activation_function="relu", bos_token_id=0, eos_token_id=0))
    subject = Subject(model.eval(), toy.Marks(), "shallow")  # type: ignore[arg-type]
    documents = toy.documents_of(subject)
    list(train_dictionary(subject, documents, replace(toy.SMALL, steps=2), tmp_path, buffer=toy.BUFFER))
    with pytest.raises(InputError, match="one layer"):
        next(fine_tune(subject, documents, FineTuneConfig(responses=1.0), tmp_path))


def test_what_cannot_be_fine_tuned_is_refused(subject: Subject, documents: Documents, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        next(fine_tune(subject, documents, FineTuneConfig(), tmp_path))
    with pytest.raises(InputError, match="above 0"):
        FineTuneConfig(steps=0)
    list(train_dictionary(subject, documents, replace(toy.SMALL, kind="sae", steps=2), tmp_path, buffer=toy.BUFFER))
    with pytest.raises(InputError, match="an SAE does not stand in"):
        next(fine_tune(subject, documents, FineTuneConfig(), tmp_path))
    (tmp_path / "tuned").mkdir()
    with pytest.raises(InputError, match="exists already"):
        next(fine_tune(subject, documents, FineTuneConfig(), tmp_path))
