"""Speed of a training step: the sparse path against a good dense one. `make bench-train`.

Dense: TopK by `torch.topk`, activations scattered into a dense matrix, one matrix product a layer for all the layers
it writes to, automatic differentiation, fused Adam; in float32, and with its products in bfloat16. Sparse: the
trainer's own step, in both precisions. All work on the same weights and see the same batches, by turns in one
process, so that whatever else the machine does weighs on all alike; their losses are compared. A step is the whole of
it: forward, backward, optimizer. Figures are medians, by the clock and by the CPU time of all threads.

Idle threads of torch must not spin while ours work: OMP_WAIT_POLICY=PASSIVE, as `make` and `clew` set it. The dense
path gains from it too.

    python benchmarks/train.py [--cases A,B,C] [--rounds 5] [--memory]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import GPT2Config, GPT2LMHeadModel

from clew.kernels.types import Adam, Pairs, Terms
from clew.subject.subject import Subject
from clew.training import encode_documents, train_dictionary
from clew.training.activations import Batch
from clew.training.config import DictionaryConfig
from clew.training.run_state import RunState
from clew.training.selection import activate, selecting
from clew.training.step import take_step

CASES = {"A": (6, 256, 4096, 16, 2048), "B": (12, 768, 8192, 16, 1024), "C": (1, 768, 49152, 16, 1024)}
BARS = {"A": 9, "B": 12, "C": 3}
RATE = 1e-4


class Dense:
    """A dense TopK dictionary on the weights of a run: shared, so that both fit into memory."""

    def __init__(self, run: RunState) -> None:
        self.run, self.half = run, False
        self.encoder, self.bias, self.decoder = (
            [getattr(own, name).weight.detach().requires_grad_() for own in run.layers]
            for name in ("encoder", "bias", "decoder")
        )
        self.decoder_bias = run.decoder_bias.weight.detach().requires_grad_()
        weights = [*self.encoder, *self.bias, *self.decoder, self.decoder_bias]
        self.adam = torch.optim.Adam(weights, lr=RATE, betas=(0.9, 0.99), fused=True)

    def step(self, batch: Batch) -> float:
        loss = self.loss(batch)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad()
        return float(loss.detach())

    def loss(self, batch: Batch) -> Tensor:
        n_layers, n_pos, d = batch.inputs.shape
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            out = self.decoder_bias.flatten().repeat(n_pos, 1)
            for i in range(n_layers):
                pre = linear(batch.inputs[i], self.encoder[i], self.bias[i][:, 0])
                best = pre.topk(self.run.config.k, sorted=False)
                activations = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
                out[:, self.run.columns(i)] += activations @ self.decoder[i]
        wanted = batch.outputs.transpose(0, 1).reshape(n_pos, -1)
        return (wanted - out).square().sum() / (n_pos * d)


def made(case: str, precision: str = "float32") -> RunState:
    """A run of random weights."""
    n_layers, d, features, k, batch = CASES[case]
    config = DictionaryConfig(features=features, k=k, batch=batch, nonlinearity="topk", precision=precision)
    return RunState(n_layers, d, config)


def drawn(case: str, seed: int) -> Batch:
    """Inputs with a few directions in common, as activations have, and outputs that depend on them."""
    n_layers, d, _, _, n_pos = CASES[case]
    g = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(-1 & 0xFFFF)
    sources = torch.randn(n_pos, d // 2, generator=g) * (torch.rand(n_pos, d // 2, generator=g) < 0.1)
    inputs = torch.stack([sources @ torch.randn(d // 2, d, generator=fixed) for _ in range(n_layers)])
    inputs = inputs / inputs.std() + 0.3 * torch.randn(n_layers, n_pos, d, generator=g)
    outputs = (inputs @ torch.randn(d, d, generator=fixed)).relu()
    return Batch(inputs=inputs, outputs=(outputs - outputs.mean(1, keepdim=True)) / outputs.std())


def sparse_step(run: RunState, batch: Batch) -> float:
    return take_step(run, batch, float(run.config.k), 0.0, RATE, 10**9).loss


def seconds(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of all threads together."""
    started, busy = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - started, time.process_time() - busy


def compare(case: str, rounds: int) -> None:
    """Print tokens a second of all four, by the clock and a CPU second, their ratios and first losses."""
    n_pos, run = CASES[case][-1], made(case)
    dense: Dense | None = Dense(run)
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):  # the first one warms up
        batch = drawn(case, number)
        for precision in ("float32", "bfloat16"):
            run.config = replace(run.config, precision=precision)
            assert dense is not None
            dense.half = precision == "bfloat16"
            for path, step, times in (("dense", dense.step, 1), ("sparse", partial(sparse_step, run), 3)):
                spent = [seconds(partial(step, batch)) for _ in range(times)]
                taken.setdefault((path, precision), []).extend(spent if number else [])
    dense = None
    rates = {
        key: [n_pos / statistics.median(side) for side in zip(*times, strict=True)] for key, times in taken.items()
    }
    for (path, precision), (clock, busy) in rates.items():
        print(f"  {path:6} {precision:8} {clock:8,.0f} tokens/s, {busy:8,.0f} a CPU second")
    for precision in ("float32", "bfloat16"):
        pair = zip(rates["sparse", precision], rates["dense", precision], strict=True)
        clock, busy = (ours / theirs for ours, theirs in pair)
        print(f"  {precision}: {clock:.1f} times as fast by the clock, {busy:.1f} by CPU seconds (bar {BARS[case]})")
        run.config = replace(run.config, precision=precision)
        shares(run, case, n_pos / rates["sparse", precision][1])


def same_loss(case: str) -> None:
    """Print the first losses from the same weights on the same batch."""
    run, batch = made(case), drawn(case, 0)
    with torch.no_grad():
        wanted = float(Dense(run).loss(batch))
    print(f"  first loss: dense {wanted:.5f}, sparse {sparse_step(run, batch):.5f}")


def shares(run: RunState, case: str, step: float) -> None:
    """Print where a step's CPU time goes: each part alone, as often as a step needs it."""
    batch = drawn(case, 0)
    raw = Batch(inputs=batch.inputs * 2 + 1, outputs=batch.outputs * 2 + 1)
    run.fit_scales([raw])
    active = activate(run, batch.inputs, float(run.config.k))
    layers, slope = range(run.n_layers), torch.randn(CASES[case][-1], run.n_layers * run.d_model) * 1e-6

    narrows = run.config.precision == "float32" and run.kernels.narrows()  # its products are in 16 bits too

    def encode(dtype: torch.dtype | None = torch.bfloat16 if narrows else None) -> None:
        for i in layers:
            selecting(run, i, batch.inputs[i], dtype)

    def decode() -> None:
        for i in layers:
            a, own = active[i], run.layers[i]
            run.kernels.decode(a.pairs, a.value, own.decoder.weight, slope[:, run.columns(i)])

    def update(alone: bool) -> None:
        """With the optimizer; or the optimizer on the same rows alone, by a gradient that needs no pairs."""
        for i in layers:
            a, own = active[i], run.layers[i]
            pairs, value = a.pairs, a.value
            shrink = torch.zeros_like(own.norm)
            if alone:
                shrink, empty = (pairs.counts > 0) * 1e-20, torch.empty(0, dtype=torch.long)
                pairs = Pairs.sorted(empty, empty, pairs.n_pos, pairs.n_features)
                value = value[:0]
            terms = Terms(
                activation=value,
                gate=torch.ones_like(value),
                extra=torch.zeros_like(value),
                shrink=shrink,
                drift=torch.zeros_like(own.norm),
                penalty=torch.zeros(()),
            )
            slope_part = slope[:, run.columns(i)]
            run.kernels.update(pairs, terms, slope_part, batch.inputs[i], own, Adam(rate=0.0, step=9))

    parts = {
        "encoder": encode,
        "decode": decode,
        "backward": lambda: update(False),
        "optimizer": lambda: update(True),
        "data": lambda: run.normalised(raw),
    }
    times = {name: statistics.median(seconds(part)[1] for _ in range(5)) for name, part in parts.items()}
    times["backward"] -= times["optimizer"]
    times["rest"] = step - sum(times.values())
    print("    " + ", ".join(f"{name} {t / step:.0%}" for name, t in times.items()))
    print(f"    the encoder's products alone: {step / times['encoder']:.2f} times as fast as the step")
    if narrows:
        whole = statistics.median(seconds(partial(encode, torch.float32))[1] for _ in range(5))
        print(f"    the encoder's products in float32 would be {step / whole:.2f} times as fast")


class Marks:
    """As much of a tokenizer as ids need: token 0 begins a document."""

    all_special_ids = (0,)
    bos_token_id = 0


def memory(case: str, precision: str) -> None:
    """Print the peak of resident memory of a process that trains a CLT on a random GPT-2 of the case's size.

    All that such a run holds: the model, the buffer, the trainer as `clew train` sets it (BatchTopK), and at the end
    the dictionary and its file.
    """
    n_layers, d, features, k, n_pos = CASES[case]
    shape = GPT2Config(n_layer=n_layers, n_embd=d, n_head=d // 64)
    subject = Subject(GPT2LMHeadModel(shape).eval().requires_grad_(False), Marks(), "random")  # type: ignore[arg-type]
    first, g = torch.zeros(1, dtype=torch.long), torch.Generator().manual_seed(0)
    rows = [torch.cat([first, torch.randint(1, shape.vocab_size, (255,), generator=g)]) for _ in range(160)]
    config = DictionaryConfig(features=features, k=k, batch=n_pos, steps=2, precision=precision)  # type: ignore[arg-type]
    said = f"  {case} {precision}: the model and libraries {peak():.2f} GB"
    with tempfile.TemporaryDirectory() as folder:
        for _ in train_dictionary(subject, encode_documents(subject, rows), config, folder, report_every=1):
            pass
        print(f"{said}, training at most {peak():.2f}")


def peak() -> float:
    """The most memory that this process has had, in units of 2^30 bytes."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="A,B,C", help="cases to compare")
    parser.add_argument("--rounds", type=int, default=5, help="batches measured")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(*arguments.memory.split(","))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for case in arguments.cases.split(","):
        n_layers, d, features, k, batch = CASES[case]
        print(f"{case}: {n_layers} layers, d_model {d}, {features:,} features a layer, k {k}, batch {batch:,}")
        same_loss(case)
        compare(case, arguments.rounds)
    for precision in ("bfloat16", "lean"):
        subprocess.run([sys.executable, __file__, "--memory", f"B,{precision}"], check=True)


if __name__ == "__main__":
    main()
