"""Which kind of Clew's own files a file is: what may be written again without being asked, and what is another's."""

import re
from pathlib import Path

from clew.errors import FileError
from clew.files.tensors import load_note

GRAPH_JSON, PAGE, PICTURE = "graph JSON", "page", "picture"
SOFTWARE = "Clew"
"""What a picture of ours says of its program."""
_HEAD = 1 << 20  # bytes in which a file says what it is; graph JSON has the prompt before that
_FORMAT = re.compile(rb'"format":\s*"(clew\.[a-z.]+)"')
_GENERATOR = re.compile(rb'"generator":\s*\{\s*"name":\s*"clew"')


def kind_of(path: Path | str) -> str:
    """The kind of a file that Clew made: its format (`clew.graph`), GRAPH_JSON, PAGE or PICTURE; of others nothing."""
    try:
        with Path(path).open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return ""
    if head.startswith(b"\x89PNG"):
        return PICTURE if b"Software\0" + SOFTWARE.encode() in head else ""
    if head.startswith(b"<!doctype html>"):
        return PAGE if b'<meta name="generator" content="clew ' in head[:8192] else ""
    if head.startswith(b"{"):
        if (match := _FORMAT.search(head[:8192])) is not None:
            return match[1].decode()
        return GRAPH_JSON if _GENERATOR.search(head) is not None else ""
    try:
        name = load_note(path).get("format", "")
    except FileError:
        return ""
    return name if name.startswith("clew.") else ""
