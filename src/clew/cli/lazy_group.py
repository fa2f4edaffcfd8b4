"""A Typer group that knows its commands from a table and imports the module of a command when that command is called.

`clew --help` therefore costs no more than the table, and a module may import at its head what it needs, torch included.
The help line of a command stands twice, here for the list and in its docstring; a test compares them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from clew.cli.leaving import INTERRUPTED, interruptible

_STYLE: dict[str, Any] = {"add_completion": False, "rich_markup_mode": "markdown", "pretty_exceptions_enable": False}


@dataclass(frozen=True)
class Command:
    """A command that is not loaded yet."""

    function: str
    """Where it is defined, as `module:name`, the module below `clew.cli`."""
    help: str
    """The first paragraph of its docstring."""

    def load(self, name: str) -> Any:
        """Import it; the name is the one on the command line."""
        module, function = self.function.split(":")
        app = typer.Typer(**_STYLE)
        with without_collector():
            app.command(name)(_command(getattr(import_module(f"clew.cli.{module}"), function)))
        return typer.main.get_command(app)


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """A command that Ctrl-C ends with its exit code."""

    @wraps(function)
    def command(**arguments: Any) -> None:
        interruptible()
        try:
            function(**arguments)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return command


@dataclass(frozen=True)
class CommandGroup:
    """Commands under one name."""

    help: str
    commands: Mapping[str, Command | CommandGroup]

    def app(self, name: str) -> typer.Typer:
        """The Typer application of these commands."""

        class Listed(_LazyGroup):
            table = self.commands

        app = typer.Typer(name=name, cls=Listed, help=self.help, no_args_is_help=True, **_STYLE)
        app.callback()(_nothing)
        return app

    def load(self, name: str) -> Any:
        """Build the group; its commands stay unloaded."""
        return typer.main.get_command(self.app(name))


class _LazyGroup(TyperGroup):
    """Loads a command when it is asked for by name; its help page lists stand-ins, a name and a line of help each."""

    table: ClassVar[Mapping[str, Command | CommandGroup]]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name=name, help=entry.help) for name, entry in self.table.items()}
        self._loaded: dict[str, Any] = {}
        self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command itself, or its stand-in while the help page is written; None for an unknown name."""
        if self._listing or cmd_name not in self.table:
            return self.commands.get(cmd_name)
        if cmd_name not in self._loaded:
            self._loaded[cmd_name] = self.table[cmd_name].load(cmd_name)
        return self._loaded[cmd_name]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page without loading a command."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


@contextmanager
def without_collector() -> Iterator[None]:
    """Import or load without the garbage collector.

    torch and transformers make some million objects that stay, and the collector would walk them again and again, for
    a tenth of the time of a short command. What the first such block leaves is not walked later either.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if enabled:
            gc.enable()


def _nothing() -> None:
    """A group without a callback would become its only command."""
