"""What a layout of dictionaries on disk is: how its folders are recognised, read and written, and who publishes it."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from clew.dictionary.dictionary import Dictionary


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay a Dictionary out in a folder."""

    name: str
    recognise: Callable[[Set[str]], bool]
    """Whether a folder that holds files of these names claims to be in this layout; no file is opened. The names of
    files in folders below are paths: `layer_0/params.npz`."""
    load: Callable[[Path], Dictionary]
    """Map such a folder; FileError says what is wrong with it."""
    save: Callable[..., None] | None
    """Write a Dictionary into a folder, whole or not at all; None where the layout is only read."""
    files: str
    """The files that make it, as the docs show them."""
    published_by: str
    """Programs that write it, or sets that are published in it."""
    notes: str
    """What is honoured, what it costs, and what is refused."""
    verified: str
    """What its reading was compared with, beside the plain computation in the tests."""
