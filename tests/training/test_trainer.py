"""Training: kernels and gradients against dense references, batches, resuming, folding, quality."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.kernels.decode import above, decode_dense, decode_sparse
from clew.kernels.types import Pairs
from clew.runs.fidelity import measure_fidelity
from clew.subject.subject import Subject
from clew.training import DictionaryConfig, Documents, encode_documents, train_dictionary
from clew.training import trainer as trainer_module
from clew.training.activations import Batch, collect, stream
from clew.training.objective import threshold_gradient
from clew.training.run_state import RunState, finished
from clew.training.selection import activate
from clew.training.step import take_step
from clew.training.trainer import conclude, fit_threshold, revive
from tests.toy import BUFFER, SMALL, D, L, sentences, shaken

# Kernels


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 30))
def test_decoding_active_features_equals_decoding_all(seed: int, n_pos: int, n_features: int) -> None:
    g = torch.Generator().manual_seed(seed)
    pre, cut = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((n_pos, n_features), (n_features,)))
    decoder = torch.randn(n_features, 2, D, generator=g, dtype=torch.float64)
    position, index = above(pre, cut)
    sparse = decode_sparse(position, index, pre[position, index], decoder, n_pos)
    torch.testing.assert_close(sparse, decode_dense(pre * (pre > cut), decoder), rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 20), st.sampled_from([0.0, 0.3, 5.0]))
def test_batch_topk_keeps_the_largest_of_all_layers_whatever_the_guess(seed: int, k: int, guess: float) -> None:
    run, g = RunState(L, D, replace(SMALL, k=k)), torch.Generator().manual_seed(seed)
    for own in run.layers:
        own.decoder.weight.mul_(torch.rand(64, 1, generator=g))
        own.norm.copy_(own.decoder.weight.norm(dim=1))
    inputs = torch.randn(L, 6, D, generator=g)
    run.cut = guess
    got = [
        (i, int(p), int(f))
        for i, a in enumerate(activate(run, inputs, float(k)))
        for p, f in zip(a.pairs.position, a.pairs.index, strict=True)
    ]
    score = torch.stack(
        [(inputs[i] @ own.encoder.weight.T) * own.norm * (L - i) ** -0.5 for i, own in enumerate(run.layers)]
    )
    order = score.flatten().argsort(descending=True)
    wanted = [int(j) for j in order[: k * L * 6] if score.flatten()[j] > 0]
    assert got == sorted((j // (6 * 64), j // 64 % 6, j % 64) for j in wanted)


def test_the_thresholds_gradient_is_that_of_the_mean_over_a_smooth_density() -> None:
    pre, theta = torch.linspace(-2, 2, 400_001, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    pairs = Pairs.sorted(torch.arange(len(pre)), torch.zeros(len(pre), dtype=torch.long), len(pre), 1)
    gradient = threshold_gradient(pairs, pre, torch.full_like(pre, 1 / len(pre)), theta, torch.zeros_like(theta))
    means = [(pre * (pre > 0.7 + s)).mean() for s in (-0.01, 0.01)]
    assert float(gradient) / 0.7 == pytest.approx(float(means[1] - means[0]) / 0.02, rel=1e-3)


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
    reports = list(train_dictionary(subject, documents, config, folder, buffer=BUFFER))
    assert reports[-1].step == config.steps
    return Dictionary.load(folder / "dictionary")


@pytest.mark.parametrize("kind", ["clt", "plt", "window", "sae"])
@pytest.mark.parametrize(
    ("nonlinearity", "skip"),
    [("batchtopk", False), ("batchtopk", True), ("topk", False), ("jumprelu", False), ("relu", True)],
)
def test_the_saved_dictionary_computes_what_was_trained(
    subject: Subject, documents: Documents, kind: str, nonlinearity: str, skip: bool
) -> None:
    scope = {"kind": "clt", "reach": 2} if kind == "window" else {"kind": kind}
    config = replace(SMALL, nonlinearity=nonlinearity, skip=skip and kind != "sae", **scope)  # type: ignore[arg-type]
    run = RunState(L, D, config)
    batch = next(_stream(subject, documents, 512, 512))
    run.fit_scales([batch])
    shaken(run, 0.1)
    losses = take_step(run, run.normalised(batch), 4.0, 0.1, 0.0, 10**9)
    made = finished(run, subject, run.cut * (1 - 1e-6))
    active = {i: made.encode(i, batch.inputs[i]) for i in range(L)}
    rebuilt = made.reconstruct(active, dict(enumerate(batch.inputs)), 512)
    for i in range(L):
        assert len(active[i]) / 512 == pytest.approx(float(losses.l0[i]), rel=1e-3)
        error = (rebuilt[i] - batch.outputs[i]).square().mean() / run.scales["output_scale"][i] ** 2
        assert float(error) == pytest.approx(float(losses.nmse[i]), rel=1e-3)
        norms = made.layers[i].decoder.flatten(1).norm(dim=1)
        if nonlinearity != "topk":
            torch.testing.assert_close(norms, torch.ones_like(norms))


def test_the_fitted_threshold_keeps_k_features_on_average(subject: Subject, documents: Documents) -> None:
    run = RunState(L, D, SMALL)
    batches = list(islice(_stream(subject, documents, 200, 400), 4))
    run.fit_scales([batches[0]])
    made = finished(run, subject, fit_threshold(run, (run.normalised(b) for b in batches)))
    count = sum(len(made.encode(i, b.inputs[i])) for b in batches for i in range(L))
    assert count == pytest.approx(SMALL.k * L * 800, abs=2)


@pytest.mark.parametrize("nonlinearity", ["batchtopk", "jumprelu", "relu"])
def test_training_beats_an_untrained_dictionary(
    subject: Subject, documents: Documents, tmp_path: Path, nonlinearity: str
) -> None:
    config = replace(SMALL, nonlinearity=nonlinearity, steps=200)  # type: ignore[arg-type]
    held = encode_documents(subject, list(sentences(40, torch.Generator().manual_seed(2))))
    null = measure_fidelity(subject, run_to_end(subject, documents, replace(config, steps=1), tmp_path / "null"), held)
    made = measure_fidelity(subject, run_to_end(subject, documents, config, tmp_path / "made"), held)
    assert max(made.nmse) < 0.1 < 0.5 < min(null.nmse)
    assert made.kl < 0.1 * null.kl
    if nonlinearity == "batchtopk":
        assert sum(made.l0) / L == pytest.approx(config.k, rel=0.1)


def test_a_run_is_determined_by_its_seed(subject: Subject, documents: Documents, tmp_path: Path) -> None:
    config = replace(SMALL, steps=5)
    one, two = (run_to_end(subject, documents, config, tmp_path / name).fingerprint for name in "ab")
    other = run_to_end(subject, documents, replace(config, seed=1), tmp_path / "c").fingerprint
    assert one == two != other


# Evaluation


def test_a_models_own_neurons_replace_its_mlps_exactly(subject: Subject, documents: Documents) -> None:
    found = measure_fidelity(subject, Dictionary.from_neurons(subject), documents)
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
    from clew.runs.fidelity import replaced_logits

    ids = sentences(5, torch.Generator().manual_seed(4))
    real = subject.logits(ids)
    none = torch.zeros(ids.shape, dtype=torch.bool)
    kept = replaced_logits(subject, empty, ids, none.index_fill(1, torch.tensor([0]), True))
    lost = replaced_logits(subject, empty, ids, none)
    torch.testing.assert_close(kept[:, 0], real[:, 0])
    assert float((kept[:, 1:] - real[:, 1:]).abs().min(-1).values.max()) > 1e-4
    assert float((lost[:, 0] - real[:, 0]).abs().max()) > 1e-2


@pytest.mark.parametrize("kind", ["clt", "sae"])
def test_a_layer_that_counts_more_is_explained_better_at_the_cost_of_the_others(
    subject: Subject, documents: Documents, tmp_path: Path, kind: str
) -> None:
    config, last = replace(SMALL, kind=kind, steps=60), {}  # type: ignore[arg-type]
    for name, weights in (("same", None), ("ones", [3.0] * L), ("last", [1.0] * (L - 1) + [10.0])):
        *_, end = train_dictionary(subject, documents, config, tmp_path / name, buffer=BUFFER, layer_weights=weights)
        last[name] = end.nmse
    dictionaries = [Dictionary.load(tmp_path / name / "dictionary") for name in ("same", "ones", "last")]
    assert dictionaries[0].fingerprint == dictionaries[1].fingerprint
    assert last["same"] == last["ones"]
    assert last["last"][-1] < 0.7 * last["same"][-1]
    assert last["last"][0] > last["same"][0]
    assert dictionaries[2].provenance["layer_weights"] == pytest.approx([0.1] * (L - 1) + [1.0])
    assert "layer_weights" not in dictionaries[1].provenance
    raw = measure_fidelity(subject, dictionaries[2], documents)
    assert raw.nmse[-1] == pytest.approx(last["last"][-1], rel=0.3)  # what is reported is relative to the variance


# Bad input


@pytest.mark.parametrize("weights", [[1.0], [1.0] * (L - 1) + [0.0], [1.0] * (L - 1) + [float("nan")]])
def test_layer_weights_must_be_one_above_zero_for_every_layer(
    subject: Subject, documents: Documents, tmp_path: Path, weights: list[float]
) -> None:
    with pytest.raises(InputError, match="layer weights"):
        next(train_dictionary(subject, documents, SMALL, tmp_path, buffer=BUFFER, layer_weights=weights))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 65}, "k is 65, but there are 64 features"),
        ({"steps": 0}, "steps is 0"),
        ({"features": (64, 3, 64)}, "k is 4, but there are 3 features"),
        ({"features": (64, 0, 64)}, "features is 0"),
        ({"features": ()}, "features is 0"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"kind": "plt", "reach": 2}, "reach is 2"),
        ({"kind": "sae", "skip": True}, "leave skip out"),
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


def test_a_revived_feature_explains_its_share_of_the_position_it_was_made_for(
    subject: Subject, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "DEAD_AFTER", 100)
    run = RunState(L, D, SMALL)
    batch = next(_stream(subject, documents, 256, 512))
    run.fit_scales([batch])
    batch = run.normalised(batch)
    missing = tuple(torch.zeros(256, D) for _ in range(L))
    for i, each in enumerate(missing):
        each[37] = torch.randn(D, generator=torch.Generator().manual_seed(i))
    run.layers[1].quiet[5] = 101
    before = [{name: rows.weight.clone() for name, rows in own.rows.items()} for own in run.layers]
    revive(run, batch, torch.cat(missing, 1))
    own = run.layers[1]
    on = (batch.inputs[1] @ own.encoder.weight[5] + own.bias.weight[5]).relu()
    written, wanted = on[:, None] * own.decoder.weight[5], torch.cat([missing[1], missing[2]], 1)
    share = float((written[37] @ wanted[37]) / wanted[37].square().sum())
    torch.testing.assert_close(written[37], share * wanted[37], rtol=1e-4, atol=1e-5)
    assert 0 < share <= 1 / (2 * L) + 1e-6
    best = float((written * wanted).sum() / written.square().sum())  # it fires elsewhere too, where nothing is missing
    assert best == pytest.approx(1, rel=1e-4) if share < 0.999 / (2 * L) else best >= 1
    assert own.quiet[5] == 0
    assert float(own.norm[5]) == pytest.approx(float(own.decoder.weight[5].norm()))
    for i, old in enumerate(before):
        for name, rows in run.layers[i].rows.items():
            changed = (rows.weight != old[name]).any(1).nonzero().flatten().tolist()
            assert changed == ([5] if i == 1 else [])


@pytest.mark.parametrize("alike", [1, 8, 200])
def test_reviving_never_makes_a_batch_worse_however_alike_its_worst_positions_are(alike: int) -> None:
    n_layers, width = 4, 24
    run = RunState(n_layers, width, DictionaryConfig(features=64, k=64, batch=256, precision="float32"))
    generator = torch.Generator().manual_seed(0)
    for own in run.layers:
        own.decoder.weight.zero_()
    inputs, outputs = (torch.randn(n_layers, 256, width, generator=generator) for _ in range(2))
    inputs[:, :alike] = inputs[:, :1] + 0.01 * inputs[:, :alike]
    outputs[:, :alike] = 30 * outputs[:, :1]
    batch, errors = Batch(inputs=inputs, outputs=outputs), []
    for turn in range(8):
        outcome = take_step(run, batch, 64.0, 0.0, 0.0, 10**9)
        errors.append(sum(outcome.nmse))
        for own in run.layers:
            own.quiet.fill_(0)
            own.quiet[8 * turn : 8 * turn + 8] = 1e9
        revive(run, batch, outcome.slope * (-256 * width / 2))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_reviving_all_layers_at_once_makes_no_position_worse() -> None:
    """Every layer is given the same outliers; if each took them on whole, the error there would grow without bound."""
    n_layers, width = 6, 48
    config = DictionaryConfig(features=64, k=64, batch=256, precision="float32")
    run, generator = RunState(n_layers, width, config), torch.Generator().manual_seed(0)
    for own in run.layers:
        own.decoder.weight.zero_()
    outputs = torch.randn(n_layers, 256, width, generator=generator)
    outputs[:, :4] *= 30
    batch = Batch(inputs=torch.randn(n_layers, 256, width, generator=generator), outputs=outputs)
    errors = []
    for _ in range(6):
        missing = take_step(run, batch, 64.0, 0.0, 0.0, 10**9).slope * (-256 * width / 2)
        errors.append(float(missing[:4, -width:].square().mean()))
        for own in run.layers:
            own.quiet.fill_(1e9)
        revive(run, batch, missing)
    assert max(errors) <= errors[0] * 1.01


def test_features_that_hardly_fire_are_not_saved(subject: Subject, documents: Documents) -> None:
    run = RunState(L, D, replace(SMALL, k=16))
    batches = list(islice(_stream(subject, documents, 256, 512), 70))
    run.fit_scales(batches)
    scaled = [run.normalised(batch) for batch in batches]
    whole = finished(run, subject, fit_threshold(run, iter(scaled[:16])))
    run.layers[1].bias.weight[[3, 60]] = -100.0
    run.layers[2].bias.weight[:] = -100.0
    made = conclude(run, subject, iter(scaled))
    assert [made.d_features(i) for i in range(L)] == [64, 62, 1]  # a layer keeps one, so that it stays a layer
    kept = torch.tensor([i for i in range(64) if i not in (3, 60)])
    assert torch.equal(made.layers[1].encoder, whole.layers[1].encoder[kept])
    assert torch.equal(made.layers[1].decoder, whole.layers[1].decoder[kept])
