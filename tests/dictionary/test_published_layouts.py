"""Every published layout is read as what it computes: a writer of the documented keys, a plain computation, native."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clew.dictionary import Dictionary
from tests.dictionary import layout_writers as writers
from tests.dictionary import model_wide_writers as wide
from tests.dictionary.layout_writers import F, P, Plain, inputs

Write = Callable[..., Plain]
CASES: dict[str, tuple[Write, dict[str, object]]] = {
    "gemma-scope": (writers.gemma_scope, {}),
    "gemma-scope-sae": (writers.gemma_scope, {"repository": "gemma-scope-2b-pt-res"}),
    "gemma-scope-one-layer": (writers.gemma_scope, {"layers": (2,)}),
    "gemma-scope-negative-thresholds": (writers.gemma_scope, {"negative": True}),
    "gemma-scope-2": (writers.gemma_scope_2, {}),
    "gemma-scope-2-no-skip": (writers.gemma_scope_2, {"affine": False}),
    "gemma-scope-2-no-config": (writers.gemma_scope_2, {"config": False}),
    "gemma-scope-2-clt": (writers.gemma_scope_2_clt, {}),
    **{f"saelens-{a}": (writers.saelens, {"architecture": a}) for a in ("standard", "jumprelu", "topk", "batchtopk")},
    **{
        f"saelens-{a}": (writers.saelens, {"architecture": a})
        for a in ("gated", "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
    },
    "saelens-not-centred": (writers.saelens, {"architecture": "gated", "centred": False}),
    "saelens-old-standard": (writers.saelens, {"architecture": "standard", "old": True}),
    "saelens-old-topk": (writers.saelens, {"architecture": "topk", "old": True}),
    "saelens-old-gated": (writers.saelens, {"architecture": "gated", "old": True, "centred": False}),
    "saelens-factor": (writers.saelens, {"architecture": "jumprelu", "scaled": "factor"}),
    "saelens-finetuned": (writers.saelens, {"architecture": "standard", "scaled": "finetuned", "old": True}),
    "saelens-rescaled": (writers.saelens, {"architecture": "topk", "rescaled": True}),
    "sparsify": (writers.sparsify, {}),
    "sparsify-skip": (writers.sparsify, {"skip": True}),
    "sparsify-sae": (writers.sparsify, {"transcode": False}),
    "sparsify-normalized": (writers.sparsify, {"skip": True, "normalized": True}),
    "sparsify-normalized-sae": (writers.sparsify, {"transcode": False, "normalized": True}),
    "sparsify-some-layers": (writers.sparsify, {"layers": (1,)}),
    "clt-training": (writers.sparsify_clt, {}),
    "clt-training-normalized": (writers.sparsify_clt, {"normalized": True}),
    "clt-training-scaled": (writers.sparsify_clt, {"scaled": True}),
    "clt-training-tied": (writers.sparsify_clt, {"tied": True, "normalized": True, "scaled": True}),
    "clt-training-two-targets": (writers.sparsify_clt, {"targets": 2}),
    **{f"crosslayer-{r}": (wide.crosslayer_transcoder, {"rule": r}) for r in ("ReLU", "JumpReLU", "PerLayerTopK")},
    "crosslayer-BatchTopK": (wide.crosslayer_transcoder, {"rule": "BatchTopK"}),
    "crosslayer-PerLayerBatchTopK": (wide.crosslayer_transcoder, {"rule": "PerLayerBatchTopK"}),
    "crosslayer-layerwise": (wide.crosslayer_transcoder, {"standardizer": "Layerwise"}),
    "crosslayer-plain": (wide.crosslayer_transcoder, {"standardizer": ""}),
    "crosslayer-folded": (wide.crosslayer_transcoder, {"folded": True}),
    "crosslayer-plt": (wide.crosslayer_transcoder, {"plt": True}),
    "clt-forge": (wide.clt_forge, {}),
    "clt-forge-folded": (wide.clt_forge, {"scaled": False}),
    "clt-forge-ranks": (wide.clt_forge, {"ranks": 3}),
    "clt-forge-plt": (wide.clt_forge, {"cross": False, "ranks": 2}),
    "clt-forge-topk": (wide.clt_forge, {"topk": True}),
    **{f"openmoss-{a}": (wide.openmoss, {"act": a}) for a in ("relu", "jumprelu", "topk")},
    "openmoss-sae": (wide.openmoss, {"transcoder": False}),
    "openmoss-folded": (wide.openmoss, {"norm": "inference"}),
    "openmoss-without-decoder-norm": (wide.openmoss, {"act": "topk", "decoder_norm": False}),
    "openmoss-old-names": (wide.openmoss, {"transcoder": False, "old": True, "layers": (1,)}),
    **{f"openmoss-clt-{a}": (wide.openmoss_clt, {"act": a}) for a in ("relu", "jumprelu", "topk")},
    "saelens-some-layers": (writers.saelens, {"architecture": "transcoder", "layers": (0, 2)}),
}


def check(plain: Plain, dictionary: Dictionary, tolerance: float) -> None:
    """Activations and reconstructions are those of the plain computation, in float64 from weights as stored."""
    assert (dictionary.kind, dictionary.read_site, dictionary.write_site) == (plain.kind, *plain.sites)
    assert tuple(sorted(dictionary.layers)) == plain.layers
    x = {i: v for i, v in inputs().items() if i in plain.layers}
    active = {i: dictionary.encode(i, x[i]) for i in plain.layers}
    for i, features in active.items():
        dense = torch.zeros(P, F, dtype=torch.float64)
        dense[features.position, features.index] = features.activation
        expected = plain.activations(i, x[i])
        assert 0 < int((expected > 0).sum()) < P * F
        torch.testing.assert_close(dense, expected, rtol=tolerance, atol=tolerance)
    out, expected_out = dictionary.reconstruct(active, x, P), plain.outputs(x)
    assert sorted(out) == sorted(expected_out)
    for t, reconstruction in out.items():
        torch.testing.assert_close(reconstruction, expected_out[t], rtol=tolerance, atol=tolerance)
    ids = torch.tensor([5, 0, 23])
    for i in plain.layers:  # rows are those that encoding and decoding read
        pre = x[i] @ dictionary.encoder_rows(i, ids).double().T + dictionary.encoder_bias(i, ids)
        torch.testing.assert_close(pre, dictionary.preactivations(i, x[i])[:, ids], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_its_keys_say_and_keeps_that_through_native(name: str, tmp_path: Path) -> None:
    write, options = CASES[name]
    plain = write(tmp_path, **options)
    dictionary = Dictionary.load(plain.folder)
    check(plain, dictionary, 1e-5)
    dictionary.save(tmp_path / "native")
    again = Dictionary.load(tmp_path / "native")
    assert again.fingerprint == dictionary.fingerprint
    check(plain, again, 1e-5)


HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "name", ["gemma-scope-2", "gemma-scope-2-clt", "saelens-gated", "saelens-jumprelu_skip_transcoder"]
)
def test_weights_in_16_bits_are_read_exactly(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    write, options = CASES[name]
    plain = write(tmp_path, dtype, **options)
    check(plain, Dictionary.load(plain.folder), 1e-5)


def test_a_scale_in_one_layer_alone_is_no_mixture(tmp_path: Path) -> None:
    plain = writers.saelens(tmp_path, torch.bfloat16, architecture="standard", scaled="finetuned", old=True)
    path = plain.folder / "blocks.0.hook_resid_pre" / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["scaling_factor"].fill_(1)
    save_file(tensors, path)
    assert Dictionary.load(plain.folder).layers[0].decoder.dtype == torch.bfloat16


def test_half_floats_of_numpy_are_read_exactly(tmp_path: Path) -> None:
    plain = writers.gemma_scope(tmp_path, torch.float16)
    check(plain, Dictionary.load(plain.folder), 1e-5)
