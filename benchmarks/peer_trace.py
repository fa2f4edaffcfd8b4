"""The peer's side of the benchmark: circuit-tracer on a tiny random Llama, in the published layouts.

Runs in the peer's own environment, which `benchmarks/trace.py` sets up:

    .peer/bin/python benchmarks/peer_trace.py build .peer/llama
    .peer/bin/python benchmarks/peer_trace.py trace .peer/llama clt --tokens 16 --batch 16

`build` writes DIR/model (Hugging Face folder), DIR/plt and DIR/clt (circuit-tracer layouts, JumpReLU, reading
`mlp.hook_in` and writing `mlp.hook_out`). `trace` prints one line of JSON: CPU seconds of one `attribute` call on one
thread, after a warm-up on four tokens, and how far memory rose above what it was before. `--keep FILE` writes the
peer's matrix. The peer's loader takes neither local models nor custom sizes, so its configuration is built by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

LAYERS, WIDTH, HEADS, FEATURES, VOCAB = 6, 128, 4, 2048, 2000
BOS, THRESHOLD = 1, 2.0


def prompt(tokens: int) -> list[int]:
    """The first token is the BOS."""
    return [BOS, *range(10, 9 + tokens)]


def build(folder: Path) -> None:
    """A model and two dictionaries from one seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=512,
        rope_theta=10000.0,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    redraw(model)
    model.save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    for kind in ("plt", "clt"):
        save_dictionary(folder / kind, kind, "mlp.hook_in", "mlp.hook_out", LAYERS, WIDTH, FEATURES)


def redraw(model: Any) -> None:
    """The default initialisation gives near-uniform attention and logits."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.6 if "embed" in name else parameter.shape[-1] ** -0.5)


def save_tokenizer(folder: Path) -> None:
    """One word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<bos>": BOS, "<pad>": 2} | {f"w{i}": i for i in range(3, VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<bos>", "eos_token": "<bos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def save_dictionary(folder: Path, kind: str, read: str, write: str, layers: int, width: int, features: int) -> None:
    """Random features in circuit-tracer's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(layers):
        encoder, written = torch.randn(features, width) / width**0.5, layers - i if kind == "clt" else 1
        decoder = torch.randn(features, written, width) / features**0.5
        bias, decoder_bias, cut = torch.zeros(features), torch.zeros(width), torch.full((features,), THRESHOLD)
        if kind == "plt":
            tensors = {"W_enc": encoder, "W_dec": decoder[:, 0].contiguous(), "b_enc": bias, "b_dec": decoder_bias}
            save_file(tensors | {"activation_function.threshold": cut}, folder / f"layer_{i}.safetensors")
            continue
        small = {f"b_enc_{i}": bias, f"b_dec_{i}": decoder_bias, f"threshold_{i}": cut}
        save_file({f"W_enc_{i}": encoder, **small}, folder / f"W_enc_{i}.safetensors")
        save_file({f"W_dec_{i}": decoder}, folder / f"W_dec_{i}.safetensors")
    model_kind = "transcoder_set" if kind == "plt" else "cross_layer_transcoder"
    settings = {"model_kind": model_kind, "feature_input_hook": read, "feature_output_hook": write}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | {"model_name": "tiny", "scan": kind}))


def load(folder: Path, kind: str) -> Any:
    """The peer's replacement model."""
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    return replacement_model(folder, kind, hf, convert_llama_weights, act_fn="silu")


def replacement_model(folder: Path, kind: str, hf: Any, convert: Any, **properties: Any) -> Any:
    """A TransformerLens model of a rotary, gated, RMS-normed Hugging Face model, with the dictionary in place."""
    from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
    from circuit_tracer.utils.hf_utils import load_transcoder_from_hub
    from transformer_lens import HookedTransformerConfig
    from transformers import AutoTokenizer

    c = hf.config
    common = {
        "n_layers": c.num_hidden_layers,
        "d_model": c.hidden_size,
        "d_head": c.head_dim,
        "n_heads": c.num_attention_heads,
        "n_key_value_heads": c.num_key_value_heads,
        "d_mlp": c.intermediate_size,
        "n_ctx": c.max_position_embeddings,
        "d_vocab": c.vocab_size,
        "normalization_type": "RMS",
        "final_rms": True,
        "eps": c.rms_norm_eps,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "rotary_dim": c.head_dim,
        "rotary_base": 10000.0,
        "model_name": "tiny",
        "original_architecture": type(hf).__name__,
        "tokenizer_name": str(folder / "model"),
        "default_prepend_bos": True,
        "device": "cpu",
        "dtype": torch.float32,
    }
    config = HookedTransformerConfig.from_dict(common | properties)
    model = TransformerLensReplacementModel(config, tokenizer=AutoTokenizer.from_pretrained(folder / "model"))
    model.load_and_process_state_dict(
        convert(hf, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    sets, _ = load_transcoder_from_hub(str((folder / kind).resolve()), device=torch.device("cpu"), dtype=torch.float32)
    model._configure_replacement_model(sets)
    return model


def keep_both(
    about: str | None, build: Callable[[Path], None], load: Callable[[Path, str], tuple[Any, Any]], tokens: int
) -> None:
    """The command line of a script for another family: build it, check the peer's logits, keep both its matrices."""
    from circuit_tracer import attribute

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    build(folder)
    ids = torch.tensor(prompt(tokens))
    for kind in ("plt", "clt"):
        hf, model = load(folder, kind)
        with torch.no_grad():
            difference = float((hf(ids[None]).logits - model(ids[None])).abs().max())
        assert difference < 1e-4, f"the peer's logits differ from Hugging Face's by {difference}"
        keep(attribute(ids, model, batch_size=64), folder / f"{kind}.safetensors")


def keep(graph: Any, path: Path) -> None:
    """The matrix (rows targets, columns sources), its features in rows of (layer, position, index), its logits."""
    tensors = {
        "adjacency": graph.adjacency_matrix.contiguous(),
        "active_features": graph.active_features.contiguous(),
        "selected_features": graph.selected_features.contiguous(),
        "logit_tokens": torch.tensor([int(target.vocab_idx) for target in graph.logit_targets]),
    }
    save_file(tensors, path)


def memory(field: str) -> float:
    """A field of the process' status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def trace(folder: Path, kind: str, tokens: int, batch: int, max_features: int | None, kept: Path | None) -> None:
    from circuit_tracer import attribute

    torch.set_num_threads(1)
    model, ids = load(folder, kind), torch.tensor(prompt(tokens))
    attribute(ids[:4], model, batch_size=4, max_feature_nodes=4)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
    start = time.process_time()
    graph = attribute(ids, model, batch_size=batch, max_feature_nodes=max_features)
    seconds = time.process_time() - start
    grown = memory("VmHWM") - before
    if kept:
        keep(graph, kept)
    print(json.dumps({"cpu_seconds": seconds, "memory_mb": grown, "active": len(graph.active_features)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["build", "trace"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", nargs="?", choices=["plt", "clt"])
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-features", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.verb == "build":
        build(given.folder)
    else:
        trace(given.folder, given.kind, given.tokens, given.batch, given.max_features, given.keep)
