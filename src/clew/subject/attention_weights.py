"""How attentions keep their weights: each function cuts one kind of module into heads, by its model's configuration.

`ValueOutput` is what an attention does with its pattern, `QueryKey` is how it finds it, and rotary tables are the
cosines and sines of one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clew.subject.query_key import HeadNorm, Projection, QueryKey, Rotary

ValueOutput = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""value [value_head, d_model, d_head], value bias, output [head, d_head, d_model], output bias."""
QueryKeyOf = Callable[[Any, Any], QueryKey]
"""By an attention module and its model's configuration; without rotary tables."""
RotaryTables = Callable[[Any, int, Tensor], Rotary | None]
"""By the model, the layer and a stream; None for a layer without rotary positions."""


# --- GPT-2: one matrix for queries, keys and values, stored with its inputs first ------------------------------------


def gpt2_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    weight, bias = attention.c_attn.weight[:, 2 * d_model :], attention.c_attn.bias[2 * d_model :]
    value = weight.reshape(d_model, heads, -1).transpose(0, 1)
    return value, bias.reshape(heads, -1), attention.c_proj.weight.reshape(heads, -1, d_model), attention.c_proj.bias


def gpt2_query_key(attention: Any, config: Any) -> QueryKey:
    heads, d_model = config.num_attention_heads, config.hidden_size
    query, key = (
        Projection(
            weight=attention.c_attn.weight[:, part].reshape(d_model, heads, -1).transpose(0, 1),
            bias=attention.c_attn.bias[part].reshape(heads, -1),
        )
        for part in (slice(0, d_model), slice(d_model, 2 * d_model))
    )
    scale = query.weight.shape[2] ** -0.5 if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scale /= attention.layer_idx + 1
    return QueryKey(query=query, key=key, scale=scale)


# --- GPT-NeoX: one matrix, head by head ------------------------------------------------------------------------------


def neox_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    joint, dense = attention.query_key_value, attention.dense
    value = joint.weight.view(heads, 3, -1, d_model)[:, 2].mT
    bias = None if joint.bias is None else joint.bias.view(heads, 3, -1)[:, 2]
    return value, bias, dense.weight.T.reshape(heads, -1, d_model), dense.bias


def neox_query_key(attention: Any, config: Any) -> QueryKey:
    heads, d_model, joint = config.num_attention_heads, config.hidden_size, attention.query_key_value
    weight = joint.weight.view(heads, 3, -1, d_model).mT
    bias = None if joint.bias is None else joint.bias.view(heads, 3, -1)
    query, key = (
        Projection(weight=weight[:, place], bias=None if bias is None else bias[:, place]) for place in (0, 1)
    )
    return QueryKey(query=query, key=key, scale=attention.scaling)


# --- a matrix each, as in Llama --------------------------------------------------------------------------------------


def split_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, value_heads, d_model = config.num_attention_heads, config.num_key_value_heads, config.hidden_size
    value, output = _cut(attention.v_proj, value_heads), attention.o_proj
    return value.weight, value.bias, output.weight.T.reshape(heads, -1, d_model), output.bias


def split_query_key(attention: Any, config: Any) -> QueryKey:
    return QueryKey(
        query=_cut(attention.q_proj, config.num_attention_heads),
        key=_cut(attention.k_proj, config.num_key_value_heads),
        scale=attention.scaling,
        cap=getattr(attention, "attn_logit_softcapping", None),
    )


def _cut(projection: Any, heads: int) -> Projection:
    weight, bias = projection.weight, projection.bias
    return Projection(
        weight=weight.view(heads, -1, weight.shape[1]).mT,
        bias=None if bias is None else bias.view(heads, -1),
    )


def normed_query_key(*, together: bool = False, one_plus_weight: bool = False) -> QueryKeyOf:
    """The same with norms of queries and keys: of each head, or of all heads together; the weight stored less one."""

    def normed(projection: Projection, norm: Any) -> Projection:
        heads, weight = len(projection.weight), norm.weight + 1 if one_plus_weight else norm.weight
        eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        by_head = weight.view(heads, -1) if together else weight.expand(heads, -1)
        return replace(projection, norm=HeadNorm(weight=by_head, eps=eps, together=together))

    def query_key(attention: Any, config: Any) -> QueryKey:
        maps = split_query_key(attention, config)
        return replace(maps, query=normed(maps.query, attention.q_norm), key=normed(maps.key, attention.k_norm))

    return query_key


def query_key_with_sinks(attention: Any, config: Any) -> QueryKey:
    return replace(split_query_key(attention, config), sinks=attention.sinks)


# --- Phi-3: one matrix, all queries, then all keys, then all values --------------------------------------------------


def fused_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model = config.num_attention_heads, config.hidden_size
    value = _fused(attention, config)[2]
    return value.weight, value.bias, attention.o_proj.weight.T.reshape(heads, -1, d_model), attention.o_proj.bias


def fused_query_key(attention: Any, config: Any) -> QueryKey:
    query, key, _ = _fused(attention, config)
    return QueryKey(query=query, key=key, scale=attention.scaling)


def _fused(attention: Any, config: Any) -> tuple[Projection, Projection, Projection]:
    joint, d_head = attention.qkv_proj, attention.head_dim
    heads = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    sizes = [count * d_head for count in heads]
    biases = [None] * 3 if joint.bias is None else joint.bias.split(sizes)
    query, key, value = (
        Projection(
            weight=weight.view(count, d_head, -1).mT,
            bias=None if bias is None else bias.view(count, d_head),
        )
        for count, weight, bias in zip(heads, joint.weight.split(sizes), biases, strict=True)
    )
    return query, key, value


# --- GPT-J: a matrix each, whose rotary positions turn neighbours ----------------------------------------------------


def gptj_value_output(attention: Any, config: Any) -> ValueOutput:
    heads, d_model, output = config.num_attention_heads, config.hidden_size, attention.out_proj
    value = _cut(attention.v_proj, heads)
    return value.weight, value.bias, output.weight.T.reshape(heads, -1, d_model), output.bias


def gptj_query_key(attention: Any, config: Any) -> QueryKey:
    """Entries of queries and keys are put in the order in which halves are turned: scores do not depend on it."""
    d_head, turned = attention.head_dim, config.rotary_dim
    order = [*range(0, turned, 2), *range(1, turned, 2), *range(turned, d_head)]
    query, key = (
        Projection(weight=_cut(projection, config.num_attention_heads).weight[:, :, order])
        for projection in (attention.q_proj, attention.k_proj)
    )
    return QueryKey(query=query, key=key, scale=d_head**-0.5)


def gptj_rotary(model: Any, layer: int, stream: Tensor) -> Rotary:
    sines, cosines = model.transformer.h[layer].attn.embed_positions[: len(stream)].chunk(2, 1)
    return Rotary(cos=torch.cat([cosines, cosines], 1), sin=torch.cat([sines, sines], 1))


# --- rotary tables that a module of the model gives ------------------------------------------------------------------


def rotary_of(path: str) -> RotaryTables:
    """The same tables in every layer, from the module at a path of the model."""

    def tables(model: Any, layer: int, stream: Tensor) -> Rotary:
        return _tables(model.get_submodule(path), stream)

    return tables


def rotary_by_type(path: str) -> RotaryTables:
    """One base for layers that slide a window and another for the rest: the module is told which."""

    def tables(model: Any, layer: int, stream: Tensor) -> Rotary:
        return _tables(model.get_submodule(path), stream, model.config.layer_types[layer])

    return tables


def rotary_of_some(path: str) -> RotaryTables:
    """The same tables in those layers that the configuration names."""

    def tables(model: Any, layer: int, stream: Tensor) -> Rotary | None:
        return _tables(model.get_submodule(path), stream) if model.config.no_rope_layers[layer] else None

    return tables


def half_rotary_of(path: str) -> RotaryTables:
    """From a module that gives each cosine once and not for both halves."""

    def tables(model: Any, layer: int, stream: Tensor) -> Rotary:
        half = _tables(model.get_submodule(path), stream)
        return Rotary(cos=torch.cat([half.cos, half.cos], 1), sin=torch.cat([half.sin, half.sin], 1))

    return tables


def _tables(module: Any, stream: Tensor, *kind: str) -> Rotary:
    positions = torch.arange(len(stream), device=stream.device)[None]
    cos, sin = module(stream[None], positions, *kind)
    return Rotary(cos=cos[0], sin=sin[0])
