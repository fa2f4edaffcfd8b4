"""Every tensor of a dictionary is made where its weights are: with another default device, nothing lands there."""

from pathlib import Path

import pytest
import torch

from clew.dictionary import Dictionary, save_circuit_tracer
from tests import models
from tests.dictionary.test_dictionary import L, P, build, inputs


@pytest.mark.parametrize("rule", ["relu", "jumprelu", "topk", "batchtopk"])
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_encoding_and_decoding_stay_where_the_weights_are(kind: str, rule: str) -> None:
    dictionary, x = build(kind, rule, skip=kind == "plt"), inputs()
    ids = torch.tensor([3, 0, 3])
    with torch.device("meta"):
        active = {i: dictionary.encode(i, x[i]) for i in range(L)}
        outputs = dictionary.reconstruct(active, x, P)
        rows = dictionary.encoder_rows(1, ids), dictionary.decoder_rows(1, ids), dictionary.encoder_bias(1, ids)
        activations = dictionary.activations_of(1, x[1].expand(3, -1, -1), ids)
        dictionary.validate()
        assert len(dictionary.fingerprint) == 64
    tensors = [*outputs.values(), *rows, activations, *(values for a in active.values() for values in vars(a).values())]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


@pytest.mark.parametrize("layout", ["native", "packed", "circuit-tracer"])
def test_a_dictionary_is_saved_and_loaded_where_files_are_mapped(tmp_path: Path, layout: str) -> None:
    dictionary = build("plt")
    with torch.device("meta"):
        if layout == "circuit-tracer":
            save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
        else:
            dictionary.save(tmp_path / "d", packed=layout == "packed")
        loaded = Dictionary.load(tmp_path / "d")
    assert {tensor.device.type for layer in loaded.layers.values() for tensor in layer.tensors().values()} == {"cpu"}


def test_neurons_lie_where_the_model_does() -> None:
    subject = models.subject("gpt2")
    with torch.device("meta"):
        neurons = Dictionary.from_neurons(subject)
    assert {tensor.device.type for layer in neurons.layers.values() for tensor in layer.tensors().values()} == {"cpu"}
