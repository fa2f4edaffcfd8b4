"""Dictionaries: every activation and reconstruction against a naive dense reference."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Layer, ReLU, TopK
from clew.errors import InputError, MismatchError
from clew.kernels.decode import decode_dense, decode_sparse, largest
from clew.subject.mlp_weights import MlpWeights

F, D, L, P = 24, 8, 3, 7


def build(
    kind: str = "clt",
    nonlinearity: str = "jumprelu",
    skip: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Dictionary:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    layers, writes = {}, {}
    for i in range(L):
        writes[i] = tuple(range(i, L)) if kind == "clt" else (i,)
        nonlinearities = {
            "relu": ReLU(),
            "jumprelu": JumpReLU(threshold=draw(F).abs()),
            "topk": TopK(k=3),
            "batchtopk": BatchTopK(k=3, threshold=torch.tensor(1.5, dtype=dtype)),
        }
        layers[i] = Layer(
            encoder=draw(F, D),
            bias=draw(F),
            nonlinearity=nonlinearities[nonlinearity],
            decoder=draw(F, len(writes[i]), D),
            decoder_bias=draw(D),
            skip=draw(D, D) if skip else None,
        )
    sites = ("resid_post", "resid_post") if kind == "sae" else ("mlp_in", "mlp_raw_out")
    return Dictionary(
        kind=kind,  # type: ignore[arg-type]
        layers=layers,
        writes=writes,
        read_site=sites[0],
        write_site=sites[1],
        n_layers=L,
        d_model=D,
        name="toy",
    )


def inputs(seed: int = 1) -> dict[int, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {i: torch.randn(P, D, generator=g, dtype=torch.float64) for i in range(L)}


def naive_activation(row: list[float], layer: Layer) -> list[float]:
    """One position, one number at a time."""
    rule = layer.nonlinearity
    match rule:
        case ReLU():
            return [max(0.0, v) for v in row]
        case JumpReLU():
            return [v if v > float(t) else 0.0 for v, t in zip(row, rule.threshold, strict=True)]
        case BatchTopK():
            return [v if v > max(0.0, float(rule.threshold)) else 0.0 for v in row]
        case TopK():
            kept = sorted(range(len(row)), key=lambda i: (-row[i], i))[: rule.k]
            return [max(0.0, v) if i in kept else 0.0 for i, v in enumerate(row)]


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu", "topk", "batchtopk"])
@pytest.mark.parametrize(("kind", "skip"), [("clt", False), ("plt", False), ("plt", True), ("sae", False)])
def test_encode_and_reconstruct_equal_a_naive_loop(kind: str, skip: bool, nonlinearity: str) -> None:
    dictionary, x = build(kind, nonlinearity, skip), inputs()
    active = {i: dictionary.encode(i, x[i]) for i in range(L)}
    expected = {i: dictionary.layers[i].decoder_bias.expand(P, D).clone() for i in range(L)}
    for i, layer in dictionary.layers.items():
        seen = []
        for p in range(P):
            row = [float(w @ x[i][p] + b) for w, b in zip(layer.encoder, layer.bias, strict=True)]
            for f, a in enumerate(naive_activation(row, layer)):
                if a != 0:
                    seen.append((p, f, a, row[f]))
                    for slot, out in enumerate(dictionary.written_layers(i)):
                        expected[out][p] += a * layer.decoder[f, slot]
            if layer.skip is not None:
                expected[i][p] += layer.skip @ x[i][p]
        got = active[i]
        assert list(zip(got.position.tolist(), got.index.tolist(), strict=True)) == [(p, f) for p, f, *_ in seen]
        torch.testing.assert_close(got.activation.tolist(), [a for *_, a, _ in seen], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got.preactivation.tolist(), [v for *_, v in seen], rtol=1e-12, atol=1e-12)
    out = dictionary.reconstruct(active, x, P)
    assert sorted(out) == list(range(L))
    for i in range(L):
        torch.testing.assert_close(out[i], expected[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_in_blocks_each_position_and_feature_is_encoded_once(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary, x = build(dtype=dtype), {i: values.to(dtype) for i, values in inputs().items()}
    whole = [dictionary.encode(i, x[i]) for i in range(L)]
    monkeypatch.setattr("clew.dictionary.dictionary.ENCODED", 3)  # of 7 positions, the last block is short
    monkeypatch.setattr("clew.dictionary.dictionary.block_size", lambda n_positions, d_model: 10)  # of 24 features
    for i in range(L):
        parts = dictionary.encode(i, x[i])
        assert torch.equal(parts.position, whole[i].position)
        assert torch.equal(parts.index, whole[i].index)
        torch.testing.assert_close(parts.activation, whole[i].activation)
        torch.testing.assert_close(parts.preactivation, whole[i].preactivation)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 40), st.sampled_from([torch.float64, torch.float16]))
def test_sparse_decode_equals_dense(seed: int, n_pos: int, n_features: int, stored: torch.dtype) -> None:
    g = torch.Generator().manual_seed(seed)
    acts = torch.randn(n_pos, n_features, generator=g, dtype=torch.float64)
    acts = acts * (torch.rand(acts.shape, generator=g) < 0.2)
    decoder = torch.randn(n_features, 3, D, generator=g, dtype=torch.float64).to(stored)
    position, index = acts.nonzero(as_tuple=True)
    fast = decode_sparse(position, index, acts[position, index], decoder, n_pos)
    torch.testing.assert_close(fast, decode_dense(acts, decoder), rtol=1e-12, atol=1e-12)


def test_rows_are_the_rows_of_the_whole() -> None:
    dictionary, ids = build(dtype=torch.float16), torch.tensor([5, 0, 23, 5])
    for i, layer in dictionary.layers.items():
        assert torch.equal(dictionary.encoder_rows(i, ids), layer.encoder.float()[ids])
        assert torch.equal(dictionary.encoder_bias(i, ids), layer.bias.float()[ids])
        assert torch.equal(dictionary.decoder_rows(i, ids), layer.decoder.float()[ids])
        assert dictionary.decoder_rows(i, ids).dtype == torch.float32


def test_no_active_feature_leaves_the_bias() -> None:
    dictionary = build()
    quiet = replace(dictionary, layers={i: replace(v, bias=v.bias - 1e6) for i, v in dictionary.layers.items()})
    x = inputs()
    active = {i: quiet.encode(i, x[i]) for i in range(L)}
    assert all(len(a) == 0 for a in active.values())
    for i, out in quiet.reconstruct(active, x, P).items():
        assert torch.equal(out, dictionary.layers[i].decoder_bias.expand(P, D))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 12))
def test_ties_go_to_the_lowest_index(values: list[int], k: int) -> None:
    kept = largest(torch.tensor(values, dtype=torch.float32), k)
    wanted = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert kept.nonzero().flatten().tolist() == sorted(wanted)


def test_batch_topk_shares_its_budget_over_the_batch() -> None:
    pre = torch.tensor([[5.0, 4.0, 3.0, 2.0], [1.0, 0.5, -1.0, -2.0]])
    acts = BatchTopK(k=2, threshold=torch.tensor(0.0)).apply_batch(pre)
    assert acts.tolist() == [[5.0, 4.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]]


def test_permuting_features_permutes_ids_and_leaves_the_reconstruction() -> None:
    dictionary, x = build(), inputs()
    order = torch.randperm(F, generator=torch.Generator().manual_seed(3))
    layers = {
        i: v.with_tensors(
            {n: t[order] if n in ("encoder", "bias", "threshold", "decoder") else t for n, t in v.tensors().items()}
        )
        for i, v in dictionary.layers.items()
    }
    moved = replace(dictionary, layers=layers)
    before, after = ({i: d.encode(i, x[i]) for i in range(L)} for d in (dictionary, moved))
    for i in range(L):
        names = sorted(zip(after[i].position.tolist(), order[after[i].index].tolist(), strict=True))
        assert names == list(zip(before[i].position.tolist(), before[i].index.tolist(), strict=True))
    first, second = dictionary.reconstruct(before, x, P), moved.reconstruct(after, x, P)
    for i in range(L):
        torch.testing.assert_close(first[i], second[i], rtol=1e-12, atol=1e-12)
    assert moved.fingerprint != dictionary.fingerprint


def test_sixteen_bit_storage_computes_in_float32() -> None:
    half = build("clt", "jumprelu", dtype=torch.float16)
    wide, x = half.to(dtype=torch.float32), {i: v.float() for i, v in inputs().items()}
    for i in range(L):
        stored, computed = half.encode(i, x[i]), wide.encode(i, x[i])
        assert torch.equal(stored.index, computed.index)
        torch.testing.assert_close(stored.activation, computed.activation)


class ReluSubject:
    """A stand-in for a model whose MLPs are known."""

    n_layers, d_model, name, mlp_function = L, D, "stub", "relu"

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.neurons = {
            i: MlpWeights(
                w_in=torch.randn(F, D, generator=g, dtype=torch.float64),
                b_in=torch.randn(F, generator=g, dtype=torch.float64),
                w_out=torch.randn(F, D, generator=g, dtype=torch.float64),
                b_out=torch.randn(D, generator=g, dtype=torch.float64),
                function=torch.relu,
            )
            for i in range(L)
        }

    def mlp_neurons(self, layer: int) -> MlpWeights:
        return self.neurons[layer]

    def rounded_hashes(self) -> dict[str, str]:
        return {"bfloat16": "stub"}


def test_neurons_reproduce_the_mlp() -> None:
    subject, x = ReluSubject(), inputs()
    neurons = Dictionary.from_neurons(subject)  # type: ignore[arg-type]
    out = neurons.reconstruct({i: neurons.encode(i, x[i]) for i in range(L)}, {}, P)
    for i, n in subject.neurons.items():
        mlp = (x[i] @ n.w_in.T + n.b_in).relu() @ n.w_out + n.b_out
        torch.testing.assert_close(out[i], mlp, rtol=1e-12, atol=1e-12)
    neurons.check_fits(subject)  # type: ignore[arg-type]


def test_a_dictionary_of_another_width_or_depth_is_refused() -> None:
    subject, dictionary = ReluSubject(), build()
    subject.d_model = 16
    with pytest.raises(MismatchError, match="d_model 8 against 16"):
        dictionary.check_fits(subject)  # type: ignore[arg-type]
    subject.d_model, subject.n_layers = D, 12
    with pytest.raises(MismatchError, match="layers 3 against 12"):
        dictionary.check_fits(subject)  # type: ignore[arg-type]


def test_nan_weights_are_named_where_they_are_used() -> None:
    dictionary = build()
    dictionary.layers[1].encoder[4, 2] = float("nan")
    dictionary.layers[2].decoder[6, 0, 1] = float("inf")
    with pytest.raises(InputError, match=r"encoder.*layer 1, row 4"):
        dictionary.encoder_rows(1, torch.tensor([3, 4]))
    with pytest.raises(InputError, match=r"decoder.*layer 2, row 6"):
        dictionary.decoder_rows(2, torch.tensor([6]))
    with pytest.raises(InputError, match=r"encoder or bias.*layer 1, row 4"):
        dictionary.encode(1, inputs()[1])
    with pytest.raises(InputError, match=r"layer 1, row 4"):
        dictionary.validate()
    x = inputs()[0]
    x[0, 0] = float("nan")
    with pytest.raises(InputError, match="activations at mlp_in of layer 0"):
        dictionary.encode(0, x)
    assert len(dictionary.decoder_rows(2, torch.tensor([5, 7]))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"read_site": "attn"}, "read site 'attn'"),
        ({"write_site": "resid_post"}, "cannot write at 'resid_post'"),
        ({"d_model": 9}, r"encoder is \[24, 8\]"),
        ({"n_layers": 2}, "writes to"),
        ({"writes": {0: (0, 1, 2), 1: (1, 2)}}, "writes are given for"),
        ({"writes": {0: (0, 1, 2), 1: (0, 2), 2: (2,)}}, r"layer 1 writes to \[0, 2\]"),
        ({"layers": {}, "writes": {}}, "at least one layer"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(
    change: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # nor are types checked where Clew is used
    with pytest.raises(InputError, match=message):
        replace(build(), **change)  # type: ignore[arg-type]
