"""The list of commands, which is written in a table so that no command need be loaded for it."""

import inspect
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import clew
from clew.cli import app
from clew.cli.commands import COMMANDS
from clew.cli.lazy_group import CommandGroup


def leaves(group, above=()):
    """Every command with the words that call it."""
    for name, entry in group.commands.items():
        if isinstance(entry, CommandGroup):
            yield from leaves(entry, (*above, name))
        else:
            yield (*above, name), entry


LEAVES = dict(leaves(COMMANDS))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_table_says_of_a_command_what_its_own_help_says_first(words):
    command = LEAVES[words].load(words[-1])
    first = inspect.cleandoc(command.help).split("\n\n")[0]
    assert " ".join(first.split()) == LEAVES[words].help


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example(words):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert f"clew {' '.join(words)}" in " ".join(result.output.split())


def test_version(run):
    assert run("--version") == (0, f"{clew.__version__}\n", "")


def test_no_command_is_loaded_for_help():
    program = (
        "import sys, clew.cli\n"
        "sys.argv = ['clew', '--help']\n"
        "try: clew.cli.main()\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'clew.cli.trace', 'clew.cli.train', 'clew.kit'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.alone
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_comes_at_once(option, tmp_path):
    """In CPU seconds of a process of its own, the least of three after one that leaves compiled modules, as users have
    them: an environment that writes none would compile the libraries anew every time."""
    program = (
        "import sys, time, clew.cli\n"
        f"sys.argv = ['clew', '{option}']\n"
        "try: clew.cli.main()\n"
        "except SystemExit: print(time.process_time())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    runs = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
        for _ in range(4)
    ]
    assert min(float(run.stdout.split()[-1]) for run in runs[1:]) < 0.5
