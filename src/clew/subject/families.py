"""The table of architectures: where a family keeps its modules, and its block as a list of parts.

Values need nothing of how an attention finds its pattern: rotary positions, sliding windows and soft-caps lie inside
the recorded pattern. Effects need the queries and keys, and refuse a pattern that these do not give back. A wrong entry
cannot pass unnoticed, because every recording is checked against the model.

A new family is an entry of FAMILIES: a list of parts (`serial_block`, `parallel_block`, or its own), and functions that
cut value and output weights, and query and key weights, from its attention (`attention_weights`), and neurons from its
MLP (`mlp_weights`). The tests build a tiny model of every entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clew.subject.attention_weights import (
    QueryKeyOf,
    RotaryTables,
    ValueOutput,
    fused_query_key,
    fused_value_output,
    gpt2_query_key,
    gpt2_value_output,
    gptj_query_key,
    gptj_rotary,
    gptj_value_output,
    half_rotary_of,
    neox_query_key,
    neox_value_output,
    normed_query_key,
    query_key_with_sinks,
    rotary_by_type,
    rotary_of,
    rotary_of_some,
    split_query_key,
    split_value_output,
)
from clew.subject.mlp_weights import (
    WeightsOf,
    fused_gated_mlp,
    gated_mlp,
    gpt2_mlp,
    gptj_mlp,
    neox_mlp,
    routed_gated_mlp,
)
from clew.subject.parts import Block, parallel_block, post_norm_block, serial_block


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture. `position_embedding`, `blocks` and `final_norm` are paths from the model."""

    name: str
    """What people call it."""
    architecture: str
    blocks: str
    block: Callable[[Any], Block]
    """The parts of a block, by the model's configuration; their paths start at the block."""
    final_norm: str
    value_output: Callable[[Any, Any], ValueOutput]
    """The weights of an attention module, by its model's configuration."""
    query_key: QueryKeyOf | None = None
    """What is behind the scores of an attention module, but for rotary positions."""
    rotary: RotaryTables | None = None
    """The cosines and sines of rotary positions, layer by layer."""
    position_embedding: str | None = None
    centred: bool = False
    """LayerNorm centres, RMSNorm does not."""
    one_plus_weight: bool = False
    """The norm's weight is stored less one."""
    mlp_weights: WeightsOf | None = None
    """The neurons of an MLP module; None where it is a choice of experts of which only the output is recorded."""

    def norm_affine(self, norm: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """What a norm multiplies by apart from its scale 1/sigma, and what it adds; no gradient reaches them."""
        weight, bias = norm.weight.detach().to(like), getattr(norm, "bias", None)
        return weight + 1 if self.one_plus_weight else weight, None if bias is None else bias.detach().to(like)


def _neox_block(config: Any) -> Block:
    build = parallel_block if config.use_parallel_residual else serial_block
    return build(
        attention_norm="input_layernorm", attention="attention", mlp_norm="post_attention_layernorm", mlp="mlp"
    )


def _gemma_block(config: Any) -> Block:
    return serial_block(
        attention_norm="input_layernorm",
        attention="self_attn",
        post_attention_norm="post_attention_layernorm",
        mlp_norm="pre_feedforward_layernorm",
        mlp="mlp",
        post_mlp_norm="post_feedforward_layernorm",
    )


def _llama(name: str, architecture: str, **differences: Any) -> Family:
    """A family that keeps its modules where Llama does."""
    entry: dict[str, Any] = {
        "blocks": "model.layers",
        "block": lambda config: serial_block(
            attention_norm="input_layernorm", attention="self_attn", mlp_norm="post_attention_layernorm", mlp="mlp"
        ),
        "final_norm": "model.norm",
        "value_output": split_value_output,
        "query_key": split_query_key,
        "rotary": rotary_of("model.rotary_emb"),
        "mlp_weights": gated_mlp,
    }
    return Family(name=name, architecture=architecture, **entry | differences)


FAMILIES: dict[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            name="GPT-2",
            architecture="GPT2LMHeadModel",
            position_embedding="transformer.wpe",
            blocks="transformer.h",
            block=lambda config: serial_block(attention_norm="ln_1", attention="attn", mlp_norm="ln_2", mlp="mlp"),
            final_norm="transformer.ln_f",
            value_output=gpt2_value_output,
            query_key=gpt2_query_key,
            mlp_weights=gpt2_mlp,
            centred=True,
        ),
        _llama("Llama", "LlamaForCausalLM"),
        _llama("Mistral", "MistralForCausalLM"),
        _llama("Qwen2", "Qwen2ForCausalLM"),
        _llama("Qwen3", "Qwen3ForCausalLM", query_key=normed_query_key()),
        _llama("SmolLM3", "SmolLM3ForCausalLM", rotary=rotary_of_some("model.rotary_emb")),
        _llama(
            "OLMo 2",
            "Olmo2ForCausalLM",
            block=lambda config: post_norm_block(
                attention="self_attn",
                post_attention_norm="post_attention_layernorm",
                mlp="mlp",
                post_mlp_norm="post_feedforward_layernorm",
            ),
            query_key=normed_query_key(together=True),
        ),
        _llama(
            "OLMoE",
            "OlmoeForCausalLM",
            query_key=normed_query_key(together=True),
            mlp_weights=routed_gated_mlp,
        ),
        _llama("Mixtral", "MixtralForCausalLM", mlp_weights=routed_gated_mlp),
        _llama(
            "GPT-OSS",
            "GptOssForCausalLM",
            query_key=query_key_with_sinks,
            rotary=half_rotary_of("model.rotary_emb"),
            mlp_weights=None,
        ),
        _llama(
            "Phi-3",
            "Phi3ForCausalLM",
            value_output=fused_value_output,
            query_key=fused_query_key,
            mlp_weights=fused_gated_mlp,
        ),
        Family(
            name="GPT-J",
            architecture="GPTJForCausalLM",
            blocks="transformer.h",
            block=lambda config: parallel_block(attention_norm="ln_1", attention="attn", mlp_norm="ln_1", mlp="mlp"),
            final_norm="transformer.ln_f",
            value_output=gptj_value_output,
            query_key=gptj_query_key,
            rotary=gptj_rotary,
            mlp_weights=gptj_mlp,
            centred=True,
        ),
        Family(
            name="GPT-NeoX",
            architecture="GPTNeoXForCausalLM",
            blocks="gpt_neox.layers",
            block=_neox_block,
            final_norm="gpt_neox.final_layer_norm",
            value_output=neox_value_output,
            query_key=neox_query_key,
            rotary=rotary_of("gpt_neox.rotary_emb"),
            mlp_weights=neox_mlp,
            centred=True,
        ),
        _llama("Gemma 2", "Gemma2ForCausalLM", block=_gemma_block, one_plus_weight=True),
        _llama(
            "Gemma 3 text",
            "Gemma3ForCausalLM",
            block=_gemma_block,
            query_key=normed_query_key(one_plus_weight=True),
            rotary=rotary_by_type("model.rotary_emb"),
            one_plus_weight=True,
        ),
    )
}
