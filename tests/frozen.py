"""The same model with everything frozen, by Hugging Face's own modules: the independent reference of the sweep.

It shares no code with clew. The modules' `forward` is replaced for a while: attention mixes by the pattern of the first
run, norms multiply by the scale of the first run, and each MLP output (at the Dictionary's write site) is a given
value. What is left is linear in those values and in the embeddings, so that autograd gives every edge, and a second run
with one value moved gives the effect of moving it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_EPS = ("eps", "variance_epsilon")
_LLAMA = ("model", "layers", "post_attention_layernorm", "mlp", None, "norm")
_GEMMA = ("model", "layers", "pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm", "norm")
PATHS: dict[str, tuple[str, str, str | None, str, str | None, str]] = {
    "GPT2LMHeadModel": ("transformer", "h", "ln_2", "mlp", None, "ln_f"),
    "GPTJForCausalLM": ("transformer", "h", "ln_1", "mlp", None, "ln_f"),
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Phi3ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "SmolLM3ForCausalLM": _LLAMA,
    "GptOssForCausalLM": _LLAMA,
    "OlmoeForCausalLM": _LLAMA,
    "MixtralForCausalLM": _LLAMA,
    "Olmo2ForCausalLM": ("model", "layers", None, "mlp", "post_feedforward_layernorm", "norm"),
    "GPTNeoXForCausalLM": ("gpt_neox", "layers", "post_attention_layernorm", "mlp", None, "final_layer_norm"),
    "Gemma2ForCausalLM": _GEMMA,
    "Gemma3ForCausalLM": _GEMMA,
}


@dataclass
class Run:
    """One run: what each read site held, the MLP outputs at the write site, the final normed stream, the embeddings."""

    reads: dict[int, Tensor]
    writes: dict[int, Tensor]
    final: Tensor
    tokens: Tensor
    positions: Tensor | None


class Frozen:
    """A model, a prompt and the sites of a Dictionary; `base` is the real run, `run` a frozen one.

    With `live` only the MLP outputs are given: patterns and norm scales are those of each run.
    """

    def __init__(self, model: Any, ids: list[int], read_site: str, write_site: str, *, live: bool = False) -> None:
        self.live = live
        self.model, self.ids, self.read_site, self.write_site = model, torch.tensor([ids]), read_site, write_site
        root, blocks, mlp_norm, mlp, post_norm, final = PATHS[type(model).__name__]
        self.body = getattr(model, root)
        self.blocks = list(getattr(self.body, blocks))
        self.mlp_norms = [] if mlp_norm is None else [getattr(b, mlp_norm) for b in self.blocks]
        self.mlps = [getattr(b, mlp) for b in self.blocks]
        at_post = post_norm is not None and write_site == "mlp_out"
        self.writers = [getattr(b, post_norm) for b in self.blocks] if at_post else self.mlps
        self.final_norm = getattr(self.body, final)
        self.routed = hasattr(self.mlps[0], "router")  # experts give their routing too
        self.gemma = "Gemma" in type(model).__name__
        self.norms = [m for m in model.modules() if "Norm" in type(m).__name__]
        self.own_attentions = [m for m in model.modules() if hasattr(m, "_attn")]  # GPT-J has no function for them
        self.patterns: dict[int, Tensor] = {}
        self.scales: dict[Any, Tensor] = {}
        with torch.no_grad():
            self.base = self._run(None, None)

    def run(self, outputs: Callable[[int, Tensor], Tensor], tokens: Tensor | None = None) -> Run:
        """Run frozen; `outputs(layer, read)` is the MLP output of a layer whose read site holds `read`."""
        return self._run(outputs, tokens)

    def _run(self, outputs: Callable[[int, Tensor], Tensor] | None, tokens: Tensor | None) -> Run:
        run = Run({}, {}, torch.empty(0), torch.empty(0), None)
        with self._replaced(run, outputs, tokens), torch.set_grad_enabled(torch.is_grad_enabled()):
            self.model(self.ids, use_cache=False)
        return run

    @contextmanager
    def _replaced(self, run: Run, outputs: Any, tokens: Tensor | None) -> Iterator[None]:
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        module = sys.modules[type(self.model).__module__]
        eager = getattr(module, "eager_attention_forward", None)
        if eager is not None:
            module.eager_attention_forward = self._attention(eager)
        for attention in self.own_attentions:
            attention._attn = self._own_attention(attention, attention._attn)
        changed = [*self.norms, *self.mlps, *self.blocks, self.model.get_input_embeddings()]
        if hasattr(self.body, "wpe"):
            changed.append(self.body.wpe)
        try:
            for norm in self.norms:
                norm.forward = self._norm(norm, run, outputs)
            for layer, mlp in enumerate(self.mlps):
                mlp.forward = self._mlp(layer, mlp.forward, run, outputs)
            for layer, block in enumerate(self.blocks):
                block.forward = self._block(layer, block.forward, run)
            embedding = self.model.get_input_embeddings()
            embedding.forward = self._embedding(embedding.forward, run, tokens)
            if hasattr(self.body, "wpe"):
                self.body.wpe.forward = self._positions(self.body.wpe.forward, run)
            yield
        finally:
            for replaced in changed:
                replaced.__dict__.pop("forward", None)
            for attention in self.own_attentions:
                attention.__dict__.pop("_attn", None)
            if eager is not None:
                module.eager_attention_forward = eager
            self.model.set_attn_implementation(before)

    def _attention(self, eager: Any) -> Any:
        def forward(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
            if self.live or module.layer_idx not in self.patterns:
                out, pattern = eager(module, query, key, value, mask, **kwargs)
                self.patterns[module.layer_idx] = pattern
                return out, pattern
            pattern = self.patterns[module.layer_idx]
            value = value.repeat_interleave(pattern.shape[1] // value.shape[1], 1)
            return torch.einsum("bhqk,bhkd->bqhd", pattern, value), pattern

        return forward

    def _own_attention(self, attention: Any, real: Any) -> Any:
        def eager(module: Any, *args: Any) -> Any:
            out, pattern = real(*args)
            return out.transpose(1, 2), pattern

        def forward(*args: Any) -> Any:
            out, pattern = self._attention(eager)(attention, *args)
            return out.transpose(1, 2), pattern

        return forward

    def _norm(self, norm: Any, run: Run, outputs: Any) -> Any:
        layer = next((i for i, m in enumerate(self.mlp_norms) if m is norm), None)
        written = next((i for i, m in enumerate(self.writers) if m is norm), None)

        def forward(x: Tensor) -> Tensor:
            if layer is not None and self.read_site == "resid_mid":
                run.reads[layer] = x[0]
            if isinstance(norm, torch.nn.LayerNorm):
                x = x - x.mean(-1, keepdim=True)
            if self.live or norm not in self.scales:
                eps = next(getattr(norm, name) for name in _EPS if hasattr(norm, name))
                self.scales[norm] = (x.square().mean(-1, keepdim=True) + eps) ** -0.5
            x = x * self.scales[norm]
            if layer is not None and self.read_site == "mlp_normalized":
                run.reads[layer] = x[0]
            x = x * (norm.weight + 1 if self.gemma else norm.weight)
            x = x + norm.bias if getattr(norm, "bias", None) is not None else x
            if norm is self.final_norm:
                run.final = x[0]
            return x if written is None else self._write(written, x, run, outputs)

        return forward

    def _mlp(self, layer: int, real: Any, run: Run, outputs: Any) -> Any:
        def forward(x: Tensor) -> Tensor:
            if self.read_site == "mlp_in" or (self.read_site != "resid_pre" and not self.mlp_norms):
                run.reads[layer] = x[0]
            if self.writers[layer] is not self.mlps[layer]:
                return real(x.detach())
            made = real(x) if outputs is None else x
            out, *routing = made if isinstance(made, tuple) else (made,)
            written = self._write(layer, out, run, outputs)
            return (written, *(routing or [None])) if self.routed else written

        return forward

    def _write(self, layer: int, x: Tensor, run: Run, outputs: Any) -> Tensor:
        run.writes[layer] = x[0] if outputs is None else outputs(layer, run.reads[layer])
        return run.writes[layer][None]

    def _block(self, layer: int, real: Any, run: Run) -> Any:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.read_site == "resid_pre":
                run.reads[layer] = x[0]
            return real(x, *args, **kwargs)

        return forward

    def _embedding(self, real: Any, run: Run, tokens: Tensor | None) -> Any:
        def forward(ids: Tensor) -> Tensor:
            embedded = real(ids) if tokens is None else tokens[None]
            run.tokens = embedded[0]
            return embedded

        return forward

    def _positions(self, real: Any, run: Run) -> Any:
        def forward(ids: Tensor) -> Tensor:
            embedded = real(ids)
            run.positions = embedded[0]
            return embedded

        return forward


@dataclass
class Replacement:
    """The local replacement model of one prompt, from the dictionary's tensors alone: dense activations and errors."""

    activations: dict[int, Tensor]  # [pos, feature], zero where off or left out
    preactivations: dict[int, Tensor]
    errors: dict[int, Tensor]


def replacement(frozen: Frozen, dictionary: Any, first: int) -> Replacement:
    """Encode and decode densely; features and errors before position `first` are zero."""
    activations, preactivations, outputs = {}, {}, {}
    for layer, tensors in dictionary.layers.items():
        x = frozen.base.reads[layer]
        pre = x @ tensors.encoder.T + tensors.bias
        cut = getattr(tensors.nonlinearity, "threshold", torch.zeros(()))
        act = torch.where(pre > cut, pre, 0.0)
        act[:first] = 0
        activations[layer], preactivations[layer] = act, pre
        outputs[layer] = tensors.decoder_bias + (x @ tensors.skip.T if tensors.skip is not None else 0 * x)
    for layer, tensors in dictionary.layers.items():
        for slot, written in enumerate(dictionary.writes[layer]):
            outputs[written] = outputs[written] + activations[layer] @ tensors.decoder[:, slot]
    errors = {layer: frozen.base.writes[layer] - out for layer, out in outputs.items()}
    for error in errors.values():
        error[:first] = 0
    return Replacement(activations, preactivations, errors)
