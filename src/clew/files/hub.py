"""Files of the Hugging Face hub, or of its local cache: `owner/name[@revision]`, `hf://owner/name/path[@revision]`.

What is not there offline is an error that says where to put it. Pickled files are never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

from clew.errors import FileError
from clew.files.folders import recover

SCHEME = "hf://"
PICKLES = ("*.pt", "*.pth", "*.bin", "*.pkl", "*.pickle", "*.ckpt")
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class HubPath:
    """A repository, or a folder or file of it, at a revision."""

    repository: str
    path: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> HubPath:
        """Read `hf://owner/name/path@revision`, or the revision as `?revision=`; FileError when it is none."""
        address = urlsplit(text)
        parts = [address.netloc, *address.path.split("/")[1:]]
        revision = parse_qs(address.query).get("revision", [None])[0]
        if "@" in parts[-1]:
            parts[-1], revision = parts[-1].split("@", 1)
        parts = [part for part in parts if part]
        if address.scheme != "hf" or len(parts) < 2 or not all(re.fullmatch(r"[\w.+-]+", part) for part in parts):
            raise FileError(f"{text!r} is no address of the hub: write hf://owner/name/path@revision")
        if ".." in parts or "." in parts:
            raise FileError(f"{text!r} leaves its repository: write hf://owner/name/path@revision")
        return cls(repository="/".join(parts[:2]), path="/".join(parts[2:]), revision=revision)


def local_folder(source: Path | str, *, without: Sequence[str] = ()) -> Path:
    """A folder as it is, or one of the hub or its local cache: `owner/name[@revision]`, `hf://owner/name/path`.

    Files `without` are not fetched. A path that is a file gives its folder. FileError when there is neither.
    """
    if str(source).startswith(SCHEME):
        address = HubPath.parse(str(source))
        return _fetched(address, str(source), without)
    match = _NAME.fullmatch(str(source))
    if recover(Path(source)).exists() or match is None:
        return Path(source)
    return _fetched(HubPath(repository=match[1], path="", revision=match[2]), str(source), without)


def local_file(address: str) -> Path:
    """A file of the hub, or of its local cache, by `hf://owner/name/path`; FileError when there is neither."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    place = HubPath.parse(address)
    if any(PurePosixPath(place.path).match(pattern) for pattern in PICKLES):
        raise FileError(f"{address} is a pickle, which may run code and is never opened")
    try:
        return Path(hf_hub_download(place.repository, place.path, revision=place.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        _refuse(place, address, error)


def hub_folder(repository: str) -> Path:
    """Where the hub's cache keeps a repository; it need not be there."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def interrupted_downloads(source: str) -> list[Path]:
    """Files that a download has begun and not finished, of a repository of the hub or of a folder."""
    folder = Path(source)
    if not folder.is_dir():
        return _unfinished(hub_folder(source))
    left = sorted((folder / ".cache" / "huggingface").rglob("*.incomplete"))
    return left + (_unfinished(folder.resolve().parents[1]) if folder.resolve().parent.name == "snapshots" else [])


def _unfinished(repository: Path) -> list[Path]:
    return sorted((repository / "blobs").glob("*.incomplete"))


def _fetched(place: HubPath, source: str, without: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [place.path, f"{place.path}/*"] if place.path else None
    skipped = [*without, *(PICKLES if without else ())]
    try:
        root = Path(
            snapshot_download(
                place.repository, revision=place.revision, allow_patterns=wanted, ignore_patterns=skipped or None
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        _refuse(place, source, error)
    folder = root / place.path
    if not folder.exists():
        raise FileError(f"{source} is not in the hub's cache: put it at {folder}, or name a folder that holds it")
    return folder.parent if folder.is_file() else folder


def _refuse(place: HubPath, source: str, error: Exception) -> NoReturn:
    cache = hub_folder(place.repository)
    what = "no folder here, and the hub gave no answer" if not place.path else "not in the hub's cache"
    where = f"snapshots/<commit>/{place.path}".rstrip("/")
    raise FileError(
        f"{source} is {what} ({type(error).__name__}): download it into {cache} (as {where}), or name a folder that "
        "holds it"
    ) from error
