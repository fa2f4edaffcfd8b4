"""Attribution graphs: ours against circuit-tracer, interleaved, one thread, each run in a process of its own.

    make bench-trace                                    # sets up the peer's environment in .peer first
    .venv/bin/python benchmarks/trace.py [--pairs 7]

Builds the inputs and runs peer and ours by turns on the same model, dictionary and prompt, then ours with effects and
without. Prints medians of CPU
seconds and memory growth, each ratio beside its bar, the machine's one-thread GEMM rate, the sweep's floating-point
operations, how far the sweep is from that rate, and where the rest goes. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".peer"
INPUTS = PEER / "llama"
PEER_SCRIPT = Path(__file__).with_name("peer_trace.py")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Case:
    """One comparison. `batch` is the peer's best, measured among 16, 64 and 256; bars are ours over the peer's."""

    name: str
    kind: str
    tokens: int
    max_features: int | None
    batch: int
    time_bar: float
    memory_bar: float | None

    def options(self) -> list[str]:
        limit = [] if self.max_features is None else ["--max-features", str(self.max_features)]
        return [self.kind, "--tokens", str(self.tokens), *limit]


CASES = (
    Case("CLT, 16 tokens", "clt", 16, None, 16, 1 / 10, 1 / 2),
    Case("PLT, 16 tokens", "plt", 16, None, 16, 1 / 6, 1 / 2),
    Case("CLT, 64 tokens, 4096 features", "clt", 64, 4096, 16, 1 / 8, None),
)


EFFECTS_TIME, EFFECTS_MEMORY = 2.5, 2.2
"""How many times what values alone take values and effects together may take."""


# --- the peer -------------------------------------------------------------------------------------------------------


def prepare() -> None:
    """The inputs, made once in the peer's environment."""
    if not (PEER / "installed").exists():
        raise SystemExit("the peer's environment is missing: run make bench-trace")
    if not (INPUTS / "clt/config.yaml").exists():
        subprocess.run([PEER / "bin/python", PEER_SCRIPT, "build", INPUTS], check=True)


def peer_run(case: Case) -> dict[str, float]:
    return _run([PEER / "bin/python", PEER_SCRIPT, "trace", INPUTS, *case.options(), "--batch", str(case.batch)])


def our_run(case: Case, *more: str) -> dict[str, Any]:
    return _run([sys.executable, __file__, "--one", *case.options(), *more])


def _run(command: list[Any]) -> dict[str, Any]:
    done = subprocess.run([*map(str, command)], env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- ours, in a process of its own ----------------------------------------------------------------------------------


def one(kind: str, tokens: int, max_features: int | None, look: str | None, effects: bool) -> dict[str, Any]:
    """One measured run after the same warm-up as the peer's; with `look`, the operations or the profile of a run."""
    import torch

    from clew.attribution.trace import trace
    from clew.dictionary.dictionary import Dictionary
    from clew.subject.subject import Subject

    torch.set_num_threads(1)
    subject, dictionary = Subject.load(INPUTS / "model"), Dictionary.load(INPUTS / kind)
    ids = [1, *range(10, 9 + tokens)]

    def run() -> Any:
        return trace(subject, dictionary, ids, max_features=max_features, effects=effects)

    trace(subject, dictionary, ids[:4], effects=effects)
    if look == "operations":
        return {"flop": _operations(run), "gemm_rate": _gemm_rate()}
    if look == "products":
        return _products(run)
    if look == "profile":
        run()
        return _profile(run)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
    start = time.process_time()
    graph = run()
    seconds = time.process_time() - start
    grown = _memory("VmHWM") - before
    total = graph.rows.sum(1) + graph.row_offsets.sum(1)
    worst = float((total - graph.values).abs().max() / graph.values.abs().max())
    return {"cpu_seconds": seconds, "memory_mb": grown, "rows": len(graph.rows), "identity": worst}


def _memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _gemm_rate(size: int = 1024, repeats: int = 20) -> float:
    """Operations a CPU second of one thread in one large float32 product; the best of several."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - start)
    return 2 * size**3 / best


def _operations(run: Callable[[], Any]) -> int:
    """Multiplications and additions of every matrix product inside the sweep, as it ran."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clew.attribution.sweep import Sweep

    total, sweep = 0, Sweep.run

    def counted(*args: Any) -> None:
        nonlocal total
        mapping = {torch.ops.aten.addmm_: lambda c, a, b, **rest: 2 * a[0] * a[1] * b[1]}  # the only one it leaves out
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            sweep(*args)
        total += counter.get_total_flops()

    Sweep.run = counted  # type: ignore[method-assign]
    try:
        run()
    finally:
        Sweep.run = sweep  # type: ignore[method-assign]
    return total


def _products(run: Callable[[], Any], repeats: int = 5) -> dict[str, float]:
    """CPU seconds of the whole, and of every matrix product inside its sweep run by itself on operands of its own."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from clew.attribution.sweep import Sweep

    shapes: dict[Any, int] = defaultdict(int)
    sweep = Sweep.run

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.overloadpacket.__name__ in ("mm", "bmm", "addmm", "addmm_", "mv", "addmv", "addmv_"):
                shapes[tuple((t.shape, t.stride()[-1] == 1) for t in args if isinstance(t, torch.Tensor))[-2:]] += 1
            return function(*args, **kwargs or {})

    def watched(*args: Any) -> None:
        with Products():
            sweep(*args)

    Sweep.run = watched  # type: ignore[method-assign]
    try:
        run()
    finally:
        Sweep.run = sweep  # type: ignore[method-assign]

    def seconds(call: Callable[[], Any]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    alone = 0.0
    for factors, count in shapes.items():
        a, b = (torch.randn(s) if straight else torch.randn(s).mT.contiguous().mT for s, straight in factors)
        out = torch.matmul(a, b)
        alone += count * min(seconds(lambda a=a, b=b, out=out: torch.matmul(a, b, out=out)) for _ in range(3))
    return {"alone": alone, "whole": statistics.median(seconds(run) for _ in range(repeats))}


def _profile(run: Callable[[], Any]) -> dict[str, float]:
    """CPU seconds by part, each without the parts inside it."""
    from clew.attribution import sweep
    from clew.attribution.graph_rows import GraphRows
    from clew.attribution.sources import Sources
    from clew.dictionary.dictionary import Dictionary
    from clew.subject.recording import Attend
    from clew.subject.subject import Subject

    parts: list[tuple[str, Any, str]] = [
        ("model run and its steps", Subject, "record"),
        ("encode", Dictionary, "encode"),
        ("gather rows", Dictionary, "encoder_rows"),
        ("gather rows", Dictionary, "decoder_rows"),
        ("lay out sources", Sources, "__init__"),
        ("attention transposes", Attend, "transpose"),
        ("attention transposes", Attend, "transpose_at"),
        ("contraction", sweep._Walk, "_contract"),
        ("ranking by influence", GraphRows, "_most_influential"),
        ("keeping columns", GraphRows, "_keep_columns"),
        ("keeping columns", GraphRows, "_filled"),
        ("keeping columns", GraphRows, "_close"),
        ("the rest of the sweep", sweep.Sweep, "run"),
    ]
    spent: dict[str, float] = defaultdict(float)
    inside: list[float] = []

    def timed(label: str, function: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            inside.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.process_time() - start
                spent[label] += whole - inside.pop()
                if inside:
                    inside[-1] += whole

        return wrapper

    before = [getattr(owner, name) for _, owner, name in parts]
    for (label, owner, name), function in zip(parts, before, strict=True):
        setattr(owner, name, timed(label, function))
    try:
        timed("the rest", run)()
    finally:
        for (_, owner, name), function in zip(parts, before, strict=True):
            setattr(owner, name, function)
    return dict(spent)


# --- the comparison -------------------------------------------------------------------------------------------------


def compare(case: Case, pairs: int) -> bool:
    """Run the pairs, print medians and bars; whether every bar is met."""
    theirs, ours = [], []
    for number in range(pairs):
        theirs.append(peer_run(case))
        ours.append(our_run(case))
        print(f"\r{case.name}: pair {number + 1} of {pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    met = True
    for what, key, unit, bar in (
        ("CPU", "cpu_seconds", "s", case.time_bar),
        ("memory", "memory_mb", "MB", case.memory_bar),
    ):
        peer = statistics.median(run[key] for run in theirs)
        mine = statistics.median(run[key] for run in ours)
        verdict = ""
        if bar is not None:
            met &= mine <= bar * peer
            verdict = f"   bar 1/{1 / bar:.3g}: {'pass' if mine <= bar * peer else 'FAIL'}"
        print(
            f"{case.name:30} {what:6} peer {peer:8.3f} {unit}   ours {mine:8.3f} {unit}   1/{peer / mine:.1f}{verdict}"
        )
    worst = max(run["identity"] for run in ours)
    print(f"{case.name:30} active {theirs[0]['active']}, our rows {ours[0]['rows']}, identity {worst:.0e}")
    return met


def compare_effects(case: Case, pairs: int) -> bool:
    """Values and effects together beside values alone, by turns; whether both bars are met."""
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for _ in range(pairs):
        for effects, found in runs.items():
            found.append(our_run(case, *(["--effects"] if effects else [])))
    met = True
    for what, key, bar in (("CPU", "cpu_seconds", EFFECTS_TIME), ("memory", "memory_mb", EFFECTS_MEMORY)):
        alone, both = (statistics.median(run[key] for run in runs[effects]) for effects in (False, True))
        met &= both <= bar * alone
        verdict = "pass" if both <= bar * alone else "FAIL"
        print(
            f"{case.name:30} {what:6} values {alone:8.3f}   with effects {both:8.3f}   {both / alone:.2f} times   "
            f"bar {bar}: {verdict}"
        )
    return met


def explain(case: Case) -> None:
    """The sweep's operations against the machine's rate, and where the time goes."""
    found, profile = our_run(case, "--look", "operations"), our_run(case, "--look", "profile")
    ideal, total = found["flop"] / found["gemm_rate"], sum(profile.values())
    swept = sum(profile.get(k, 0.0) for k in ("attention transposes", "contraction", "the rest of the sweep"))
    print(
        f"{case.name}: one thread multiplies {found['gemm_rate'] / 1e9:.1f} GFLOP/s, "
        f"the sweep does {found['flop'] / 1e9:.2f} GFLOP"
    )
    print(
        f"  at that rate {ideal:.3f} s; the sweep takes {swept:.3f} s, {swept / ideal:.1f} times that; "
        f"the whole takes {total:.3f} s"
    )
    products = our_run(case, "--look", "products")
    times = products["whole"] / products["alone"]
    print(f"  its products alone {products['alone']:.3f} s; the whole {products['whole']:.3f} s, {times:.1f} times")
    for label, seconds in sorted(profile.items(), key=lambda item: -item[1]):
        print(f"  {label:26} {seconds:.3f} s  {seconds / total:4.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--one", choices=["plt", "clt"], help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=16, help=argparse.SUPPRESS)
    parser.add_argument("--max-features", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--effects", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--look", choices=["operations", "products", "profile"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.tokens, given.max_features, given.look, given.effects)))
        return
    prepare()
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, one thread a process, "
        f"medians of {given.pairs} pairs"
    )
    met = [compare(case, given.pairs) for case in CASES]
    met += [compare_effects(case, given.pairs) for case in CASES]
    for case in CASES:
        explain(case)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
