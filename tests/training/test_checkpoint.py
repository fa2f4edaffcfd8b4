"""A run goes on with what it began with, or is refused with what has changed; a damaged checkpoint is one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clew import files
from clew.dictionary import Dictionary
from clew.errors import FileError, MismatchError
from clew.subject.subject import Subject
from clew.training import Documents, encode_documents, train_dictionary
from clew.training.checkpoint import NAME, open_run
from clew.training.config import FineTuneConfig
from clew.training.finetune import fine_tune
from clew.training.warm_start import stopped
from tests import toy

SHORT = replace(toy.SMALL, steps=4)


@pytest.fixture(scope="module")
def finished(subject: Subject, documents: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    list(train_dictionary(subject, documents, SHORT, folder, buffer=toy.BUFFER))
    return folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A folder with the checkpoint of a run."""
    (tmp_path / NAME).write_bytes((finished / NAME).read_bytes())
    return tmp_path


def resumed(subject: Subject, documents: Documents, folder: Path) -> None:
    list(train_dictionary(subject, documents, SHORT, folder, buffer=toy.BUFFER, resume=True))


def with_note(folder: Path, **changes: object) -> None:
    """Change what a checkpoint says of its run; None takes it away."""
    note, tensors = files.load_note(folder / NAME), files.load_tensors(folder / NAME)
    facts = json.loads(note["run"]) | changes
    note["run"] = json.dumps({name: value for name, value in facts.items() if value is not None})
    files.save_tensors(folder / NAME, {name: tensor.clone() for name, tensor in tensors.items()}, note)


def test_changed_weights_are_refused_whatever_is_done_with_the_run(
    subject: Subject, documents: Documents, run_folder: Path
) -> None:
    before = subject.weights_hash()
    with torch.no_grad():
        weight = subject.model.transformer.h[1].mlp.c_fc.weight
        weight[2, 3] += 1e-3
        try:
            changed = (
                rf"run on toy with weights {before[:12]} \(sha256\), but those of toy are {subject.weights_hash()[:12]}"
            )
            with pytest.raises(MismatchError, match=changed):
                resumed(subject, documents, run_folder)
            with pytest.raises(MismatchError, match=changed):
                next(fine_tune(subject, documents, FineTuneConfig(steps=1), run_folder))
            with pytest.raises(MismatchError, match=changed):
                stopped(run_folder, subject)
        finally:
            weight[2, 3] -= 1e-3


def test_the_same_weights_under_another_name_go_on(
    subject: Subject, documents: Documents, run_folder: Path, finished: Path
) -> None:
    resumed(Subject(subject.model, subject.tokenizer, "moved"), documents, run_folder)
    assert (
        Dictionary.load(run_folder / "dictionary").fingerprint == Dictionary.load(finished / "dictionary").fingerprint
    )


def test_other_text_is_refused(subject: Subject, documents: Documents, run_folder: Path) -> None:
    other = encode_documents(subject, list(toy.sentences(200, torch.Generator().manual_seed(2))))
    for act in (
        lambda: resumed(subject, other, run_folder),
        lambda: next(fine_tune(subject, other, FineTuneConfig(steps=1), run_folder)),
    ):
        with pytest.raises(MismatchError, match=f"run on other text .{documents.mark[:12]}, now {other.mark[:12]}"):
            act()


def test_a_checkpoint_of_another_schema_is_refused_by_its_number(
    subject: Subject, documents: Documents, run_folder: Path
) -> None:
    for version, words in ((99, "has schema 99, this program reads up to"), (3, "has schema 3, this program reads 4")):
        with_note(run_folder, version=version)
        with pytest.raises(FileError, match=words):
            resumed(subject, documents, run_folder)


def test_a_checkpoint_that_knows_no_weights_and_no_text_goes_on_with_a_model_of_its_name(
    subject: Subject, documents: Documents, run_folder: Path
) -> None:
    with_note(run_folder, version=4, weights=None, text=None)
    with pytest.raises(MismatchError, match="belongs to another run, on toy, not on another"):
        resumed(Subject(subject.model, subject.tokenizer, "another"), documents, run_folder)
    run, origin = open_run(run_folder, subject, documents)
    assert run.step == SHORT.steps
    assert origin.weights == subject.weights_hash()


def test_a_setting_that_differs_is_named_with_both_values(
    subject: Subject, documents: Documents, run_folder: Path
) -> None:
    with pytest.raises(MismatchError, match="belongs to another run, with k 4, not 5: resume with its settings"):
        list(train_dictionary(subject, documents, replace(SHORT, k=5), run_folder, buffer=toy.BUFFER, resume=True))


def pickled(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def foreign(path: Path) -> None:
    files.save_tensors(path, {"x": torch.zeros(3)}, {"format": "pt"})


def misshapen(path: Path) -> None:
    tensors, note = files.load_tensors(path), files.load_note(path)
    files.save_tensors(path, {**tensors, "1.bias.mean": torch.zeros(1, 1)}, note)  # it would spread to all features


def of_other_numbers(path: Path) -> None:
    tensors, note = files.load_tensors(path), files.load_note(path)
    files.save_tensors(path, {**tensors, "skip.weight": tensors["skip.weight"].half()}, note)


def without_a_step(path: Path) -> None:
    tensors, note = files.load_tensors(path), files.load_note(path)
    files.save_tensors(path, {name: t.clone() for name, t in tensors.items()}, note | {"step": "many"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "not a whole safetensors file"),
        (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
        (pickled, "not a whole safetensors file"),
        (foreign, "holds no checkpoint of Clew"),
        (misshapen, r"is damaged: 1.bias.mean is torch.float32 \[1, 1\], not torch.float32 \[64, 1\]"),
        (of_other_numbers, "is damaged: skip.weight is torch.float16"),
        (without_a_step, "does not say its step"),
        (lambda path: with_note(path.parent, k="many"), "does not say the settings of its run"),
        (lambda path: with_note(path.parent, buffer=None), "does not say the model and the buffer of its run"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_stays(
    subject: Subject, documents: Documents, run_folder: Path, damage, words: str
) -> None:
    damage(run_folder / NAME)
    content = (run_folder / NAME).read_bytes()
    with pytest.raises(FileError, match=words) as caught:
        resumed(subject, documents, run_folder)
    assert "\n" not in str(caught.value)
    assert (run_folder / NAME).read_bytes() == content
