"""A user's table: what is read, and every mistake with its line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.errors import FileError
from clew.studies.user_rows import read_rows

COLUMNS = ("prompt", "concept")


def written(tmp_path, content, name="rows.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_rows_are_read_with_their_lines(tmp_path):
    text = '\ufeffprompt, concept ,note\r\n"He likes ""red"", so he",red,x\r\n\r\nShe is a , blue,\r\n'
    rows = read_rows(written(tmp_path, text), COLUMNS, optional=("note", "answer"))
    assert [(row.line, row.cells) for row in rows] == [
        (2, {"prompt": 'He likes "red", so he', "concept": "red", "note": "x"}),
        (4, {"prompt": "She is a", "concept": "blue", "note": ""}),
    ]


def test_a_table_with_tabs_is_known_by_its_name(tmp_path):
    rows = read_rows(written(tmp_path, "concept\tprompt\nred\ta, b\n", "rows.tsv"), COLUMNS)
    assert rows[0].cells == {"prompt": "a, b", "concept": "red"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", r"rows\.csv is empty: its first line must hold the names prompt, concept"),
        ("\n \n", "is empty"),
        ("prompt,concept\n", "nothing below them"),
        ("prompt\nHe is\n", "line 1 of .* has no column 'concept': it holds 'prompt'"),
        ("prompt,concept,prompt\na,b,c\n", "line 1 of .* has the column 'prompt' twice"),
        ("prompt,concept,\na,b,c\n", "line 1 of .* has a column without a name"),
        ("prompt,concept\na,b\na\n", "line 3 of .* has 1 cells, its first line has 2 names"),
        ("prompt,concept\na,b,c\n", "line 2 of .* has 3 cells"),
        ("prompt,concept\na,b\n,b\n", "line 3 of .* has nothing in the column 'prompt'"),
        ('prompt,concept\na,b\n"a"x,b\n', "line 3"),
        ('prompt,concept\na,"b\n', "line 2"),
        (b"prompt,concept\na,\xff\n", "not UTF-8 .*line 2"),
        (b"PK\x03\x04\x00\x00", "has no column|not UTF-8"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, content, words):
    with pytest.raises(FileError, match=words):
        read_rows(written(tmp_path, content), COLUMNS)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileError, match="cannot read"):
        read_rows(tmp_path / "none.csv", COLUMNS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    try:
        assert read_rows(written(tmp_path, b"prompt,concept\n" + content), COLUMNS)
    except FileError as error:
        assert "\n" not in str(error)  # noqa: PT017
