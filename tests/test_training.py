"""Training: kernels and gradients against dense references, batches, resuming, folding, quality."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from clew.dictionary import Dictionary
from clew.dictionary.sparse import above, chosen, decode_dense, decode_sparse
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training import DictionaryConfig, Documents, encode_documents, evaluate, train_dictionary
from clew.training import trainer as trainer_module
from clew.training.activations import Batch, collect, stream
from clew.training.objective import BANDWIDTH, auxiliary_loss, batch_topk, jump
from clew.training.run import DROP_AFTER, Run, finished
from clew.training.trainer import fit_threshold, loss_of, revive

VOCAB, D, L = 40, 24, 3
SMALL = DictionaryConfig(features=64, k=4, steps=30, batch=128, learning_rate=5e-3, precision="float32")


class Marks:
    """As much of a tokenizer as ids need: token 0 begins a document."""

    all_special_ids = (0,)
    bos_token_id = 0


def sentences(n: int, generator: torch.Generator, length: int = 12) -> Tensor:
    """Documents in which every token depends on the one before."""
    ids = torch.zeros(n, length, dtype=torch.long)
    ids[:, 1] = torch.randint(1, VOCAB, (n,), generator=generator)
    for t in range(2, length):
        ids[:, t] = (ids[:, t - 1] * 7 + torch.randint(0, 3, (n,), generator=generator)) % (VOCAB - 1) + 1
    return ids


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=16,
        n_embd=D,
        n_layer=L,
        n_head=2,
        activation_function="relu",
        bos_token_id=0,
        eos_token_id=0,
    )
    model, generator = GPT2LMHeadModel(config).eval(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        ids = sentences(32, generator)
        logits = model(ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    return Subject(model, Marks(), "toy")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def documents(subject: Subject) -> Documents:
    return encode_documents(subject, list(sentences(200, torch.Generator().manual_seed(1))))


# Kernels


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 30))
def test_sparse_gradients_equal_dense_ones(seed: int, n_pos: int, n_features: int) -> None:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x, cut = draw(n_pos, D), torch.full((n_features,), 6.0, dtype=torch.float64)
    leaves = [
        draw(n_features, D).requires_grad_(),
        draw(n_features).requires_grad_(),
        draw(n_features, 2, D).requires_grad_(),
    ]
    encoder, bias, decoder = leaves
    pre = x @ encoder.T + bias
    dense = decode_dense(pre * (pre > cut), decoder)
    with torch.no_grad():
        position, index = above(pre, cut)
    value = chosen(x, encoder, bias, pre.detach(), position, index)
    sparse = decode_sparse(position, index, value, decoder, n_pos)
    torch.testing.assert_close(sparse, dense, rtol=1e-12, atol=1e-12)
    target = draw(*dense.shape)
    wanted = torch.autograd.grad((dense - target).square().sum(), leaves)
    got = torch.autograd.grad((sparse - target).square().sum(), leaves)
    for one, two in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.sampled_from([0.0, 0.3, 5.0]), st.booleans())
def test_batch_topk_keeps_the_largest_of_all_layers_whatever_the_guess(
    seed: int, n: int, guess: float, ties: bool
) -> None:
    g = torch.Generator().manual_seed(seed)
    pre = [torch.randn(4, 7, generator=g) for _ in range(2)]
    pre = [p.round() for p in pre] if ties else pre
    norms = [torch.rand(7, generator=g) + 0.5 if not ties else torch.ones(7) for _ in range(2)]
    active, last = batch_topk(pre, norms, n, guess)
    score = torch.cat([(p * m).flatten() for p, m in zip(pre, norms, strict=True)])
    order = [i for i in score.argsort(descending=True, stable=True).tolist() if score[i] > 0][:n]
    got = [layer * 28 + 7 * int(p) + int(f) for layer, at in enumerate(active) for p, f in zip(*at, strict=True)]
    assert got == sorted(order)
    assert last == pytest.approx(float(score[order[-1]]) if order else 0.0)


def test_the_thresholds_gradient_is_that_of_the_mean_over_a_smooth_density() -> None:
    pre = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(jump(pre, theta.expand_as(pre)).mean(), theta)
    step = 0.01
    means = [(pre * (pre > 0.7 + s)).mean() for s in (-step, step)]
    assert float(gradient) == pytest.approx(float(means[1] - means[0]) / (2 * step), rel=1e-3)


def test_the_gradient_of_jumprelu_passes_active_features_only() -> None:
    pre = torch.tensor([0.1, 0.7 - BANDWIDTH, 0.8, 2.0], requires_grad=True)
    out = jump(pre, torch.full((4,), 0.7))
    out.sum().backward()
    assert out.tolist() == pytest.approx([0, 0, 0.8, 2.0])
    assert pre.grad is not None
    assert pre.grad.tolist() == [0, 0, 1, 1]


def test_the_auxiliary_loss_trains_dead_features_alone() -> None:
    g = torch.Generator().manual_seed(0)
    x, residual = torch.randn(8, D, generator=g), torch.randn(8, 2 * D, generator=g)
    rows = [torch.randn(10, D, generator=g), torch.randn(10, generator=g), torch.randn(10, 2 * D, generator=g)]
    dead = torch.arange(10) >= 7
    leaves = [row.requires_grad_() for row in rows]
    loss = auxiliary_loss(x, residual, *leaves, dead)
    pre = (x[:2] @ rows[0][7:].T + rows[1][7:]).relu()
    wanted = (pre @ rows[2][7:] - residual[:2]).square().sum() / residual[:2].square().sum()
    torch.testing.assert_close(loss, wanted)
    for gradient in torch.autograd.grad(loss, leaves):
        assert (gradient[:7] == 0).all()
        assert (gradient[7:] != 0).any()


# Activations


def test_an_epoch_holds_every_position_but_the_special_one_once(subject: Subject) -> None:
    ids = [[0, *range(n, 2 * n - 1)] for n in (3, 5, 9, 2, 8, 13)] + [[35, 6, 7]]
    documents = encode_documents(subject, ids)
    total = sum(map(len, ids)) - 6
    assert int(documents.counts.sum()) == total
    got = islice(_stream(subject, documents, 1, 10_000), total)
    rows = torch.cat([batch.inputs[1] for batch in got])
    wanted = []
    for row in ids:
        held = subject.capture(torch.tensor([row]), ["mlp_in"])["mlp_in", 1][0]
        wanted.append(held[1 if row[0] == 0 else 0 :])
    nearest = torch.cdist(rows.double(), torch.cat(wanted).double())
    assert float(nearest.amin(1).max()) < 1e-5
    assert sorted(nearest.argmin(1).tolist()) == list(range(total))


def _stream(subject: Subject, documents: Documents, batch: int, buffer: int, start: int = 0) -> Iterator[Batch]:
    return stream(
        subject,
        documents,
        read_site="mlp_in",
        write_site="mlp_raw_out",
        batch=batch,
        buffer=buffer,
        seed=3,
        start=start,
    )


@pytest.mark.parametrize("start", [1, 7, 40])
def test_a_stream_can_begin_anywhere(subject: Subject, documents: Documents, start: int) -> None:
    whole = list(islice(_stream(subject, documents, 96, 300), start + 3))
    late = list(islice(_stream(subject, documents, 96, 300, start), 3))
    for one, two in zip(whole[start:], late, strict=True):
        assert torch.equal(one.inputs, two.inputs)
        assert torch.equal(one.outputs, two.outputs)


def test_long_documents_are_cut_to_the_context(subject: Subject) -> None:
    documents = encode_documents(subject, [[0, *[1] * 36]])
    assert documents.lengths.tolist() == [16, 16, 5]
    assert documents.counts.tolist() == [15, 16, 5]


# Training


def run_to_end(subject: Subject, documents: Documents, config: DictionaryConfig, folder: Path) -> Dictionary:
    reports = list(train_dictionary(subject, documents, config, folder))
    assert reports[-1].step == config.steps
    return Dictionary.load(folder / "dictionary")


@pytest.mark.parametrize("kind", ["clt", "plt"])
@pytest.mark.parametrize(
    ("nonlinearity", "skip"), [("batchtopk", False), ("batchtopk", True), ("jumprelu", False), ("relu", True)]
)
def test_the_saved_dictionary_computes_what_was_trained(
    subject: Subject, documents: Documents, kind: str, nonlinearity: str, skip: bool
) -> None:
    config = replace(SMALL, kind=kind, nonlinearity=nonlinearity, skip=skip)  # type: ignore[arg-type]
    run = Run(L, D, config)
    batch = next(_stream(subject, documents, 512, 512))
    run.fit_scales(batch)
    for name, weight in run.weights.items():
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
        weight.data += 0.1 * noise * (1 if "threshold" in name or "bias" in name else weight.data.std())
    with torch.no_grad():
        scaled = run.normalised(batch)
        losses = loss_of(run, scaled, 4.0, 0.1)
    made = finished(run, subject, run.guess / 0.8 * (1 - 1e-6))
    active = {i: made.encode(i, batch.inputs[i]) for i in range(L)}
    rebuilt = made.reconstruct(active, dict(enumerate(batch.inputs)), 512)
    for i in range(L):
        assert len(active[i]) / 512 == pytest.approx(float(losses.l0[i]), rel=1e-3)
        error = (rebuilt[i] - batch.outputs[i]).square().mean() / run.scales["output_scale"][i] ** 2
        assert float(error) == pytest.approx(float(losses.nmse[i]), rel=1e-3)
        norms = made.layers[i].decoder.flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))


def test_the_fitted_threshold_keeps_k_features_on_average(subject: Subject, documents: Documents) -> None:
    run = Run(L, D, SMALL)
    batches = list(islice(_stream(subject, documents, 200, 400), 4))
    run.fit_scales(batches[0])
    made = finished(run, subject, fit_threshold(run, (run.normalised(b) for b in batches)))
    count = sum(len(made.encode(i, b.inputs[i])) for b in batches for i in range(L))
    assert count == pytest.approx(SMALL.k * L * 800, abs=2)


@pytest.mark.parametrize("nonlinearity", ["batchtopk", "jumprelu", "relu"])
def test_training_beats_an_untrained_dictionary(
    subject: Subject, documents: Documents, tmp_path: Path, nonlinearity: str
) -> None:
    config = replace(SMALL, nonlinearity=nonlinearity, steps=200)  # type: ignore[arg-type]
    held = encode_documents(subject, list(sentences(40, torch.Generator().manual_seed(2))))
    null = evaluate(subject, run_to_end(subject, documents, replace(config, steps=1), tmp_path / "null"), held)
    made = evaluate(subject, run_to_end(subject, documents, config, tmp_path / "made"), held)
    assert max(made.nmse) < 0.1 < 0.5 < min(null.nmse)
    assert made.kl < 0.1 * null.kl
    if nonlinearity == "batchtopk":
        assert sum(made.l0) / L == pytest.approx(config.k, rel=0.1)


def test_a_resumed_run_ends_with_the_same_bits(
    subject: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "CHECKPOINT_EVERY", 7)
    monkeypatch.setattr(trainer_module, "REPORT_EVERY", 1)
    monkeypatch.setattr(trainer_module, "DEAD_AFTER", 1000)
    whole = run_to_end(subject, documents, SMALL, tmp_path / "whole")
    for stop in (7, 9, 20):
        folder = tmp_path / str(stop)
        stopped = train_dictionary(subject, documents, SMALL, folder)
        assert [r.step for r in islice(stopped, stop)][-1] == stop
        stopped.close()  # type: ignore[attr-defined]
        assert not (folder / "dictionary").exists()
        reports = list(train_dictionary(subject, documents, SMALL, folder, resume=True))
        assert reports[0].step == stop - stop % 7 + 1
        assert Dictionary.load(folder / "dictionary").fingerprint == whole.fingerprint


def test_a_run_is_determined_by_its_seed(subject: Subject, documents: Documents, tmp_path: Path) -> None:
    config = replace(SMALL, steps=5)
    one, two = (run_to_end(subject, documents, config, tmp_path / name).fingerprint for name in "ab")
    other = run_to_end(subject, documents, replace(config, seed=1), tmp_path / "c").fingerprint
    assert one == two != other


def test_a_llama_with_grouped_queries_can_be_trained_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=D,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    subject = Subject(LlamaForCausalLM(config).requires_grad_(False), Marks(), "llama")  # type: ignore[arg-type]
    documents = encode_documents(subject, list(sentences(100, torch.Generator().manual_seed(1))))
    null = evaluate(subject, run_to_end(subject, documents, replace(SMALL, steps=1), tmp_path / "null"), documents)
    made = evaluate(subject, run_to_end(subject, documents, replace(SMALL, steps=100), tmp_path / "made"), documents)
    assert max(made.nmse) < 0.5 * min(null.nmse)


# Evaluation


def test_a_models_own_neurons_replace_its_mlps_exactly(subject: Subject, documents: Documents) -> None:
    found = evaluate(subject, Dictionary.from_neurons(subject), documents)
    assert max(found.nmse) < 1e-10
    assert abs(found.kl) < 1e-8
    assert found.agreement == 1.0
    assert found.positions == 200 * 11


def test_a_left_out_first_position_stays_real(subject: Subject) -> None:
    neurons = Dictionary.from_neurons(subject)
    empty = replace(
        neurons,
        layers={
            i: replace(v, decoder=v.decoder * 0, decoder_bias=v.decoder_bias * 0) for i, v in neurons.layers.items()
        },
    )
    from clew.training import replaced_logits

    ids = sentences(5, torch.Generator().manual_seed(4))
    real = subject.logits(ids)
    kept = replaced_logits(subject, empty, ids, torch.ones(5, dtype=torch.bool))
    lost = replaced_logits(subject, empty, ids, torch.zeros(5, dtype=torch.bool))
    torch.testing.assert_close(kept[:, 0], real[:, 0])
    assert float((kept[:, 1:] - real[:, 1:]).abs().min(-1).values.max()) > 1e-4
    assert float((lost[:, 0] - real[:, 0]).abs().max()) > 1e-2


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 65}, "k is 65, but there are 64 features"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"anneal": 0.5}, "anneal"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_too_little_text_is_refused(subject: Subject, tmp_path: Path) -> None:
    for empty in ([], [[0]], [[]]):
        with pytest.raises(InputError, match="corpus is empty"):
            encode_documents(subject, empty)
    with pytest.raises(InputError, match="2 positions, a batch needs 128"):
        next(train_dictionary(subject, encode_documents(subject, [[0, 1, 2]]), SMALL, tmp_path / "d"))
    assert list(tmp_path.iterdir()) == []


def test_nan_activations_stop_the_run_by_name(subject: Subject, documents: Documents) -> None:
    bias = subject.model.transformer.h[1].mlp.c_fc.bias
    before = bias.clone()
    try:
        bias.fill_(float("nan"))
        with pytest.raises(InputError, match="mlp_raw_out of layer 1 hold NaN"):
            collect(subject, documents, torch.arange(3), "mlp_in", "mlp_raw_out")
    finally:
        bias.copy_(before)


def test_a_checkpoint_of_another_run_or_a_broken_one_is_refused(
    subject: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "CHECKPOINT_EVERY", 2)
    config = replace(SMALL, steps=3)
    list(train_dictionary(subject, documents, config, tmp_path))
    with pytest.raises(MismatchError, match="belongs to another run"):
        next(train_dictionary(subject, documents, replace(config, k=5), tmp_path, resume=True))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        next(train_dictionary(subject, documents, config, tmp_path, resume=True))
    path.unlink()
    with pytest.raises(FileError, match="no such file"):
        next(train_dictionary(subject, documents, config, tmp_path, resume=True))


def test_a_revived_feature_explains_its_share_of_the_position_it_was_made_for(
    subject: Subject, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "DEAD_AFTER", 100)
    run = Run(L, D, SMALL)
    batch = next(_stream(subject, documents, 256, 512))
    run.fit_scales(batch)
    batch = run.normalised(batch)
    missing = tuple(torch.randn(256, D, generator=torch.Generator().manual_seed(i)) for i in range(L))
    run.quiet[1, 5] = 101
    before = {name: weight.detach().clone() for name, weight in run.weights.items()}
    revive(run, batch, missing)
    encoder, bias, decoder = (run.weights[f"{name}.1"].detach() for name in ("encoder", "bias", "decoder"))
    written = (batch.inputs[1] @ encoder[5] + bias[5]).relu()[:, None] * decoder[5]
    error = (written - torch.cat([missing[1], missing[2]], 1) / (2 * L)).norm(dim=1)
    assert float(error.min()) < 1e-4
    assert run.quiet[1, 5] == 0
    for name, weight in run.weights.items():
        changed = (weight != before[name]).nonzero()[:, 0].unique().tolist()
        assert changed == ([5] if name in ("encoder.1", "bias.1", "decoder.1") else [])


def test_reviving_all_layers_at_once_makes_no_position_worse() -> None:
    """Every layer is given the same outliers; if each took them on whole, the error there would grow without bound."""
    n_layers, width = 6, 48
    config = DictionaryConfig(features=64, k=64, batch=256, precision="float32")
    run, generator = Run(n_layers, width, config), torch.Generator().manual_seed(0)
    for name, weight in run.weights.items():
        if name.startswith("decoder"):
            weight.data.zero_()
    outputs = torch.randn(n_layers, 256, width, generator=generator)
    outputs[:, :4] *= 30
    batch = Batch(inputs=torch.randn(n_layers, 256, width, generator=generator), outputs=outputs)
    run.quiet[:] = 1e9
    errors = []
    for _ in range(6):
        losses = loss_of(run, batch, 64.0, 0.0)
        errors.append(float(losses.missing[-1][:4].square().mean()))
        run.quiet[:] = 1e9
        revive(run, batch, losses.missing)
    assert max(errors) <= errors[0] * 1.01


def test_features_that_fell_silent_are_not_saved(subject: Subject, documents: Documents) -> None:
    run = Run(L, D, SMALL)
    run.fit_scales(next(_stream(subject, documents, 256, 512)))
    whole = finished(run, subject, 1.0)
    run.quiet[1, [3, 60]] = DROP_AFTER + 1
    run.quiet[2] = DROP_AFTER + torch.arange(64) + 1
    made = finished(run, subject, 1.0)
    assert [made.d_features(i) for i in range(L)] == [64, 62, 1]  # a layer keeps one, so that it stays a layer
    kept = torch.tensor([i for i in range(64) if i not in (3, 60)])
    assert torch.equal(made.layers[1].encoder, whole.layers[1].encoder[kept])
    assert torch.equal(made.layers[1].decoder, whole.layers[1].decoder[kept])
