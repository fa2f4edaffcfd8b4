"""A download that was interrupted is named as the reason why a model cannot be read."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clew.subject.subject import Subject
from tests import models
from tests.subject.test_loading import folder_of, refusal

LACKS = ("model-00002*", "model*.safetensors", "*.index.json", "config.json", "tokenizer*")


@pytest.mark.parametrize("pattern", LACKS)
@pytest.mark.parametrize("by", ["hub", "path"])
def test_a_download_that_was_interrupted_is_said_to_be(
    by: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--org--tiny-llama"
    snapshot = repository / "snapshots" / ("a" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    models.model("llama", torch.float32).save_pretrained(snapshot, max_shard_size="20KB")
    models.tokenizer().save_pretrained(snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source: Any = "org/tiny-llama" if by == "hub" else snapshot
    Subject.load(source)
    for path in snapshot.glob(pattern):
        path.unlink()
    left = repository / "blobs" / "0123.incomplete"
    left.parent.mkdir()
    left.write_bytes(b"half")
    said = refusal(source)
    assert "(1 downloads were interrupted there: download it again)" in said
    assert "https:" not in said
    left.unlink()
    assert "interrupted" not in refusal(source)


def test_a_download_into_a_folder_that_was_interrupted_is_said_to_be(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path)
    (folder / "model.safetensors").unlink()
    left = folder / ".cache" / "huggingface" / "download" / "model.safetensors.0123.incomplete"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert refusal(folder).endswith("config.json (1 downloads were interrupted there: download it again)")
