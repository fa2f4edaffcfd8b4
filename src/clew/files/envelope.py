"""What a file says of itself: its format, its schema, and how it came about."""

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("clew-interp", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def provenance(**facts: Any) -> dict[str, Any]:
    """What a written file says of its origin: package versions, the git commit where there is one, and `facts`."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"packages": versions, "git_commit": _git_commit(), **facts}


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    if not (here.parents[2] / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
