"""The command line: one command a verb. It reads arguments, calls the library, and prints; it computes nothing.

A user's mistake ends with one line on the error stream and exit code 2; `leaving` has the other codes. A command has a
file of its own, which is imported when the command is called.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from clew.cli.commands import COMMANDS
from clew.cli.leaving import check_arguments, one_line_at_most, settle_streams
from clew.version import __version__

app = COMMANDS.app("clew")


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; `clew` and `python -m clew` come here by way of `clew.__main__`."""
    _settle_libraries()
    settle_streams()
    with one_line_at_most():
        check_arguments(sys.argv[1:])
        app()


def _settle_libraries() -> None:
    """Keep the libraries' bars and notices off the screen, and their idle threads from spinning on a busy machine."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
