"""Text of other people: byte order marks, line ends, compression, long cells, and what is no text, by line and byte."""

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

from clew import files
from clew.errors import FileError

BOM = b"\xef\xbb\xbf"
LINES = ["The cat", "", "Столица \u2028 behind", "end"]


def zstd(content, path):
    with pyarrow.output_stream(str(path), compression="zstd") as stream:
        stream.write(content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_lines_are_the_same_whatever_marks_ends_and_packs_them(tmp_path, end, mark, packed):
    """A line separator inside a line (U+2028) parts nothing."""
    path, content = tmp_path / f"text.txt{packed}", mark + end.join(LINES).encode()
    if packed == ".gz":
        path.write_bytes(gzip.compress(content))
    elif packed == ".zst":
        zstd(content, path)
    else:
        path.write_bytes(content)
    assert list(files.lines(path)) == LINES


def test_what_is_compressed_is_known_by_its_bytes_not_by_its_name(tmp_path):
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(b'{"text": "a"}'))
    (tmp_path / "plain.jsonl.gz").write_bytes(b'{"text": "a"}')
    for name in ("packed.jsonl", "plain.jsonl.gz"):
        assert list(files.json_lines(tmp_path / name)) == [{"text": "a"}]


def test_two_compressed_files_behind_each_other_are_read_as_one(tmp_path):
    """As `cat a.gz b.gz` makes them."""
    zstd(b"a\n", tmp_path / "a.zst")
    (tmp_path / "two.zst").write_bytes((tmp_path / "a.zst").read_bytes() * 2)
    (tmp_path / "two.gz").write_bytes(gzip.compress(b"a\n") * 2)
    for name in ("two.gz", "two.zst"):
        assert list(files.lines(tmp_path / name)) == ["a", "a"]


def test_a_compressed_file_that_is_cut_short_is_refused(tmp_path):
    zstd(json.dumps(list(range(9999))).encode(), tmp_path / "a.zst")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one line\n" * 9999)[:-30])
    (tmp_path / "a.zst").write_bytes((tmp_path / "a.zst").read_bytes()[:-30])
    for name in ("a.gz", "a.zst"):
        with pytest.raises(FileError, match=name):
            list(files.lines(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nbad caf\xe9 is\n", r"is not UTF-8 \(line 2, byte 8\)"),
        (b"fine\r\n\r\n\xed\xa0\x80", r"is not UTF-8 \(line 3, byte 1\)"),
        ("text".encode("utf-16"), r"is UTF-16 \(line 1, byte 1\)"),
    ],
)
def test_what_is_no_utf8_is_named_by_line_and_byte(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    for read in (files.read_text, lambda path: list(files.lines(path))):
        with pytest.raises(FileError, match=message):
            read(path)


def test_half_characters_in_json_are_refused_and_pairs_are_not(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00"}\n{"k": ["a", {"b \\udc00": 1}]}\n')
    rows = files.json_lines(path)
    assert next(rows) == {"text": "😀"}
    with pytest.raises(FileError, match=r"line 2 of .*half a character \(\\udc00\)"):
        next(rows)
    whole = tmp_path / "text.json"
    whole.write_text('["fine", "\\uD800"]')
    with pytest.raises(FileError, match=r"half a character \(\\ud800\)"):
        files.read_json(whole)


def test_a_cell_may_be_longer_than_python_reads_by_default(tmp_path):
    long = "a\nb " * 50_000
    path = tmp_path / "table.csv"
    path.write_bytes(BOM + f'text,n\r\n"{long}",1\r\nshort,2\r\n'.encode())
    assert [row["text"] for row in files.table_rows(path, ",")] == [long, "short"]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.JSONL", ".jsonl"),
        ("a.b.Json.GZ", ".json"),
        ("a.gz", ""),
        ("a", ""),
        ("v1.csv.zst", ".csv"),
        ("a.json.bak", ".bak"),
    ],
)
def test_an_ending_counts_whatever_its_case_and_packing(name, ending):
    assert files.ending(name) == ending


def test_a_parquet_column_whose_text_is_no_utf8_is_refused(tmp_path):
    broken = pyarrow.array([b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(FileError, match="not UTF-8"):
        list(files.parquet_rows(tmp_path / "a.parquet", ["text"]))


def test_a_csv_is_read_as_it_was_written_whatever_its_cells_hold(tmp_path):
    columns = {"text": ['a, "b"', "two\nlines", "да"], "number": [1.5, None, float("nan")]}
    files.write_csv(tmp_path / "a.csv", columns)
    rows = list(files.table_rows(tmp_path / "a.csv", ","))
    assert [row["text"] for row in rows] == columns["text"]
    assert [row["number"] for row in rows] == ["1.5", "", "nan"]
