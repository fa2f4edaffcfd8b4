"""`clew train` and `clew harvest` on two ranks: who prints and writes, how a run ends and goes on, mistakes."""

import json
import os
import shutil
import signal
import socket
from datetime import timedelta
from pathlib import Path

import pytest

import clew
from clew import distributed, files
from clew.runs import train as runs
from clew.training import trainer
from tests.cli.test_train import MODEL, write_text
from tests.ranks import as_rank, command, free_port, on_ranks

SMALL = ("--features", 24, "--k", 3, "--steps", 16, "--batch", 64, "--buffer", 1024, "--held-out", 200)
OPTIONS = ("--text", "text.txt", "--check-every", 0, *SMALL)
READ = ("--text", "text.txt", "--tokens", 6000, "--pool", 50, "--pairs", 500, "--related", 0, "--a-band", 1,
        "--contexts", 3, "--no-rules", "--json")  # fmt: skip
HARVEST = ("--model", MODEL, "--dictionary", "whole/dictionary", *READ)
SECOND = "1"  # the rank to which things happen


class Fork:
    """Changes of a rank's process that end with a command."""

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()

    def signal_at(self, step: int, number: int) -> None:
        advance = trainer.advance

        def signalled(run, batch):
            if run.step == step and os.environ["RANK"] == SECOND:
                os.kill(os.getpid(), number)
            return advance(run, batch)

        self.patch.setattr(trainer, "advance", signalled)

    def other_version(self) -> None:
        if os.environ["RANK"] == SECOND:
            self.patch.setattr(distributed, "__version__", "0.0.1")

    def other_text(self) -> None:
        rows_of = runs.rows_of

        def shorter(*arguments):
            held_out, documents = rows_of(*arguments)
            return held_out, documents.slice(0, len(documents) - 3)

        if os.environ["RANK"] == SECOND:
            self.patch.setattr(runs, "rows_of", shorter)


def scenes(folder: Path, ports: list[int]) -> dict[str, tuple[int, str, str]]:
    """Every scene has a command and a port of its own; the last one kills the second rank."""
    os.chdir(folder)
    files.write_figure = lambda path, figure: None  # type: ignore[assignment]
    trainer.CHECKPOINT_EVERY = 7  # type: ignore[misc]
    second, shown = os.environ["RANK"] == SECOND, {}

    def scene(name: str, *arguments: object, change=lambda fork: None, port: int | None = None) -> None:
        as_rank(int(os.environ["RANK"]), 2, port or ports[len(shown)])
        fork = Fork()
        change(fork)
        if port is not None:
            fork.patch.setattr(distributed, "MEETING", timedelta(seconds=1))
        shown[name] = command("train", *arguments)
        fork.patch.undo()

    scene("whole", "whole", *OPTIONS)
    scene("stopped", "part", *OPTIONS, change=lambda fork: fork.signal_at(9, signal.SIGTERM))
    scene("resumed", "part", "--resume")
    scene("features", "features", *OPTIONS, "--shard", "features")
    scene("sharded", "f", *OPTIONS, "--shard", "features", change=lambda fork: fork.signal_at(9, signal.SIGTERM))
    if not second:
        for copied in ("f1", "f2"):
            shutil.copytree("f", copied)
        Path("f2/checkpoint-10-2-of-2.safetensors").unlink()
    scene("of equal size", "f", "--resume", "--shard", "features")
    scene("by tokens", "f1", "--resume")
    scene("shards", "f2", "--resume", "--shard", "features")
    scene("few features", "g", *OPTIONS, "--features", 1, "--k", 1, "--shard", "features")
    scene("few positions", "a", *OPTIONS, "--batch", 1)
    scene("no text", "a", "--text", "missing.txt", *SMALL)
    scene("settings", "b", *OPTIONS, *(("--seed", 5) if second else ()))
    scene("text", "c", *OPTIONS, change=Fork.other_text)
    scene("version", "d", *OPTIONS, change=Fork.other_version)
    scene("port", "e", *OPTIONS, port=ports[-1])
    (folder / f"shown{second}").write_text(repr(shown))
    scene("killed", "killed", *OPTIONS, change=lambda fork: fork.signal_at(10, signal.SIGKILL))
    return shown


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> tuple[Path, dict[str, list[tuple[int, str, str]]]]:
    """What each of two ranks shows in every scene."""
    folder = tmp_path_factory.mktemp("ranks")
    write_text(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first, _ = on_ranks(2, scenes, folder, [*(free_port() for _ in range(16)), taken.getsockname()[1]])
    second = eval((folder / "shownTrue").read_text())
    return folder, {name: [first[name], *([second[name]] if name in second else [])] for name in first}


def mark(folder: Path) -> str:
    return clew.Dictionary.load(folder / "dictionary").fingerprint


def test_only_the_first_rank_prints(ended):
    (code, out, err), other = ended[1]["whole"]
    assert code == 0, err
    assert "all MLPs replaced" in out
    assert other == (0, "", "")


def harvests(folder: Path, ports: list[int]) -> list[tuple[int, str, str]]:
    """A harvest, and one of fewer documents than make two parts."""
    os.chdir(folder)
    shown = []
    for port, arguments in zip(
        ports, (("two.sqlite", *HARVEST), ("few.sqlite", *HARVEST, "--tokens", 300)), strict=True
    ):
        as_rank(int(os.environ["RANK"]), 2, port)
        shown.append(command("harvest", *arguments))
    return shown


@pytest.mark.long
def test_two_ranks_harvest_the_content_that_one_process_does(ended, run, monkeypatch):
    folder, _ = ended
    (first, few), (other, other_few) = on_ranks(2, harvests, folder, [free_port(), free_port()])
    assert (few[0], other_few) == (2, (2, "", ""))
    assert "documents make at most 1 parts of 256, not 2" in few[2]
    code, out, err = first
    assert (code, other) == (0, (0, "", "")), err
    monkeypatch.chdir(folder)
    code, alone, err = run("harvest", "one.sqlite", *HARVEST)
    assert code == 0, err
    assert json.loads(out)["content"] == json.loads(alone)["content"]
    assert json.loads(out)["documents"] > 512
    assert sorted(folder.glob("*.part")) == []


def test_a_signal_to_one_rank_stops_all_and_the_resumed_run_ends_with_the_same_bits(ended):
    folder, shown = ended
    assert [code for code, _, _ in shown["stopped"]] == [143, 143]
    assert "stopped at step 10 of 16; go on with: clew train part --resume" in shown["stopped"][0][1]
    assert shown["stopped"][1][1:] == ("", "")
    assert [code for code, _, _ in shown["resumed"]] == [0, 0]
    assert mark(folder / "part") == mark(folder / "whole")


def test_a_run_whose_features_are_parted_goes_on_from_its_shards_with_the_same_bits(ended):
    folder, shown = ended
    assert [code for code, _, _ in shown["sharded"]] == [143, 143]
    assert [code for code, _, _ in shown["of equal size"]] == [0, 0]
    assert mark(folder / "f") == mark(folder / "features")
    assert [path.name for path in sorted((folder / "f").glob("checkpoint*"))] == [
        "checkpoint-16-1-of-2.safetensors", "checkpoint-16-2-of-2.safetensors", "checkpoint.safetensors"
    ]  # fmt: skip


def test_shards_are_read_where_tokens_are_parted_and_leave_one_file(ended):
    folder, shown = ended
    assert [code for code, _, _ in shown["by tokens"]] == [0, 0], shown["by tokens"]
    assert [path.name for path in (folder / "f1").glob("checkpoint*")] == ["checkpoint.safetensors"]
    ends = [files.read_table(folder / name / "metrics.parquet")["loss"][-1] for name in ("f1", "features", "whole")]
    assert ends == pytest.approx([ends[2]] * 3, rel=1e-3)


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ("shards", "of which checkpoint-10-2-of-2.safetensors cannot be found"),
        ("few features", "a layer has 1 features, but there are 2 ranks: start fewer of them"),
        ("few positions", "a batch has 1 positions, but there are 2 ranks: start fewer of them"),
        ("no text", "missing.txt"),
        ("settings", "rank 0 has seed 0, rank 1 has 5: all ranks need the same"),
        ("text", "rank 0 has text "),
        ("version", "rank 1 has 0.0.1: all ranks need the same"),
        ("port", "is in use: give torchrun another with --master-port"),
    ],
)
def test_a_mistake_is_one_line_and_no_rank_hangs(ended, scene: str, words: str):
    (code, _, err), (other_code, out, other) = ended[1][scene]
    assert (code, other_code, out) == (2, 2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1, err
    assert len(other.strip().splitlines()) <= (scene in ("version", "port")), other  # where ranks cannot talk


def test_where_a_rank_is_killed_the_other_ends_with_one_line_and_one_process_goes_on(ended, run, monkeypatch):
    folder, shown = ended
    [(code, _, err)] = shown["killed"]
    lines = [line for line in err.splitlines() if not line.startswith("step ")]
    assert code == 2
    assert lines == [
        "clew: rank 0 of 2: another rank has ended or does not answer: start all of them again; a run goes on from its "
        "last checkpoint with --resume"
    ]
    monkeypatch.chdir(folder)
    code, _, err = run("train", "killed", "--resume")
    assert code == 0, err
    table = files.read_table("killed/metrics.parquet")
    assert table["step"] == list(range(8, 17)) or table["step"] == list(range(1, 17))
    whole = files.read_table("whole/metrics.parquet")
    assert table["loss"][-1] == pytest.approx(whole["loss"][-1], rel=1e-2)
