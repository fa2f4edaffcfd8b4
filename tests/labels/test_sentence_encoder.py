"""Sentence embeddings, with a tiny random encoder in the place of the installed one."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from clew.labels import sentence_encoder, text_encoder
from clew.labels.sentence_encoder import SentenceEncoder
from tests import models

TEXTS = ["w3 w5 w8 w9 w22 w4", "w7", "w3 w5"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BertModel:
    """A model of words w1 to w96, which is read in the place of the package's."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=models.VOCAB, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    built = BertModel(config).eval()
    built.save_pretrained(tmp_path / "model")
    tokenizer = models.tokenizer()
    tokenizer.pad_token = "<bos>"  # id 0
    tokenizer.save_pretrained(tmp_path / "model")
    spec = ModuleSpec("encoder", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(text_encoder, "find_spec", lambda name: spec)
    return built


def test_an_embedding_is_the_direction_of_the_mean_over_a_texts_own_tokens(model: BertModel) -> None:
    """Whatever longer text it is encoded with."""
    expected = []
    for text in TEXTS:
        ids = torch.tensor([[int(word.removeprefix("w")) for word in text.split()]])
        with torch.no_grad():
            mean = model(ids).last_hidden_state[0].mean(0)
        expected.append((mean / mean.norm()).numpy())
    np.testing.assert_allclose(SentenceEncoder()(TEXTS), expected, atol=1e-6)


@pytest.mark.usefixtures("model")
def test_a_text_is_encoded_once_and_stands_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, encoded = SentenceEncoder(), []
    encode = encoder._encoder
    monkeypatch.setattr(encoder, "_encoder", lambda texts, cut: (encoded.extend(texts), encode(texts, cut))[1])
    monkeypatch.setattr(text_encoder, "_BATCH", 2)
    first = encoder([*TEXTS, TEXTS[0]])
    assert np.array_equal(first[0], first[3])
    assert np.array_equal(encoder(TEXTS[::-1]), first[2::-1])
    assert sorted(encoded) == sorted(TEXTS)
    assert encoder([]).shape == (0, sentence_encoder.WIDTH)
