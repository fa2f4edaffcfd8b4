"""What files a folder holds, with size and hash of each, and whether it still holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clew.errors import FileError
from clew.files.atomic import sha256

CHECK_BYTES = 256 << 20
"""Folders up to this size are hashed when they are checked, larger ones only measured."""


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_listing(folder: Path, listed: Mapping[str, Mapping[str, Any]], what: str) -> None:
    """FileError at the first file that is missing, of another size, or (in a small folder) changed."""
    whole = sum(facts["bytes"] for facts in listed.values()) <= CHECK_BYTES
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file():
            raise FileError(f"{what} {folder} lacks its file {name}")
        if path.stat().st_size != facts["bytes"]:
            raise FileError(
                f"{path} has {path.stat().st_size} bytes instead of {facts['bytes']}: it is truncated or changed"
            )
        if whole and sha256(path) != facts["sha256"]:
            raise FileError(f"{path} is not the file that the {what} was built with (its sha256 differs)")
