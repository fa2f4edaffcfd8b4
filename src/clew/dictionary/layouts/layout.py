"""What a layout of dictionaries on disk is: how its folders are recognised, read and written."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from clew.dictionary.dictionary import Dictionary


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay a Dictionary out in a folder."""

    name: str
    recognise: Callable[[Set[str]], bool]
    """Whether a folder that holds files of these names claims to be in this layout; no file is opened."""
    load: Callable[[Path], Dictionary]
    """Map such a folder; FileError says what is wrong with it."""
    save: Callable[..., None] | None
    """Write a Dictionary into a folder, whole or not at all; None where the layout is only read."""
