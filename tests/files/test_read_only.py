"""What only reads works on a medium that cannot be written: kits, dictionaries, atlases, runs, caches, labels."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = next(parent for parent in Path(__file__).parents if parent.name == "tests") / "fixtures"
READS = """
import os, sys
from contextlib import suppress
from pathlib import Path

import clew
from clew import files
from clew.labels.store import LabelStore
from clew.runs.plan import read_run, rows_of
from clew.kit import load_subject
from clew.training import cache
from clew.training.checkpoint import open_run
from clew.training.warm_start import stopped

medium = Path(sys.argv[1])
with suppress(OSError):
    (medium / "probe").touch()
    sys.exit("the medium can be written")
kit = clew.load(medium / "kit")
print("nodes", len(kit.trace("the cat", max_features=10).nodes) > 0)
print("card", kit.atlas[next(iter(kit.atlas))].feature)
print("kind", clew.Dictionary.load(medium / "dictionaries/topk-plt").kind)
print("graph", len(clew.Graph.load(medium / "tiny.graph").nodes) > 0)
run = medium / "training/clt"
plan, subject = read_run(run), load_subject(str(medium / "kit"))
_, documents = rows_of(run, subject, plan)
sites = dict(zip(("read_site", "write_site"), plan.config.sites()))
cached = cache.open_cache(subject, documents, run / "activations", **sites)
print("checkpoint", open_run(run, subject)[0].step > 0, stopped(run, subject).kind)
with LabelStore(medium / "workspace/labels.sqlite", kit.dictionary.fingerprint) as labels:
    print("labels", isinstance(labels.lists(), dict))
"""


@pytest.fixture
def read_only(tmp_path):
    """A command on a copy of the old files in which nothing can be written, not even by root."""
    medium = shutil.copytree(FIXTURES, tmp_path / "medium", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    mount = f'mount --bind {medium} {medium} && mount -o remount,ro,bind {medium} && exec "$@"'

    def call(*command, cwd=tmp_path):
        whole = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh", *map(str, command)]
        return subprocess.run(whole, capture_output=True, text=True, cwd=cwd, check=False)

    if shutil.which("unshare") is None or call("true").returncode:
        pytest.skip("no mount of its own can be made here")
    return medium, call


def test_everything_that_reads_reads_a_read_only_medium(read_only):
    medium, call = read_only
    done = call(sys.executable, "-c", READS, medium)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "nodes", "card", "kind", "graph", "checkpoint", "labels"
    ]  # fmt: skip


def test_what_writes_there_says_so_in_one_line(read_only):
    medium, call = read_only
    done = call(sys.executable, "-m", "clew", "train", "training/clt", "--resume", cwd=medium)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Read-only file system" in done.stderr
