"""The table of layouts that dictionaries are published in, one file a layout."""

from pathlib import Path

from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layouts import circuit_tracer, native
from clew.dictionary.layouts.layout import Layout
from clew.errors import FileError

LAYOUTS: tuple[Layout, ...] = (native.LAYOUT, circuit_tracer.CLT, circuit_tracer.PLT)
"""The first that recognises a folder reads it."""


def load(folder: Path) -> Dictionary:
    """Map a folder in any layout of the table.

    FileError when there is no such folder, no layout recognises it, or the layout that does finds a fault in it.
    """
    if not folder.is_dir():
        raise FileError(f"no dictionary at {folder}: no such folder")
    names = {path.name for path in folder.iterdir()}
    for layout in LAYOUTS:
        if layout.recognise(names):
            return layout.load(folder)
    known, present = ", ".join(layout.name for layout in LAYOUTS), ", ".join(sorted(names)[:6]) or "nothing"
    raise FileError(f"{folder} is in no known dictionary layout ({known}): it holds {present}")
