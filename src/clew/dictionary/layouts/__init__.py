"""The table of layouts that dictionaries are published in, one file a layout."""

import fnmatch
from pathlib import Path

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layouts import (
    circuit_tracer,
    clt_forge,
    crosslayer_transcoder,
    gemma_scope,
    gemma_scope_2,
    native,
    openmoss,
    saelens,
    sparsify,
    transcoder_list,
)
from clew.dictionary.layouts.checks import check_dtypes
from clew.dictionary.layouts.layout import Layout
from clew.errors import FileError
from clew.files.hub import PICKLES

LAYOUTS: tuple[Layout, ...] = (
    native.LAYOUT,
    circuit_tracer.CLT,
    circuit_tracer.PLT,
    transcoder_list.LAYOUT,
    gemma_scope.LAYOUT,
    gemma_scope_2.LAYOUT,
    saelens.LAYOUT,
    sparsify.LAYOUT,
    crosslayer_transcoder.LAYOUT,
    clt_forge.LAYOUT,
    openmoss.LAYOUT,
)
"""The one that recognises a folder reads it."""
_LISTABLE = {transcoder_list.LAYOUT, gemma_scope.LAYOUT, gemma_scope_2.LAYOUT}
"""The layouts of which a list may choose files that lie beside it."""
NOT_FETCHED = ("features/*", "*.png", "*.html")
"""What repositories of dictionaries hold besides, and nobody needs to trace."""
DEPTH = 5
"""How many folders deep a layout's files may lie."""


def load(folder: Path) -> Dictionary:
    """Map a folder in any layout of the table.

    FileError when there is no such folder, no layout or more than one recognises it, or the layout that does finds a
    fault in it.
    """
    if folder.is_file():
        raise FileError(f"{folder} is a file{_pickle([folder.name])}: give the folder of a dictionary")
    if not folder.is_dir():
        raise FileError(f"no dictionary at {folder}: no such folder")
    names = files.names_below(folder, DEPTH)
    layout = _layout(folder, names)
    try:
        dictionary = layout.load(folder)
        check_dtypes(folder, dictionary)
    except FileError as error:
        raise FileError(f"{error}{_interrupted(folder)}") from error
    return dictionary


def _layout(folder: Path, names: set[str]) -> Layout:
    claims = [layout for layout in LAYOUTS if layout.recognise(names)]
    if len(claims) > 1 and transcoder_list.LAYOUT in claims:  # its file is one that others have too
        chosen = set(claims) <= _LISTABLE and transcoder_list.lists_files(folder)
        claims = [transcoder_list.LAYOUT] if chosen else [c for c in claims if c is not transcoder_list.LAYOUT]
    if len(claims) > 1 and claims[0] is native.LAYOUT and not native.is_ours(folder):
        del claims[0]  # a config.json of another program lies beside
    if len(claims) > 1:
        both = " and ".join(layout.name for layout in claims)
        raise FileError(f"{folder} holds two layouts, {both}: name the folder of one, or move the other's files away")
    if claims:
        return claims[0]
    known, present = ", ".join(layout.name for layout in LAYOUTS), ", ".join(sorted(names)[:6]) or "nothing"
    raise FileError(
        f"{folder} is in no known dictionary layout ({known}): it holds {present}{_pickle(names)}{_interrupted(folder)}"
    )


def _pickle(names: set[str] | list[str]) -> str:
    """What to say where a pickle is all there is."""
    pickles = [name for name in sorted(names) if any(fnmatch.fnmatch(name, pattern) for pattern in PICKLES)]
    if not pickles:
        return ""
    return f" ({pickles[0]} is a pickle, which may run code and is never opened: have its tensors as safetensors)"


def _interrupted(folder: Path) -> str:
    """What to say where a download left files that are not whole."""
    cache = next((above for above in folder.absolute().parents if above.name.startswith("models--")), None)
    unfinished = list((folder / ".cache").rglob("*.incomplete")) + list(folder.glob("*.incomplete"))
    unfinished += list((cache / "blobs").glob("*.incomplete")) if cache is not None else []
    return f" ({len(unfinished)} downloads there were interrupted: download it again)" if unfinished else ""


def table() -> list[str]:
    """The rows of the docs' table of layouts, in Markdown."""
    columns = ("name", "files", "published_by", "notes", "verified")
    return [f"| {' | '.join(getattr(layout, column) for column in columns)} |" for layout in LAYOUTS]
