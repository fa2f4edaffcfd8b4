"""The command line: one command a verb. It reads arguments, calls the library, and prints; it computes nothing.

A user's mistake ends with one line on the error stream and exit code 2. A module holds the commands of one subject.
"""

from __future__ import annotations

import os
import sys

import typer

from clew.cli import audit, edit, features, harvest, organism, serve, trace
from clew.cli import evaluate as evaluation
from clew.cli import features_export as export
from clew.cli import features_search as search
from clew.cli import kit as kits
from clew.cli import train as training
from clew.cli import tune as tuning
from clew.cli.labels import label
from clew.errors import ClewError

app = typer.Typer(
    name="clew",
    help="See how a language model came to its answer, and check it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    pass


app.command()(trace.trace)
app.command()(edit.edit)
app.command()(audit.audit)
app.command()(training.train)
app.command()(tuning.tune)
app.command("eval")(evaluation.evaluate)
app.command()(harvest.harvest)
features.app.command("search")(search.search)
features.app.command("export")(export.export)
app.add_typer(features.app, name="features")
app.command()(label.label)
app.add_typer(label.app, name="labels")
app.add_typer(organism.app, name="organism")
app.add_typer(kits.app, name="kit")
app.command()(serve.serve)


def main() -> None:
    """Run the command line; the entry point of `clew` and `python -m clew`."""
    _settle_libraries()
    try:
        app()
    except ClewError as error:
        print(f"clew: {error}", file=sys.stderr)
        sys.exit(2)


def _settle_libraries() -> None:
    """Keep the libraries' bars and notices off the screen, and their idle threads from spinning on a busy machine."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
