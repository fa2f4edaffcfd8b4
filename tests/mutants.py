"""How much would the tests notice? `make mutants` makes small wrong versions of the source and runs the tests on each.

    make mutants                                                          # 150 of them, drawn from seed 0
    make mutants COUNT=400 SEED=3
    .venv/bin/python -m tests.mutants --only attribution/influence.py     # of one file
    .venv/bin/python -m tests.mutants --match over_left_out               # of one function
    .venv/bin/python -m tests.mutants --only kernels --list               # only say what they would be

1. `tests/mutations.py` finds every mutation of PACKAGES. The first COUNT by a hash of seed and name are drawn, so that
   a change of the code changes the draw only where it changes mutants.
2. The source is copied to a temporary folder, and only that copy is ever changed: the working tree stays clean whatever
   happens to this program.
3. This process imports what is slow to import (torch, transformers, pytest), but nothing of Clew, and forks one child a
   mutant, which runs the tests that TESTS maps to the file, the nearest first, up to the first failure. A child that
   takes three times the CPU seconds that the tests took on the right source is stopped: the mutant is killed.
4. Kernels are run as plain Python: compiling them takes longer than the tests, and a cache could hide the mutant.
5. A mutant that no test notices survived. SURVIVORS holds those that cannot be told from the right program, or not by
   a quick test, each with the reason. The run fails where fewer than nine in ten were killed (all survivors counted),
   or where one survived that is not listed.

Why not a library? mutmut leaves out every function with a decorator (the compiled kernels, context managers such as
`files.transaction`); cosmic-ray changes the working tree in place, starts a Python for every mutant, which here takes
longer than the tests, and never takes a statement away, which is what most mutants that had survived by hand did.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from tests.mutations import Mutation, files_of, mutations

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "clew"
SURVIVORS = ROOT / "tests" / "mutants_survivors.json"
PACKAGES = ("attribution", "dictionary", "training/step", "kernels", "files", "labels", "web/security")
LEAST_KILLED = 0.9
SLOWER, SLACK = 3.0, 20.0  # times the tests' CPU seconds, and seconds more, after which a mutant counts as stuck
PATIENCE = 10.0  # times as long by the clock, for the machine may be busy
LEFT_OUT = "not long and not stress and not peer and not alone and not minilm and not smollm2"
SLOW = (
    "fastapi.testclient", "hypothesis", "jaxtyping", "matplotlib.figure", "numba", "pyarrow.parquet", "pytest", "torch",
    *(f"transformers.models.{name}.modeling_{name}" for name in ("gemma2", "gpt2", "gpt_neox", "llama")),
)  # fmt: skip
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NUMBA_DISABLE_JIT": "1",
}

TESTS: Mapping[str, tuple[str, ...]] = {
    "attribution/algebra": ("attribution/test_algebra.py", "web/test_views.py"),
    "attribution/compare": ("attribution/test_compare.py", "web/test_views.py"),
    "attribution/graph.py": (
        "attribution/test_graph.py", "attribution/test_graph_json.py", "attribution/test_influence.py",
    ),
    "attribution/graph_checks": (
        "attribution/test_graph_checks.py", "web/test_views.py", "web/test_hostile_imports.py",
    ),
    "attribution/graph_json": (
        "attribution/test_graph_json.py", "attribution/test_graph_checks.py", "web/test_pins_json.py",
        "web/test_hostile_imports.py",
    ),
    "attribution/influence": (
        "attribution/test_influence.py", "attribution/test_large_graphs.py", "attribution/test_total_effect.py",
        "attribution/test_algebra.py", "web/test_views.py",
    ),
    "attribution/json_values": (
        "attribution/test_json_values.py", "attribution/test_graph_json.py", "attribution/test_graph_checks.py",
        "web/test_pins_json.py", "web/test_workspace.py", "web/test_hostile_imports.py",
    ),
    "attribution/nodes": ("attribution/test_graph.py", "attribution/test_graph_json.py", "attribution/test_trace.py"),
    "attribution/pruning": (
        "attribution/test_influence.py", "attribution/test_large_graphs.py", "attribution/test_rankings.py",
    ),
    "attribution/rankings": ("attribution/test_rankings.py",),
    "attribution/room": ("attribution/test_room.py",),
    "attribution/summary": ("attribution/test_algebra.py", "web/test_notebook.py", "attribution/test_trace.py"),
    "attribution/targets": ("attribution/test_targets.py", "attribution/test_trace.py"),
    "attribution/sweep": ("attribution/test_trace.py", "attribution/test_sweep.py"),
    "attribution/sources": ("attribution/test_trace.py", "attribution/test_sweep.py"),
    "attribution/trace": (
        "attribution/test_max_features.py", "attribution/test_room.py", "attribution/test_trace.py",
        "attribution/test_sweep.py",
    ),
    "attribution": ("attribution/test_max_features.py", "attribution/test_trace.py", "attribution/test_sweep.py"),
    "dictionary/layouts": ("dictionary/test_layouts.py", "dictionary/test_dictionary.py"),
    "dictionary/origin": ("dictionary/test_origin.py", "dictionary/test_layouts.py"),
    "dictionary": ("dictionary", "attribution/test_trace.py"),
    "files/database": ("files/test_database.py", "labels/test_store.py", "features/test_atlas.py"),
    "files/envelope": ("files/test_envelope.py", "test_files.py", "test_older_files.py", "features/test_atlas.py"),
    "files/folders": ("files/test_folders.py", "test_files.py", "features/test_atlas.py"),
    "files/locks": ("files/test_locks.py", "test_files.py", "training/test_cache.py", "features/test_atlas.py"),
    "files/origin": ("cli/test_outputs.py",),
    "files/reading": ("files/test_reading.py", "test_files.py", "attribution/test_graph_json.py"),
    "files/tables": ("runs/test_training_metrics.py", "files/test_reading.py", "cli/test_outputs.py"),
    "files": ("test_files.py", "files", "training/test_cache.py", "features/test_atlas.py"),
    "kernels/decode": ("dictionary/test_dictionary.py", "training/test_step.py"),
    "kernels/shares": ("attribution/test_influence.py",),
    "kernels/buffers": ("attribution/test_trace.py",),
    "kernels": ("training/test_selection.py", "training/test_step.py"),
    "labels/context_split": ("labels/test_scoring.py", "labels/test_rules.py", "labels/test_model_labeller.py"),
    "labels/cost": ("labels/test_model_labeller.py", "cli/test_label.py"),
    "labels/display_names": ("labels/test_display_names.py",),
    "labels/endpoint": ("labels/test_endpoint.py", "labels/test_model_labeller.py"),
    "labels/exchange": ("labels/test_exchange.py",),
    "labels/judges": ("labels/test_scoring.py", "labels/test_model_labeller.py"),
    "labels/model_labeller": ("labels/test_model_labeller.py", "cli/test_label.py"),
    "labels/rules": ("labels/test_rules.py", "labels/test_scoring.py"),
    "labels/scoring": ("labels/test_scoring.py", "labels/test_model_labeller.py", "cli/test_label.py"),
    "labels/sentence_encoder": ("labels/test_sentence_encoder.py",),
    "labels/text_encoder": ("labels/test_sentence_encoder.py", "studies/heads/test_heads_study.py"),
    "labels/store": ("labels/test_store.py", "labels/test_exchange.py", "labels/test_display_names.py"),
    "labels": ("labels",),
    "training/step": ("training/test_step.py",),
    "web/security": ("web/test_security.py", "web/test_errors.py"),
}  # fmt: skip
"""The tests of a file, by the longest beginning of its path."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    name: str
    package: str
    how: str
    """`killed`, `stuck` (stopped, which counts as killed) or `survived`; `right` of tests on the right source."""
    seconds: float
    test: str = ""
    """The test that failed first."""


def nearest_tests(path: str) -> tuple[str, ...]:
    """The test files of a source file that exist, the nearest first."""
    start = max((key for key in TESTS if path.startswith(key)), key=len)
    return tuple(f"tests/{name}" for name in TESTS[start] if (ROOT / "tests" / name).exists())


def drawn(candidates: Iterable[Mutation], count: int, seed: int) -> list[Mutation]:
    """`count` of the mutations, by a hash of seed and name."""
    return sorted(candidates, key=lambda mutation: sha256(f"{seed} {mutation.name}".encode()).digest())[:count]


class Shadow:
    """A copy of the source in a temporary folder, in which one file at a time is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder / "src" / "clew"
        shutil.copytree(SOURCE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.clock = int(time.time())

    def source(self, path: str) -> str:
        return (self.package / path).read_text()

    def put(self, path: str, source: str) -> None:
        """Write a file with a time of its own: compiled files are told apart by it, in whole seconds."""
        target = self.package / path
        target.write_text(source)
        self.clock += 10
        os.utime(target, (self.clock, self.clock))

    def run(self, tests: Iterable[str], cpu_seconds: float) -> tuple[int | None, float, str]:
        """Exit code (None: stopped), CPU seconds and output of the tests in a child."""
        log = self.folder / "log"
        child = os.fork()
        if child == 0:
            self._child(tests, cpu_seconds, log)
        deadline = time.monotonic() + PATIENCE * cpu_seconds
        try:
            while True:
                ended, status, usage = os.wait4(child, os.WNOHANG)
                if ended:
                    break
                if time.monotonic() > deadline:
                    os.killpg(child, signal.SIGKILL)
                time.sleep(0.05)
        except KeyboardInterrupt:  # which does not reach the child: it is in a session of its own
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            raise
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        return code, usage.ru_utime + usage.ru_stime, log.read_text(errors="replace")

    def _child(self, tests: Iterable[str], cpu_seconds: float, log: Path) -> None:
        import resource

        import hypothesis
        import pytest

        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 5))
        with log.open("w") as opened:
            os.dup2(opened.fileno(), 1)
            os.dup2(opened.fileno(), 2)
        sys.path.insert(0, str(self.folder / "src"))
        os.environ |= {
            "PYTHONPATH": str(self.folder / "src"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / "hypothesis"),
            "TMPDIR": str(self.folder),
        }
        tempfile.tempdir = None
        # a failure need not be made small
        phases = [phase for phase in hypothesis.Phase if phase.name in ("explicit", "generate")]
        hypothesis.settings.register_profile("mutants", phases=phases, deadline=None)
        options: tuple[str, ...] = (
            "--hypothesis-profile=mutants",
            "-x",
            "-q",
            "-m",
            LEFT_OUT,
            "-p",
            "no:cacheprovider",
            "-n",
            "0",
            "--hypothesis-seed=0",
            "--tb=line",
        )
        options += ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # plugins were imported by the parent
        options += ("-W", "ignore:overflow encountered:RuntimeWarning")  # compiled integers overflow in silence
        code = 3
        try:
            code = int(pytest.main([*options, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)


def first_failure(output: str) -> str:
    """The test that failed, of what pytest printed."""
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("ERROR ") if lines else ""


class Judge:
    """Runs mutants, and knows how long the tests take on the right source; keeps both in a file, if there is one."""

    def __init__(self, shadow: Shadow, results: Path | None, known_limit: float | None) -> None:
        self.shadow, self.results, self.known_limit = shadow, results, known_limit
        self.outcomes = read_outcomes(results)

    def keep(self, outcome: Outcome) -> Outcome:
        self.outcomes[outcome.name] = outcome
        print(f"{outcome.how:9}{outcome.seconds:6.1f} s  {outcome.name}", flush=True)
        if self.results is not None:
            with self.results.open("a") as opened:
                opened.write(json.dumps(asdict(outcome)) + "\n")
        return outcome

    def limit(self, tests: tuple[str, ...]) -> float:
        name = " ".join(tests)
        if self.known_limit is not None:
            return self.known_limit
        if name not in self.outcomes:
            code, seconds, output = self.shadow.run(tests, 1200)
            if code != 0:
                raise SystemExit(f"the tests {name} fail on the right source:\n{output[-3000:]}")
            self.keep(Outcome(name, "", "right", round(seconds, 1)))
        return SLOWER * self.outcomes[name].seconds + SLACK

    def judge(self, mutation: Mutation) -> None:
        tests, source = nearest_tests(mutation.path), self.shadow.source(mutation.path)
        limit = self.limit(tests)
        self.shadow.put(mutation.path, mutation.apply(source))
        try:
            code, seconds, output = self.shadow.run(tests, limit)
        finally:
            self.shadow.put(mutation.path, source)
        how = "stuck" if code is None else "survived" if code == 0 else "killed"
        self.keep(Outcome(mutation.name, mutation.package, how, round(seconds, 1), first_failure(output)))


def read_outcomes(results: Path | None) -> dict[str, Outcome]:
    if results is None or not results.exists():
        return {}
    outcomes = (Outcome(**json.loads(line)) for line in results.read_text().splitlines())
    return {outcome.name: outcome for outcome in outcomes}


# --- what is said -----------------------------------------------------------------------------------------------------


def summary(outcomes: Iterable[Outcome], known: Mapping[str, str]) -> tuple[list[str], bool]:
    """Lines by package and the survivors, and whether the run is good."""
    outcomes = list(outcomes)
    counts = Counter((outcome.package, outcome.how) for outcome in outcomes)
    lines = [f"{'package':14}{'killed':>8}{'stuck':>8}{'survived':>10}"]
    for package in sorted({outcome.package for outcome in outcomes}):
        killed, stuck, survived = (counts[package, how] for how in ("killed", "stuck", "survived"))
        lines.append(f"{package:14}{killed:8}{stuck:8}{survived:10}")
    survivors = [outcome.name for outcome in outcomes if outcome.how == "survived"]
    share = 1 - len(survivors) / max(1, len(outcomes))
    lines.append(f"{share:.1%} of {len(outcomes)} mutants were killed")
    lines += [f"survived: {name}\n    {known.get(name, 'NOT LISTED: add a test or a reason')}" for name in survivors]
    return lines, share >= LEAST_KILLED and all(name in known for name in survivors)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the tests on small wrong versions of the source.")
    parser.add_argument("--count", type=int, default=150, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a package or file below src/clew")
    parser.add_argument("--match", default="", help="only mutants whose name holds this")
    parser.add_argument("--list", action="store_true", help="name the mutants and run none")
    parser.add_argument("--results", type=Path, help="a file of outcomes, read and continued")
    parser.add_argument(
        "--limit", type=float, help="CPU seconds a mutant may take; else the right source is timed first"
    )
    parser.add_argument("--stop-after", type=int, help="new outcomes after which to end")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    parts = (options.only.removesuffix(".py"),) if options.only else PACKAGES
    every = [m for path in files_of(SOURCE, parts) for m in mutations((SOURCE / path).read_text(), path)]
    every = [mutation for mutation in every if options.match in mutation.name]
    chosen = drawn(every, options.count, options.seed)
    print(f"{len(chosen)} of {len(every)} mutants, seed {options.seed}")
    if options.list:
        print("\n".join(mutation.name for mutation in chosen))
        return
    known = json.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}
    import_what_is_slow()
    with tempfile.TemporaryDirectory(prefix="clew-mutants-") as folder:
        judge = Judge(Shadow(Path(folder)), options.results, options.limit)
        todo = [mutation for mutation in chosen if mutation.name not in judge.outcomes][: options.stop_after]
        for mutation in todo:  # in the order of the draw: what was run until it is stopped is a draw too
            judge.judge(mutation)
    lines, good = summary([judge.outcomes[m.name] for m in chosen if m.name in judge.outcomes], known)
    print("\n".join(lines))
    raise SystemExit(0 if good else 1)


def import_what_is_slow() -> None:
    """Once, for all children; nothing of Clew, whose types the children check, and with one thread, for they fork."""
    os.environ |= SETTINGS
    for name in SLOW:
        import_module(name)
    for plugin in entry_points(group="pytest11"):
        plugin.load()
    import_module("torch").set_num_threads(1)
    assert "clew" not in sys.modules


if __name__ == "__main__":
    main()
