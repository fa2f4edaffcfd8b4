"""The table of architectures: where a family keeps its modules, and its block as a list of parts.

Values need nothing of how an attention finds its pattern: rotary positions, sliding windows and soft-caps lie inside
the recorded pattern. Effects need the queries and keys, and refuse a pattern that these do not give back. A wrong entry
cannot pass unnoticed, because every recording is checked against the model.

A new family is an entry of FAMILIES, a list of parts (`serial_block`, `parallel_block`, or its own), and functions that
cut value and output weights, and query and key weights, from its attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clew.subject.parts import Block, parallel_block, serial_block

ValueOutput = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""value [value_head, d_model, d_head], value bias, output [head, d_head, d_model], output bias."""
QueryKeyWeights = tuple[Tensor, Tensor | None, Tensor, Tensor | None, float, float | None]
"""query [head, d_model, d_head], query bias, key [key_head, d_model, d_head], key bias, scale, soft-cap of scores."""
NeuronWeights = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""w_in [neuron, d_model], b_in, w_out [neuron, d_model], b_out."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture. `position_embedding`, `blocks` and `final_norm` are paths from the model."""

    architecture: str
    blocks: str
    block: Callable[[Any], Block]
    """The parts of a block, by the model's configuration; their paths start at the block."""
    final_norm: str
    value_output: Callable[[Any, Any], ValueOutput]
    """The weights of an attention module, by its model's configuration."""
    query_key: Callable[[Any, Any], QueryKeyWeights] | None = None
    """The weights behind the scores of an attention module."""
    rotary: str | None = None
    """The path of the module that gives the cosines and sines of rotary positions."""
    position_embedding: str | None = None
    centred: bool = False
    """LayerNorm centres, RMSNorm does not."""
    one_plus_weight: bool = False
    """The norm's weight is stored less one."""
    neurons: Callable[[Any], NeuronWeights] | None = None
    """The weights of an ungated MLP module; None where MLPs are gated."""

    def norm_affine(self, norm: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """What a norm multiplies by apart from its scale 1/sigma, and what it adds; no gradient reaches them."""
        weight, bias = norm.weight.detach().to(like), getattr(norm, "bias", None)
        return weight + 1 if self.one_plus_weight else weight, None if bias is None else bias.detach().to(like)


def _gpt2_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    weight, bias = attention.c_attn.weight[:, 2 * d_model :], attention.c_attn.bias[2 * d_model :]
    value = weight.reshape(d_model, heads, -1).transpose(0, 1)
    return value, bias.reshape(heads, -1), attention.c_proj.weight.reshape(heads, -1, d_model), attention.c_proj.bias


def _gpt2_query_key(attention: Any, config: Any) -> QueryKeyWeights:
    heads, d_model = config.num_attention_heads, config.hidden_size
    parts = [slice(0, d_model), slice(d_model, 2 * d_model)]
    weights = [attention.c_attn.weight[:, part].reshape(d_model, heads, -1).transpose(0, 1) for part in parts]
    biases = [attention.c_attn.bias[part].reshape(heads, -1) for part in parts]
    scale = weights[0].shape[2] ** -0.5 if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scale /= attention.layer_idx + 1
    return weights[0], biases[0], weights[1], biases[1], scale, None


def _gpt2_neurons(mlp: Any) -> NeuronWeights:
    return mlp.c_fc.weight.T, mlp.c_fc.bias, mlp.c_proj.weight, mlp.c_proj.bias


def _neox_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    joint, dense = attention.query_key_value, attention.dense
    value = joint.weight.view(heads, 3, -1, d_model)[:, 2].mT
    bias = None if joint.bias is None else joint.bias.view(heads, 3, -1)[:, 2]
    return value, bias, dense.weight.T.reshape(heads, -1, d_model), dense.bias


def _neox_query_key(attention: Any, config: Any) -> QueryKeyWeights:
    heads, d_model, joint = config.num_attention_heads, config.hidden_size, attention.query_key_value
    weight = joint.weight.view(heads, 3, -1, d_model).mT
    bias = None if joint.bias is None else joint.bias.view(heads, 3, -1)
    biases = (None, None) if bias is None else (bias[:, 0], bias[:, 1])
    return weight[:, 0], biases[0], weight[:, 1], biases[1], attention.scaling, None


def _neox_neurons(mlp: Any) -> NeuronWeights:
    inner, outer = mlp.dense_h_to_4h, mlp.dense_4h_to_h
    return inner.weight, inner.bias, outer.weight.T, outer.bias


def _split_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, value_heads, d_model = config.num_attention_heads, config.num_key_value_heads, config.hidden_size
    v_proj, o_proj = attention.v_proj, attention.o_proj
    value = v_proj.weight.view(value_heads, -1, d_model).mT
    bias = None if v_proj.bias is None else v_proj.bias.view(value_heads, -1)
    return value, bias, o_proj.weight.T.reshape(heads, -1, d_model), o_proj.bias


def _split_query_key(attention: Any, config: Any) -> QueryKeyWeights:
    def cut(projection: Any, heads: int) -> tuple[Tensor, Tensor | None]:
        bias = None if projection.bias is None else projection.bias.view(heads, -1)
        return projection.weight.view(heads, -1, config.hidden_size).mT, bias

    query, key = cut(attention.q_proj, config.num_attention_heads), cut(attention.k_proj, config.num_key_value_heads)
    return *query, *key, attention.scaling, getattr(attention, "attn_logit_softcapping", None)


def _neox_block(config: Any) -> Block:
    build = parallel_block if config.use_parallel_residual else serial_block
    return build(
        attention_norm="input_layernorm", attention="attention", mlp_norm="post_attention_layernorm", mlp="mlp"
    )


FAMILIES: dict[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            architecture="GPT2LMHeadModel",
            position_embedding="transformer.wpe",
            blocks="transformer.h",
            block=lambda config: serial_block(attention_norm="ln_1", attention="attn", mlp_norm="ln_2", mlp="mlp"),
            final_norm="transformer.ln_f",
            value_output=_gpt2_value_output,
            query_key=_gpt2_query_key,
            neurons=_gpt2_neurons,
            centred=True,
        ),
        Family(
            architecture="LlamaForCausalLM",
            blocks="model.layers",
            block=lambda config: serial_block(
                attention_norm="input_layernorm",
                attention="self_attn",
                mlp_norm="post_attention_layernorm",
                mlp="mlp",
            ),
            final_norm="model.norm",
            value_output=_split_value_output,
            query_key=_split_query_key,
            rotary="model.rotary_emb",
        ),
        Family(
            architecture="GPTNeoXForCausalLM",
            blocks="gpt_neox.layers",
            block=_neox_block,
            final_norm="gpt_neox.final_layer_norm",
            value_output=_neox_value_output,
            query_key=_neox_query_key,
            rotary="gpt_neox.rotary_emb",
            neurons=_neox_neurons,
            centred=True,
        ),
        Family(
            architecture="Gemma2ForCausalLM",
            blocks="model.layers",
            block=lambda config: serial_block(
                attention_norm="input_layernorm",
                attention="self_attn",
                post_attention_norm="post_attention_layernorm",
                mlp_norm="pre_feedforward_layernorm",
                mlp="mlp",
                post_mlp_norm="post_feedforward_layernorm",
            ),
            final_norm="model.norm",
            value_output=_split_value_output,
            query_key=_split_query_key,
            rotary="model.rotary_emb",
            one_plus_weight=True,
        ),
    )
}
