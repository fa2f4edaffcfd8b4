"""The tensors of one layer's features, and which of them are active at which position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.nonlinearity import BatchTopK, Elementwise, JumpReLU, Nonlinearity
from clew.subject.routing import Router


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The tensors of the features that read one layer; they may be mapped files."""

    encoder: Float[Tensor, "feature d_model"]
    bias: Float[Tensor, " feature"]
    nonlinearity: Nonlinearity
    decoder: Float[Tensor, "feature out_layer d_model"]
    """One slot for each written layer, in rising order."""
    decoder_bias: Float[Tensor, " d_model"]
    """Added to the output *of this layer*, whichever layers' features write there."""
    skip: Float[Tensor, "d_model d_model"] | None = None
    """The output of this layer also gets x @ skip.T, x at the read site of this layer."""
    gate: Float[Tensor, "feature d_model"] | None = None
    """In a gated MLP's neurons: an activation is function(x @ gate.T + gate_bias) * (x @ encoder.T + bias)."""
    gate_bias: Float[Tensor, " feature"] | None = None
    router: Router | None = None
    """In a mixture of experts' neurons, which stand expert by expert: activations are multiplied by the shares."""

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.decoder.shape[1:]))
        skip = "" if self.skip is None else ", with a skip connection"
        return f"Layer({len(self.bias):,} features, {type(self.nonlinearity).__name__}, decoder {shape}{skip})"

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name on disk."""
        tensors = {
            "encoder": self.encoder,
            "bias": self.bias,
            "decoder": self.decoder,
            "decoder_bias": self.decoder_bias,
        }
        if isinstance(self.nonlinearity, JumpReLU | BatchTopK):
            tensors["threshold"] = self.nonlinearity.threshold
        router = None if self.router is None else self.router.weight
        optional = {"skip": self.skip, "gate": self.gate, "gate_bias": self.gate_bias, "router": router}
        return tensors | {name: tensor for name, tensor in optional.items() if tensor is not None}

    @property
    def reads_by_position(self) -> bool:
        """Whether what a feature reads depends on the position, as a neuron's does that is not a ReLU's."""
        return isinstance(self.nonlinearity, Elementwise)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Layer:
        """The same layer with other tensors under the same names."""
        fields: dict[str, Any] = dict(tensors)
        threshold, nonlinearity = fields.pop("threshold", None), self.nonlinearity
        if threshold is not None and isinstance(nonlinearity, JumpReLU | BatchTopK):
            nonlinearity = replace(nonlinearity, threshold=threshold)
        if self.router is not None and "router" in fields:
            fields["router"] = replace(self.router, weight=fields["router"])
        return replace(self, nonlinearity=nonlinearity, **fields)


@dataclass(frozen=True, kw_only=True)
class ActiveFeatures:
    """The active features of one layer, sorted by position, then index."""

    position: Int[Tensor, " active"]
    index: Int[Tensor, " active"]
    activation: Float[Tensor, " active"]
    preactivation: Float[Tensor, " active"]

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def joined(cls, parts: Sequence[tuple[int, ActiveFeatures]]) -> ActiveFeatures:
        """Those of parts of the positions, each with the number of its first."""
        if len(parts) == 1:
            return parts[0][1]
        names = ("index", "activation", "preactivation")
        position = torch.cat([start + part.position for start, part in parts])
        return cls(position=position, **{name: torch.cat([getattr(part, name) for _, part in parts]) for name in names})

    @classmethod
    def of(cls, activations: Float[Tensor, "pos feature"]) -> ActiveFeatures:
        """Where activations are not zero; they stand for pre-activations too."""
        position, index = activations.nonzero(as_tuple=True)
        value = activations[position, index]
        return cls(position=position, index=index, activation=value, preactivation=value)
