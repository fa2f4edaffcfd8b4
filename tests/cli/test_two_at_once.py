"""What one process writes another does not write at the same time."""

import os

from clew import files, kit
from tests.cli.test_harvest import FAST
from tests.cli.test_train import refused

MINNOW = kit.BUNDLED / "minnow"


def test_two_harvests_into_one_atlas_or_one_part_are_refused(run, tmp_path):
    (tmp_path / "text.txt").write_text("The capital of France is Paris.\n" * 300)
    words = f"in use by process {os.getpid()} (a harvest): wait until it has ended"
    with files.lock_file("a.sqlite", "a harvest"):
        refused(run("harvest", "a.sqlite", *FAST), "a.sqlite is", words)
    with files.lock_file("one.part", "a harvest"):
        refused(run("harvest", "one.part", *FAST, "--part", "1/2"), "one.part is", words)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    assert run("harvest", "one.part", *FAST, "--part", "1/2")[0] == 0


def test_two_builds_of_one_kit_are_refused(run, tmp_path):
    source = ("--model", MINNOW / "model", "--dictionary", MINNOW / "dictionary")
    with files.lock_file("mine", "a kit is built"):
        refused(run("kit", "build", "mine", *source), f"mine is in use by process {os.getpid()} (a kit is built)")
    assert list(tmp_path.iterdir()) == []
