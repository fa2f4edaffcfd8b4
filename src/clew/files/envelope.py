"""What a file says of itself: its format, its schema, and how it came about."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from clew.errors import FileError

PACKAGES = ("clew-interp", "torch", "transformers", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The head that every file of one format carries, and the check of it when the file is read.

    JSON files hold it as keys, safetensors and Parquet files in their string metadata, SQLite files as application id
    (`mark`) and user version.
    """

    format: str
    """For example `clew.graph`."""
    schema: int
    """The schema that is written, and the newest that is read."""
    what: str
    """What such a file holds, as messages say it: `graph`."""
    oldest: int = 1
    """The oldest schema that is read."""
    again: str = "make it anew"
    """What to do about a file of an older schema that is not read."""
    mark: bytes = b""
    """Four bytes that tell a SQLite file from another program's."""
    keys: tuple[str, str] = ("format", "schema")
    """The names under which a file says its format and its schema."""

    def head(self, **content: Any) -> dict[str, Any]:
        """The head of a JSON file, with what stands beside it."""
        return {self.keys[0]: self.format, self.keys[1]: self.schema, **content}

    def note(self, **content: str) -> dict[str, str]:
        """The head as string metadata."""
        return {self.keys[0]: self.format, self.keys[1]: str(self.schema), **content}

    def matches(self, head: Any) -> bool:
        """Whether a head says this format, of whatever schema."""
        return isinstance(head, Mapping) and head.get(self.keys[0]) == self.format

    def check(self, head: Any, path: Path | str) -> None:
        """FileError unless the head says this format and a schema that is read here."""
        if not self.matches(head):
            seen = head.get(self.keys[0]) if isinstance(head, Mapping) else type(head).__name__
            raise FileError(f"{path} holds no {self.what} of Clew: its {self.keys[0]} is {seen!r}, not {self.format!r}")
        self.check_schema(head.get(self.keys[1]), path)

    def check_note(self, note: Mapping[str, str], path: Path | str) -> None:
        """`check` of string metadata, in which the schema is text."""
        schema = note.get(self.keys[1], "")
        self.check({**note, self.keys[1]: int(schema) if schema.isdecimal() else schema}, path)

    def check_schema(self, schema: Any, path: Path | str) -> None:
        """FileError unless the schema is a whole number that is read here."""
        if not isinstance(schema, int):
            raise FileError(f"{path} has schema {schema!r}, not a whole number: it is damaged")
        if schema > self.schema:
            raise FileError(f"{path} has schema {schema}, this program reads up to {self.schema}: upgrade clew")
        if schema < self.oldest:
            raise FileError(f"{path} has schema {schema}, this program reads {self._read()}: {self.again}")

    def _read(self) -> str:
        return str(self.schema) if self.oldest == self.schema else f"{self.oldest} to {self.schema}"


def provenance(**facts: Any) -> dict[str, Any]:
    """What a written file says of its origin: package versions, the git commit where there is one, and `facts`."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"packages": versions, "git_commit": _git_commit(), **facts}


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    if not (here.parents[2] / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
