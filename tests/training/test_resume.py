"""Training that was stopped, killed or could not write goes on as if nothing had happened, or says why not."""

import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from clew import files
from clew.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training import Documents, train_dictionary, trainer
from tests import toy
from tests.toy import SMALL


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 7)
    monkeypatch.setattr(trainer, "DEAD_AFTER", 1000)


def train(subject: Subject, documents: Documents, folder: Path, config=SMALL, **options):
    return train_dictionary(subject, documents, config, folder, buffer=toy.BUFFER, report_every=1, **options)


def fingerprint(folder: Path) -> str:
    return Dictionary.load(folder / "dictionary").fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"features": (64, 24, 40)},
        {"nonlinearity": "topk"},
        {"nonlinearity": "jumprelu"},
        {"precision": "lean", "skip": True},
        {"kind": "sae"},
    ],
    ids=str,
)
def test_a_resumed_run_ends_with_the_same_bits(
    subject: Subject, documents: Documents, tmp_path: Path, change: dict[str, object]
) -> None:
    config = replace(SMALL, **change)  # type: ignore[arg-type]
    list(train(subject, documents, tmp_path / "whole", config))
    for stop in (7, 9, 20):
        folder = tmp_path / str(stop)
        stopped = train(subject, documents, folder, config)
        assert [r.step for r in islice(stopped, stop)][-1] == stop
        stopped.close()  # type: ignore[attr-defined]
        assert not (folder / "dictionary").exists()
        reports = list(train(subject, documents, folder, config, resume=True))
        assert reports[0].step == stop - stop % 7 + 1
        assert fingerprint(folder) == fingerprint(tmp_path / "whole")


def test_a_run_that_is_asked_to_stop_saves_itself_first(subject: Subject, documents: Documents, tmp_path: Path) -> None:
    list(train(subject, documents, tmp_path / "whole"))
    answers = iter([False] * 10 + [True])
    reports = list(train(subject, documents, tmp_path / "a", stop=lambda: next(answers)))
    assert [r.step for r in reports] == list(range(1, 12))
    assert not (tmp_path / "a" / "dictionary").exists()
    assert next(iter(train(subject, documents, tmp_path / "a", resume=True))).step == 12
    list(train(subject, documents, tmp_path / "a", resume=True))
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "whole")


def run_until(folder: Path, total: int, steps: int, delay: float = 0.0) -> int:
    """Start training as a program and kill it some steps and seconds later; the step that it had said last."""
    command = [sys.executable, str(Path(toy.__file__)), str(folder), str(total)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = 0
    for line in islice(process.stdout, steps):
        last = int(line)
    if last < total:
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return last


def kill_again_and_again(folder: Path, total: int, times: int, seed: int) -> None:
    """A run killed at random moments, many in the middle of a checkpoint, ends with the bits of one that was not."""
    rng = random.Random(seed)
    assert run_until(folder / "whole", total, 10**9) == total
    stops = [(rng.randint(4, 2 * total // times), rng.random() / 50) for _ in range(times)]
    reached = [run_until(folder / "killed", total, steps, delay) for steps, delay in stops]
    assert max(reached) > 10
    run_until(folder / "killed", total, 10**9)
    assert fingerprint(folder / "killed") == fingerprint(folder / "whole")
    assert [p.name for p in (folder / "killed").iterdir() if p.name.startswith(".")] == []


@pytest.mark.stress
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 60, 2, 0)


@pytest.mark.stress
def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 400, 10, 1)


def test_a_checkpoint_that_was_cut_short_is_never_taken(
    subject: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer dies halfway: the file before it is still whole, and is what a resumed run begins with."""
    import safetensors.torch

    list(train(subject, documents, tmp_path / "whole"))
    real, saved = safetensors.torch.save_file, []

    def dies(tensors, path, metadata):
        real(tensors, path, metadata=metadata)
        saved.append(path)
        if len(saved) == 2:
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", dies)
        with pytest.raises(KeyboardInterrupt):
            list(train(subject, documents, tmp_path / "a"))
    reports = list(train(subject, documents, tmp_path / "a", resume=True))
    assert reports[0].step == 8
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "whole")


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    list(train(subject, documents, tmp_path / "whole"))
    reports = train(subject, documents, tmp_path / "a")
    assert [r.step for r in islice(reports, 8)][-1] == 8
    before, limit = (tmp_path / "a" / trainer.NAME).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
        with pytest.raises(FileError, match=r"cannot write .*checkpoint.safetensors: .*File too large"):
            list(reports)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [p.name for p in (tmp_path / "a").iterdir()] == [trainer.NAME]
    assert (tmp_path / "a" / trainer.NAME).read_bytes() == before
    list(train(subject, documents, tmp_path / "a", resume=True))
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "whole")


def test_nan_activations_stop_the_run_by_name_and_keep_the_checkpoint(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    reports = train(subject, documents, tmp_path)
    assert [r.step for r in islice(reports, 9)][-1] == 9
    before = (tmp_path / trainer.NAME).read_bytes()
    bias = subject.model.transformer.h[1].mlp.c_fc.bias
    sound = bias.clone()
    try:
        bias[3] = float("inf")
        with pytest.raises(InputError, match=r"layer 1 .*(NaN|infinity)"):
            list(reports)
    finally:
        bias.copy_(sound)
    assert (tmp_path / trainer.NAME).read_bytes() == before


@pytest.mark.parametrize("rate", [300.0, 1e30])
def test_a_loss_that_explodes_stops_the_run_before_it_spoils_the_weights(
    subject: Subject, documents: Documents, tmp_path: Path, rate: float
) -> None:
    with pytest.raises(InputError, match=r"the loss became \S+ at step \d+: train again, into another folder"):
        list(train(subject, documents, tmp_path, replace(SMALL, learning_rate=rate, steps=300)))
    if (tmp_path / trainer.NAME).exists():
        assert all(t.isfinite().all() for t in files.load_tensors(tmp_path / trainer.NAME).values())


def test_a_checkpoint_of_another_run_or_a_broken_one_is_refused(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    config = replace(SMALL, steps=8)
    list(train(subject, documents, tmp_path, config))
    with pytest.raises(MismatchError, match="belongs to another run"):
        next(train(subject, documents, tmp_path, replace(config, k=5), resume=True))
    with pytest.raises(MismatchError, match="belongs to another run"):
        next(train_dictionary(subject, documents, config, tmp_path, resume=True, buffer=700))
    path = tmp_path / trainer.NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        next(train(subject, documents, tmp_path, config, resume=True))
    note, tensors = {}, {}
    path.write_bytes(whole)
    note, tensors = files.load_note(path), files.load_tensors(path)
    files.save_tensors(path, {k: v for k, v in tensors.items() if k != "1.decoder.mean"}, note)
    with pytest.raises(FileError, match=r"1.decoder.mean"):
        next(train(subject, documents, tmp_path, config, resume=True))
    path.unlink()
    with pytest.raises(FileError, match="no such file"):
        next(train(subject, documents, tmp_path, config, resume=True))
