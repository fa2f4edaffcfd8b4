"""How the program ends: Ctrl-C, a full disk under its output, a reader that goes away. Real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clew
from clew.cli.leaving import check_arguments
from clew.errors import InputError

SOURCE = Path(clew.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}
CLEW = (sys.executable, "-m", "clew")
SHOW = ("organism", "show", "--count", "3000")  # prints more than a pipe holds


def clew_process(*arguments, **options):
    return subprocess.run(
        [*CLEW, *arguments], env=ENVIRONMENT, stderr=options.pop("stderr", subprocess.PIPE), text=True, **options
    )


full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")


@full_disk
@pytest.mark.parametrize("arguments", [SHOW, ("kit", "show"), ("--version",), ("--help",)], ids=" ".join)
def test_output_onto_a_full_disk_ends_in_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        ended = clew_process(*arguments, stdout=full)
    assert (ended.returncode, ended.stderr) == (2, "clew: cannot write the output: No space left on device\n")


@full_disk
def test_an_error_stream_onto_a_full_disk_leaves_the_exit_code():
    with Path("/dev/full").open("w") as full:
        assert clew_process("kit", "show", "no such kit", stdout=subprocess.PIPE, stderr=full).returncode == 2


def test_a_reader_that_goes_away_ends_it_quietly():
    with subprocess.Popen(
        [*CLEW, *SHOW], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.readline()
        running.stdout.close()
        assert (running.stderr.read(), running.wait()) == ("", 1)


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_go_nowhere(closed):
    shell = f"exec {sys.executable} -m clew kit show {closed}"
    ended = subprocess.run(["sh", "-c", shell], env=ENVIRONMENT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("seconds", [0.15, 0.6])
def test_ctrl_c_while_it_starts_leaves_no_traceback(seconds):
    with subprocess.Popen(
        [*CLEW, "trace", "The cat"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        assert "Traceback" not in running.stderr.read()
        assert running.wait() in (-signal.SIGINT, 130)


def test_ctrl_c_while_it_works_ends_it_with_130_and_nothing_on_the_streams():
    program = (
        "import sys, time; from clew.cli.organism import show;"
        "show.show.__globals__['World'] = lambda seed: print('working', flush=True) or time.sleep(60);"
        "sys.argv = ['clew', 'organism', 'show']; from clew.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "working\n"
        running.send_signal(signal.SIGINT)
        assert (running.stdout.read(), running.stderr.read(), running.wait()) == ("", "", 130)


def test_memory_that_is_not_there_ends_in_one_line(run, monkeypatch):
    """Python says it by one error, torch by others."""
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")):

        def fail(seed, error=error):
            raise error

        monkeypatch.setattr("clew.cli.organism.show.World", fail)
        code, _, said = run("organism", "show")
        assert code == 2
        assert "not enough memory" in said
        assert "--max-features" in said
        assert len(said.splitlines()) == 1


def test_an_argument_that_is_no_utf8_is_refused_unless_it_names_a_file(tmp_path, monkeypatch):
    name = os.fsdecode(b"caf\xe9.txt")
    with pytest.raises(InputError, match=r"argument 2, b'caf\\xe9\.txt', is not UTF-8"):
        check_arguments(["trace", name])
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    check_arguments(["trace", name])


def test_a_character_that_the_output_lacks_is_written_as_its_number():
    ended = subprocess.run(
        [*CLEW, "organism", "show", "--count", "300"],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "\\u04" in ended.stdout
