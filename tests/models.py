"""Tiny random models of every architecture in the table, and dictionaries on them.

The default initialisation gives near-uniform attention and logits, so weights are drawn larger here. Every model has
some property that a careless walk would miss: grouped queries, a parallel and a serial residual, norms after the
sublayers, soft-caps, a window shorter than the prompt.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import cycle
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from torch import Tensor
from transformers import (
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    GPT2LMHeadModel,
    GPTJForCausalLM,
    GPTNeoXForCausalLM,
    GptOssForCausalLM,
    LlamaForCausalLM,
    MistralForCausalLM,
    MixtralForCausalLM,
    Olmo2ForCausalLM,
    OlmoeForCausalLM,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    SmolLM3ForCausalLM,
)
from transformers.models.gptj.modeling_gptj import GPTJAttention

from clew.dictionary import Dictionary, JumpReLU, Layer, ReLU
from clew.dictionary.dictionary import Kind
from clew.subject.subject import Subject

ARCHITECTURES = (
    "gpt2",
    "llama",
    "neox",
    "neox_serial",
    "gemma2",
    "mistral",
    "qwen2",
    "phi3",
    "gptj",
    "qwen3",
    "smollm3",
    "olmo2",
    "gemma3",
    "gpt_oss",
    "olmoe",
    "mixtral",
)
DISTINCT = ("gpt2", "llama", "neox", "neox_serial", "gemma2", "gptj", "olmo2", "gpt_oss")
"""Those among whose modules no two are changed in the same way: the rest differ in how a pattern is found."""
on_distinct = pytest.mark.parametrize("subject", DISTINCT, indirect=True)
"""For a test with a `subject` of every architecture that costs much and cannot fail on one of the rest alone."""


def in_turn(
    name: str, architectures: tuple[str, ...], names: str, values: Iterable[Any], times: int = 1
) -> pytest.MarkDecorator:
    """Every architecture with `times` of the values, which take turns.

    For a test whose architectures and values do not depend on each other: all pairs cost much and tell no more.
    """
    turns = cycle(values)
    cases = [(architecture, next(turns)) for architecture in architectures for _ in range(times)]
    several = "," in names
    return pytest.mark.parametrize(
        (name, *(own.strip() for own in names.split(","))),
        [(architecture, *value) if several else (architecture, value) for architecture, value in cases],
        indirect=["subject"] if name == "subject" else [],
    )


KINDS = ("plt", "clt", "skip-plt", "skip-clt")
READS = ("resid_pre", "resid_mid", "mlp_normalized", "mlp_in")  # resid_post lies behind the write
WRITES = ("mlp_raw_out", "mlp_out")
VOCAB, WIDTH, CONTEXT = 97, 32, 64
BOS = 0
PROMPT = (BOS, 5, 8, 3, 9, 22, 4, 7, 7)


_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
_GPT: dict[str, Any] = {"n_embd": WIDTH, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT}
_GROUPED: dict[str, Any] = _SHAPE | {"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False}
_RELU = {"hidden_act": "relu"}
_CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 2.0,
    "original_max_position_embeddings": CONTEXT // 2,
}
_BUILT: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "gpt2": (GPT2LMHeadModel, _GPT | {"activation_function": "relu"}),
    "llama": (LlamaForCausalLM, _GROUPED),
    "neox": (GPTNeoXForCausalLM, _SHAPE | _RELU),
    "neox_serial": (GPTNeoXForCausalLM, _SHAPE | _RELU | {"use_parallel_residual": False}),
    "gemma2": (
        Gemma2ForCausalLM,
        _GROUPED
        | _CAPS
        | {"num_hidden_layers": 4, "sliding_window": 4, "query_pre_attn_scalar": 8, "tie_word_embeddings": True},
    ),
    "mistral": (MistralForCausalLM, _GROUPED | {"sliding_window": 5}),
    "qwen2": (Qwen2ForCausalLM, _SHAPE | {"num_key_value_heads": 2}),
    "phi3": (Phi3ForCausalLM, _SHAPE | {"num_key_value_heads": 2, "pad_token_id": BOS}),
    "gptj": (GPTJForCausalLM, _GPT | {"rotary_dim": 4, "activation_function": "relu"}),
    "qwen3": (Qwen3ForCausalLM, _GROUPED),
    "smollm3": (
        SmolLM3ForCausalLM,
        _SHAPE | {"num_key_value_heads": 2, "no_rope_layers": [1, 0, 1], "pad_token_id": BOS},
    ),
    "olmo2": (Olmo2ForCausalLM, _SHAPE | {"num_key_value_heads": 2}),
    "gemma3": (
        Gemma3ForCausalLM,
        _GROUPED
        | {"sliding_window": 4, "query_pre_attn_scalar": 8, "tie_word_embeddings": True}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "gpt_oss": (
        GptOssForCausalLM,
        _GROUPED
        | {"sliding_window": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16}
        | {"rope_parameters": _YARN},
    ),
    "olmoe": (
        OlmoeForCausalLM,
        _GROUPED | {"num_experts": 4, "num_experts_per_tok": 1, "intermediate_size": 32, "pad_token_id": BOS},
    ),
    "mixtral": (
        MixtralForCausalLM,
        _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16},
    ),
}
"""Every architecture's class and settings, as small as can fail."""


def model(architecture: str, dtype: torch.dtype = torch.float64, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A model of 3 or 4 layers with weights large enough that attention and logits are far from uniform."""
    kind, settings = _BUILT[architecture]
    torch.manual_seed(seed)
    common = {"vocab_size": VOCAB, "bos_token_id": BOS, "eos_token_id": BOS}
    built = kind(kind.config_class(**common | settings | changes))
    if architecture == "gemma2":
        built.set_attn_implementation("eager")  # which older versions of transformers do not do by themselves
    redraw(built)
    if dtype == torch.float64:
        if hasattr(built.config, "num_experts_per_tok"):
            built.set_experts_implementation("eager")
        for module in built.modules():
            if type(module).__name__.endswith(("RMSNorm", "OlmoeTopKRouter", "MixtralTopKRouter")) or isinstance(
                module, GPTJAttention
            ):
                module.__class__ = _exact(type(module))
    return built.to(dtype).eval()


@cache
def _exact(kind: type) -> type:
    """In the dtype of its input: the originals round to float32, so that a float64 model is none."""
    one_plus = "Gemma" in kind.__name__

    def norm(self: Any, x: Tensor) -> Tensor:
        eps = self.eps if hasattr(self, "eps") else self.variance_epsilon
        weight = 1 + self.weight if one_plus else self.weight
        return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)

    def attend(self: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        scores = query @ key.mT / self.scale_attn
        seen = scores if mask is None else scores + mask[..., : key.shape[-2]]  # older masks reach further
        pattern = seen.softmax(-1)
        return pattern @ value, pattern

    def route(self: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = x.reshape(-1, x.shape[-1]) @ self.weight.T
        shares, chosen = logits.softmax(-1).topk(self.top_k, -1)
        if getattr(self, "norm_topk_prob", True):
            shares = shares / shares.sum(-1, keepdim=True)
        return logits, shares, chosen

    forward = route if kind.__name__.endswith(("OlmoeTopKRouter", "MixtralTopKRouter")) else norm
    return type(f"Exact{kind.__name__}", (kind,), {"_attn": attend} if kind is GPTJAttention else {"forward": forward})


def redraw(model: PreTrainedModel) -> None:
    """Matrices at unit gain, norm weights and biases away from their neutral values."""
    centre = 0.0 if "Gemma" in type(model).__name__ else 1.0
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 or (parameter.ndim == 2 and not name.endswith("bias")):
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        else:
            torch.nn.init.normal_(parameter, mean=0.0 if name.endswith("bias") else centre, std=0.3)


def tokenizer() -> PreTrainedTokenizerFast:
    """Words `w1` to `w96`; `<bos>` is id 0 and special."""
    words = {"<bos>": BOS} | {f"w{i}": i for i in range(1, VOCAB)}
    pipeline = Tokenizer(tokenizer_models.WordLevel(words, unk_token="w1"))
    pipeline.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, bos_token="<bos>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, as a byte-level tokenizer without merges has them: 256 of them and `<bos>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {"<bos>": BOS} | {byte: i + 1 for i, byte in enumerate(alphabet)}
    pipeline = Tokenizer(tokenizer_models.BPE(words, []))
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, bos_token="<bos>")


def marked_tokenizer(*, legacy: bool = False) -> PreTrainedTokenizerFast:
    """Pieces with a mark for the space and one at the front of every text, bytes for what they lack, as in Llama 2.

    `legacy` puts the mark in front by a normaliser, as files of the first Llamas do.
    """
    letters = ["▁", *"Paris", "e", "t", "h", "A", "#", "1", "<", "0", "x", "4", ">", "-"]
    pieces = ["Pa", "Par", "ar", "is", "aris", "Paris", "▁Paris", "▁P", "th", "the", "▁the", "▁-", "#1", "#11"]
    merges = [("P", "a"), ("Pa", "r"), ("i", "s"), ("Par", "is"), ("▁", "Paris"), ("t", "h"), ("th", "e")]
    merges += [("▁", "the"), ("▁", "-"), ("#", "1"), ("#1", "1")]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *dict.fromkeys([*letters, *pieces])]
    ids = {word: i for i, word in enumerate(words)}
    pipeline = Tokenizer(tokenizer_models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        replace, prepend = normalizers.Replace(" ", "▁"), normalizers.Prepend("▁")
        pipeline.normalizer = normalizers.Sequence([prepend, replace])
    else:
        pipeline.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    pipeline.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    start = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", ids["<s>"])])
    pipeline.post_processor = start
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def subject(
    architecture: str, dtype: torch.dtype = torch.float64, *, with_tokenizer: bool = True, **changes: Any
) -> Subject:
    """A Subject on a tiny model; its BOS is id 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Subject.load(model(architecture, dtype, **changes), tokenizer() if with_tokenizer else None)


def with_sink(architecture: str, dtype: torch.dtype = torch.float64, *, token: int | None = None) -> Subject:
    """A Subject without a tokenizer, the MLP of whose second layer writes a huge vector at the first position.

    GPT-2: by its position embedding, whatever the token. Llama: where the text begins with `token`.
    """
    built = model(architecture, dtype)
    direction = torch.zeros(WIDTH, dtype=dtype)
    direction[0], direction[1] = 1, -1
    with torch.no_grad():
        if architecture == "gpt2":
            mlp, place = built.transformer.h[1].mlp, built.transformer.wpe.weight[0]
            mlp.c_fc.weight[:, 0], mlp.c_fc.bias[0] = direction, -4
            mlp.c_proj.weight[0] = 1000
        else:
            mlp, place = built.model.layers[1].mlp, built.model.embed_tokens.weight[token]
            mlp.gate_proj.weight[0] = mlp.up_proj.weight[0] = direction
            mlp.down_proj.weight[:, 0] = 1000
        place += 100 * direction
    return Subject(built, None, f"{architecture} with a sink")


def every_nth(whole: Dictionary, n: int) -> Dictionary:
    """Every nth feature of each layer of a dictionary."""
    layers = {}
    for i, layer in whole.layers.items():
        size = len(layer.bias)
        tensors = layer.tensors().items()
        layers[i] = layer.with_tensors({
            name: tensor[::n] if tensor.ndim and len(tensor) == size and name != "decoder_bias" else tensor
            for name, tensor in tensors
        })  # fmt: skip
    return replace(whole, layers=layers, name=f"every {n}th of {whole.name}")


def dictionary(
    kind: str,
    subject: Subject,
    *,
    features: int = 40,
    read: str = "mlp_in",
    write: str = "mlp_out",
    threshold: float | None = 0.8,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
) -> Dictionary:
    """Random features; `skip-` in the kind adds a skip connection to every layer. No threshold: ReLU."""
    generator = torch.Generator().manual_seed(seed)
    n_layers, width = subject.n_layers, subject.d_model

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    base: Kind = "clt" if kind.endswith("clt") else "plt"
    layers, writes = {}, {}
    for layer in range(n_layers):
        writes[layer] = tuple(range(layer, n_layers)) if base == "clt" else (layer,)
        jump = JumpReLU(threshold=torch.full((features,), threshold or 0.0, dtype=dtype))
        layers[layer] = Layer(
            encoder=draw(features, width) / width**0.5,
            bias=draw(features) * 0.1,
            nonlinearity=ReLU() if threshold is None else jump,
            decoder=draw(features, len(writes[layer]), width) / features**0.5,
            decoder_bias=draw(width) * 0.1,
            skip=draw(width, width) / width**0.5 if kind.startswith("skip") else None,
        )
    return Dictionary(
        kind=base, layers=layers, writes=writes, read_site=read, write_site=write,
        n_layers=n_layers, d_model=width, name=f"random {kind}",
    )  # fmt: skip
