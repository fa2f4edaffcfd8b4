"""Turn one run of a model into a Recording.

1. Run the model with its attention patterns visible, watching the modules.
2. Go through the parts of every block in order, build the steps and advance the registers beside them: norm scales
   come from the registers, patterns and MLP outputs from the run.
3. After every attention, before every MLP and after every block compare the registers with what the model had there.
   The first difference beyond rounding names the step, and the architecture is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew.errors import InputError, UnsupportedModelError
from clew.subject.families import Family
from clew.subject.hooks import Watch, eager_parts, module_at, normalized, watching
from clew.subject.parts import AddPart, AttentionPart, Block, MlpPart, NormPart, SitePart
from clew.subject.query_key import Projection, QueryKey, Rotary
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

_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1.5e-1}
"""The largest relative difference from the model that counts as its own rounding, by the model's dtype."""
_SCALED = 0.5
"""How far from 1 a factor between embeddings and the first block's input is one that the model scales by."""
_PATTERN_TOLERANCE = {torch.float64: 1e-5, torch.float32: 2e-3, torch.float16: 3e-2, torch.bfloat16: 1.5e-1}
"""The largest difference of an entry of a pattern from the one found again, likewise."""


def record(
    model: Any, family: Family, modules: Mapping[tuple[str, int], nn.Module], ids: Int[Tensor, " pos"]
) -> Recording:
    """Run the model once on `ids` and keep the run.

    InputError when the logits are not finite, UnsupportedModelError when the steps do not reproduce the model.
    """
    extra = {"embedding": model.get_input_embeddings(), "unembedding": model.get_output_embeddings()}
    if family.position_embedding:
        extra["positions"] = module_at(model, family.position_embedding)
    with (
        eager_parts(model),
        watching({**modules, **{(name, -1): module for name, module in extra.items()}}) as watch,
    ):
        output = model(ids[None], use_cache=False, output_attentions=True)
    if not bool(torch.isfinite(output.logits).all()):
        raise InputError(
            f"the model's logits hold NaN or infinity: its weights are damaged, or {model.dtype} overflows here"
        )
    tape = _Tape(model, family, modules, watch)
    tape.embed()
    parts = family.block(model.config)
    for layer in range(model.config.num_hidden_layers):
        tape.block(layer, parts, output.attentions[layer][0])
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

    def constant(self, tensor: Tensor) -> Tensor:
        """A tensor of the run or of the model as a step holds it: without a gradient, in float32 at least."""
        return tensor.detach().to(self.dtype).contiguous()

    def optional(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else self.constant(tensor)

    def check(self, register: str, real: Any, step: str) -> None:
        """Compare a register with what the model had there; UnsupportedModelError beyond rounding."""
        real = real if isinstance(real, Tensor) else real[0]
        replayed = self.registers[register]
        real = real.reshape(replayed.shape).to(replayed.dtype)
        difference = float((replayed - real).norm() / real.norm().clamp_min(1e-12))
        if not difference <= _TOLERANCE[self.model.dtype]:
            raise UnsupportedModelError(
                f"{self.family.architecture}: the linear steps do not reproduce the model at {step} "
                f"(relative difference {difference:.1e}); this variant of the architecture is not supported"
            )

    def embed(self) -> None:
        learned = self.watch.outputs.get(("positions", -1))
        positions = None if learned is None else self.constant(learned[0])
        tokens = self.constant(self.watch.outputs["embedding", -1][0])
        read = self.constant(self.watch.inputs["block", 0][0])
        scale = float((read * tokens).sum() / tokens.square().sum().clamp_min(1e-12))
        if positions is None and abs(scale - 1) > _SCALED:  # older versions of transformers scale outside the module
            tokens = tokens * scale
        self.add(Embed(target="stream", tokens=tokens, positions=positions))
        self.check("stream", self.watch.inputs["block", 0], "the embedding")

    def block(self, layer: int, parts: Block, pattern: Tensor) -> None:
        for part in parts:
            match part:
                case SitePart():
                    self.add(Site(name=part.name, layer=layer, register=part.register))
                case NormPart():
                    inside = part.site and Site(name=part.site, layer=layer, register=part.target)
                    self.norm(self.modules[part.role, layer], part.source, part.target, inside)
                case AttentionPart():
                    self.attention(part, layer, pattern)
                case MlpPart():
                    self.mlp(part, layer)
                case AddPart():
                    self.add(Add(source=part.source, target=part.target))
        self.check("stream", self.watch.outputs["block", layer], f"the end of block {layer}")

    def norm(self, norm: Any, source: str, target: str, inside: Site | None = None) -> None:
        """Scaling, the site inside the norm if there is one, weight and bias."""
        centred = self.family.centred
        scale = normalized(self.registers[source], norm, centred)[1]
        self.add(Normalize(source=source, target=target, scale=scale, centred=centred))
        if inside is not None:
            self.add(inside)
        weight, bias = self.family.norm_affine(norm, self.registers[source])
        self.add(Affine(source=target, target=target, weight=weight, bias=bias))

    def attention(self, part: AttentionPart, layer: int, pattern: Tensor) -> None:
        if bool(pattern.triu(1).any()):
            raise UnsupportedModelError(
                f"{self.family.architecture}: the attention of block {layer} sees tokens that come later; only models "
                "that read from left to right are supported"
            )
        weights = self.family.value_output(self.modules[part.role, layer], self.model.config)
        value, value_bias, output, output_bias = weights
        self.add(
            Attend(
                source=part.source,
                target=part.target,
                layer=layer,
                pattern=self.constant(pattern),
                value=self.constant(value),
                value_bias=self.optional(value_bias),
                output=self.constant(output),
                output_bias=self.optional(output_bias),
                query_key=self.query_key(self.modules[part.role, layer], layer),
            )
        )
        self.check(part.target, self.watch.outputs[part.role, layer], f"the attention of block {layer}")

    def query_key(self, attention: Any, layer: int) -> QueryKey | None:
        """The maps behind an attention's scores; None where the family does not say."""
        if self.family.query_key is None:
            return None
        maps = self.family.query_key(attention, self.model.config)
        turned = None if self.family.rotary is None else self.family.rotary(self.model, layer, self.registers["stream"])
        return replace(
            maps,
            query=self.projection(maps.query),
            key=self.projection(maps.key),
            scale=float(maps.scale),
            rotary=turned and Rotary(cos=self.constant(turned.cos), sin=self.constant(turned.sin)),
            sinks=self.optional(maps.sinks),
            tolerance=_PATTERN_TOLERANCE[self.model.dtype],
        )

    def projection(self, projection: Projection) -> Projection:
        norm = projection.norm
        return Projection(
            weight=self.constant(projection.weight),
            bias=self.optional(projection.bias),
            norm=norm and replace(norm, weight=self.constant(norm.weight)),
        )

    def mlp(self, part: MlpPart, layer: int) -> None:
        self.check(part.source, self.watch.inputs[part.role, layer], f"the MLP's input of block {layer}")
        output = self.watch.outputs[part.role, layer]
        output = output if isinstance(output, Tensor) else output[0]  # experts give their routing too
        self.add(Mlp(layer=layer, source=part.source, target=part.target, output=self.constant(output[0])))

    def finish(self, ids: Int[Tensor, " pos"], logits: Float[Tensor, "pos vocab"]) -> Recording:
        self.norm(module_at(self.model, self.family.final_norm), "stream", "normed")
        head = self.model.get_output_embeddings()
        bias = self.optional(getattr(head, "bias", None))
        self.add(Unembed(source="normed", target="logits", weight=head.weight.detach(), bias=bias))
        self.check("logits", self.watch.outputs["unembedding", -1], "the logits")
        return Recording(
            ids=ids,
            steps=tuple(self.steps),
            sites=self.sites,
            final=self.registers["normed"],
            logits=self.registers["logits"],
            probabilities=torch.softmax(logits.to(self.dtype), -1),
            n_layers=self.model.config.num_hidden_layers,
        )
