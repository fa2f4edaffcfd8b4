"""Libraries that only some uses need: they are extras of the package, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from clew.errors import InputError


def installed(module: str) -> bool:
    """Whether a library can be imported; it is not imported to find out."""
    return find_spec(module) is not None


def missing(extra: str, use: str) -> InputError:
    """The error that says which extra a use needs, and how to install it."""
    return InputError(f"{use} needs the extra {extra!r}: pip install 'clew-interp[{extra}]'")


def needed_module(module: str, extra: str, use: str) -> Any:
    """Import a library of an extra; InputError when it is not installed.

    A library that is installed and broken raises its own ImportError: another installation would not mend it.
    """
    if not installed(module):
        raise missing(extra, use)
    return import_module(module)
