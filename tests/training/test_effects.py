"""Training for effects: its loss and gradients are those of a dense model, and it lowers the error on unseen text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear

from clew.errors import InputError
from clew.kernels.types import Adam
from clew.subject.subject import Subject
from clew.training import Documents, train_dictionary
from clew.training.checkpoint import open_run
from clew.training.config import FineTuneConfig
from clew.training.effects import SOFT, Aim, EffectSteps, drawn_aim, effect_step, live_derivatives
from clew.training.run_state import RunState
from tests import dense, toy

CUT = 0.25
ROWS = torch.arange(30, 42)


def logit(subject: Subject, ids: torch.Tensor, aim: Aim, row: int, outputs) -> torch.Tensor:
    """The aimed logit of one row, less the mean of all; `outputs` makes each MLP's output of its input and output."""
    blocks = enumerate(subject.model.transformer.h)
    handles = [
        block.mlp.register_forward_hook(lambda _, args, out, i=i: outputs(i, args[0], out)) for i, block in blocks
    ]
    attention = subject.model.config._attn_implementation
    subject.model.set_attn_implementation("eager")
    logits = subject.model(ids[None]).logits[0, int(aim.position[row])]
    subject.model.set_attn_implementation(attention)
    for handle in handles:
        handle.remove()
    return logits[int(aim.token[row])] - logits.mean()


def effects_of_row(run: RunState, subject: Subject, ids, counted, aim: Aim, row: int, weights):
    """Of every feature at every position and layer but the last: its effect by the dictionary, and its live one."""
    s, d = run.scales, toy.D
    zeros = [torch.zeros(len(ids), d, requires_grad=True) for _ in range(toy.L)]
    live = torch.autograd.grad(logit(subject, ids, aim, row, lambda i, x, out: out + zeros[i]), zeros)
    activations, written = [], {out: torch.zeros(len(ids), d) for out in range(toy.L)}

    def stand_in(layer: int, x, out):
        x = (x[0] - s["input_centre"][layer]) / s["input_scale"][layer]
        pre = linear(x, weights[f"{layer}.encoder"], weights[f"{layer}.bias"][:, 0])
        size = weights[f"{layer}.decoder"].detach().norm(dim=1) * len(run.written(layer)) ** -0.5
        a = pre * (pre.detach() * size > CUT) * counted[:, None]
        activations.append(a)
        parts = (a - a.detach()) @ weights[f"{layer}.decoder"]
        for slot, later in enumerate(run.written(layer)):
            written[later] = written[later] + parts[:, slot * d : (slot + 1) * d] * s["output_scale"][later]
        moved = linear(x - x.detach(), weights["skip"].view(toy.L, d, d)[layer].detach()) * counted[:, None]
        return out.detach() + written[layer] + moved * s["output_scale"][layer]

    slopes = torch.autograd.grad(logit(subject, ids, aim, row, stand_in), activations, create_graph=True)
    ours, theirs = [], []
    for layer, (a, slope) in enumerate(zip(activations[:-1], slopes, strict=False)):
        on = a.detach() != 0
        writes = weights[f"{layer}.decoder"][:, :d] * s["output_scale"][layer]
        ours.append((a.detach() * slope)[on])
        theirs.append((a.detach() * (live[layer] @ writes.T))[on])
    return torch.cat(ours), torch.cat(theirs)


def dense_loss(run: RunState, subject: Subject, documents: Documents, aim: Aim, weights) -> torch.Tensor:
    ids, counted = documents.padded(ROWS)
    errors = []
    for row in range(len(ROWS)):
        ours, live = effects_of_row(run, subject, ids[row], counted[row], aim, row, weights)
        total = live.detach().abs().sum()
        soft = SOFT * total / len(live) + 1e-9
        errors.append((((ours - live) ** 2 + soft**2).sqrt() - soft).sum() / total)
    return sum(errors) / len(errors)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_loss_and_gradients_equal_those_of_a_dense_dictionary(
    subject: Subject, documents: Documents, first: int
) -> None:
    run = toy.untrained_run(subject, documents)
    padded = documents.padded(ROWS)
    aim = drawn_aim(subject, *padded, False, torch.Generator().manual_seed(4))
    leaves = dense.weights(run)
    wanted = dense_loss(run, subject, documents, aim, leaves)
    gradients = dict(zip(leaves, torch.autograd.grad(wanted, leaves.values(), allow_unused=True), strict=True))
    error = effect_step(run, subject, padded, CUT, aim, Adam(rate=1e-3, step=1), weight=0.5, from_layer=first)
    assert error == pytest.approx(float(wanted.detach()), rel=1e-3)
    for name, got in dense.first_gradients(run).items():
        layer, _, kind = name.partition(".")
        gradient = torch.zeros_like(got)
        if kind in ("encoder", "decoder") and gradients[name] is not None:
            gradient = 0.5 * gradients[name]
            if kind == "encoder" and int(layer) < first:
                gradient = torch.zeros_like(got)
            if kind == "decoder" and int(layer) < first:
                gradient[:, : (first - int(layer)) * toy.D] = 0
            assert float(gradient.abs().max()) > 0 or int(layer) < first or name == "0.encoder"
        scale = max(float(gradient.abs().max()), 1e-6)
        torch.testing.assert_close(got, gradient, rtol=2e-3, atol=2e-4 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_what_is_before_the_first_layer_does_not_move(subject: Subject, documents: Documents) -> None:
    run = toy.untrained_run(subject, documents)
    before = [(own.encoder.weight.clone(), own.decoder.weight.clone()) for own in run.layers]
    padded = documents.padded(ROWS)
    aim = drawn_aim(subject, *padded, False, torch.Generator().manual_seed(4))
    for step in range(3):
        effect_step(run, subject, padded, CUT, aim, Adam(rate=1e-2, step=step + 1), from_layer=1)
    (encoder, decoder), own = before[0], run.layers[0]
    assert torch.equal(own.encoder.weight, encoder)
    assert torch.equal(own.decoder.weight[:, : toy.D], decoder[:, : toy.D])
    assert not torch.equal(own.decoder.weight[:, toy.D :], decoder[:, toy.D :])
    assert not torch.equal(run.layers[1].encoder.weight, before[1][0])
    torch.testing.assert_close(own.norm, own.decoder.weight.norm(dim=1))


def test_live_derivatives_are_what_a_small_change_of_an_output_does(subject: Subject, documents: Documents) -> None:
    run = toy.untrained_run(subject, documents)
    ids, counted = documents.padded(torch.tensor([5]))
    aim = drawn_aim(subject, ids, counted, True, torch.Generator().manual_seed(0))
    assert int(aim.position[0]) == int(counted[0].nonzero()[-1])
    step, place = 1e-2, 3
    for layer, g in enumerate(live_derivatives(run, subject, ids, aim)):
        for direction in torch.eye(toy.D)[::7]:
            by = torch.zeros(ids.shape[1], toy.D)
            by[place] = step * direction * run.scales["output_scale"][layer]

            def logit_at(sign: int, layer: int = layer, by: torch.Tensor = by) -> float:
                return float(logit(subject, ids[0], aim, 0, lambda i, x, out: out + sign * by * (i == layer)))

            slope = (logit_at(1) - logit_at(-1)) / (2 * step)
            assert float(g[place] @ direction) == pytest.approx(slope, rel=0.05, abs=2e-3)


def test_training_for_effects_lowers_their_error_on_text_it_has_not_seen(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    seen, held_out = documents.slice(0, 150), documents.slice(150, 200)
    list(train_dictionary(subject, seen, replace(toy.SMALL, k=3, steps=150), tmp_path, buffer=toy.BUFFER))
    run, _ = open_run(tmp_path, subject)
    padded = held_out.padded(torch.arange(50))
    aim = drawn_aim(subject, *padded, False, torch.Generator().manual_seed(9))
    before = effect_step(run, subject, padded, run.cut, aim, None)
    steps = EffectSteps(run, subject, seen, None, FineTuneConfig(effects=1.0, positions=400))
    for step in range(60):
        steps.step(run.cut, Adam(rate=2e-3, step=step + 1))
    assert effect_step(run, subject, padded, run.cut, aim, None) < 0.8 * before


def test_an_infinite_error_is_refused_before_any_weight_moves(subject: Subject, documents: Documents) -> None:
    run = toy.untrained_run(subject, documents)
    padded = documents.padded(ROWS)
    aim = drawn_aim(subject, *padded, False, torch.Generator().manual_seed(4))
    run.layers[1].decoder.weight.fill_(1e30)
    run.layers[1].norm.copy_(torch.ones(64))
    before = run.layers[0].encoder.weight.clone()
    with pytest.raises(InputError, match="lower the learning rate"):
        effect_step(run, subject, padded, CUT, aim, Adam(rate=1e-3, step=1))
    assert torch.equal(run.layers[0].encoder.weight, before)
