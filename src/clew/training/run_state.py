"""What a training run holds: weights, moments, counters; and the Dictionary it becomes.

Weights live in units in which every layer's input and output has mean zero and variance one, or less where the layer is
to count less: `scales` holds the centres and sizes, fitted before the first step. The finished Dictionary has them
folded back into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

__all__ = ["DictionaryConfig", "Features", "Run", "finished"]

AT_ONCE = 256 << 20  # bytes of decoders up to which a run's Dictionary is made whole


class Run:
    """Weights, moments and counters of a training run; everything that a checkpoint holds."""

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        config: DictionaryConfig,
        *,
        dtype: torch.dtype = torch.float32,
        kernels: ModuleType | None = None,
    ) -> None:
        self.config, self.n_layers, self.d_model = config, n_layers, d_model
        self.kernels = kernels or kernels_for("cpu")
        moments = torch.bfloat16 if config.precision == "lean" else dtype
        generator = torch.Generator().manual_seed(config.seed)
        self.layers = [self._first(i, generator, dtype, moments) for i in range(n_layers)]
        self.decoder_bias = Rows.of(torch.zeros(n_layers, d_model, dtype=dtype), dtype)
        self.skip = Rows.of(torch.zeros(n_layers * d_model * config.skip, d_model, dtype=dtype), dtype)
        self.step = 0
        self.cut = 0.0  # the smallest score that BatchTopK kept in the last batch
        self.grown = False  # whether it began with a finished dictionary
        self.scales: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def _first(self, layer: int, generator: torch.Generator, dtype: torch.dtype, moments: torch.dtype) -> Features:
        """Uniform draws for JumpReLU (Ameisen et al. 2025); for the others encoders of norm one, small decoders."""
        config, d, jump = self.config, self.d_model, self.config.nonlinearity == "jumprelu"
        n, width = config.widths(self.n_layers)[layer], len(self.written(layer)) * d
        encoder, decoder = torch.empty(n, d, dtype=dtype), torch.empty(n, width, dtype=dtype)
        if jump:
            encoder.uniform_(-(n**-0.5), n**-0.5, generator=generator)
            decoder.uniform_(-((self.n_layers * d) ** -0.5), (self.n_layers * d) ** -0.5, generator=generator)
        else:
            encoder.normal_(generator=generator)
            encoder /= encoder.norm(dim=1, keepdim=True)
            decoder.normal_(generator=generator).mul_(0.1 * d**-0.5)
        first = torch.full((n, 1), FIRST_THRESHOLD, dtype=dtype).log()
        return Features(
            encoder=Rows.of(encoder, moments),
            bias=Rows.of(torch.zeros(n, 1, dtype=dtype), dtype),
            decoder=Rows.of(decoder, moments),
            log_threshold=Rows.of(first, dtype) if jump else None,
            norm=decoder.norm(dim=1),
            quiet=torch.zeros(n),
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
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.numel() < math.prod(shape):
            held = self._buffers[name] = torch.empty(math.prod(shape), dtype=dtype)
        return held[: math.prod(shape)].view(shape)

    def quiet_longer_than(self, positions: int) -> float:
        """Share of features that have not fired for so many positions."""
        return float(torch.stack([(f.quiet > positions).double().mean() for f in self.layers]).mean())

    def forget_moments(self) -> None:
        """Let go of what only further steps need."""
        self.layers = [
            replace(own, **{name: rows.alone() for name, rows in own.rows.items()})  # type: ignore[arg-type]
            for own in self.layers
        ]

    def fit_scales(self, batches: Iterable[Batch], layer_weights: Sequence[float] | None = None) -> None:
        """Centre and scale of every layer's input and output: in these units the mean alone has error 1 a component.

        With weights, a layer's output gets units in which that error is its weight, the largest being 1: in larger
        units decoders take many more steps to grow, since Adam's have a fixed length.
        """
        weights = torch.tensor(layer_weights or [1.0] * self.n_layers)
        weights = weights / weights.max()
        n, shape = 0, (2, self.n_layers, self.d_model)
        total, square = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        for batch in batches:
            n += batch.inputs.shape[1]
            for side, values in enumerate((batch.inputs, batch.outputs)):
                for i, own in enumerate(values):  # one at a time: twice as wide, all are much memory
                    total[side, i] += own.double().sum(0)
                    square[side, i] += own.double().square().sum(0)
        centre = total / n
        scale = (square / n - centre.square()).clamp_min(0).mean(2).sqrt().clamp_min(1e-12)
        for i, name in enumerate(("input", "output")):
            self.scales |= {f"{name}_centre": centre[i].float(), f"{name}_scale": scale[i].float()}
        self.scales |= {"output_scale": self.scales["output_scale"] / weights.sqrt(), "layer_weight": weights}

    def normalised(self, batch: Batch) -> Batch:
        """A batch in the units of training."""
        s = self.scales
        inputs = (batch.inputs - s["input_centre"][:, None]).div_(s["input_scale"][:, None, None])
        outputs = (batch.outputs - s["output_centre"][:, None]).div_(s["output_scale"][:, None, None])
        return Batch(inputs=inputs, outputs=outputs)


class Folded(Mapping[int, Layer]):
    """A run's layers in the model's own units, each made when it is asked for and kept until another is.

    All of a large run at once would take its weights' memory a second time.
    """

    def __init__(self, run: Run, threshold: float | None, keep: Sequence[Bool[Tensor, " _"]] | None) -> None:
        self.run, self.threshold, self.keep = run, threshold, keep
        self._last: tuple[int, Layer] | None = None

    def __getitem__(self, i: int) -> Layer:
        if i not in range(self.run.n_layers):
            raise KeyError(i)
        if self._last is None or self._last[0] != i:
            self._last = None  # before the next one is made
            self._last = i, _folded(self.run, i, self.threshold, None if self.keep is None else self.keep[i])
        return self._last[1]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.run.n_layers))

    def __len__(self) -> int:
        return self.run.n_layers


def finished(
    run: Run, subject: Subject, threshold: float | None, keep: Sequence[Bool[Tensor, " _"]] | None = None
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
    if sum(own.decoder.weight.nbytes for own in run.layers) <= AT_ONCE:
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
        provenance=files.provenance(training=asdict(config), model=subject.name, steps=run.step, **weights),
    )


def _folded(run: Run, i: int, fitted: float | None, keep: Tensor | None) -> Layer:
    s, config, own = run.scales, run.config, run.layers[i]
    alive = torch.arange(len(own.norm)) if keep is None else keep.nonzero().flatten()
    scale = s["output_scale"][list(run.written(i))]
    decoder = own.decoder.weight[alive].view(len(alive), len(scale), -1).mul_(scale[:, None])
    size = decoder.flatten(1).norm(dim=1).clamp_min(1e-12)
    if config.nonlinearity == "topk":
        size = torch.ones_like(size)  # another scale would rank features differently
    encoder = own.encoder.weight[alive].div_(s["input_scale"][i])
    skip = run.skip_of(i) * s["output_scale"][i] / s["input_scale"][i] if config.skip else None
    shift = s["output_centre"][i] if skip is None else s["output_centre"][i] - skip @ s["input_centre"][i]
    nonlinearity: Nonlinearity = ReLU()
    if own.threshold is not None:
        nonlinearity = JumpReLU(threshold=own.threshold[alive] * size)
    elif config.nonlinearity == "topk":
        nonlinearity = TopK(k=min(config.k, len(alive)))
    elif fitted is not None:
        threshold = fitted / run.weight(i)[alive].clamp_min(1e-12) * size
        nonlinearity = BatchTopK(k=config.k, threshold=threshold)
    return Layer(
        bias=(own.bias.weight[alive, 0] - encoder @ s["input_centre"][i]) * size,
        encoder=encoder.mul_(size[:, None]),
        nonlinearity=nonlinearity,
        decoder=decoder.div_(size[:, None, None]),
        decoder_bias=run.decoder_bias.weight[i] * s["output_scale"][i] + shift,
        skip=skip,
    )
