"""One case of a study while it is measured, and the parts of it that are finished.

A part is a few named tensors. With a folder, a part is written when it is finished and read when it is asked for again,
so that a run that was killed goes on behind its last part.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from clew import files
from clew.kit import Kit
from clew.progress import Progress

ENVELOPE = files.Envelope(format="clew.studypart", schema=1, what="part of a study")
C = TypeVar("C")
Steps = Generator[Progress, None, Mapping[str, Tensor]]
"""Work that reports how far it is, and returns tensors by name."""


@dataclass(frozen=True, kw_only=True)
class Case(Generic[C]):
    """A kit and a config that a study measures."""

    kit: Kit
    config: C
    folder: Path | None = None
    """Where finished parts are kept; None for nowhere."""

    def part(self, name: str, steps: Steps) -> Steps:
        """What `steps` returns, or what it returned in an earlier run; use it with `yield from`.

        FileError when a part that is there is damaged.
        """
        if self.folder is None:
            return (yield from steps)
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            files.save_tensors(path, (yield from steps), ENVELOPE.note())
        ENVELOPE.check_note(files.load_note(path), path)
        return files.load_tensors(path)
