"""Where no bar can be drawn, long work says now and then how far it is; short work says nothing."""

import pytest

from clew.cli import progress_bar
from clew.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which pass as they are told to."""
    seconds = [100.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_pipe_gets_a_line_every_ten_seconds_and_none_before(clock, capsys):
    with progress_bar.bar("harvest") as report:
        for done in range(1, 26):
            clock[0] += 1
            report(Progress(what="reading", done=1000 * done, of=25_000, unit="documents", note="900 tokens/s"))
    assert capsys.readouterr() == (
        "",
        "harvest: 10,000 of 25,000 documents 900 tokens/s\nharvest: 20,000 of 25,000 documents 900 tokens/s\n",
    )


def test_work_of_unknown_length_counts_up(clock, capsys):
    with progress_bar.bar("reading") as report:
        clock[0] += 11
        report(Progress(what="reading", done=7, of=0, unit="files"))
    assert capsys.readouterr().err == "reading: 7 files\n"
