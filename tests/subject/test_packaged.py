"""A model that came as a package is the one that is pinned, unpacked once, and read like any other."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from clew import kit as kits
from clew.errors import ClewError, FileError, InputError
from clew.subject import packaged
from clew.subject.packaged import (
    SMOLLM2,
    PackagedModel,
    cached_folder,
    load_packaged,
    model_installed,
    packaged_file,
    packaged_folder,
)
from clew.subject.subject import Subject
from tests import models
from tests.gguf_files import tiny_gguf

IDS = torch.tensor([models.PROMPT])
PARIS = "The capital of France is"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PackagedModel, Any]:
    """A package with a tiny GGUF file, which must not be imported, and the model in the file."""
    pytest.importorskip("accelerate")
    folder = tmp_path / "site" / "tiny_gguf_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    model = tiny_gguf(folder / "tiny.gguf", tied=True)
    monkeypatch.syspath_prepend(folder.parent)
    content = (folder / "tiny.gguf").read_bytes()
    return PackagedModel(
        name="tiny",
        extra="tiny",
        package="tiny_gguf_package",
        requirement="tiny==1",
        file="tiny.gguf",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        title="Tiny",
        license="none",
    ), model


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what models are read from."""
    read: list[str] = []
    load = Subject.load

    def noted(source: Any, *args: Any, **options: Any) -> Subject:
        read.append(Path(source).name)
        return load(source, *args, **options)

    monkeypatch.setattr(packaged.Subject, "load", noted)
    return read


def assert_same(subject: Subject, model: Any) -> None:
    assert subject.name == "tiny"
    with torch.no_grad():
        assert torch.equal(subject.logits(IDS), model(IDS).logits)
    assert subject.token_strings(subject.encode("abc").tolist()) == ("<bos>", "ab", "c")


def refusal(model: PackagedModel, cache: Path, kind: type[ClewError] = FileError) -> str:
    with pytest.raises(kind) as caught:
        load_packaged(model, cache=cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_unpacked_once_and_then_read_from_the_cache(
    tiny: tuple[PackagedModel, Any], sources: list[str], tmp_path: Path
) -> None:
    pin, model = tiny
    for _ in range(2):
        assert_same(load_packaged(pin, cache=tmp_path / "cache"), model)
    assert sources == ["tiny.gguf", cached_folder(pin, tmp_path / "cache").name]


@pytest.mark.parametrize("damage", ["truncated", "changed", "head", "other"])
def test_a_damaged_folder_in_the_cache_is_written_anew(
    damage: str, tiny: tuple[PackagedModel, Any], sources: list[str], tmp_path: Path
) -> None:
    pin, model = tiny
    load_packaged(pin, cache=tmp_path)
    folder = cached_folder(pin, tmp_path)
    weights, head = folder / "model.safetensors", folder / "packaged.json"
    content = weights.read_bytes()
    if damage == "truncated":
        weights.write_bytes(content[:-4])
    elif damage == "changed":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "head":
        head.write_text("{}")
    else:
        head.write_text(head.read_text().replace(pin.sha256, "0" * 64))
    assert_same(load_packaged(pin, cache=tmp_path), model)
    assert_same(load_packaged(pin, cache=tmp_path), model)
    assert sources[-2:] == ["tiny.gguf", folder.name]


def test_where_nothing_can_be_kept_it_is_read_from_the_package(tiny: tuple[PackagedModel, Any], tmp_path: Path) -> None:
    pin, model = tiny
    (tmp_path / "cache").write_text("a file")
    assert_same(load_packaged(pin, cache=tmp_path / "cache"), model)


def test_a_file_that_is_not_the_pinned_one_is_refused(tiny: tuple[PackagedModel, Any], tmp_path: Path) -> None:
    pin, _ = tiny
    path = tmp_path / "site" / pin.package / pin.file
    load_packaged(pin, cache=tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "tiny.gguf is not the file that tiny stands for (its sha256 differs): install tiny==1 again" in refusal(
        pin, tmp_path
    )
    path.unlink()
    assert refusal(pin, tmp_path).startswith("the package tiny_gguf_package does not hold tiny.gguf")


def test_its_folder_can_be_built_into_a_kit(
    tiny: tuple[PackagedModel, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin, model = tiny
    monkeypatch.setitem(packaged.PACKAGED, "tiny", pin)
    monkeypatch.setattr(packaged, "model_cache", lambda: tmp_path / "cache")
    subject = load_packaged(pin)
    models.dictionary("plt", subject).save(tmp_path / "plt")
    kits.build(tmp_path / "kit", name="tiny", model="tiny", dictionary=tmp_path / "plt")
    assert_same(kits.load(tmp_path / "kit").subject, model)
    assert not (tmp_path / "kit" / "model" / "packaged.json").exists()
    (tmp_path / "full").write_text("a file")
    with pytest.raises(FileError):
        packaged_folder(pin, cache=tmp_path / "full")


def test_without_the_package_or_its_readers_the_extra_is_named(
    tiny: tuple[PackagedModel, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin, _ = tiny
    expected = "the model tiny needs the extra 'tiny': pip install 'clew-interp[tiny]'"
    assert refusal(dataclasses.replace(pin, package="no_such_package"), tmp_path, InputError) == expected
    monkeypatch.setattr(packaged, "installed", lambda module: module != "gguf")
    assert refusal(pin, tmp_path, InputError) == expected


# --- SmolLM2 itself -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(user_cache: Path) -> tuple[Subject, Subject]:
    """The model as its package holds it, and as it is read from the cache."""
    if not model_installed(SMOLLM2):
        pytest.skip("the extra 'smollm2' is not installed")
    return Subject.load(packaged_file(SMOLLM2)), load_packaged(SMOLLM2, cache=user_cache / "clew" / "models")


@pytest.mark.smollm2
def test_smollm2_says_paris(smollm2: tuple[Subject, Subject]) -> None:
    for subject in smollm2:
        logits = subject.logits(subject.encode(PARIS)[None])[0, -1]
        assert subject.token_strings([int(logits.argmax())]) == (" Paris",)


@pytest.mark.smollm2
def test_smollm2_in_the_cache_is_the_model_in_the_package(smollm2: tuple[Subject, Subject]) -> None:
    package, cache = smollm2
    assert package.weights_hash() == cache.weights_hash()
    assert (package.n_layers, package.d_model, len(package.unembedding)) == (30, 576, 49_152)
    ids = package.encode("Monday, Tuesday, Wednesday,")[None]
    assert torch.equal(package.logits(ids), cache.logits(ids))
    assert package.tokenizer is not None
    assert cache.tokenizer is not None
    assert package.tokenizer.chat_template == cache.tokenizer.chat_template


@pytest.mark.smollm2
def test_smollm2_reads_messages_with_their_roles(smollm2: tuple[Subject, Subject]) -> None:
    """The template written out by hand, and its own system message where there is none."""
    question = {"role": "user", "content": "What is the capital of France?"}
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    brief = "<|im_start|>system\nBe brief.<|im_end|>\n"
    named = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    for subject in smollm2:
        ids = subject.encode([{"role": "system", "content": "Be brief."}, question])
        assert subject.text_of(ids.tolist()) == brief + asked
        assert ids[0] == subject.encode(brief)[0] == 1
        assert subject.text_of(subject.encode([question]).tolist()) == named + asked
        assert subject.token_strings(subject.encode(PARIS).tolist()) == ("The", " capital", " of", " France", " is")


@pytest.mark.smollm2
@pytest.mark.parametrize("prompt", [PARIS, [{"role": "user", "content": "What is the capital of France?"}]])
def test_smollm2_is_recorded_as_it_runs(smollm2: tuple[Subject, Subject], prompt: Any) -> None:
    _, subject = smollm2
    recording = subject.record(prompt)
    with torch.no_grad():
        logits = subject.model(subject.encode(prompt)[None]).logits[0]
    torch.testing.assert_close(recording.logits, logits, rtol=1e-5, atol=3e-4)
