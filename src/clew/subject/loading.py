"""Read a model and its tokenizer from a folder or the hub. transformers is imported here only, when it is needed.

What a folder holds must be the whole model: weights that are missing, superfluous or of another size are refused, and
so is code of its own. Nothing is asked on the terminal.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from clew import files
from clew.errors import ClewError, FileError, InputError, UnsupportedModelError
from clew.extras import installed, missing
from clew.subject.families import FAMILIES, Family
from clew.subject.model_folder import check_config, check_folder, check_loaded, is_mxfp4

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DeviceMap = str | Mapping[str, Any]
"""Where the parts of a model go, as transformers takes it: a device, `auto`, or a device for each name of a module."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

_CONDITIONAL = "ForConditionalGeneration"
"""How architectures end that are multimodal, or an encoder and a decoder."""


def family_of(architecture: str) -> Family:
    """The table's entry; UnsupportedModelError when there is none."""
    if architecture not in FAMILIES:
        known = ", ".join(f"{family.name} ({family.architecture})" for family in FAMILIES.values())
        other = " (it reads more than text, or has an encoder)" if architecture.endswith(_CONDITIONAL) else ""
        raise UnsupportedModelError(f"architecture {architecture}{other} is not supported; supported are {known}")
    return FAMILIES[architecture]


@dataclass(frozen=True)
class Place:
    """Where a model lies: a folder or hub id, which revision of it, and which GGUF file in it."""

    where: str
    revision: str | None = None
    gguf: str | None = None

    @classmethod
    def of(cls, source: str) -> Place:
        """A path as it is; else `owner/name`, with `/file.gguf` and `@revision` where wanted."""
        path = Path(source)
        if path.is_file() and path.suffix.lower() == ".gguf":
            return cls(str(path.parent), gguf=path.name)
        match = re.fullmatch(r"((?:[\w.-]+/)?[\w.-]+?)(?:/([\w./-]+\.gguf))?(?:@([\w./-]+))?", source)
        if path.exists() or match is None:
            return cls(source)
        return cls(match[1], revision=match[3], gguf=match[2])

    @property
    def options(self) -> dict[str, str]:
        """What transformers is told beside the folder or hub id."""
        told = {"revision": self.revision, "gguf_file": self.gguf}
        return {name: value for name, value in told.items() if value is not None}

    def __str__(self) -> str:
        return self.where if self.gguf is None else f"{self.where}/{self.gguf}"


def name_of(source: str) -> str:
    """The name of a model: a hub id without its revision, a folder's last part, the hub's name of one in its cache."""
    path = Path(source)
    if not source or not path.exists():
        return Place.of(source).where if source else source
    cached = path.resolve().parents[1].name if path.resolve().parent.name == "snapshots" else ""
    if cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/")
    return path.name or path.resolve().name


def check_dtype(dtype: torch.dtype) -> None:
    """InputError for numbers in which no model can be computed here."""
    if dtype not in DTYPES:
        raise InputError(f"a model in {dtype} cannot be run: choose from {', '.join(str(known) for known in DTYPES)}")


def check_devices(model: PreTrainedModel) -> None:
    """UnsupportedModelError for a model whose weights are not all on one device, or whose weights wait on the disk."""
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if "meta" in devices:
        raise UnsupportedModelError(
            "parts of the model were left out of memory: give it a device that holds it, or a smaller dtype"
        )
    if len(devices) > 1:
        raise UnsupportedModelError(f"the model is spread over {', '.join(devices)}: put it on one of them")


def check_in_memory(model: PreTrainedModel) -> None:
    """UnsupportedModelError for a model in memory that is quantised, or in several dtypes or places."""
    family_of(type(model).__name__)
    check_devices(model)
    kinds = {parameter.dtype for parameter in model.parameters()}
    if getattr(model, "is_quantized", False) or not kinds <= set(DTYPES):
        raise UnsupportedModelError(
            f"{type(model).__name__} is quantised: give the model in float32, bfloat16 or float16"
        )
    if len(kinds) > 1:
        names = ", ".join(sorted(str(kind) for kind in kinds))
        raise UnsupportedModelError(f"the model's weights are in {names}: give one with dtype=")


def read_model(
    source: str,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype,
    device_map: DeviceMap | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model on the CPU or where `device_map` puts it, and its tokenizer unless one is passed in.

    FileError when nothing can be read there or it is not whole, UnsupportedModelError before any weight is read when
    the architecture is not in the table or the model is quantised, InputError when an extra is missing.
    """
    place = Place.of(source)
    _check_extras(place, device_map)
    try:
        return _read(place, source, tokenizer, dtype, device_map)
    except FileError as error:
        if not (unfinished := files.interrupted_downloads(place.where)):
            raise
        raise FileError(f"{error} ({len(unfinished)} downloads were interrupted there: download it again)") from error


def _read(
    place: Place,
    source: str,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype,
    device_map: DeviceMap | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if place.gguf is None and Path(place.where).exists():
        check_folder(Path(place.where))
    with _reading(f"cannot load a model from {source}"), _quiet(gguf=place.gguf is not None):
        from transformers import AutoConfig, AutoModelForCausalLM, Mxfp4Config

        settings = _settings(place)
        architecture = check_config(str(place), settings)
        family_of(architecture)
        # A fault in the configuration is none of the tokenizer's.
        AutoConfig.from_pretrained(place.where, trust_remote_code=False, **place.options)
        tokenizer = tokenizer or _read_tokenizer(place)
        # Sizes that differ do not raise, so that `check_loaded` can say which.
        options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, "ignore_mismatched_sizes": True}
        if device_map is not None:
            options["device_map"] = device_map
        if is_mxfp4(settings):
            options["quantization_config"] = Mxfp4Config(dequantize=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            place.where, output_loading_info=True, **options, **place.options
        )
    if type(model).__name__ != architecture:
        raise UnsupportedModelError(
            f"{source} calls itself {architecture}, but its config.json describes {type(model).__name__}"
        )
    check_loaded(str(place), report)
    if is_mxfp4(settings):
        model = model.to(dtype)  # older versions of transformers leave them in bfloat16
    return model, tokenizer


def _check_extras(place: Place, device_map: DeviceMap | None) -> None:
    uses = {f"reading the GGUF file {place.gguf}": ("gguf", "accelerate"), "a device_map": ("accelerate",)}
    wanted = (place.gguf is not None, device_map is not None)
    for (use, modules), asked in zip(uses.items(), wanted, strict=True):
        if asked and not all(installed(module) for module in modules):
            raise missing("loading", use)


def _settings(place: Place) -> Any:
    """What a folder's configuration says, as it stands there."""
    from transformers import PretrainedConfig

    try:
        return PretrainedConfig.get_config_dict(place.where, **place.options)[0]
    except OSError as error:
        if Path(place.where).exists():
            raise
        what = f"{place.where} at {place.revision}" if place.revision else str(place)
        raise FileError(f"{what} is no model folder here, and the hub gave no answer: check the name") from error


_TOKENIZER_FILES = (
    "*tokenizer*",
    "*vocab*",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "tekken*",
    "merges*",
    "*.codes",
    "dict.txt",
)


def _read_tokenizer(place: Place) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    where, in_folder = Path(place.where), place.gguf is None
    advice = "put its tokenizer.json into the folder" if in_folder else "give one with tokenizer="
    unread = f"{place} has no tokenizer that can be read ({advice})"
    if in_folder and where.is_dir() and not any(True for name in _TOKENIZER_FILES for _ in where.glob(name)):
        raise FileError(f"{unread}: it holds no file of one")  # some versions of transformers make one up
    with _reading(unread):
        return AutoTokenizer.from_pretrained(place.where, trust_remote_code=False, **place.options)


@contextmanager
def _reading(message: str) -> Iterator[None]:
    """FileError for whatever transformers raises at a folder that it cannot read.

    A faulty configuration can raise anything there: errors of validation, of arithmetic, of pickle, of safetensors.
    """
    try:
        yield
    except (ClewError, MemoryError):
        raise
    except Exception as error:
        raise FileError(f"{message}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What an error of transformers says, unless it speaks of options that nobody here has given."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if isinstance(error, KeyError):
        return f"{reason} is not known"
    if isinstance(error, UnpicklingError):
        return "its .bin file is damaged, or holds more than weights (nothing in it was run)"
    if "custom code" in reason:
        return "it needs code of its own, which is never run"
    reason = reason.partition(" Checkout 'https:")[0]  # an address that cannot be reached
    if not reason or "`" in reason or "one of:" in reason:
        return "files are missing or damaged"
    return reason


@contextmanager
def _quiet(*, gguf: bool) -> Iterator[None]:
    """Silence the bars and reports that transformers writes, and bring them back as they were."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()) if gguf else nullcontext():  # the bars of GGUF files know no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
