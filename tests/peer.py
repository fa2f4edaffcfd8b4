"""circuit-tracer in an environment of its own, `.peer` (`make .peer/installed`), and what it traced there.

The package of that name on PyPI is a fork; the code of its attribution is upstream's.
"""

import fcntl
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".peer"
PYTHON = PEER / "bin/python"
KINDS = ("plt", "clt")
OWN_SCRIPTS = {"gemma2": "peer_gemma.py", "qwen3": "peer_qwen.py"}

needs_peer = pytest.mark.skipif(not (PEER / "installed").exists(), reason="no circuit-tracer: make .peer/installed")


def run_peer(*arguments: str | Path) -> str:
    """What the peer's Python prints."""
    command = [str(argument) for argument in (PYTHON, *arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def peer_inputs(model: str) -> Path:
    """DIR/model, DIR/plt, DIR/clt and the peer's matrices DIR/plt.safetensors, DIR/clt.safetensors, made once.

    Other test processes wait for the one that makes them.
    """
    folder, script = PEER / model, ROOT / "benchmarks/peer_trace.py"
    with (PEER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if model in OWN_SCRIPTS and not (folder / "clt.safetensors").exists():
            run_peer(ROOT / "benchmarks" / OWN_SCRIPTS[model], folder)
        if model == "llama" and not (folder / "model/config.json").exists():
            run_peer(script, "build", folder)
        for kind in KINDS:
            if not (folder / f"{kind}.safetensors").exists():
                run_peer(script, "trace", folder, kind, "--keep", folder / f"{kind}.safetensors")
    return folder
