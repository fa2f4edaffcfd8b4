"""A run's table and the verbs that keep it: what is written comes back, broken files are named."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clew import files
from clew.cli import training_display as live
from clew.errors import FileError, InputError
from clew.runs.fidelity import Fidelity, Replacement
from clew.runs.train import RunReport
from clew.runs.training_metrics import Metrics
from clew.training import TrainingReport


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
    assert live.line(report(2), None, 150_000) == "step 2/9  error 0.2500  active 6.0  dead 12.5%  1,000 tokens/s"
    assert "dead -  " in live.line(report(2), None, 149_999)  # none can be known to be dead so early
    assert [live.duration(s) for s in (5.0, 600.0, 9000.0)] == ["5 s", "10 min", "2.5 h"]
    assert [live.size(n) for n in (3_000_000, 2_500_000_000)] == ["3 MB", "2.5 GB"]


def held_out(agreement: float) -> Fidelity:
    replaced = Replacement(kl=0.5, agreement=agreement, agreement_sure=0.875, loss=2.0, loss_recovered=0.625)
    common = {"positions": 9, "layers": (0, 1), "nmse": (0.1, 0.2), "l0": (8.0, 4.0), "dead": (0.0, 0.0), "density": ()}
    return Fidelity(**common, sure=0.5, loss=1.0, replaced=replaced, by_layer=())  # type: ignore[arg-type]


def test_the_table_of_a_run_says_what_is_known_by_layer_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(live.drawn(RunReport(training=report(2), held_out=held_out(0.75), held_out_step=1), 150_000))
    console.print(live.drawn(RunReport(training=report(1), held_out=None, held_out_step=0), 100))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "step 2 of 9   1,000 tokens/s   18 min left" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith(("L0", "L1", "mean"))][:3] == [
        ["L0", "0.2500", "8.00"], ["L1", "0.2500", "4.00"], ["mean", "0.2500", "6.00"]
    ]  # fmt: skip
    words = " ".join(shown.split())
    assert "dead features 12.5% all layers replaced, on held-out text at step 1: agreement 0.7500 (0.8750" in words
    assert "loss recovered 0.6250" in words
    assert "dead features - Ctrl-C" in words


def test_a_board_is_a_table_where_there_is_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with live.board(64) as show:
        show(RunReport(training=report(3), held_out=held_out(0.75), held_out_step=2))
        show(RunReport(training=report(4), held_out=held_out(0.75), held_out_step=4))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["3/9", "4/9"]
    assert ["agreement 0.7500" in line for line in lines] == [False, True]  # only what is new
    drawn = io.StringIO()
    monkeypatch.setattr(live, "Console", lambda **_: Console(file=drawn, force_terminal=True, width=80))
    with live.board(64) as show:
        show(RunReport(training=report(3), held_out=held_out(0.75), held_out_step=2))
    assert capsys.readouterr().out == ""
    assert "relative error" in drawn.getvalue()
    assert "step 3 of 9" in drawn.getvalue()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.none() | st.floats(allow_nan=False)), max_size=9))
def test_a_table_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float | None]]) -> None:
    path = tmp_path_factory.mktemp("t") / "sub" / "t.parquet"
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    files.write_table(path, columns)
    assert files.read_table(path) == columns
    assert [row["a"] for row in files.parquet_rows(path, ["a"], optional=["c"])] == columns["a"]
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_table_of_another_program_or_a_newer_schema_is_no_table_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    files.write_table(path, {"step": [1, 2]})
    with pytest.raises(FileError, match="holds no table of a run of Clew"):
        Metrics.load(path, until=2)
    files.write_table(path, {"step": [1, 2]}, {"format": "clew.metrics", "schema": "7"})
    with pytest.raises(FileError, match="has schema 7, this program reads up to 1"):
        Metrics.load(path, until=2)
    files.write_table(path, {"steps": [1, 2]}, {"format": "clew.metrics", "schema": "1"})
    with pytest.raises(FileError, match="has no column of steps"):
        Metrics.load(path, until=2)


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    files.write_table(path, {"a": [1, 2]})
    with pytest.raises(InputError, match="no column 'b': there are a"):
        list(files.parquet_rows(path, ["b"]))
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
