"""Turn one run of a model into a Recording.

1. Run the model with its attention patterns visible, watching the modules.
2. Build the steps in order and advance the registers beside them: norm scales come from the registers, patterns and MLP
   outputs from the run.
3. After every sublayer compare the registers with what the model had there. The first difference beyond rounding names
   the step, and the architecture is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from clew.errors import InputError, UnsupportedModelError
from clew.subject.families import Family
from clew.subject.hooks import Watch, eager_attention, module_at, normalized, watching
from clew.subject.recording import (
    Add,
    Affine,
    Attend,
    Embed,
    Mlp,
    Normalize,
    Recording,
    Site,
    SiteAt,
    Step,
    Unembed,
    advance,
)

# Largest relative difference from the model that counts as its own rounding.
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1.5e-1}


def record(
    model: Any, family: Family, modules: Mapping[tuple[str, int], nn.Module], ids: Int[Tensor, " pos"]
) -> Recording:
    """Run the model once on `ids` and keep the run; UnsupportedModelError when the steps do not reproduce it."""
    extra = {"embedding": model.get_input_embeddings(), "unembedding": model.get_output_embeddings()}
    if family.position_embedding:
        extra["positions"] = module_at(model, family.position_embedding)
    with (
        eager_attention(model),
        watching({**modules, **{(name, -1): module for name, module in extra.items()}}) as watch,
    ):
        output = model(ids[None], use_cache=False, output_attentions=True)
    if not bool(torch.isfinite(output.logits).all()):
        raise InputError(
            f"the model's logits hold NaN or infinity: its weights are damaged, or {model.dtype} overflows here"
        )
    tape = _Tape(model, family, modules, watch)
    tape.embed()
    for layer in range(model.config.num_hidden_layers):
        tape.block(layer, output.attentions[layer][0])
    return tape.finish(ids, output.logits[0])


class _Tape:
    """The steps so far, and the registers they lead to."""

    def __init__(self, model: Any, family: Family, modules: Mapping[tuple[str, int], nn.Module], watch: Watch) -> None:
        self.model, self.family, self.modules, self.watch = model, family, modules, watch
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.steps: list[Step] = []
        self.registers: dict[str, Tensor] = {}
        self.sites: dict[SiteAt, Tensor] = {}

    def add(self, step: Step) -> None:
        self.steps.append(step)
        advance(self.registers, self.sites, step)

    def own(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.dtype).contiguous()

    def maybe(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else self.own(tensor)

    def check(self, register: str, real: Any, what: str) -> None:
        real = real if isinstance(real, Tensor) else real[0]
        mine = self.registers[register]
        real = real.reshape(mine.shape).to(mine.dtype)
        difference = float((mine - real).norm() / real.norm().clamp_min(1e-12))
        if not difference <= _TOLERANCE[self.model.dtype]:
            raise UnsupportedModelError(
                f"{self.family.architecture}: the linear steps do not reproduce the model at {what} "
                f"(relative difference {difference:.1e}); this variant of the architecture is not supported"
            )

    def embed(self) -> None:
        tokens = self.own(self.watch.outputs["embedding", -1][0])
        positions = self.watch.outputs.get(("positions", -1))
        self.add(Embed(target="stream", tokens=tokens, positions=None if positions is None else self.own(positions[0])))
        self.check("stream", self.watch.inputs["block", 0], "the embedding")

    def normalize(self, norm: nn.Module, source: str, target: str) -> None:
        scale = normalized(self.registers[source], norm, self.family.centred)[1]
        self.add(Normalize(source=source, target=target, scale=scale, centred=self.family.centred))

    def affine(self, norm: nn.Module, register: str) -> None:
        weight = self.own(cast(Tensor, norm.weight)) + (1 if self.family.one_plus_weight else 0)
        self.add(Affine(source=register, target=register, weight=weight, bias=self.maybe(getattr(norm, "bias", None))))

    def norm(self, norm: nn.Module, source: str, target: str) -> None:
        self.normalize(norm, source, target)
        self.affine(norm, target)

    def block(self, layer: int, pattern: Tensor) -> None:
        parallel = self.family.parallel(self.model.config)
        self.add(Site(name="resid_pre", layer=layer, register="stream"))
        self.attention(layer, pattern)
        if not parallel:
            self.add(Add(source="mixed", target="stream"))
        self.mlp(layer)
        if parallel:
            self.add(Add(source="mixed", target="stream"))
        self.add(Add(source="out", target="stream"))
        self.add(Site(name="resid_post", layer=layer, register="stream"))
        self.check("stream", self.watch.outputs["block", layer], f"the end of block {layer}")

    def attention(self, layer: int, pattern: Tensor) -> None:
        attention = self.modules["attention", layer]
        self.norm(self.modules["attention_norm", layer], "stream", "normed")
        value, value_bias, output, output_bias = self.family.value_output(attention, self.model.config)
        self.add(
            Attend(
                source="normed",
                target="mixed",
                layer=layer,
                pattern=self.own(pattern),
                value=self.own(value),
                value_bias=self.maybe(value_bias),
                output=self.own(output),
                output_bias=self.maybe(output_bias),
            )
        )
        self.check("mixed", self.watch.outputs["attention", layer], f"the attention of block {layer}")
        if self.family.post_attention_norm:
            self.norm(self.modules["post_attention_norm", layer], "mixed", "mixed")

    def mlp(self, layer: int) -> None:
        norm = self.modules["mlp_norm", layer]
        self.add(Site(name="resid_mid", layer=layer, register="stream"))
        self.normalize(norm, "stream", "normed")
        self.add(Site(name="mlp_normalized", layer=layer, register="normed"))
        self.affine(norm, "normed")
        self.add(Site(name="mlp_in", layer=layer, register="normed"))
        self.check("normed", self.watch.inputs["mlp", layer], f"the MLP's input of block {layer}")
        real = self.own(self.watch.outputs["mlp", layer][0])
        self.add(Mlp(layer=layer, source="normed", target="out", output=real))
        self.add(Site(name="mlp_raw_out", layer=layer, register="out"))
        if self.family.post_mlp_norm:
            self.norm(self.modules["post_mlp_norm", layer], "out", "out")
        self.add(Site(name="mlp_out", layer=layer, register="out"))

    def finish(self, ids: Tensor, final_logits: Tensor) -> Recording:
        self.norm(module_at(self.model, self.family.final_norm), "stream", "normed")
        head = self.model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        self.add(Unembed(source="normed", target="logits", weight=head.weight.detach(), bias=self.maybe(bias)))
        self.check("logits", self.watch.outputs["unembedding", -1], "the logits")
        return Recording(
            ids=ids,
            steps=tuple(self.steps),
            sites=self.sites,
            final=self.registers["normed"],
            logits=self.registers["logits"],
            probabilities=torch.softmax(final_logits.to(self.dtype), -1),
            n_layers=self.model.config.num_hidden_layers,
        )
