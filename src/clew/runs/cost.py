"""What training takes on any number of devices, by arithmetic: FLOP, bytes, exchanges, and the seconds of a step.

Of one token and layer, with F features, k of them active, d the width and w the layers written to:

1. The encoder multiplies 2 F d times (FLOP). Its weights are read once a step.
2. Active features are decoded: k w d numbers are read, once for all layers written to.
3. Gradients of values and decoders read k w d numbers of the outputs' gradient, those of encoders k d of the input.
4. Adam reads and writes weights and moments of the features that took part in the step: a share 1 - exp(-k tokens / F)
   of them, were all equally frequent, which is more than it is for features that differ.

Devices divide a step in one of two ways (`Way`). By *tokens* every device has the whole dictionary: it encodes and
decodes its part of the batch, is told the pairs and output gradients of the others, and moves all weights. By
*features* it has its part of every layer's features and sees all tokens; reconstructions are added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from clew.runs.devices import DeviceKind, DeviceRates
from clew.training.config import DictionaryConfig
from clew.training.split import Way
from clew.training.trainer import ANNEAL, GROWING

FLOAT, HALF, ID = 4, 2, 8  # bytes
MEAN_K = GROWING * (ANNEAL - 1) / math.log(ANNEAL) + 1 - GROWING
"""The mean of a run's k in units of the last one."""
PASSES = 7  # over the outputs in a step: biases, the wanted ones, sizes, scaling, each read and most written
BATCH_PASSES = 8  # over what a batch reads and writes, drawn from the buffer and normalised
RESERVE = 2 * 10**9  # bytes of a device that libraries and fragments take


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and the dictionary that is trained on it."""

    d_model: int
    widths: tuple[int, ...]
    """Features of every layer."""
    written: tuple[int, ...]
    """How many layers each layer's features write to."""
    k: float
    batch: int
    steps: int
    precision: str = "bfloat16"
    skip: bool = False
    """Whether every layer has a linear skip connection."""
    model_parameters: int = 0
    """Of the model whose activations are read."""

    @classmethod
    def of(cls, config: DictionaryConfig, n_layers: int, d_model: int, model_parameters: int = 0) -> Shape:
        """From a run's settings; InputError when widths are given for another number of layers."""
        return cls(
            d_model=d_model,
            widths=config.widths(n_layers),
            written=tuple(len(config.written(i, n_layers)) for i in range(n_layers)),
            k=config.k * MEAN_K,
            batch=config.batch,
            steps=config.steps,
            precision=config.precision,
            skip=config.skip,
            model_parameters=model_parameters,
        )

    @property
    def n_layers(self) -> int:
        return len(self.widths)

    @property
    def parameters(self) -> int:
        """Weights of the dictionary, biases too, before it is trained: thresholds are learned."""
        of_features = sum(n * (self.d_model * (1 + w) + 1) for n, w in zip(self.widths, self.written, strict=True))
        return of_features + self.n_layers * self.d_model * (1 + self.d_model * self.skip)

    @property
    def state(self) -> int:
        """Bytes of weights and moments."""
        return self.parameters * (8 if self.precision == "lean" else 12)

    @property
    def outputs(self) -> int:
        """Bytes of a step's outputs."""
        return self.batch * self.n_layers * self.d_model * FLOAT

    @property
    def flop_a_token(self) -> float:
        """Of the encoder, the sparse decoder with its gradients, and the model's run."""
        d = self.d_model
        active = sum(self.k * d * (6 * w + 4) for w in self.written)
        return sum(2 * n * d for n in self.widths) + active + 2 * self.model_parameters


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Seconds of a step on every one of the devices that share it, by what they are for; bytes that each exchanges."""

    model: float
    encode: float
    decode: float
    gradients: float
    optimizer: float
    rest: float
    exchange: float
    """What of the exchange nothing else is done beside."""
    exchanged: float
    """Bytes that a device sends, and as many that it receives."""

    @property
    def seconds(self) -> float:
        parts = (self.model, self.encode, self.decode, self.gradients, self.optimizer, self.rest, self.exchange)
        return sum(parts)


@dataclass(frozen=True, kw_only=True)
class LayerSeconds:
    """Seconds of one layer on one device."""

    encode: float
    decode: float
    gradients: float
    optimizer: float


def layer_cost(shape: Shape, i: int, rates: DeviceRates, n: int, split: Way) -> LayerSeconds:
    """Seconds of a layer on one of n devices."""
    d, features, written = shape.d_model, shape.widths[i], shape.written[i]
    seen, of_features = (shape.batch / n, features) if split == "tokens" else (shape.batch, features / n)
    pairs = shape.batch * min(shape.k, features)  # of all devices
    moved = pairs if split == "tokens" else pairs / n
    short = shape.precision != "float32"
    encode = 2 * seen * of_features * d / rates.matrix + seen * of_features / rates.pick
    encode += of_features * d * (FLOAT + 2 * HALF if short else FLOAT) / rates.stream
    encode += pairs / n / rates.pairs
    if short:
        encode += pairs / n * d * FLOAT / rates.rows  # what was picked is computed again
    concerned = of_features * -math.expm1(-pairs / features)
    bytes_a_weight = 2 * FLOAT + 2 * 2 * (HALF if shape.precision == "lean" else FLOAT)
    return LayerSeconds(
        encode=encode + rates.call,
        decode=pairs / n * written * d * FLOAT / rates.rows,
        gradients=moved * (written + 1) * d * FLOAT / rates.gradient,
        optimizer=concerned * d * (written + 1) * bytes_a_weight / rates.moments,
    )


def step_cost(
    shape: Shape, rates: DeviceRates, n: int = 1, *, exchange: float = math.inf, split: Way = "features",
    overlap: bool = False, cached: bool = False,
) -> StepCost:  # fmt: skip
    """Simulate a step on n equal devices that send and receive `exchange` bytes a second.

    A device computes layer by layer. By features, a layer's reconstruction can be sent as soon as its last reader has
    been decoded: with `overlap` it is, beside the layers that follow; without, when all are there. What the model
    reads and writes, which every device computes for its part of the tokens, is sent before; `cached` it is not run.
    """
    layers = [layer_cost(shape, i, rates, n, split) for i in range(shape.n_layers)]
    outputs = shape.outputs / 2 if split == "features" else 0.0  # in 16 bits, as they are kept
    pairs = shape.batch * shape.k * shape.n_layers * (FLOAT + ID)
    share = (n - 1) / n
    before = share * (2 * outputs if split == "features" else pairs)
    after = 2 * share * shape.outputs  # the sum of reconstructions, or the inputs and gradients of all tokens
    computed = sent = before / exchange
    for layer in layers:
        computed += layer.encode + layer.decode
        sent = max(sent, computed) + after / shape.n_layers / exchange
    end = sent if overlap and split == "features" else computed + after / exchange
    computing = sum(layer.encode + layer.decode for layer in layers)
    return StepCost(
        model=0.0 if cached else 2 * shape.model_parameters * shape.batch / n / rates.matrix,
        encode=sum(layer.encode for layer in layers),
        decode=sum(layer.decode for layer in layers),
        gradients=sum(layer.gradients for layer in layers),
        optimizer=sum(layer.optimizer for layer in layers),
        rest=(PASSES + BATCH_PASSES) * shape.outputs / (n if split == "tokens" else 1) / rates.stream,
        exchange=0.0 if n == 1 else end - computing,
        exchanged=0.0 if n == 1 else before + after,
    )


def memory_cost(shape: Shape, n: int, split: Way, *, buffer: int) -> int:
    """Bytes that a device needs: its weights and moments, the model, a step's outputs, its part of the buffer."""
    short = 0 if shape.precision == "float32" else max(shape.widths) * shape.d_model * HALF
    state, seen = (shape.state, shape.batch / n) if split == "tokens" else (shape.state / n, shape.batch)
    block = 2 * min(1 << 28, int(seen) * max(shape.widths)) * HALF
    activations = (4 * shape.outputs * seen / shape.batch) + 2 * buffer / n * shape.n_layers * shape.d_model * HALF
    return int(state + short + block + activations + HALF * shape.model_parameters + RESERVE)


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """A run on some devices."""

    count: int
    kind: str
    split: Way
    parameters: int
    flop_a_token: float
    memory_bytes: int
    """That each device needs."""
    device_bytes: int
    """That each has."""
    tokens_per_second: float
    hours: float
    price: float
    """Dollars, all devices together."""
    exchanged_bytes: float
    """That each sends in a step."""
    shares: dict[str, float]
    """Of a step's time, by what it is for."""
    disk_bytes: int = 0
    """Of all that the run writes; 0 where that was not asked."""
    advice: str = ""
    """What to do where it does not fit."""

    @property
    def fits(self) -> bool:
        return self.memory_bytes <= self.device_bytes


def plan_on(
    shape: Shape, kind: DeviceKind, count: int, *, buffer: int, rates: DeviceRates | None = None, cached: bool = False,
    split: Way | None = None,
) -> DevicePlan:  # fmt: skip
    """The faster way to divide a run that fits the devices, or the one that needs less where neither does."""
    rates = rates or kind.rates(shape.precision)
    splits: tuple[Way, ...] = (split,) if split else ("features", "tokens")
    plans = [_plan(shape, kind, count, way, rates, buffer, cached) for way in splits]
    return min(plans, key=lambda plan: (not plan.fits, plan.hours if plan.fits else plan.memory_bytes))


def _plan(
    shape: Shape, kind: DeviceKind, count: int, split: Way, rates: DeviceRates, buffer: int, cached: bool
) -> DevicePlan:  # fmt: skip
    cost = step_cost(shape, rates, count, exchange=kind.exchange(count), split=split, cached=cached)
    hours = cost.seconds * shape.steps / 3600
    names = ("model", "encode", "decode", "gradients", "optimizer", "rest", "exchange")
    return DevicePlan(
        count=count,
        kind=kind.name,
        split=split,
        parameters=shape.parameters,
        flop_a_token=shape.flop_a_token,
        memory_bytes=memory_cost(shape, count, split, buffer=buffer),
        device_bytes=kind.memory,
        tokens_per_second=shape.batch / cost.seconds,
        hours=hours,
        price=hours * count * kind.price,
        exchanged_bytes=cost.exchanged,
        shares={name: getattr(cost, name) / cost.seconds for name in names},
    )


def least_devices(shape: Shape, kind: DeviceKind, *, buffer: int, most: int = 4096) -> int | None:
    """How many devices of a kind hold a run by features, a power of two; None where `most` do not."""
    count = 1
    while count <= most:
        if plan_on(shape, kind, count, buffer=buffer, split="features").fits:
            return count
        count *= 2
    return None


def batched(shape: Shape, batch: int, tokens: int) -> Shape:
    """The same dictionary trained on so many tokens in batches of another size."""
    return replace(shape, batch=batch, steps=math.ceil(tokens / batch))
