"""A run's table and the verbs that keep it: what is written comes back, broken files are named."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew import files
from clew.cli import live
from clew.errors import FileError, InputError
from clew.training import TrainingReport
from clew.training.metrics import Metrics


def report(step: int) -> TrainingReport:
    return TrainingReport(
        step=step,
        steps=9,
        loss=1.0 / step,
        nmse=(0.5 / step, 0.25),
        l0=(8.0, 4.0),
        dead=0.125,
        tokens_per_second=1000.0,
        snapshot=lambda: None,  # type: ignore[arg-type,return-value]
    )


def test_an_interrupted_table_goes_on_where_the_resumed_run_does(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    assert Metrics.load(path, until=3).rows == []
    first = Metrics()
    for step in range(1, 6):
        first.add(report(step), batch=64, seconds=float(step), held_out=None)
    first.save(path)
    again = Metrics.load(path, until=3)
    assert again.rows == first.rows[:3]
    for step in range(4, 7):
        again.add(report(step), batch=64, seconds=float(step), held_out=None)
    columns = again.columns()
    assert columns["step"] == [1, 2, 3, 4, 5, 6]
    assert columns["tokens"] == [64 * step for step in range(1, 7)]
    assert columns["nmse_0"] == [0.5 / step for step in range(1, 7)]
    assert columns["l0_1"] == [4.0] * 6
    drawn = again.figure()
    assert [len(axis.lines) for axis in drawn.axes] == [2, 2, 1, 3]
    assert drawn.axes[0].lines[0].get_ydata().tolist() == columns["nmse_0"]  # type: ignore[union-attr]


def test_a_report_says_speed_time_left_and_the_mean_over_layers() -> None:
    assert live.line(report(2), None) == "step 2/9  error 0.2500  active 6.0  dead 12.5%  1,000 tokens/s"
    assert [live.duration(s) for s in (5.0, 600.0, 9000.0)] == ["5 s", "10 min", "2.5 h"]
    assert [live.size(n) for n in (3_000_000, 2_500_000_000)] == ["3 MB", "2.5 GB"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.none() | st.floats(allow_nan=False)), max_size=9))
def test_a_table_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float | None]]) -> None:
    path = tmp_path_factory.mktemp("t") / "sub" / "t.parquet"
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    files.write_table(path, columns)
    assert files.read_table(path) == columns
    assert list(files.parquet_column(path, "a")) == columns["a"]
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    files.write_table(path, {"a": [1, 2]})
    with pytest.raises(InputError, match="no column 'b': there are a"):
        list(files.parquet_column(path, "b"))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FileError, match=r"t\.parquet is not a whole Parquet file"):
        files.read_table(path)
    with pytest.raises(FileError, match=r"cannot read .*none\.parquet: no such file"):
        files.read_table(tmp_path / "none.parquet")


def test_lines_are_read_one_at_a_time_and_free_space_is_that_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\r\ntwo\n\nпять".encode())
    assert list(files.lines(tmp_path / "a.txt")) == ["one", "two", "", "пять"]
    with pytest.raises(FileError, match="No such file"):
        next(files.lines(tmp_path / "none.txt"))
    assert files.free_bytes(tmp_path / "not" / "yet") == pytest.approx(files.free_bytes(tmp_path), rel=0.05)
