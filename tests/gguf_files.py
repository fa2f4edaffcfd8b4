"""Small GGUF files, written key by key."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import models


def tiny_gguf(path: Path, *, tied: bool = False) -> Any:
    """Write a tiny Qwen2 with a tokenizer of bytes that joins `a` and `b`; returns the model."""
    vocabulary = models.byte_tokenizer().get_vocab()
    words = [*sorted(vocabulary, key=vocabulary.__getitem__), "ab"]
    model = models.model("qwen2", torch.float32, vocab_size=len(words), tie_word_embeddings=tied)
    write_gguf(path, model, words)
    return model


def write_gguf(path: Path, model: Any, words: list[str]) -> None:
    """A file as llama.cpp writes one, in float32."""
    gguf = pytest.importorskip("gguf")
    config, writer = model.config, gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word == "<bos>" else 1 for word in words])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(models.BOS)
    writer.add_eos_token_id(models.BOS)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        base, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(base)}.{kind}", tensor.numpy())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
