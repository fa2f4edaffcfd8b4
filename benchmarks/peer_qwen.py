"""The peer on a tiny random Qwen 3: norms of queries and keys, head by head.

Runs in the peer's own environment; `tests/test_peer.py` compares with what it keeps:

    .peer/bin/python benchmarks/peer_qwen.py .peer/qwen3

writes DIR/model, DIR/plt and DIR/clt (reading `mlp.hook_in`, writing `mlp.hook_out`, as published transcoders of Qwen 3
do), and DIR/{plt,clt}.safetensors, the peer's matrices. First it checks that the peer's logits are Hugging Face's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peer_trace import BOS, VOCAB, keep_both, redraw, replacement_model, save_dictionary, save_tokenizer

LAYERS, WIDTH, HEADS, FEATURES, TOKENS = 6, 64, 4, 512, 16


def build(folder: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=512,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config)
    redraw(model)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    model.save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    for kind in ("plt", "clt"):
        save_dictionary(folder / kind, kind, "mlp.hook_in", "mlp.hook_out", LAYERS, WIDTH, FEATURES)


def load(folder: Path, kind: str) -> tuple[Any, Any]:
    """Hugging Face's model and the peer's."""
    from transformer_lens.pretrained.weight_conversions import convert_qwen3_weights
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")
    return hf, replacement_model(folder, kind, hf, convert_qwen3_weights, act_fn="silu", use_qk_norm=True)


if __name__ == "__main__":
    keep_both(__doc__, build, load, TOKENS)
