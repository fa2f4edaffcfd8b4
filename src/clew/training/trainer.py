"""Training of a dictionary, from the activations of a model to a folder that `Dictionary.load` reads.

1. The first buffer fixes a centre and a scale for what every layer reads and writes. Training happens in those units,
   in which every layer's output counts the same; the result is folded back into the saved weights.
2. A step takes one batch: dense pre-activations, the active features, sparse decoding, the relative squared error
   summed over layers, Adam with a learning rate that rises, stays and falls to zero. k starts `anneal` times larger.
3. A checkpoint holds weights, Adam's moments and counters in one file, written atomically. A resumed run takes the same
   steps as one that was never stopped.
4. At the end BatchTopK gets its fixed threshold, fitted so that fresh batches keep k features a layer on average.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from clew import files
from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Layer, Nonlinearity, ReLU
from clew.dictionary.sparse import above, chosen, decode_dense, decode_sparse
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training.activations import Batch, Documents, stream
from clew.training.objective import (
    BANDWIDTH,
    FIRST_THRESHOLD,
    Active,
    auxiliary_loss,
    batch_topk,
    jump,
    sparsity_penalty,
)

READ_SITE, WRITE_SITE = "mlp_in", "mlp_raw_out"
DENSE = 0.1  # share of active features from which a dense product is faster
DEAD_AFTER = 300_000  # positions without firing
AUXILIARY_WEIGHT = 1 / 32
BUFFER = 32768  # positions whose activations are shuffled together
FIT_BATCHES = 16
REPORT_EVERY = 25
CHECKPOINT_EVERY = 500
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
    learning_rate: float = 2e-3
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


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """How training stands."""

    step: int
    steps: int
    loss: float
    nmse: tuple[float, ...]
    """Squared error relative to the output's variance, by layer, on the last batch."""
    l0: tuple[float, ...]
    """Active features a position, by layer, on the last batch."""
    dead: float
    """Share of features that have not fired in the last 300,000 positions."""
    tokens_per_second: float


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
def activate(run: Run, inputs: Float[Tensor, "layer pos d_model"], n_kept: int) -> tuple[list[Tensor], list[Active]]:
    """Dense pre-activations of every layer, and which features take part in the step."""
    w, layers = run.weights, range(run.n_layers)
    dtype = getattr(torch, run.config.precision)
    pre = [linear(inputs[i].to(dtype), w[f"encoder.{i}"].to(dtype)).float().add_(w[f"bias.{i}"]) for i in layers]
    match run.config.nonlinearity:
        case "batchtopk":
            active, last = batch_topk(pre, [n.clamp_min(1e-6) for n in run.norms()], n_kept, run.guess)
            run.guess = 0.8 * last
        case "jumprelu":
            active = [above(pre[i], w[f"log_threshold.{i}"].exp() - BANDWIDTH / 2) for i in layers]
        case "relu":
            active = [above(pre[i], torch.zeros_like(w[f"bias.{i}"])) for i in layers]
    return pre, active


def activation(run: Run, layer: int, x: Tensor, pre: Tensor, active: Active) -> Tensor:
    """Activations of the features that take part, with gradients."""
    w, (position, index) = run.weights, active
    value = chosen(x, w[f"encoder.{layer}"], w[f"bias.{layer}"], pre, position, index)
    if run.config.nonlinearity == "jumprelu":
        return jump(value, w[f"log_threshold.{layer}"].exp()[index])
    return value


def decode(decoder: Float[Tensor, "feature written"], active: Active, value: Tensor, n_pos: int) -> Tensor:
    """[pos, written]: sparse, or dense while most features are active; equal but for rounding."""
    position, index = active
    if len(index) < DENSE * n_pos * len(decoder):
        return decode_sparse(position, index, value, decoder[:, None], n_pos)[0]
    dense = value.new_zeros(n_pos, len(decoder)).index_put((position, index), value)
    return decode_dense(dense, decoder[:, None])[0]


def loss_of(run: Run, batch: Batch, k: float, price: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, relative squared error by layer, active features a position by layer; notes which features fired."""
    n_layers, n_pos, d = batch.inputs.shape
    pre, active = activate(run, batch.inputs, round(k * n_layers * n_pos))
    w, out, penalty, counts = run.weights, [], torch.zeros(()), torch.zeros(n_layers)
    for i in range(n_layers):
        base = w[f"decoder_bias.{i}"].expand(n_pos, d)
        out.append(base + linear(batch.inputs[i], w[f"skip.{i}"]) if run.config.skip else base)
    values = []
    for i in range(n_layers):
        value = activation(run, i, batch.inputs[i], pre[i], active[i])
        values.append(value.detach())
        parts = decode(w[f"decoder.{i}"], active[i], value, n_pos).view(n_pos, -1, d)
        for slot, layer in enumerate(run.written(i)):
            out[layer] = out[layer] + parts[:, slot]
        if price:
            norm = w[f"decoder.{i}"].norm(dim=1)[active[i][1]]
            penalty = penalty + sparsity_penalty(value, norm, run.config.nonlinearity)
    errors = torch.stack([(batch.outputs[i] - out[i]).square().mean() for i in range(n_layers)])
    dead = run.quiet > DEAD_AFTER
    extra = torch.zeros(())
    for i in range(n_layers):
        if dead[i].any():
            residual = torch.cat([(batch.outputs[j] - out[j]) for j in run.written(i)], 1)
            rows = (w[f"encoder.{i}"], w[f"bias.{i}"], w[f"decoder.{i}"])
            extra = extra + auxiliary_loss(batch.inputs[i], residual, *rows, dead[i]) * errors[i].detach()
        fired = active[i][1][values[i] > 0]
        counts[i] = len(fired) / n_pos
        run.quiet[i] += n_pos
        run.quiet[i, fired] = 0
    return errors.sum() + price * penalty / n_pos + AUXILIARY_WEIGHT * extra, errors.detach(), counts


def train_dictionary(
    subject: Subject, documents: Documents, config: DictionaryConfig, folder: Path | str, *, resume: bool = False
) -> Iterator[TrainingReport]:
    """Train, reporting on the way, and write `folder/dictionary`; `folder/checkpoint.safetensors` lets it be resumed.

    InputError when activations or the loss become NaN (the last checkpoint stays), MismatchError when the checkpoint
    belongs to another run.
    """
    folder = Path(folder)
    run = Run(subject.n_layers, subject.d_model, config)
    if resume:
        _restore(run, folder / "checkpoint.safetensors", subject)
    batches = _batches(subject, documents, config, run.step)
    if not run.scales:
        run.fit_scales(_joined(islice(_batches(subject, documents, config, 0), max(1, BUFFER // config.batch))))
    began, since = time.perf_counter(), run.step
    for batch in islice(batches, config.steps - run.step):
        report = _step(run, run.normalised(batch))
        if run.step % CHECKPOINT_EVERY == 0:
            _save(run, folder / "checkpoint.safetensors", subject)
        if run.step % REPORT_EVERY == 0 or run.step == config.steps:
            rate = (run.step - since) * config.batch / (time.perf_counter() - began)
            yield TrainingReport(step=run.step, steps=config.steps, tokens_per_second=rate, **report)
    thresholds = None
    if config.nonlinearity == "batchtopk":
        fresh = islice(_batches(subject, documents, config, run.step), FIT_BATCHES)
        thresholds = fit_threshold(run, (run.normalised(batch) for batch in fresh))
    finished(run, subject, thresholds).save(folder / "dictionary")


def _batches(subject: Subject, documents: Documents, config: DictionaryConfig, start: int) -> Iterator[Batch]:
    size = {"batch": config.batch, "buffer": BUFFER, "seed": config.seed, "start": start}
    return stream(subject, documents, read_site=READ_SITE, write_site=WRITE_SITE, **size)


def _joined(batches: Iterator[Batch]) -> Batch:
    every = list(batches)
    return Batch(inputs=torch.cat([b.inputs for b in every], 1), outputs=torch.cat([b.outputs for b in every], 1))


def _step(run: Run, batch: Batch) -> dict:
    config, progress = run.config, run.step / run.config.steps
    k = config.k * config.anneal ** max(0.0, 1 - 2 * progress)
    price = 0.0 if config.nonlinearity == "batchtopk" else config.sparsity * min(1.0, 2 * progress)
    warm = min(1.0, (run.step + 1) / min(200, max(1, config.steps // 10)))
    for group in run.adam.param_groups:
        group["lr"] = config.learning_rate * warm * min(1.0, 2 * (1 - progress))
    loss, errors, counts = loss_of(run, batch, k, price)
    if not torch.isfinite(loss):
        raise InputError(f"the loss became {float(loss)} at step {run.step}: lower the learning rate and resume")
    loss.backward()
    run.adam.step()
    run.adam.zero_grad()
    run.step += 1
    dead = float((run.quiet > DEAD_AFTER).float().mean())
    return {"loss": float(loss.detach()), "nmse": tuple(errors.tolist()), "l0": tuple(counts.tolist()), "dead": dead}


@torch.no_grad()
def fit_threshold(run: Run, batches: Iterator[Batch]) -> float:
    """The value that activation times decoder norm must exceed, so that k * layers features a position are kept."""
    total, kept = 0, []
    for batch in batches:
        n = batch.inputs.shape[1]
        room = 2 * run.config.k * run.n_layers * n  # keeps more than the wanted share, so that batches may differ
        pre, active = activate(run, batch.inputs, room)
        kept.append(torch.cat([p[at] * norm[at[1]] for p, at, norm in zip(pre, active, run.norms(), strict=True)]))
        total += n
    values = torch.cat(kept)
    wanted = min(run.config.k * run.n_layers * total, len(values) - 1)
    return float(values.kthvalue(len(values) - wanted).values)


@torch.no_grad()
def finished(run: Run, subject: Subject, threshold: float | None) -> Dictionary:
    """The Dictionary in the model's own units, every decoder scaled to norm one."""
    layers, s, config = {}, run.scales, run.config
    for i in range(run.n_layers):
        w = {name.split(".")[0]: tensor.detach() for name, tensor in run.weights.items() if name.endswith(f".{i}")}
        decoder = (
            w["decoder"].view(config.features, -1, run.d_model)
            * s["output_scale"][i:][None, : len(run.written(i)), None]
        )
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


def _save(run: Run, path: Path, subject: Subject) -> None:
    tensors = {f"weight.{name}": tensor for name, tensor in run.weights.items()}
    for name, weight in run.weights.items():
        tensors |= {f"adam.{key}.{name}": torch.as_tensor(value) for key, value in run.adam.state[weight].items()}
    tensors |= {f"scale.{name}": tensor for name, tensor in run.scales.items()} | {"quiet": run.quiet}
    note = {"run": _belongs(run, subject), "step": str(run.step), "guess": repr(run.guess)}
    files.save_tensors(path, tensors, note)


def _restore(run: Run, path: Path, subject: Subject) -> None:
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
