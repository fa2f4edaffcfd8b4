"""What a GPU does, in one run of ten minutes: `bash benchmarks/gpu.sh`, which also runs the kernels' tests.

Parts, each with a time limit and a bar; a part that fails is written down and the next one begins:

    loss       200 steps of a smaller shape by the CPU's kernels and by Triton's, from the same weights on the same
               batches: sums of squares of errors within 1 %
    kernels    bytes a second of decoding, of gradients with the optimizer, over those of a large copy: at least 70 %
    training   tokens a second of the 590,000-feature CLT of GPT-2 small, bfloat16, made-up activations: 100,000
    trace      64 tokens with 8,192 rows on GPT-2's shape with that CLT in bfloat16: under 1 s; and its edges beside the
               CPU's on 12 tokens: within 1e-4 of the largest

    python benchmarks/gpu.py --out FILE [--device cuda] [--parts loss,kernels] [--tiny]

`--tiny` takes small shapes, to try the script itself; with `--device cpu` it needs no GPU.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

import scale
from plan import drawn, shape_of

from clew.attribution.trace import trace
from clew.kernels.types import Adam, Pairs, Terms
from clew.runs.cost import step_cost
from clew.runs.devices import KINDS
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState
from clew.training.step import take_step


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes: layers, width, features a layer, k, positions."""

    loss: tuple[int, int, int, int, int] = (12, 768, 2048, 16, 1024)
    steps: int = 200
    training: tuple[int, int, int, int, int] = (12, 768, 49152, 16, 16384)
    seconds: float = 40.0
    tokens: int = 64
    rows: int = 8192
    model: str = "gpt2"


TINY = Sizes(loss=(2, 32, 128, 4, 64), steps=5, training=(2, 32, 256, 4, 128), seconds=1.0, tokens=6, rows=64,
             model="minnow")  # fmt: skip


def settled(device: torch.device) -> float:
    """Seconds on the clock when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device: torch.device, function: Callable[[], object], times: int = 7) -> float:
    """The median of several runs, behind two that compile and warm up."""
    spent = []
    for _ in range(times + 2):
        began = settled(device)
        function()
        spent.append(settled(device) - began)
    return sorted(spent[2:])[times // 2]


def moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(inputs=batch.inputs.to(device), outputs=batch.outputs.to(device))


def run_of(case: tuple[int, int, int, int, int], device: torch.device, precision: str) -> RunState:
    n_layers, d, features, k, n_pos = case
    config = DictionaryConfig(features=features, k=k, batch=n_pos, nonlinearity="topk", precision=precision)  # type: ignore[arg-type]
    return RunState(n_layers, d, config, device=device)


def loss(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    n_layers, d, _, k, n_pos = sizes.loss
    g = torch.Generator().manual_seed(1)
    maps = torch.randn(n_layers, d, d, generator=g) * d**-0.5
    errors = {}
    for place in (torch.device("cpu"), device):
        run, g = run_of(sizes.loss, place, "bfloat16"), torch.Generator().manual_seed(2)
        for _ in range(sizes.steps):
            inputs = torch.randn(n_layers, n_pos, d, generator=g)
            batch = moved(Batch(inputs=inputs, outputs=(inputs @ maps).relu()), place)
            nmse = take_step(run, batch, float(k), 0.0, 1e-3, 10**9).nmse
        errors[str(place)] = sum(nmse)
    first, last = errors["cpu"], errors[str(device)]
    return {"errors": errors, "difference": abs(last / first - 1), "bar": 0.01, "met": abs(last / first - 1) <= 0.01}


def kernels(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    n_layers, d, features, k, n_pos = sizes.training
    run, width = run_of((1, d, features, k, n_pos), device, "bfloat16"), n_layers * d
    g = torch.Generator().manual_seed(0)
    layer = run.layers[0]
    weight = torch.randn(features, width, device=device)
    decoder = type(layer.decoder).of(weight, torch.float32)
    layer = replace(layer, decoder=decoder, norm=weight.norm(dim=1))
    index = torch.stack([torch.randint(features, (k,), generator=g).sort().values for _ in range(n_pos)]).flatten()
    pairs = Pairs.of_counts(torch.full((n_pos,), k), index, features)
    pairs = Pairs(position=pairs.position.to(device), index=index.to(device), starts=pairs.starts.to(device),
                  n_features=features)  # fmt: skip
    value, zero = torch.rand(len(pairs), device=device), torch.zeros(features, device=device)
    terms = Terms(activation=value, gate=torch.ones_like(value), extra=torch.zeros_like(value), shrink=zero, drift=zero,
                  penalty=value.sum())  # fmt: skip
    slope, x = torch.randn(n_pos, width, device=device), torch.randn(n_pos, d, device=device)
    source = torch.empty(max(1 << 20, weight.numel()), device=device)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / seconds(device, lambda: target.copy_(source))
    concerned = int((pairs.counts > 0).sum())
    moments = concerned * (width + d) * 24
    bytes_moved = {
        "decode": len(pairs) * width * 4 + 2 * slope.nbytes,
        "update": len(pairs) * (width + d) * 4 + moments,
    }
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: run.kernels.decode(pairs, value, weight, slope),
        "update": lambda: run.kernels.update(pairs, terms, slope * 1e-9, x * 1e-9, layer, Adam(rate=0.0, step=9)),
    }
    rates = {name: bytes_moved[name] / seconds(device, call) for name, call in calls.items()}
    pre = torch.randn(n_pos // 8, features, device=device).bfloat16()
    picking = pre.numel() / seconds(device, lambda: run.kernels.top(pre, k))
    short, low = layer.encoder.weight.bfloat16(), x.bfloat16()
    product = 2 * n_pos * features * d / seconds(device, lambda: low @ short.T)
    shares = {name: rate / copy for name, rate in rates.items()}
    facts = {"copy": copy, "rates": rates, "shares": shares, "picked_a_second": picking, "product": product}
    if run.kernels.fuses():
        cut = torch.full((features,), 3.0, device=device)
        listing = seconds(device, lambda: run.kernels.encode(low, short, zero, k, cut))
        facts["fused_product"] = 2 * n_pos * features * d / listing
    return facts | {"bar": 0.7, "met": min(shares.values()) >= 0.7}


def training(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    n_layers, d, _, k, n_pos = sizes.training
    run, batch = run_of(sizes.training, device, "bfloat16"), moved(drawn(n_layers, d, n_pos), device)
    run.fit_scales([batch])

    def step() -> None:
        take_step(run, run.normalised(batch), float(k), 0.0, 1e-4, 10**9)

    for _ in range(3):
        step()
    began, steps = settled(device), 0
    while settled(device) - began < sizes.seconds:
        step()
        steps += 1
    rate = steps * n_pos / (settled(device) - began)
    told = n_pos / step_cost(shape_of(*sizes.training), KINDS["H200"].rates("bfloat16")).seconds
    facts: dict[str, Any] = {"tokens_per_second": rate, "planned_for_an_H200": told, "bar": 100_000}
    if device.type == "cuda":
        facts["memory"] = torch.cuda.max_memory_allocated(device)
    return facts | {"met": rate >= 100_000}


def tracing(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    shape = scale.SHAPES[sizes.model]
    with tempfile.TemporaryDirectory() as folder:
        dictionary = scale.in_memory(scale.dictionary_of(shape, Path(folder) / "d"))
    subject = scale.subject_of(shape)
    ids = torch.randint(2, shape.vocabulary, (sizes.tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    few = ids[:12]
    plain = trace(subject, dictionary, few, max_features=512)
    subject.model.to(device)
    there = dictionary.to(device)
    graph = trace(subject, there, few, max_features=512)
    largest = float(plain.adjacency.abs().max())
    same = graph.adjacency.shape == plain.adjacency.shape
    off = float((graph.adjacency.cpu() - plain.adjacency).abs().max()) / largest if same else float("inf")
    spent = seconds(device, lambda: trace(subject, there, ids, max_features=sizes.rows), times=3)
    return {"seconds": spent, "off": off, "bar": 1.0, "met": spent < 1.0 and off <= 1e-4}


PARTS = {"loss": loss, "kernels": kernels, "training": training, "trace": tracing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the results are written, as JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--tiny", action="store_true", help="small shapes, to try the script")
    arguments = parser.parse_args()
    device, sizes = torch.device(arguments.device), TINY if arguments.tiny else Sizes()
    results: dict[str, Any] = {"torch": torch.__version__, "device": str(device)}
    if device.type == "cuda":
        results["name"] = torch.cuda.get_device_name(device)
    for name in arguments.parts.split(","):
        began = time.perf_counter()
        try:
            results[name] = PARTS[name](sizes, device)
        except Exception as error:
            traceback.print_exc()
            results[name] = {"error": repr(error), "met": False}
        results[name]["took"] = time.perf_counter() - began
        print(name, json.dumps(results[name]), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(results, indent=1))
    sys.exit(0 if all(results[name]["met"] for name in arguments.parts.split(",")) else 1)


if __name__ == "__main__":
    main()
