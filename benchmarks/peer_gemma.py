"""The peer on a tiny random Gemma 2: soft-caps, norms after the sublayers, sliding windows, scaled embeddings.

Runs in the peer's own environment; `tests/test_peer.py` compares with what it keeps:

    .peer/bin/python benchmarks/peer_gemma.py .peer/gemma2

writes DIR/model, DIR/plt (reads `ln2.hook_normalized`), DIR/clt (reads `mlp.hook_in`), both writing `hook_mlp_out`, and
DIR/{plt,clt}.safetensors, the peer's matrices. First it checks that the peer's logits are those of Hugging Face.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peer_trace import BOS, VOCAB, keep_both, redraw, replacement_model, save_dictionary, save_tokenizer

LAYERS, WIDTH, HEADS, FEATURES, WINDOW, TOKENS = 6, 64, 4, 512, 5, 16


def build(folder: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        head_dim=WIDTH // HEADS,
        query_pre_attn_scalar=WIDTH // HEADS,
        max_position_embeddings=512,
        sliding_window=WINDOW,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=2,
    )
    model = Gemma2ForCausalLM(config)
    redraw(model)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "embed" in name:  # it is scaled by the root of the width, and is the unembedding too
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    save_dictionary(folder / "plt", "plt", "ln2.hook_normalized", "hook_mlp_out", LAYERS, WIDTH, FEATURES)
    save_dictionary(folder / "clt", "clt", "mlp.hook_in", "hook_mlp_out", LAYERS, WIDTH, FEATURES)


def load(folder: Path, kind: str) -> tuple[Any, Any]:
    """Hugging Face's model and the peer's."""
    from transformer_lens.pretrained.weight_conversions import convert_gemma_weights
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")
    c = hf.config
    properties = {
        "act_fn": "gelu_pytorch_tanh",
        "use_attn_scale": True,
        "attn_scale": c.query_pre_attn_scalar**0.5,
        "attn_scores_soft_cap": c.attn_logit_softcapping,
        "output_logits_soft_cap": c.final_logit_softcapping,
        "use_normalization_before_and_after": True,
        "use_local_attn": True,
        "window_size": c.sliding_window,
        "attn_types": ["local" if kind == "sliding_attention" else "global" for kind in c.layer_types],
    }
    return hf, replacement_model(folder, kind, hf, convert_gemma_weights, **properties)


if __name__ == "__main__":
    keep_both(__doc__, build, load, TOKENS)
