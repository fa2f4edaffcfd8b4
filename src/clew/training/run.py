"""What a training run holds: configuration, weights, moments, counters; its checkpoint; the Dictionary it becomes.

Weights live in units in which every layer's input and output has mean zero and variance one. A checkpoint is one file,
written atomically. The finished Dictionary has the units folded back into it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from clew import files
from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Layer, Nonlinearity, ReLU
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training.activations import Batch
from clew.training.objective import FIRST_THRESHOLD

READ_SITE, WRITE_SITE = "mlp_in", "mlp_raw_out"
DROP_AFTER = 1_000_000  # positions without firing, after which a feature is not saved
SCHEMA = "clew.training"


@dataclass(frozen=True, kw_only=True)
class DictionaryConfig:
    """How a dictionary is trained. Widths and depths come from the model."""

    kind: Literal["clt", "plt"] = "clt"
    """A cross-layer transcoder writes to its own and all later layers, a per-layer one to its own."""
    features: int = 2048
    """Features a layer."""
    k: int = 8
    """Active features a position and layer, on average over layers; for BatchTopK."""
    nonlinearity: Literal["batchtopk", "jumprelu", "relu"] = "batchtopk"
    """How sparsity comes about: a fixed budget, learned thresholds, or a price on size."""
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
    anneal: float = 4.0
    """How many times larger k is at the start; it falls to k over the first half."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the pre-activations; the rest is float32. 16 bits are much faster where a machine has them."""
    seed: int = 0
    """Seed of weights and batches."""

    def __post_init__(self) -> None:
        for name in ("features", "k", "steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.k > self.features:
            raise InputError(f"k is {self.k}, but there are {self.features} features a layer")
        if self.learning_rate <= 0 or self.sparsity < 0 or self.anneal < 1:
            raise InputError("the learning rate must be above 0, sparsity not below 0, anneal not below 1")


class Run:
    """Weights, moments and counters of a training run; everything that a checkpoint holds."""

    def __init__(self, n_layers: int, d_model: int, config: DictionaryConfig) -> None:
        self.config, self.n_layers, self.d_model = config, n_layers, d_model
        generator = torch.Generator().manual_seed(config.seed)
        self.weights: dict[str, Tensor] = {}
        for i in range(n_layers):
            n = len(self.written(i)) * d_model
            encoder = torch.randn(config.features, d_model, generator=generator)
            self.weights[f"encoder.{i}"] = encoder / encoder.norm(dim=1, keepdim=True)
            self.weights[f"bias.{i}"] = torch.zeros(config.features)
            self.weights[f"decoder.{i}"] = torch.randn(config.features, n, generator=generator) * 0.1 * d_model**-0.5
            self.weights[f"decoder_bias.{i}"] = torch.zeros(d_model)
            if config.nonlinearity == "jumprelu":
                self.weights[f"log_threshold.{i}"] = torch.full((config.features,), FIRST_THRESHOLD).log()
            if config.skip:
                self.weights[f"skip.{i}"] = torch.zeros(d_model, d_model)
        for weight in self.weights.values():
            weight.requires_grad_()
        self.adam = torch.optim.Adam(self.weights.values(), lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
        self.step = 0
        self.guess = 0.0
        self.quiet = torch.zeros(n_layers, config.features)
        self.scales: dict[str, Tensor] = {}

    def written(self, layer: int) -> range:
        """The layers that a layer's features write to."""
        return range(layer, self.n_layers if self.config.kind == "clt" else layer + 1)

    def norms(self) -> list[Tensor]:
        """Norm of every feature's decoder over all the layers it writes to."""
        with torch.no_grad():
            return [self.weights[f"decoder.{i}"].norm(dim=1) for i in range(self.n_layers)]

    def fit_scales(self, batch: Batch) -> None:
        """Centre and scale of every layer's input and output: in these units the mean alone has error 1 a component."""
        for name, side in (("input", batch.inputs), ("output", batch.outputs)):
            self.scales[f"{name}_centre"] = side.mean(1)
            spread = (side - side.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()
            self.scales[f"{name}_scale"] = spread.clamp_min(1e-12)

    def normalised(self, batch: Batch) -> Batch:
        """A batch in the units of training."""
        s = self.scales
        inputs = (batch.inputs - s["input_centre"][:, None]) / s["input_scale"][:, None, None]
        outputs = (batch.outputs - s["output_centre"][:, None]) / s["output_scale"][:, None, None]
        return Batch(inputs=inputs, outputs=outputs)


@torch.no_grad()
def finished(run: Run, subject: Subject, threshold: float | None) -> Dictionary:
    """The Dictionary in the model's own units, every decoder scaled to norm one; long silent features are left out."""
    layers, s, config = {}, run.scales, run.config
    for i in range(run.n_layers):
        w = {name.split(".")[0]: tensor.detach() for name, tensor in run.weights.items() if name.endswith(f".{i}")}
        alive = (run.quiet[i] <= max(DROP_AFTER, float(run.quiet[i].min()))).nonzero().flatten()
        for name in {"encoder", "bias", "decoder", "log_threshold"} & set(w):
            w[name] = w[name][alive]
        scale = s["output_scale"][list(run.written(i))]
        decoder = w["decoder"].view(len(alive), len(scale), -1) * scale[:, None]
        size, before = decoder.flatten(1).norm(dim=1).clamp_min(1e-12), w["decoder"].norm(dim=1).clamp_min(1e-12)
        encoder = w["encoder"] / s["input_scale"][i]
        skip = w["skip"] * s["output_scale"][i] / s["input_scale"][i] if config.skip else None
        shift = s["output_centre"][i] if skip is None else s["output_centre"][i] - skip @ s["input_centre"][i]
        nonlinearity: Nonlinearity = ReLU()
        if config.nonlinearity == "jumprelu":
            nonlinearity = JumpReLU(threshold=w["log_threshold"].exp() * size)
        elif threshold is not None:
            nonlinearity = BatchTopK(k=config.k, threshold=threshold / before * size)
        layers[i] = Layer(
            encoder=encoder * size[:, None],
            bias=(w["bias"] - encoder @ s["input_centre"][i]) * size,
            nonlinearity=nonlinearity,
            decoder=decoder / size[:, None, None],
            decoder_bias=w["decoder_bias"] * s["output_scale"][i] + shift,
            skip=skip,
        )
    return Dictionary(
        kind=config.kind,
        layers=layers,
        writes={i: tuple(run.written(i)) for i in layers},
        read_site=READ_SITE,
        write_site=WRITE_SITE,
        n_layers=run.n_layers,
        d_model=run.d_model,
        name=f"{config.kind} of {subject.name}",
        provenance=files.provenance(training=asdict(config), model=subject.name, steps=run.step),
    )


def _belongs(run: Run, subject: Subject) -> str:
    return json.dumps({"schema": SCHEMA, "version": 1, "model": subject.name, **asdict(run.config)}, sort_keys=True)


def save_checkpoint(run: Run, path: Path, subject: Subject) -> None:
    """Write weights, moments and counters into one file, atomically."""
    tensors = {f"weight.{name}": tensor for name, tensor in run.weights.items()}
    for name, weight in run.weights.items():
        tensors |= {f"adam.{key}.{name}": torch.as_tensor(value) for key, value in run.adam.state[weight].items()}
    tensors |= {f"scale.{name}": tensor for name, tensor in run.scales.items()} | {"quiet": run.quiet}
    note = {"run": _belongs(run, subject), "step": str(run.step), "guess": repr(run.guess)}
    files.save_tensors(path, tensors, note)


def restore_checkpoint(run: Run, path: Path, subject: Subject) -> None:
    """Take a checkpoint over; MismatchError when it belongs to another run, FileError when it is not whole."""
    note, tensors = files.load_note(path), files.load_tensors(path)
    if note.get("run") != _belongs(run, subject):
        raise MismatchError(f"{path} belongs to another run ({note.get('run', 'unknown')}): resume with its settings")
    try:
        run.step, run.guess, run.quiet = int(note["step"]), float(note["guess"]), tensors["quiet"].clone()
        for name, weight in run.weights.items():
            weight.data.copy_(tensors[f"weight.{name}"])
            run.adam.state[weight] = {k: tensors[f"adam.{k}.{name}"].clone() for k in ("step", "exp_avg", "exp_avg_sq")}
    except KeyError as error:
        raise FileError(f"{path} lacks {error}: it is no whole checkpoint") from error
    run.scales = {k.removeprefix("scale."): v.clone() for k, v in tensors.items() if k.startswith("scale.")}
