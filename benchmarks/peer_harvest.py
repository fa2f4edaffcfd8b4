"""The peer's side of the benchmark: SAEDashboard's feature data of one layer's dictionary, over given tokens.

Runs in the peer's own environment, which `benchmarks/harvest.py` sets up, and answers it line by line:

    .peer-harvest/bin/python benchmarks/peer_harvest.py FOLDER --layer 3 --threads 2

FOLDER holds `model` (Hugging Face layout) and `layer.safetensors`: encoder and decoder in rows, bias, threshold, and
tokens in rows of one length. The peer can load neither from its hub, so both are put into its classes by hand: a
HookedTransformer, float32, its final norm's weight folded into the unembedding as `from_pretrained` does, and a
JumpReLU transcoder of SAELens. Before anything is timed, the model's probabilities are checked against Hugging Face's.

Each line read is a run: {"features": 256, "rows": 64, "cached": false, "keep": null}, minibatch sizes of features and
of rows of tokens, whether the model's activations are cached on disk between minibatches of features, and a file for
what was found. Each line written is its time in seconds: {"clock": ..., "cpu": ..., "json": ...}; `json`, measured when
there is a file to keep, is the CPU time of writing all its data to disk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

PROMOTED = 10


def load_model(folder: Path, tokens: Tensor) -> Any:
    """The model as the peer's library holds it; AssertionError when it says something else than Hugging Face's."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c = hf.config
    config = HookedTransformerConfig.from_dict(
        {
            "n_layers": c.n_layer,
            "d_model": c.n_embd,
            "d_head": c.n_embd // c.n_head,
            "n_heads": c.n_head,
            "d_mlp": c.n_inner,
            "n_ctx": c.n_positions,
            "d_vocab": c.vocab_size,
            "act_fn": c.activation_function,
            "normalization_type": "LN",
            "eps": c.layer_norm_epsilon,
            "positional_embedding_type": "standard",
            "model_name": "minnow",
            "device": "cpu",
            "dtype": torch.float32,
        }
    )
    weights = {name: w.detach().clone() for name, w in convert_gpt2_weights(hf, config).items()}
    scale, shift, unembed = weights["ln_final.w"], weights["ln_final.b"], weights["unembed.W_U"]
    folded = unembed * scale[:, None]
    weights |= {
        "unembed.W_U": folded - folded.mean(0),
        "unembed.b_U": shift @ unembed,
        "ln_final.w": torch.ones_like(scale),
        "ln_final.b": torch.zeros_like(shift),
    }
    model = HookedTransformer(config)
    model.load_and_process_state_dict(
        weights, fold_ln=False, center_writing_weights=False, center_unembed=True, fold_value_biases=False
    )
    with torch.no_grad():
        said, meant = model(tokens[:1]).log_softmax(-1), hf(tokens[:1]).logits.log_softmax(-1)
    assert torch.allclose(said, meant, atol=1e-3), f"log-probabilities differ by {float((said - meant).abs().max())}"
    return model


def load_features(held: dict[str, Tensor]) -> Any:
    """A transcoder of SAELens; made anew for every run, which changes it."""
    from sae_lens.saes.transcoder import JumpReLUTranscoder, JumpReLUTranscoderConfig

    n, width = held["encoder"].shape
    config = JumpReLUTranscoderConfig(
        d_in=width, d_out=width, d_sae=n, dtype="float32", device="cpu", apply_b_dec_to_input=False
    )
    features = JumpReLUTranscoder(config).eval()
    for name, own in (("W_enc", "encoder"), ("W_dec", "decoder"), ("b_enc", "bias"), ("threshold", "threshold")):
        getattr(features, name).data = (held[own].T if name == "W_enc" else held[own]).contiguous().clone()
    return features


def run(model: Any, held: dict[str, Tensor], hook: str, asked: dict[str, Any]) -> dict[str, float]:
    """All features over all tokens; the seconds by the clock and of all threads."""
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner

    features = load_features(held)
    with tempfile.TemporaryDirectory() as folder:
        config = SaeVisConfig(
            hook_point=hook,
            features=list(range(len(held["encoder"]))),
            minibatch_size_features=asked["features"],
            minibatch_size_tokens=asked["rows"],
            cache_dir=Path(folder) / "cache" if asked["cached"] else None,
        )
        clock, busy = time.perf_counter(), time.process_time()
        found = SaeVisRunner(config).run(encoder=features, model=model, tokens=held["tokens"])
        taken = {"clock": time.perf_counter() - clock, "cpu": time.process_time() - busy}
        if asked["keep"]:
            keep(found, Path(asked["keep"]))
            busy = time.process_time()
            found.save_json(Path(folder) / "found.json")
            taken["json"] = time.process_time() - busy
    return taken


def keep(found: Any, path: Path) -> None:
    """What can be checked: every feature's largest activation, density, and the tokens it promotes most."""
    tables = [found.feature_data_dict[i].logits_table_data for i in sorted(found.feature_data_dict)]
    tensors = {
        "most": torch.tensor(found.feature_stats.max),
        "density": torch.tensor(found.feature_stats.frac_nonzero, dtype=torch.float64),
        "promoted": torch.tensor([table.top_token_ids[:PROMOTED] for table in tables]),
    }
    save_file(tensors, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # the peer's libraries print
    held = load_file(given.folder / "layer.safetensors")
    model = load_model(given.folder / "model", held["tokens"])
    for line in sys.stdin:
        taken = run(model, held, f"blocks.{given.layer}.ln2.hook_normalized", json.loads(line))
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    main()
