"""What training large dictionaries takes, on paper; and whether such a prediction holds. `make bench-plan`.

    python benchmarks/plan.py                 the plans of docs/plan.md: three models on 1, 8 and 64 devices
    python benchmarks/plan.py --rates FILE    the same from rates that were measured: {"H200": {"matrix": ..., ...}}
    python benchmarks/plan.py --check         rates of this CPU, measured on kernels alone, predict whole steps of
                                              other shapes; exit code 1 where one is more than 25 % off

The arithmetic is that of `clew train --estimate --on 8xH100` (`clew.runs.cost`). One thread, CPU seconds.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import torch

from clew.kernels.types import Adam, Features, Pairs, Rows, Terms
from clew.runs.cost import Shape, batched, least_devices, plan_on, step_cost
from clew.runs.devices import KINDS, DeviceRates
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
from clew.training.objective import terms
from clew.training.run_state import RunState
from clew.training.selection import selecting
from clew.training.step import take_step

BAR = 0.25
TOKENS = 1_000_000_000
BUFFER = 1 << 18
CHECKED = {"A": (6, 256, 4096, 16, 2048), "D": (4, 512, 8192, 16, 1024), "C": (1, 768, 49152, 16, 1024)}
"""Layers, width, features a layer, k and positions of steps that are predicted; A and C are those of bench-train."""
MEASURED = (3, 640, 12288, 24, 1536)
"""Likewise, of the kernels that give the rates: another width, depth, k and batch."""
MODELS = {
    "GPT-2 small, CLT": (12, 768, 49152, 16, 124_000_000),
    "Gemma 2 2B, CLT": (26, 2304, 16384, 16, 2_610_000_000),
    "Gemma 2 2B, large CLT": (26, 2304, 98304, 16, 2_610_000_000),
    "8B, CLT": (32, 4096, 32768, 16, 8_030_000_000),
}


SPILL = 1 << 28  # bytes that are written between two runs of a kernel


def shape_of(n_layers: int, d: int, features: int, k: float, batch: int, model: int = 0) -> Shape:
    return Shape(
        d_model=d, widths=(features,) * n_layers, written=tuple(range(n_layers, 0, -1)), k=k, batch=batch, steps=1,
        model_parameters=model, precision="bfloat16",
    )  # fmt: skip


def least_seconds(function: Callable[[], object], times: int = 4, spill: torch.Tensor | None = None) -> float:
    """CPU seconds, the least of several runs: other work on the machine only adds to them. The first warms up.

    `spill` is written before each run, so that the cache holds nothing of the last one: in a step other kernels come
    between.
    """
    spent = []
    for _ in range(times + 1):
        if spill is not None:
            spill.add_(1)
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return min(spent[1:])


@cache
def spilled() -> torch.Tensor:
    return torch.zeros(SPILL, dtype=torch.uint8)


def cold(function: Callable[[], object]) -> float:
    """CPU seconds of a kernel that finds nothing in the cache."""
    return least_seconds(function, spill=spilled())


def drawn(n_layers: int, d: int, n_pos: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    inputs = torch.randn(n_layers, n_pos, d, generator=g)
    return Batch(inputs=inputs, outputs=torch.randn(n_layers, n_pos, d, generator=g))


def started(n_layers: int, d: int, features: int, k: int, n_pos: int) -> RunState:
    return RunState(n_layers, d, DictionaryConfig(features=features, k=k, batch=n_pos, nonlinearity="topk"))


def kernel_seconds() -> dict[str, float]:
    """Seconds of each kernel alone on this CPU, on the first layer of a dictionary of its own; how many took part."""
    n_layers, d, features, k, n_pos = MEASURED
    run, x = started(*MEASURED), drawn(*MEASURED[:2], n_pos).inputs[0]
    layer = run.layers[0]
    short = torch.bfloat16 if selecting(run, 0, x).dtype == torch.bfloat16 else torch.float32
    encoder, low = layer.encoder.weight.to(short), x.to(short)
    pre = low @ encoder.T
    pairs = run.kernels.top(pre, k)
    value, slope = torch.ones(len(pairs)), torch.randn(n_pos, n_layers * d) * 1e-6
    return {
        "product": cold(lambda: torch.addmm(low.new_zeros(features), low, encoder.T, out=pre)),
        "picking": cold(lambda: run.kernels.top(pre, k)),
        "listing": cold(lambda: listed(run, pre, pairs, layer.norm)),
        "decoding": cold(lambda: run.kernels.decode(pairs, value, layer.decoder.weight, slope)),
        "optimizer": updating(run, layer, pairs, slope, x, False),
        "update": updating(run, layer, pairs, slope, x, True),
        "scaling": cold(lambda: slope.mul_(1.0001)),
        "concerned": float((pairs.counts > 0).sum()),
    }


def rates_of(seconds: dict[str, float]) -> DeviceRates:
    """What the CPU does a second, from how long its kernels take."""
    n_layers, d, features, k, n_pos = MEASURED
    width, pairs = n_layers * d, n_pos * k
    return DeviceRates(
        matrix=2 * n_pos * features * d / seconds["product"],
        pick=n_pos * features / seconds["picking"],
        pairs=pairs / seconds["listing"],
        rows=pairs * width * 4 / seconds["decoding"],
        gradient=pairs * (width + d) * 4 / max(seconds["update"] - seconds["optimizer"], 1e-9),
        moments=seconds["concerned"] * (width + d) * 24 / seconds["optimizer"],
        stream=n_pos * width * 4 / seconds["scaling"],  # a pass reads two matrices, or reads one and writes it
    )


def listed(run: RunState, pre: torch.Tensor, pairs: Pairs, norm: torch.Tensor) -> Terms:
    """What a step does with the pairs of a layer beside reading rows."""
    again = Pairs.of_counts(pairs.starts.diff(), pairs.index, pairs.n_features)
    fired = torch.bincount(again.index, minlength=len(norm)) + again.counts
    value = pre[again.position, again.index].float() + float(fired.sum() > 0)
    return terms(run.config.nonlinearity, again, value, norm, None, None, 0.0)


def updating(run: RunState, layer: Features, pairs: Pairs, slope: torch.Tensor, x: torch.Tensor, whole: bool) -> float:
    """Seconds of a step on one layer's features; or of the optimizer alone, by a gradient that needs no pairs."""
    value, norm, shrink = torch.ones(len(pairs)), layer.norm, torch.zeros_like(layer.norm)
    if not whole:
        shrink, empty, value = (pairs.counts > 0) * 1e-8, torch.empty(0, dtype=torch.long), torch.ones(0)
        pairs = Pairs.sorted(empty, empty, pairs.n_pos, pairs.n_features)
    on = Terms(
        activation=value, gate=torch.ones_like(value), extra=torch.zeros_like(value), shrink=shrink,
        drift=torch.zeros_like(norm), penalty=torch.zeros(()),
    )  # fmt: skip
    rows = Features(encoder=layer.encoder, bias=Rows.of(layer.bias.weight, torch.float32), decoder=layer.decoder,
                    log_threshold=None, norm=norm, quiet=layer.quiet)  # fmt: skip
    return cold(lambda: run.kernels.update(pairs, on, slope, x, rows, Adam(rate=0.0, step=9)))


def check(rounds: int = 2) -> bool:
    """Print predictions beside what is measured, by turns; whether all are within the bar."""
    measured, alone = dict.fromkeys(CHECKED, math.inf), kernel_seconds()
    for _ in range(rounds):
        for name, case in CHECKED.items():
            measured[name] = min(measured[name], step_seconds(case))
        alone = {name: min(seconds, alone[name]) for name, seconds in kernel_seconds().items()}
    rates = rates_of(alone)
    print("rates: " + ", ".join(f"{name} {value:.3g}" for name, value in asdict(rates).items()))
    good = True
    for name, case in CHECKED.items():
        cost = step_cost(shape_of(*case), rates)
        ratio = cost.seconds / measured[name]
        good = good and abs(ratio - 1) <= BAR
        shares = ", ".join(f"{part} {getattr(cost, part) / cost.seconds:.0%}" for part in
                           ("encode", "decode", "gradients", "optimizer", "rest"))  # fmt: skip
        print(f"{name}: predicted {cost.seconds:.3f} s a step, measured {measured[name]:.3f}: {ratio:.2f} ({shares})")
    return good


def step_seconds(case: tuple[int, int, int, int, int]) -> float:
    """CPU seconds of a whole training step."""
    n_layers, d, _, k, n_pos = case
    run, batch = started(*case), drawn(n_layers, d, n_pos)
    run.fit_scales([batch])
    return least_seconds(lambda: take_step(run, run.normalised(batch), float(k), 0.0, 1e-4, 10**9), times=4)


def tables(kinds: list[str], rates: dict[str, DeviceRates]) -> None:
    """Print the plans of docs/plan.md, as Markdown."""
    for name, (n_layers, d, features, k, model) in MODELS.items():
        shape = shape_of(n_layers, d, features, k, 16384, model)
        print(f"\n### {name}\n\n{n_layers * features:,} features, {shape.parameters / 1e9:.1f} billion parameters, "
              f"{shape.flop_a_token / 1e9:.2f} GFLOP and "
              f"{rows_a_token(shape) / 1e6:.1f} MB of rows a token, {shape.state / 1e9:.0f} GB of state "
              f"({shape.parameters * 8 / 1e9:.0f} GB lean)\n")  # fmt: skip
        print(
            "| devices | batch | moments | memory each | sent a step, of its time | tokens/s | hours | price |\n"
            + "|---" * 8
            + "|"
        )
        for kind in kinds:
            for count in (1, 8, 64):
                print(row(shape, kind, count, rates.get(kind)))


def rows_a_token(shape: Shape) -> float:
    """Bytes of decoder rows and of gradients that a token's active features read."""
    return sum(shape.k * shape.d_model * 4 * (2 * written + 1) for written in shape.written)


def row(shape: Shape, kind: str, count: int, rates: DeviceRates | None) -> str:
    """The plan with the largest batch, and moments in 32 bits, that fits; else what it would need."""
    choices = [
        (batch, precision) for precision in ("bfloat16", "lean") for batch in (32768, 16384, 8192)
        if batch < 32768 or count > 8
    ]  # fmt: skip
    for batch, precision in choices:
        whole = replace(batched(shape, batch, TOKENS), precision=precision)
        plan = plan_on(whole, KINDS[kind], count, buffer=BUFFER, rates=rates)
        if plan.fits:
            bits = 16 if precision == "lean" else 32
            sent = f"{plan.exchanged_bytes / 1e9:,.1f} GB, {plan.shares['exchange']:.0%}"
            return (
                f"| {count} x {kind} | {batch:,} | {bits} | {plan.memory_bytes / 1e9:,.0f} GB | "
                f"{sent if count > 1 else 'none'} | {plan.tokens_per_second:,.0f} | "
                f"{plan.hours:,.1f} | ${plan.price:,.0f} |"
            )
    least = least_devices(whole, KINDS[kind], buffer=BUFFER)
    return f"| {count} x {kind} | | 16 | {plan.memory_bytes / 1e9:,.0f} GB: too much, {least} hold it | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare predictions with steps on this CPU")
    parser.add_argument("--kinds", default="H100,H200", help="devices to plan for")
    parser.add_argument("--rates", type=Path, help="a JSON file of measured rates by kind")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        sys.exit(0 if check() else 1)
    rates = {} if arguments.rates is None else json.loads(arguments.rates.read_text())
    tables(arguments.kinds.split(","), {kind: DeviceRates(**values) for kind, values in rates.items()})


if __name__ == "__main__":
    main()
