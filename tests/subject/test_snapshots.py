"""Snapshots of a training run open as Subjects with the weights of their step."""

import pytest
import torch

import clew
from clew import files
from clew.errors import FileError
from clew.subject.snapshots import steps_of
from tests import models


@pytest.fixture
def run_folder(tmp_path):
    subject = models.subject("gpt2", torch.float32)
    subject.model.save_pretrained(tmp_path / "tiny" / "model")
    subject.tokenizer.save_pretrained(tmp_path / "tiny" / "model")
    for step, factor in ((0, 0.5), (4, 2.0)):
        weights = {name: (value.detach() * factor).half() for name, value in subject.model.named_parameters()}
        files.save_tensors(
            tmp_path / "tiny" / "snapshots" / f"step-{step:06d}.safetensors", weights, {"step": str(step)}
        )
    return tmp_path / "tiny"


def test_a_snapshot_opens_by_its_file_and_by_its_step(run_folder):
    final = clew.Subject.load(run_folder / "model")
    assert steps_of(run_folder) == [0, 4]
    by_file = clew.Subject.load(run_folder / "snapshots" / "step-000004.safetensors")
    by_step = clew.Subject.load(run_folder, step=0)
    assert (by_file.name, by_step.name) == ("tiny at step 4", "tiny at step 0")
    for subject, factor in ((by_file, 2.0), (by_step, 0.5)):
        for (name, value), (_, own) in zip(
            subject.model.named_parameters(), final.model.named_parameters(), strict=True
        ):
            torch.testing.assert_close(value, (own * factor).half().float(), msg=name)
        assert subject.encode("w1 w2").tolist() == final.encode("w1 w2").tolist()


def test_what_is_no_snapshot_is_refused_in_one_line(run_folder):
    with pytest.raises(FileError, match="no snapshot at step 3; it has 0, 4"):
        clew.Subject.load(run_folder, step=3)
    other = {"transformer.wte.weight": torch.zeros(3, 3)}
    files.save_tensors(run_folder / "snapshots" / "step-000008.safetensors", other, {"step": "8"})
    with pytest.raises(FileError, match="is not of the model beside it"):
        clew.Subject.load(run_folder, step=8)
    (run_folder / "model").rename(run_folder / "gone")
    with pytest.raises(FileError, match="train to the end first"):
        clew.Subject.load(run_folder / "snapshots" / "step-000004.safetensors")
