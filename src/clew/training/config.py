"""How a dictionary is trained: one frozen value, whose docstrings are the help texts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from clew.errors import InputError

Kind = Literal["clt", "plt", "sae"]
Activation = Literal["batchtopk", "topk", "jumprelu", "relu"]
Precision = Literal["bfloat16", "float32", "lean"]
SEEDS = 1 << 32  # seeds of single draws lie behind one another, as many for each


def check_known(names: Collection[str], known: Collection[str]) -> None:
    """InputError at a name that is no setting."""
    for name in names:
        if name not in known:
            raise InputError(f"unknown setting {name!r}: the settings are {', '.join(known)}")


def check_finite(**values: float) -> None:
    """InputError at a value that is no number, or infinite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}: give a finite number")


@dataclass(frozen=True, kw_only=True)
class DictionaryConfig:
    """How a dictionary is trained. Widths and depths come from the model."""

    kind: Kind = "clt"
    """A cross-layer transcoder writes to its own and later layers, a per-layer one to its own, an SAE to its site."""
    reach: int = 0
    """How many layers a CLT's features write to, their own first; 0 means all later ones."""
    features: int | tuple[int, ...] = 2048
    """Features a layer; or of each layer, with commas between them."""
    k: int = 8
    """Active features a position and layer: of TopK exactly, of BatchTopK on average over positions and layers."""
    nonlinearity: Activation = "batchtopk"
    """How sparsity comes about: a budget for each position, one for the batch, learned thresholds, a price on size."""
    sparsity: float = 1e-3
    """Price of an active feature in units of a layer's relative error; for JumpReLU and ReLU."""
    skip: bool = False
    """Add a linear connection from each layer's input to its own output."""
    steps: int = 8000
    """Batches."""
    batch: int = 1024
    """Positions in a batch."""
    learning_rate: float = 4e-3
    """Adam's learning rate at its height."""
    precision: Precision = "bfloat16"
    """Arithmetic that picks active features: 16 bits where a machine multiplies them fast, else float32. What is picked
    is computed in float32. `float32` picks as float32 does everywhere; for TopK nearly as fast, since 16 bits narrow
    the choice. `lean` keeps Adam's moments in 16 bits too: two thirds of the memory."""
    seed: int = 0
    """Seed of weights and batches."""

    def __post_init__(self) -> None:
        if not isinstance(self.features, int):
            object.__setattr__(self, "features", tuple(self.features))  # a list, from a file
        least = self.features if isinstance(self.features, int) else min(self.features, default=0)
        for name, value in {"features": least, "k": self.k, "steps": self.steps, "batch": self.batch}.items():
            if value < 1:
                raise InputError(f"{name} is {value}: give at least 1")
        for name, kind in (("kind", Kind), ("nonlinearity", Activation), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} is {getattr(self, name)!r}: choose from {', '.join(get_args(kind))}")
        if self.k > least:
            raise InputError(f"k is {self.k}, but there are {least} features a layer")
        check_finite(learning_rate=self.learning_rate, sparsity=self.sparsity)
        if self.learning_rate <= 0 or self.sparsity < 0 or self.reach < 0:
            raise InputError("the learning rate must be above 0, sparsity and reach not below 0")
        if not 0 <= self.seed < SEEDS:
            raise InputError(f"seed is {self.seed}: give a whole number from 0 to {SEEDS - 1}")
        if self.reach > 0 and self.kind != "clt":
            raise InputError(f"reach is {self.reach}, but features of a {self.kind} write to their own layer only")
        if self.skip and self.kind == "sae":
            raise InputError("an SAE with a skip connection would copy its input: leave skip out")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DictionaryConfig:
        """From names and values, as a file holds them; InputError at a name that is no field."""
        check_known(settings, [field.name for field in fields(cls)])
        widths = settings.get("features")
        return cls(**(dict(settings) | ({"features": tuple(widths)} if isinstance(widths, list) else {})))

    def widths(self, n_layers: int) -> tuple[int, ...]:
        """Features of every layer; InputError when they are given for another number of layers."""
        if isinstance(self.features, int):
            return (self.features,) * n_layers
        if len(self.features) != n_layers:
            raise InputError(f"features are given for {len(self.features)} layers, but the model has {n_layers}")
        return self.features

    def sites(self) -> tuple[Literal["resid_post", "mlp_in"], Literal["resid_post", "mlp_raw_out"]]:
        """Where activations are read and what is reconstructed."""
        return ("resid_post", "resid_post") if self.kind == "sae" else ("mlp_in", "mlp_raw_out")

    def written(self, layer: int, n_layers: int) -> range:
        """The layers that a layer's features write to."""
        if self.kind != "clt":
            return range(layer, layer + 1)
        return range(layer, n_layers if self.reach == 0 else min(n_layers, layer + self.reach))


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How a finished run is fine-tuned on predictions of the replacement model, on its answers, on its effects."""

    steps: int = 500
    """Steps, each with a batch of activations and one of documents."""
    positions: int = 1024
    """Positions of documents in a step, about."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start; it falls to zero."""
    weight: float = 1.0
    """Weight of the divergence in nats beside the relative error summed over layers; 0 leaves it out."""
    responses: float = 0.0
    """Weight of the response error: how far the dictionary's answer to an ablation is from the model's."""
    effects: float = 0.0
    """Weight of the effect error: how far what features do to a prediction is from what they do in the model."""
    from_layer: int = 0
    """Of the effect error: the layer from which on features read and write anew; what is before it stays."""
    refit_every: int = 50
    """Steps after which BatchTopK's thresholds are fitted again."""

    def __post_init__(self) -> None:
        weights = {"weight": self.weight, "responses": self.responses, "effects": self.effects}
        check_finite(learning_rate=self.learning_rate, **weights)
        if min(self.steps, self.positions, self.refit_every) < 1 or self.learning_rate <= 0:
            raise InputError("steps, positions, refit_every and learning rate must all be above 0")
        if min(weights.values()) < 0 or not any(weights.values()):
            raise InputError("weight, responses and effects must not be below 0, and not all 0: nothing to tune on")
        if self.from_layer < 0:
            raise InputError(f"from_layer is {self.from_layer}: layers are counted from 0")
