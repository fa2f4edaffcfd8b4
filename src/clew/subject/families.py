"""The table of architectures: where a family keeps its modules, and what sets it apart.

A family says nothing of how its attention finds its pattern: rotary positions, query and key norms, sliding windows and
attention soft-caps lie inside the recorded pattern. A wrong entry cannot pass unnoticed, because every recording is
checked against the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ValueOutput = tuple[Tensor, Tensor | None, Tensor, Tensor | None]  # value, value_bias, output, output_bias


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture: paths from the model (`position_embedding`, `blocks`, `final_norm`), the rest from a block."""

    architecture: str
    blocks: str
    attention_norm: str
    attention: str
    mlp_norm: str
    mlp: str
    final_norm: str
    value_output: Callable[[Any, Any], ValueOutput]
    position_embedding: str | None = None
    post_attention_norm: str | None = None
    post_mlp_norm: str | None = None
    centred: bool = False  # LayerNorm centres, RMSNorm does not
    one_plus_weight: bool = False  # the norm's weight is stored less one
    parallel: Callable[[Any], bool] = lambda config: False  # attention and MLP both read the block's input
    neurons: Callable[[Any], tuple[Tensor, Tensor | None, Tensor, Tensor | None]] | None = None  # None: gated


def _gpt2_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    weight, bias = attention.c_attn.weight[:, 2 * d_model :], attention.c_attn.bias[2 * d_model :]
    value = weight.reshape(d_model, heads, -1).transpose(0, 1)
    return value, bias.reshape(heads, -1), attention.c_proj.weight.reshape(heads, -1, d_model), attention.c_proj.bias


def _gpt2_neurons(mlp: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    return mlp.c_fc.weight.T, mlp.c_fc.bias, mlp.c_proj.weight, mlp.c_proj.bias


def _neox_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    joint, dense = attention.query_key_value, attention.dense
    value = joint.weight.view(heads, 3, -1, d_model)[:, 2].mT
    bias = None if joint.bias is None else joint.bias.view(heads, 3, -1)[:, 2]
    return value, bias, dense.weight.T.reshape(heads, -1, d_model), dense.bias


def _neox_neurons(mlp: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    inner, outer = mlp.dense_h_to_4h, mlp.dense_4h_to_h
    return inner.weight, inner.bias, outer.weight.T, outer.bias


def _split_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, value_heads, d_model = config.num_attention_heads, config.num_key_value_heads, config.hidden_size
    v_proj, o_proj = attention.v_proj, attention.o_proj
    value = v_proj.weight.view(value_heads, -1, d_model).mT
    bias = None if v_proj.bias is None else v_proj.bias.view(value_heads, -1)
    return value, bias, o_proj.weight.T.reshape(heads, -1, d_model), o_proj.bias


FAMILIES: dict[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            architecture="GPT2LMHeadModel",
            position_embedding="transformer.wpe",
            blocks="transformer.h",
            attention_norm="ln_1",
            attention="attn",
            mlp_norm="ln_2",
            mlp="mlp",
            final_norm="transformer.ln_f",
            value_output=_gpt2_value_output,
            neurons=_gpt2_neurons,
            centred=True,
        ),
        Family(
            architecture="LlamaForCausalLM",
            blocks="model.layers",
            attention_norm="input_layernorm",
            attention="self_attn",
            mlp_norm="post_attention_layernorm",
            mlp="mlp",
            final_norm="model.norm",
            value_output=_split_value_output,
        ),
        Family(
            architecture="GPTNeoXForCausalLM",
            blocks="gpt_neox.layers",
            attention_norm="input_layernorm",
            attention="attention",
            mlp_norm="post_attention_layernorm",
            mlp="mlp",
            final_norm="gpt_neox.final_layer_norm",
            value_output=_neox_value_output,
            neurons=_neox_neurons,
            centred=True,
            parallel=lambda config: config.use_parallel_residual,
        ),
        Family(
            architecture="Gemma2ForCausalLM",
            blocks="model.layers",
            attention_norm="input_layernorm",
            attention="self_attn",
            post_attention_norm="post_attention_layernorm",
            mlp_norm="pre_feedforward_layernorm",
            mlp="mlp",
            post_mlp_norm="post_feedforward_layernorm",
            final_norm="model.norm",
            value_output=_split_value_output,
            one_plus_weight=True,
        ),
    )
}
