"""Training for responses: its loss and gradients are those of a dense model, and it lowers the error on unseen text."""

import copy
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
from clew.training.responses import Responses, Sensitivity, _drawn, response_step, sensitivity
from clew.training.run_state import RunState
from tests import dense, toy

CUT = 0.25


def watched(subject: Subject, ids: torch.Tensor, lost: dict | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What every MLP reads and writes, by hooks of this test's own, some outputs less what is lost."""
    seen = {}

    def hook(layer: int):
        def watch(module, args, output):
            output = output - lost[layer] if lost is not None else output
            seen[layer] = args[0], output
            return output

        return watch

    handles = [block.mlp.register_forward_hook(hook(i)) for i, block in enumerate(subject.model.transformer.h)]
    subject.model(ids)
    for handle in handles:
        handle.remove()
    return [seen[layer] for layer in range(toy.L)]


def features_on(run: RunState, weights: dict, layer: int, x: torch.Tensor) -> torch.Tensor:
    s = run.scales
    x = (x - s["input_centre"][layer]) / s["input_scale"][layer]
    pre = linear(x, weights[f"{layer}.encoder"], weights[f"{layer}.bias"][:, 0])
    share = len(run.written(layer)) ** -0.5
    return pre * (pre * weights[f"{layer}.decoder"].detach().norm(dim=1) * share > CUT)


def dense_loss(run: RunState, subject: Subject, documents: Documents, rows, weights, metric: Sensitivity, drawn):
    """One row at a time, all features of all positions."""
    s, d = run.scales, toy.D
    errors, sizes = [], []
    for number, row in enumerate(rows.tolist()):
        if not drawn.has[number]:
            continue
        ids, counted = documents.padded(torch.tensor([row]))
        own, feature = int(drawn.layer[number]), int(drawn.feature[number])
        place = int(drawn.place[number]) - number * ids.shape[1]
        base = watched(subject, ids)
        before = [features_on(run, weights, layer, base[layer][0][0]) for layer in range(toy.L)]
        first = weights[f"{own}.decoder"][feature, :d] * before[own][place, feature] * s["output_scale"][own]
        lost = {layer: torch.zeros_like(base[layer][1]) for layer in range(toy.L)}
        lost[own][0, place] = first.detach()
        new = watched(subject, ids, lost)
        answer = torch.zeros(toy.L, ids.shape[1], d)
        for layer in range(toy.L):
            after = features_on(run, weights, layer, new[layer][0][0])
            gone = torch.ones_like(after)
            if layer == own:
                gone[place, feature] = 0
            moved = (after * gone - before[layer]) @ weights[f"{layer}.decoder"]
            for slot, out in enumerate(run.written(layer)):
                answer[out] = answer[out] + moved[:, slot * d : (slot + 1) * d]
            change = (new[layer][0] - base[layer][0])[0] / s["input_scale"][layer]
            answer[layer] = answer[layer] + linear(change, weights["skip"].view(toy.L, d, d)[layer])
        error, size = 0.0, 0.0
        for layer in range(own + 1, toy.L):
            real = ((new[layer][1] - base[layer][1])[0] / s["output_scale"][layer])[counted[0]]
            missed = answer[layer][counted[0]] - real
            error = error + ((missed @ metric[layer]) * missed).sum()
            size = size + float(((real @ metric[layer]) * real).sum())
        errors.append(error)
        sizes.append(size)
    middle = float(torch.tensor(sizes).median())
    return sum(error / (size + middle) for error, size in zip(errors, sizes, strict=True)) / len(errors)


def test_loss_and_gradients_equal_those_of_a_dense_dictionary(subject: Subject, documents: Documents) -> None:
    run, rows = toy.untrained_run(subject, documents), torch.arange(30, 42)
    metric = sensitivity(run, subject, documents, rows, torch.Generator().manual_seed(3))
    ids, counted = documents.padded(rows)
    sites = [(site, layer) for site in ("mlp_in", "mlp_raw_out") for layer in range(toy.L)]
    kept = subject.run(ids, keep=sites).kept
    drawn = _drawn(run, kept, counted, CUT, torch.Generator().manual_seed(7))
    assert {0, 1} == set(drawn.layer[drawn.has].tolist())  # the last layer has nothing behind it
    leaves = dense.weights(run)
    wanted = dense_loss(run, subject, documents, rows, leaves, metric, drawn)
    gradients = dict(zip(leaves, torch.autograd.grad(wanted, leaves.values(), allow_unused=True), strict=True))
    adam = Adam(rate=1e-3, step=1)
    padded, lots = documents.padded(rows), torch.Generator().manual_seed(7)
    found = response_step(run, subject, padded, CUT, metric, adam, lots, weight=0.5)
    assert found == pytest.approx(float(wanted.detach()), rel=1e-3)
    for name, got in dense.first_gradients(run).items():
        gradient = 0.5 * gradients[name] if gradients[name] is not None else torch.zeros_like(got)
        scale = float(gradient.abs().max())
        assert (scale > 0) == (name != "decoder_bias")  # a constant answers nothing
        torch.testing.assert_close(got, gradient, rtol=2e-3, atol=2e-4 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_every_drawn_feature_fires_where_it_is_ablated(subject: Subject, documents: Documents) -> None:
    run, rows = toy.untrained_run(subject, documents), torch.arange(40)
    ids, counted = documents.padded(rows)
    kept = subject.run(ids, keep=[("mlp_in", layer) for layer in range(toy.L)]).kept
    drawn = _drawn(run, kept, counted, CUT, torch.Generator().manual_seed(1))
    weights = dense.weights(run)
    assert bool(drawn.has.all())
    assert bool(counted.flatten()[drawn.place].all())
    assert torch.equal(drawn.place // ids.shape[1], rows)
    for layer in range(toy.L - 1):
        mine = drawn.of(layer)
        on = features_on(run, weights, layer, kept["mlp_in", layer].flatten(0, 1)[drawn.place[mine]])
        assert len(mine) > 10
        torch.testing.assert_close(on[torch.arange(len(mine)), drawn.feature[mine]], drawn.activation[mine])


def test_sensitivity_is_the_gradient_of_a_drawn_tokens_logit(subject: Subject, documents: Documents) -> None:
    run, rows = toy.untrained_run(subject, documents), torch.tensor([5])
    ids, counted = documents.padded(rows)
    generator = torch.Generator().manual_seed(2)
    at = int(torch.multinomial(counted.float(), 1, generator=generator))
    step, seen = 1e-5, {}
    model = copy.deepcopy(subject.model).double()  # in single precision differences of logits are mostly rounding

    def logits(layer: int, position: int, by: torch.Tensor) -> torch.Tensor:
        lost = {i: torch.zeros(1, ids.shape[1], toy.D).double() for i in range(toy.L)}
        lost[layer][0, position] = -by
        handles = [
            block.mlp.register_forward_hook(lambda module, args, output, i=i: output - lost[i])
            for i, block in enumerate(model.transformer.h)
        ]
        made = model(ids).logits[0, at]
        for handle in handles:
            handle.remove()
        return made - made.mean()

    token = int(torch.multinomial(logits(0, 0, torch.zeros(toy.D)).float().softmax(-1), 1, generator=generator))
    found = sensitivity(run, subject, documents, rows, torch.Generator().manual_seed(2))
    for layer in range(toy.L):
        wanted = torch.zeros(toy.D, toy.D)
        for position in counted[0].nonzero()[:, 0].tolist():
            g = torch.stack([
                (logits(layer, position, step * e) - logits(layer, position, -step * e))[token] / (2 * step)
                for e in torch.eye(toy.D).double()
            ]).float() * run.scales["output_scale"][layer]  # fmt: skip
            wanted += torch.outer(g, g)
        seen[layer] = float(wanted.trace())
        torch.testing.assert_close(found[layer], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert min(seen.values()) > 0


def test_training_for_responses_lowers_their_error_on_text_it_has_not_seen(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    seen, held_out = documents.slice(0, 150), documents.slice(150, 200)
    list(train_dictionary(subject, seen, replace(toy.SMALL, k=3, steps=150), tmp_path, buffer=toy.BUFFER))
    run, _ = open_run(tmp_path, subject)
    generator = torch.Generator().manual_seed(0)
    metric = sensitivity(run, subject, seen, torch.arange(150), generator)

    def error() -> float:
        return response_step(
            run, subject, held_out.padded(torch.arange(50)), run.cut, metric, None, torch.Generator().manual_seed(9)
        )

    before = error()
    for step in range(60):
        rows = torch.randint(150, (40,), generator=generator)
        response_step(run, subject, seen.padded(rows), run.cut, metric, Adam(rate=2e-3, step=step + 1), generator)
    assert error() < 0.7 * before


def test_rows_of_markers_alone_are_not_drawn(subject: Subject, documents: Documents) -> None:
    empty = torch.tensor([0, 2, 5])
    starts = documents.starts
    counted = documents.counted.clone()
    for row in empty.tolist():
        counted[starts[row] : starts[row + 1]] = False
    some = Documents(tokens=documents.tokens, starts=starts, counted=counted).slice(0, 8)
    responses = Responses(
        toy.untrained_run(subject, documents), subject, some, FineTuneConfig(responses=1.0, positions=40)
    )
    drawn = torch.cat([next(responses.rows) for _ in range(40)])
    assert set(drawn.tolist()) == {1, 3, 4, 6, 7}
    assert torch.isfinite(responses.sensitivity).all()


def test_an_infinite_error_is_refused_before_any_weight_moves(subject: Subject, documents: Documents) -> None:
    run = toy.untrained_run(subject, documents)
    before = run.layers[0].encoder.weight.clone()
    metric = torch.full((toy.L, toy.D, toy.D), torch.inf)
    with pytest.raises(InputError, match="the response error became"):
        response_step(
            run, subject, documents.padded(torch.arange(8)), CUT, metric, Adam(rate=1e-3, step=1),
            torch.Generator().manual_seed(0),
        )  # fmt: skip
    assert torch.equal(run.layers[0].encoder.weight, before)
