"""`clew audit` as a user calls it."""

import json
from pathlib import Path

import pytest

import clew
from clew.cli import main
from clew.intervention.audit import Audit

PROMPT = "The capital of France is"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["clew", *args])
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_audit_of_a_saved_graph_is_saved_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clew.load("minnow").trace(PROMPT).save(tmp_path / "paris.graph")
    code, out, err = run(monkeypatch, capsys, "audit", "--graph", str(tmp_path / "paris.graph"), "--nodes", "12")
    assert code == 0, err
    found = Audit.load(tmp_path / "paris.audit")
    assert found.nodes == 12
    out = " ".join(out.split())  # as the terminal's width breaks lines
    assert found.verdict in out
    assert (tmp_path / "paris.png").is_file()
    for word in (
        "shuffled",
        "patterns",
        "faithfulness",
        "CPR",
        "recomputed",
        "held",
        "replacement",
        "without any error",
        "neurons",
        "not to be trusted",
    ):
        assert word in out


def test_json_says_what_the_table_says_and_prompts_are_pooled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed = tmp_path / "prompts.txt"
    listed.write_text(f"{PROMPT}\nYou find Lyon in\n")
    code, out, err = run(monkeypatch, capsys, "audit", "--prompts", str(listed), "--nodes", "6", "--json")
    assert code == 0, err
    value = json.loads(out)
    assert value["prompts"] == [PROMPT, "You find Lyon in"]
    assert value["nodes"] == 12
    assert set(value["lines"]["total"]["outputs"]) == {"pairs", "spearman", "slope", "sign_errors"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["audit"], "give one prompt"),
        (["audit", PROMPT, "--prompts", "x.txt"], "give one prompt"),
        (["audit", PROMPT, "--nodes", "0"], "nodes is 0"),
        (["audit", "--graph", "missing.graph"], "missing.graph"),
        (["audit", PROMPT, "--target", "no such word"], "not one token"),
        (["audit", PROMPT, "--kit", "nowhere"], "no kit"),
    ],
)
def test_a_mistake_ends_with_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    code, out, err = run(monkeypatch, capsys, *args)
    assert code == 2
    assert out == ""
    assert err.startswith("clew: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_graph_of_another_dictionary_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clew.load("minnow").trace(PROMPT).save(tmp_path / "x.graph")
    code, _, err = run(
        monkeypatch, capsys, "audit", "--graph", str(tmp_path / "x.graph"), "--dictionary", "neurons", "--nodes", "5"
    )
    assert code == 2
    assert "traced with" in err
    assert not (tmp_path / "x.audit").exists()
