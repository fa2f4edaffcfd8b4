"""Writes are whole or absent; reads say in one line what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew import files
from clew.errors import FileError

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(value=VALUES)
def test_json_reads_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"new": float("nan")})
    with pytest.raises(TypeError):
        files.save_tensors(path, {"x": torch.zeros(2)}, {"note": 3})  # type: ignore[dict-item]
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_write_makes_the_folders_that_are_missing(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "x", "1")
    assert files.read_text(tmp_path / "a" / "b" / "x") == "1"


def test_a_write_leaves_no_file_open(tmp_path: Path) -> None:
    """Else a long run would reach the system's limit. A new descriptor is always the lowest that is free."""

    def lowest() -> int:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    before = lowest()
    files.write_text(tmp_path / "x", "1")
    files.save_tensors(tmp_path / "y", {"x": torch.zeros(2)})
    with pytest.raises(TypeError):
        files.save_tensors(tmp_path / "y", {"x": torch.zeros(2)}, {"note": 3})  # type: ignore[dict-item]
    assert lowest() == before


KILLED = """
import os, sys, torch, safetensors.torch
from pathlib import Path
from clew import files

def dies(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    Path(path).with_name(".tmp1a2b3c").write_bytes(b"what the library has begun")
    os._exit(9)

safetensors.torch.save_file = dies
files.save_tensors(sys.argv[1], {"x": torch.zeros(2)})
"""


def test_what_a_killed_writer_and_its_library_have_left_is_cleared_and_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, {"x": torch.ones(3)})
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 2
    files.clear_temporaries(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    assert files.load_tensors(path)["x"].tolist() == [1, 1, 1]


def test_tensors_read_back_even_when_they_share_memory(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    given_tensors = {"whole": whole, "again": whole, "part": whole[1:], "turned": whole.T}
    files.save_tensors(tmp_path / "x.safetensors", given_tensors, {"said": "so"})
    read = files.load_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in given_tensors.items())
    assert files.load_note(tmp_path / "x.safetensors") == {"said": "so"}


@pytest.mark.parametrize("read", [files.read_bytes, files.read_json, files.load_tensors, files.load_note, files.sha256])
def test_a_missing_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(FileError, match=r"cannot read .*absent"):
        read(tmp_path / "absent")  # type: ignore[operator]


@pytest.mark.parametrize("keep", [0, 4, 9, 40, 150])
def test_a_truncated_tensor_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, {"x": torch.zeros(50)})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (files.load_tensors, files.load_note):
        with pytest.raises(FileError, match="not a whole safetensors file"):
            read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2", b"\xff\xfe", b"[" * 100_000, b"1" * 5000],
    ids=["empty", "open", "cut", "bytes", "deep", "long"],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        files.read_json(path)
    assert "\n" not in str(caught.value)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "kit"
    with files.new_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(ZeroDivisionError), files.new_folder(target) as folder:
        (folder / "b").write_text(str(1 // 0))
    assert [p.name for p in target.iterdir()] == ["a"]
    with files.new_folder(target) as folder:
        (folder / "c").write_text("3")
    assert [p.name for p in target.iterdir()] == ["c"]
    assert [p.name for p in tmp_path.iterdir()] == ["kit"]


def test_provenance_is_json_and_names_torch() -> None:
    origin = json.loads(json.dumps(files.provenance(seed=3)))
    assert origin["packages"]["torch"] == torch.__version__
    assert origin["seed"] == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(FileError, match=r"cannot write .*file/new: File exists"),
        files.new_folder(tmp_path / "file/new"),
    ):
        pass
    with pytest.raises(FileError, match=r"cannot write .*new: No space left"), files.new_folder(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
