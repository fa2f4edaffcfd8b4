"""The state of a training run: weights, moments, counters; and the Dictionary it becomes.

Weights live in units in which every layer's input and output has mean zero and variance one, or less where the layer is
to count less: `scales` holds the centres and sizes, fitted before the first step. The finished Dictionary has them
folded back into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from types import ModuleType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew import files
from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Layer, Nonlinearity, ReLU, TopK
from clew.kernels.select import kernels_for
from clew.kernels.types import Features, Rows
from clew.subject.subject import Subject
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
from clew.training.objective import FIRST_THRESHOLD
from clew.training.split import WHOLE, ByFeatures, Split

__all__ = ["DictionaryConfig", "Features", "RunState", "finished"]

AT_ONCE = 256 << 20  # bytes of decoders up to which all layers of a run's Dictionary are kept in memory


class RunState:
    """Weights, moments and counters of a training run; everything that a checkpoint holds."""

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        config: DictionaryConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        kernels: ModuleType | None = None,
        split: Split = WHOLE,
    ) -> None:
        self.split = split
        self.config, self.n_layers, self.d_model, self.device = config, n_layers, d_model, torch.device(device)
        self.kernels = kernels or kernels_for(device)
        moments = torch.bfloat16 if config.precision == "lean" else dtype
        self.widths = config.widths(n_layers)
        generator = torch.Generator().manual_seed(config.seed)
        self.layers = [self._first(i, generator, dtype, moments) for i in range(n_layers)]
        bias = torch.zeros(n_layers, d_model, dtype=dtype, device=self.device)
        skip = torch.zeros(n_layers * d_model * config.skip, d_model, dtype=dtype, device=self.device)
        self.decoder_bias, self.skip = Rows.of(bias, dtype), Rows.of(skip, dtype)
        self.step = 0
        self.cut = 0.0  # the smallest score that BatchTopK kept in the last batch
        self.grown = False  # whether it began with a finished dictionary
        self.scales: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def _first(self, layer: int, generator: torch.Generator, dtype: torch.dtype, moments: torch.dtype) -> Features:
        """Uniform draws for JumpReLU (Ameisen et al. 2025); for the others encoders of norm one, small decoders.

        They are drawn on the CPU, so that a seed gives the same weights on every device.
        """
        d, jump = self.d_model, self.config.nonlinearity == "jumprelu"
        n, width = self.widths[layer], len(self.written(layer)) * d
        part = self.split.features(n)
        encoder, decoder = torch.empty(n, d, dtype=dtype), torch.empty(n, width, dtype=dtype)  # drawn on the CPU
        if jump:
            encoder.uniform_(-(n**-0.5), n**-0.5, generator=generator)
            decoder.uniform_(-((self.n_layers * d) ** -0.5), (self.n_layers * d) ** -0.5, generator=generator)
        else:
            encoder.normal_(generator=generator)
            encoder /= encoder.norm(dim=1, keepdim=True)
            decoder.normal_(generator=generator).mul_(0.1 * d**-0.5)
        encoder, decoder = (_part_of(rows, part).to(self.device) for rows in (encoder, decoder))
        bias = torch.zeros(len(encoder), 1, dtype=dtype, device=self.device)
        return Features(
            encoder=Rows.of(encoder, moments),
            bias=Rows.of(bias, dtype),
            decoder=Rows.of(decoder, moments),
            log_threshold=Rows.of(torch.full_like(bias, FIRST_THRESHOLD).log(), dtype) if jump else None,
            norm=decoder.norm(dim=1),
            quiet=torch.zeros(len(encoder), dtype=torch.float32, device=self.device),
        )

    def written(self, layer: int) -> range:
        """The layers that a layer's features write to."""
        return self.config.written(layer, self.n_layers)

    def columns(self, layer: int) -> slice:
        """Where a layer's features write in a matrix of all outputs side by side, [pos, layers times d_model]."""
        written = self.written(layer)
        return slice(written.start * self.d_model, written.stop * self.d_model)

    def skip_of(self, layer: int) -> Float[Tensor, "d_model d_model"]:
        """The linear connection of one layer, a view."""
        return self.skip.weight.view(-1, self.d_model, self.d_model)[layer]

    def weight(self, layer: int) -> Float[Tensor, " feature"]:
        """What BatchTopK multiplies activations with: how much a feature writes to a layer, in the square mean."""
        return self.layers[layer].norm * len(self.written(layer)) ** -0.5

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory that is used again in every step: fresh pages of this size took a third of a reconstruction's time."""
        memory = self._buffers.get(name)
        if memory is None or memory.dtype != dtype or memory.numel() < math.prod(shape):
            memory = self._buffers[name] = torch.empty(math.prod(shape), dtype=dtype, device=self.device)
        return memory[: math.prod(shape)].view(shape)

    def quiet_longer_than(self, positions: int) -> float:
        """Share of features that have not fired for so many positions."""
        dead = self.split.numbers([int((f.quiet > positions).sum()) for f in self.layers])
        return sum(n / width for n, width in zip(dead, self.widths, strict=True)) / self.n_layers

    def forget_moments(self) -> None:
        """Free the memory that only further steps need."""
        self.layers = [
            replace(features, **{name: rows.alone() for name, rows in features.rows.items()})  # type: ignore[arg-type]
            for features in self.layers
        ]

    def fit_scales(self, batches: Iterable[Batch], layer_weights: Sequence[float] | None = None) -> None:
        """Centre and scale of every layer's input and output: in these units the mean alone has error 1 a component.

        With weights, a layer's output gets units in which that error is its weight, the largest being 1: in larger
        units decoders take many more steps to grow, since Adam's have a fixed length.
        """
        weights = torch.tensor(layer_weights or [1.0] * self.n_layers, dtype=torch.float32, device=self.device)
        weights = weights / weights.max()
        n, shape = 0, (2, self.n_layers, self.d_model)
        total, square = (torch.zeros(shape, dtype=torch.float64, device=self.device) for _ in range(2))
        for batch in batches:
            n += batch.inputs.shape[1]
            for side, values in enumerate((batch.inputs, batch.outputs)):
                for i, layer_values in enumerate(values):  # layer by layer, because float64 doubles the memory
                    total[side, i] += layer_values.double().sum(0)
                    square[side, i] += layer_values.double().square().sum(0)
        centre = total / n
        scale = (square / n - centre.square()).clamp_min(0).mean(2).sqrt().clamp_min(1e-12)
        for i, name in enumerate(("input", "output")):
            self.scales |= {f"{name}_centre": centre[i].float(), f"{name}_scale": scale[i].float()}
        self.scales |= {"output_scale": self.scales["output_scale"] / weights.sqrt(), "layer_weight": weights}

    def input_of(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
        """What a layer reads, in the units of training; float32."""
        return (x.float() - self.scales["input_centre"][layer]) / self.scales["input_scale"][layer]

    def normalised(self, batch: Batch) -> Batch:
        """A batch in the units of training."""
        s = self.scales
        inputs = (batch.inputs - s["input_centre"][:, None]).div_(s["input_scale"][:, None, None])
        outputs = (batch.outputs - s["output_centre"][:, None]).div_(s["output_scale"][:, None, None])
        return Batch(inputs=inputs, outputs=outputs)


def _part_of(rows: Float[Tensor, "feature width"], part: slice) -> Float[Tensor, "own width"]:
    """Some rows in memory of their own, so that that of all can be freed."""
    return rows if part == slice(None) else rows[part].clone()


def whole_run(run: RunState) -> RunState:
    """On the first rank a run with the weights of all features, without moments; on the others the run itself.

    All ranks call it.
    """
    if not isinstance(run.split, ByFeatures):
        return run
    layers = [_whole_features(run, features) for features in run.layers]
    if not run.split.ranks.first:
        return run
    whole = copy(run)
    whole.layers, whole.split = [features for features in layers if features is not None], WHOLE
    return whole


def _whole_features(run: RunState, features: Features) -> Features | None:
    weights = {name: run.split.rows(rows.weight) for name, rows in features.rows.items()}
    others = {"norm": run.split.rows(features.norm), "quiet": run.split.rows(features.quiet)}
    if not run.split.ranks.first:
        return None
    rows = {name: Rows(weight=weight, mean=weight[:0], square=weight[:0]) for name, weight in weights.items()}
    return replace(features, **rows, **others)  # type: ignore[arg-type]


class Folded(Mapping[int, Layer]):
    """A run's layers in the model's own units, computed one at a time; the last one is kept.

    All layers of a large run together would take as much memory again as its weights.
    """

    def __init__(self, run: RunState, threshold: float | None, keep: Sequence[Bool[Tensor, " _"]] | None) -> None:
        self.run, self.threshold, self.keep = run, threshold, keep
        self._last: tuple[int, Layer] | None = None

    def __getitem__(self, i: int) -> Layer:
        if i not in range(self.run.n_layers):
            raise KeyError(i)
        if self._last is None or self._last[0] != i:
            self._last = None  # frees its memory before the next one is computed
            self._last = i, _folded(self.run, i, self.threshold, None if self.keep is None else self.keep[i])
        return self._last[1]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.run.n_layers))

    def __len__(self) -> int:
        return self.run.n_layers


def finished(
    run: RunState, subject: Subject, threshold: float | None, keep: Sequence[Bool[Tensor, " _"]] | None = None
) -> Dictionary:
    """The Dictionary in the model's own units, all features, or those to keep.

    Decoders have norm one, but for TopK, which compares features as they were trained.

    `threshold` is what activation times weight must exceed, in the units of training; for BatchTopK. A large one reads
    the run's weights: it is what it is until the next step.
    """
    config = run.config
    read_site, write_site = config.sites()
    weight = run.scales["layer_weight"]
    weights = {} if bool((weight == 1).all()) else {"layer_weights": weight.tolist()}
    layers: Mapping[int, Layer] = Folded(run, threshold, keep)
    if sum(features.decoder.weight.nbytes for features in run.layers) <= AT_ONCE:
        layers = dict(layers)
    return Dictionary(
        kind=config.kind,
        layers=layers,
        writes={i: tuple(run.written(i)) for i in range(run.n_layers)},
        read_site=read_site,
        write_site=write_site,
        n_layers=run.n_layers,
        d_model=run.d_model,
        name=f"{config.kind} of {subject.name}",
        provenance=files.provenance(
            training=asdict(config),
            model=subject.name,
            model_weights=subject.rounded_hashes(),
            steps=run.step,
            **weights,
        ),
    )


def _folded(run: RunState, i: int, fitted: float | None, keep: Tensor | None) -> Layer:
    s, config, features = run.scales, run.config, run.layers[i]
    alive = torch.arange(len(features.norm), device=run.device) if keep is None else keep.nonzero().flatten()
    written = run.written(i)
    scale = s["output_scale"][written.start : written.stop]
    decoder = features.decoder.weight[alive].view(len(alive), len(scale), -1).mul_(scale[:, None])
    size = decoder.flatten(1).norm(dim=1).clamp_min(1e-12)
    if config.nonlinearity == "topk":
        size = torch.ones_like(size)  # another scale would rank features differently
    encoder = features.encoder.weight[alive].div_(s["input_scale"][i])
    skip = run.skip_of(i) * s["output_scale"][i] / s["input_scale"][i] if config.skip else None
    shift = s["output_centre"][i] if skip is None else s["output_centre"][i] - skip @ s["input_centre"][i]
    nonlinearity: Nonlinearity = ReLU()
    if features.threshold is not None:
        nonlinearity = JumpReLU(threshold=features.threshold[alive] * size)
    elif config.nonlinearity == "topk":
        nonlinearity = TopK(k=min(config.k, len(alive)))
    elif fitted is not None:
        threshold = fitted / run.weight(i)[alive].clamp_min(1e-12) * size
        nonlinearity = BatchTopK(k=config.k, threshold=threshold)
    return Layer(
        bias=(features.bias.weight[alive, 0] - encoder @ s["input_centre"][i]) * size,
        encoder=encoder.mul_(size[:, None]),
        nonlinearity=nonlinearity,
        decoder=decoder.div_(size[:, None, None]),
        decoder_bias=run.decoder_bias.weight[i] * s["output_scale"][i] + shift,
        skip=skip,
    )
