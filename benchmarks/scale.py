"""How a trace grows: published shapes with random weights, through the code that traces real ones. `make bench-scale`.

Cases, each run in a process of its own, one thread, CPU seconds and anonymous memory (files that are mapped into memory
are the system's to drop):

    gpt2     GPT-2 small with a CLT of 589,824 features in bfloat16, 12 tokens, 4,096 rows: from mapped files, and with
             every weight of the dictionary in memory, by turns
    llama    Llama 3.2 1B in bfloat16 with PLTs of 16,384 features a layer, 12 tokens
    gemma    Gemma 2 2B, likewise
    long     2,000 tokens on a model of minnow's size, 512 tokens on GPT-2 small
    growth   exponents in tokens, features and layers, on a GPT-2 of width 256

Dictionaries are written once into a folder (`--folder`, 13 GB) in the native layout. Their rows are normal numbers of
length one, so that pre-activations of a normed stream are normal too; a threshold of 3.1 leaves one feature in a
thousand active. Exit code 1 when a bar is missed.

    python benchmarks/scale.py --folder DIR [--cases gpt2,llama,gemma,long,growth] [--rounds 3] [--delete]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
MEMORY_BAR, TIME_BAR = 3.0, 1.5
"""GB beyond mapped files, and how many times the CPU time with all weights in memory."""
THRESHOLD = 3.1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and its dictionary."""

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int = 0
    head_dim: int = 0
    mlp: int
    vocabulary: int
    positions: int = 1024
    features: int
    kind: str = "plt"
    active: float = THRESHOLD
    dtype: str = "bfloat16"


GPT2 = {"architecture": "gpt2", "layers": 12, "width": 768, "heads": 12, "mlp": 3072, "vocabulary": 50257}
SHAPES = {
    "gpt2": Shape(**GPT2, features=49152, kind="clt", dtype="float32"),
    "llama": Shape(
        **{"architecture": "llama", "layers": 16, "width": 2048, "heads": 32, "kv_heads": 8, "head_dim": 64},
        **{"mlp": 8192, "vocabulary": 128256, "features": 16384},
    ),
    "gemma": Shape(
        **{"architecture": "gemma2", "layers": 26, "width": 2304, "heads": 8, "kv_heads": 4, "head_dim": 256},
        **{"mlp": 9216, "vocabulary": 256000, "features": 16384},
    ),
    "gpt2-plt": Shape(**GPT2, features=16384, dtype="float32"),
    "minnow": Shape(
        **{"architecture": "gpt2", "layers": 6, "width": 128, "heads": 4, "mlp": 512, "vocabulary": 3072},
        **{"positions": 2048, "features": 2048, "kind": "clt", "dtype": "float32"},
    ),
}
"""Widths and counts as published; `minnow` has the bundled model's depth and width with a longer context."""


def growth_shape(layers: int = 6) -> Shape:
    return Shape(
        **{"architecture": "gpt2", "layers": layers, "width": 256, "heads": 8, "mlp": 1024, "vocabulary": 4096},
        **{"features": 8192, "dtype": "float32"},
    )


# --- models and dictionaries ----------------------------------------------------------------------------------------


def subject_of(shape: Shape) -> Any:
    """A random model with matrices that keep the size of what they are given."""
    import torch
    import transformers as hf
    from transformers.initialization import no_init_weights

    from clew.subject.subject import Subject

    sizes = {"vocab_size": shape.vocabulary, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": None}
    if shape.architecture == "gpt2":
        config: Any = hf.GPT2Config(
            **sizes, n_layer=shape.layers, n_embd=shape.width, n_head=shape.heads, n_positions=shape.positions
        )
    else:
        config = {"llama": hf.LlamaConfig, "gemma2": hf.Gemma2Config}[shape.architecture](
            **sizes,
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=shape.mlp,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            tie_word_embeddings=True,
        )
    torch.manual_seed(0)
    with no_init_weights():
        model = hf.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, shape.dtype))
    pool = torch.randn(1 << 24)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            is_gain = name.endswith("weight") and shape.architecture != "gemma2"  # Gemma adds one to its gains
            torch.nn.init.constant_(parameter, float(is_gain))
            continue
        is_turned = shape.architecture == "gpt2" and not name.startswith(("transformer.wte", "transformer.wpe"))
        scale = 1.0 if "embed" in name or "wte" in name else parameter.shape[0 if is_turned else 1] ** -0.5
        with torch.no_grad():
            cut(parameter.data, pool, scale)
    return Subject.load(model)


def cut(out: Any, pool: Any, scale: float) -> None:
    """Fill with pieces of a pool of random numbers: what is new in each is where it begins."""
    import torch

    flat = out.view(-1)
    for start in range(0, len(flat), len(pool) // 2):
        end = min(len(flat), start + len(pool) // 2)
        first = int(torch.randint(len(pool) - (end - start), ()))
        flat[start:end] = (pool[first : first + end - start] * scale).to(flat.dtype)


def dictionary_of(shape: Shape, folder: Path) -> Any:
    """The dictionary of a shape, mapped from its files; written before where they are missing."""
    import torch

    from clew import files
    from clew.dictionary.dictionary import Dictionary
    from clew.dictionary.layouts import native

    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        pool = torch.randn(1 << 24)
        writes = [list(range(i, shape.layers)) if shape.kind == "clt" else [i] for i in range(shape.layers)]
        for i, written in enumerate(writes):
            encoder = torch.empty(shape.features, shape.width, dtype=torch.bfloat16)
            decoder = torch.empty(shape.features, len(written), shape.width, dtype=torch.bfloat16)
            cut(encoder, pool, shape.width**-0.5)
            cut(decoder, pool, 0.1 * shape.width**-0.5)
            tensors = {
                **{"encoder": encoder, "decoder": decoder, "bias": torch.zeros(shape.features)},
                **{"threshold": torch.full((shape.features,), shape.active), "decoder_bias": torch.zeros(shape.width)},
            }
            files.save_tensors(folder / f"layer_{i}.safetensors", tensors)
        layers = {str(i): {"writes": w, "nonlinearity": {"name": "jumprelu"}} for i, w in enumerate(writes)}
        head = native.ENVELOPE.head(version=1)
        config = {"kind": shape.kind, "name": "random", "n_layers": shape.layers, "d_model": shape.width}
        sites = {"read_site": "mlp_in", "write_site": "mlp_out"}
        files.write_json(folder / "config.json", {**head, **config, **sites, "layers": layers, "provenance": {}})
    return Dictionary.load(folder)


def in_memory(dictionary: Any) -> Any:
    """The same dictionary with a copy of every weight in memory."""
    from dataclasses import replace

    layers = {i: layer.with_tensors({n: t.clone() for n, t in layer.tensors().items()}) for i, layer in
              dictionary.layers.items()}  # fmt: skip
    return replace(dictionary, layers=layers)


# --- one run, in a process of its own -------------------------------------------------------------------------------


class Peak:
    """The most anonymous memory of this process while a block runs, in bytes, looked at every few milliseconds."""

    def __enter__(self) -> Peak:
        self.before = self.most = anonymous()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.ended.wait(0.01):
            self.most = max(self.most, anonymous())

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measured(subject: Any, dictionary: Any, n_tokens: int, rows: int) -> dict[str, Any]:
    """One trace, after a small one that warms up."""
    import torch

    from clew.attribution.trace import trace

    n_vocabulary = len(subject.unembedding)
    ids = [1, *(2 + torch.arange(n_tokens - 1) * 37 % (n_vocabulary - 2)).tolist()]
    trace(subject, dictionary, ids[:4], max_features=16)
    with Peak() as memory:
        start = time.process_time()
        graph = trace(subject, dictionary, ids, max_features=rows, targets=[3, 5])
        seconds = time.process_time() - start
    totals = graph.rows.sum(1, dtype=torch.float64) + graph.row_offsets.sum(1, dtype=torch.float64)
    return {
        "seconds": seconds,
        "peak": memory.most / 1e9,
        "grown": (memory.most - memory.before) / 1e9,
        "active": graph.settings["n_active"],
        "rows": len(graph.rows),
        "identity": float((totals - graph.values.double()).abs().max() / graph.values.abs().max()),
    }


def one(name: str, folder: Path, n_tokens: int, rows: int, layers: int, resident: bool) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    shape = growth_shape(layers) if name == "growth" else SHAPES[name]
    subject = subject_of(shape)
    dictionary = dictionary_of(shape, folder / (f"growth-{layers}" if name == "growth" else name))
    return measured(subject, in_memory(dictionary) if resident else dictionary, n_tokens, rows)


def run(name: str, folder: Path, n_tokens: int, rows: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--folder", folder, "--tokens", n_tokens, "--rows", rows, *more]
    done = subprocess.run([*map(str, command)], env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def say(label: str, result: dict[str, Any]) -> None:
    print(
        f"{label:44} {result['seconds']:8.1f} s CPU   {result['peak']:5.2f} GB, {result['grown']:5.2f} of it by the "
        f"trace   {result['active']:,} active, {result['rows']:,} rows, identity {result['identity']:.0e}",
        flush=True,
    )


# --- the cases ------------------------------------------------------------------------------------------------------


def gpt2(folder: Path, rounds: int) -> bool:
    """Mapped files against everything in memory, by turns; whether both bars are met."""
    run("gpt2", folder, 4, 16)  # writes the files and reads them into the system's cache
    seconds: dict[str, list[float]] = {"mapped": [], "resident": []}
    peak = 0.0
    for _ in range(rounds):
        for kind, times in seconds.items():
            result = run("gpt2", folder, 12, 4096, *(["--resident"] if kind == "resident" else []))
            say(f"GPT-2 small, CLT 590K, 12 tokens, {kind}", result)
            times.append(result["seconds"])
            peak = max(peak, result["peak"]) if kind == "mapped" else peak
    ratio = statistics.median(seconds["mapped"]) / statistics.median(seconds["resident"])
    print(f"  {peak:.2f} GB beyond mapped files (bar {MEMORY_BAR}), {ratio:.2f} times the CPU time (bar {TIME_BAR})")
    return peak <= MEMORY_BAR and ratio <= TIME_BAR


def llama(folder: Path, rounds: int) -> bool:
    say("Llama 3.2 1B, PLT 16K, 12 tokens", run("llama", folder, 12, 1024))
    return True


def gemma(folder: Path, rounds: int) -> bool:
    say("Gemma 2 2B, PLT 16K, 12 tokens", run("gemma", folder, 12, 1024))
    return True


def long(folder: Path, rounds: int) -> bool:
    say("minnow's size, CLT, 2,000 tokens", run("minnow", folder, 2000, 256))
    say("GPT-2 small, PLT 16K, 512 tokens", run("gpt2-plt", folder, 512, 128))
    return True


def growth(folder: Path, rounds: int) -> bool:
    """Exponents of CPU seconds and of memory: slopes of straight lines through logarithms."""
    sweeps: dict[str, list[tuple[int, tuple[int, int, int]]]] = {
        "tokens (rows fixed)": [(n, (n, 512, 6)) for n in (32, 64, 128, 256)],
        "rows": [(n, (64, n, 6)) for n in (256, 512, 1024, 2048)],
        "layers (rows fixed)": [(n, (64, 512, n)) for n in (4, 8, 16)],
    }
    for label, points in sweeps.items():
        results = []
        for _, (tokens, rows, layers) in points:
            run_of = [run("growth", folder, tokens, rows, "--layers", str(layers)) for _ in range(rounds)]
            results.append({k: statistics.median(r[k] for r in run_of) for k in ("seconds", "grown")})
        sizes = [math.log(size) for size, _ in points]
        logs = {k: [math.log(result[k]) for result in results] for k in ("seconds", "grown")}
        slopes = {k: statistics.linear_regression(sizes, values).slope for k, values in logs.items()}
        seconds = ", ".join(f"{size}: {r['seconds']:.2f} s" for (size, _), r in zip(points, results, strict=True))
        print(
            f"growth in {label}: time {slopes['seconds']:.2f}, memory {slopes['grown']:.2f}   ({seconds})", flush=True
        )
    return True


CASES: dict[str, Callable[[Path, int], bool]] = {
    **{"gpt2": gpt2, "llama": llama, "gemma": gemma, "long": long, "growth": growth}
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delete", action="store_true", help="delete the folder in the end")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=12, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=4096, help=argparse.SUPPRESS)
    parser.add_argument("--layers", type=int, default=6, help=argparse.SUPPRESS)
    parser.add_argument("--resident", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        result = one(given.one, given.folder, given.tokens, given.rows, given.layers, given.resident)
        print(json.dumps(result))
        return
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, one thread a process, {given.rounds} rounds")
    met = [CASES[case](given.folder, given.rounds) for case in given.cases.split(",")]
    if given.delete:
        shutil.rmtree(given.folder)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
