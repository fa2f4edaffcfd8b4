"""What training large dictionaries takes, on paper; and whether such a prediction holds. `make bench-plan`.

    python benchmarks/plan.py                 the plans of docs/plan.md: three models on 1, 8 and 64 devices
    python benchmarks/plan.py --rates FILE    the same from rates that were measured: {"H200": {"matrix": ..., ...}}
    python benchmarks/plan.py --check         rates of this CPU, measured on kernels alone, predict whole steps of
                                              other shapes; exit code 1 where one is more than 25 % off

The arithmetic is that of `clew train --estimate --on 8xH100` (`clew.runs.cost`). One thread, CPU seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import torch

from clew.kernels.types import Adam, Features, Pairs, Rows, Terms
from clew.runs.cost import Shape, batched, least_devices, plan_on, step_cost
from clew.runs.devices import KINDS, Rates
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
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


def least_seconds(function: Callable[[], object], times: int = 5, spill: torch.Tensor | None = None) -> float:
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


def measured_rates() -> Rates:
    """What this CPU does a second: each kernel alone, on the first layer of a dictionary of its own."""
    n_layers, d, features, k, n_pos = MEASURED
    run, x = started(*MEASURED), drawn(*MEASURED[:2], n_pos).inputs[0]
    layer, width = run.layers[0], n_layers * d
    short = torch.bfloat16 if selecting(run, 0, x).dtype == torch.bfloat16 else torch.float32
    encoder, low = layer.encoder.weight.to(short), x.to(short)
    pre = low @ encoder.T
    product = cold(lambda: torch.addmm(low.new_zeros(features), low, encoder.T, out=pre))
    picking = cold(lambda: run.kernels.top(pre, k))
    pairs = run.kernels.top(pre, k)
    value, slope = torch.ones(len(pairs)), torch.randn(n_pos, width) * 1e-6
    decoding = cold(lambda: run.kernels.decode(pairs, value, layer.decoder.weight, slope))
    alone, whole = updating(run, layer, pairs, slope, x, False), updating(run, layer, pairs, slope, x, True)
    copying = cold(lambda: slope.mul_(1.0001))
    concerned = int((pairs.counts > 0).sum())
    return Rates(
        matrix=2 * n_pos * features * d / product,
        pick=n_pos * features / picking,
        rows=len(pairs) * width * 4 / decoding,
        gradient=len(pairs) * (width + d) * 4 / max(whole - alone, 1e-9),
        moments=concerned * (width + d) * 24 / alone,
        stream=2 * slope.nbytes / copying / 2,  # half of the passes read two matrices
        call=0.0,
    )


def updating(run: RunState, layer: Features, pairs: Pairs, slope: torch.Tensor, x: torch.Tensor, whole: bool) -> float:
    """Seconds of a step on one layer's features; or of the optimizer alone, by a gradient that needs no pairs."""
    value, norm, shrink = torch.ones(len(pairs)), layer.norm, torch.zeros_like(layer.norm)
    if not whole:
        shrink, empty, value = (pairs.counts > 0) * 1e-8, torch.empty(0, dtype=torch.long), torch.ones(0)
        pairs = Pairs.sorted(empty, empty, pairs.n_pos, pairs.n_features)
    terms = Terms(
        activation=value, gate=torch.ones_like(value), extra=torch.zeros_like(value), shrink=shrink,
        drift=torch.zeros_like(norm), penalty=torch.zeros(()),
    )  # fmt: skip
    rows = Features(encoder=layer.encoder, bias=Rows.of(layer.bias.weight, torch.float32), decoder=layer.decoder,
                    log_threshold=None, norm=norm, quiet=layer.quiet)  # fmt: skip
    return cold(lambda: run.kernels.update(pairs, terms, slope, x, rows, Adam(rate=0.0, step=9)))


def check(rates: Rates) -> bool:
    """Print predictions beside what is measured; whether all are within the bar."""
    print("rates: " + ", ".join(f"{name} {value:.3g}" for name, value in asdict(rates).items()))
    good = True
    for name, case in CHECKED.items():
        n_layers, d, _, k, n_pos = case
        cost = step_cost(shape_of(*case), rates)
        run, batch = started(*case), drawn(n_layers, d, n_pos)
        ready = Batch(inputs=batch.inputs.clone(), outputs=batch.outputs.clone())
        run.fit_scales([batch])

        def step(run: RunState = run, batch: Batch = ready, k: int = k) -> None:
            take_step(run, run.normalised(batch), float(k), 0.0, 1e-4, 10**9)

        seconds = least_seconds(step)
        ratio = cost.seconds / seconds
        good = good and abs(ratio - 1) <= BAR
        shares = ", ".join(f"{part} {getattr(cost, part) / cost.seconds:.0%}" for part in
                           ("encode", "decode", "gradients", "optimizer", "rest"))  # fmt: skip
        print(f"{name}: predicted {cost.seconds:.3f} s a step, measured {seconds:.3f}: {ratio:.2f} ({shares})")
        del run, batch, ready
    return good


def tables(kinds: list[str], rates: dict[str, Rates]) -> None:
    """Print the plans of docs/plan.md, as Markdown."""
    for name, (n_layers, d, features, k, model) in MODELS.items():
        shape = shape_of(n_layers, d, features, k, 16384, model)
        print(f"\n### {name}\n\n{n_layers * features:,} features, {shape.parameters / 1e9:.1f} billion parameters, "
              f"{shape.flop_a_token / 1e9:.2f} GFLOP a token, {shape.state / 1e9:.0f} GB of state "
              f"({shape.parameters * 8 / 1e9:.0f} GB lean)\n")  # fmt: skip
        print("| devices | batch | moments | memory each | tokens/s | exchange | hours | price |\n" + "|---" * 8 + "|")
        for kind in kinds:
            least = least_devices(replace(shape, precision="lean"), KINDS[kind], buffer=BUFFER)
            for count in (1, 8, 64):
                whole = batched(shape, 32768 if count == 64 else 16384, TOKENS)
                both = [replace(whole, precision=precision) for precision in ("bfloat16", "lean")]
                plans = [plan_on(way, KINDS[kind], count, buffer=BUFFER, rates=rates.get(kind)) for way in both]
                plan = next((plan for plan in plans if plan.fits), plans[-1])
                bits = 16 if plan is plans[-1] else 32
                if not plan.fits:
                    words = f"{plan.memory_bytes / 1e9:,.0f} GB: too much, {least} do"
                    print(f"| {count} x {kind} | | 16 | {words} | | | | |")
                    continue
                print(f"| {count} x {kind} | {whole.batch:,} | {bits} | {plan.memory_bytes / 1e9:,.0f} GB | "
                      f"{plan.tokens_per_second:,.0f} | {plan.shares['exchange']:.0%} | {plan.hours:,.1f} | "
                      f"${plan.price:,.0f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare predictions with steps on this CPU")
    parser.add_argument("--kinds", default="H100,H200", help="devices to plan for")
    parser.add_argument("--rates", type=Path, help="a JSON file of measured rates by kind")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        sys.exit(0 if check(measured_rates()) else 1)
    rates = {} if arguments.rates is None else json.loads(arguments.rates.read_text())
    tables(arguments.kinds.split(","), {kind: Rates(**values) for kind, values in rates.items()})


if __name__ == "__main__":
    main()
