"""The head of a file is written and read back, or refused with the reason: another format, a newer or older schema."""

import subprocess
from pathlib import Path

import pytest

from clew import files
from clew.errors import FileError
from clew.files import envelope

ENVELOPE = files.Envelope(format="test.notes", schema=5, oldest=3, what="notes", again="write them anew")


def refusal(head: object, envelope: files.Envelope = ENVELOPE) -> str:
    with pytest.raises(FileError) as caught:
        envelope.check(head, "a/notes.json")
    return str(caught.value)


def test_a_head_says_format_and_schema_beside_the_content_and_passes_its_own_check() -> None:
    assert ENVELOPE.head(text="x") == {"format": "test.notes", "schema": 5, "text": "x"}
    assert ENVELOPE.note(text="x") == {"format": "test.notes", "schema": "5", "text": "x"}
    named = files.Envelope(format="test.notes", schema=1, what="notes", keys=("kind", "version"))
    assert named.head() == {"kind": "test.notes", "version": 1}
    named.check(named.head(), "x")
    named.check_note(named.note(), "x")
    for schema in (3, 4, 5):
        ENVELOPE.check(ENVELOPE.head() | {"schema": schema}, "x")
        ENVELOPE.check_note(ENVELOPE.note() | {"schema": str(schema)}, "x")


def test_what_is_refused_is_said() -> None:
    head = ENVELOPE.head()
    assert refusal(head | {"schema": 6}) == "a/notes.json has schema 6, this program reads up to 5: upgrade clew"
    assert refusal(head | {"schema": 2}) == "a/notes.json has schema 2, this program reads 3 to 5: write them anew"
    only = files.Envelope(format="test.notes", schema=2, oldest=2, what="notes")
    assert refusal(only.head() | {"schema": 1}, only).endswith("has schema 1, this program reads 2: make it anew")
    assert "schema '5', not a whole number" in refusal(head | {"schema": "5"})
    assert "schema None, not a whole number" in refusal({"format": "test.notes"})
    assert "its format is 'test.graph', not 'test.notes'" in refusal(head | {"format": "test.graph"})
    assert "holds no notes of Clew: its format is 'list'" in refusal([1])
    with pytest.raises(FileError, match="schema 'new', not a whole number"):
        ENVELOPE.check_note({"format": "test.notes", "schema": "new"}, "x")
    with pytest.raises(FileError, match="schema 6, this program reads up to 5"):
        ENVELOPE.check_note({"format": "test.notes", "schema": "6"}, "x")


def test_the_commit_is_that_of_clews_own_checkout_and_of_no_repository_around_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for place, expected in (("src/clew/files", commit), ("env/lib/site-packages/clew/files", None)):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.setattr(envelope, "__file__", str(tmp_path / place / "envelope.py"))
        assert files.provenance()["git_commit"] == expected
