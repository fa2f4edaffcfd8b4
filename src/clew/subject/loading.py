"""Read a model and its tokenizer from a folder or the hub. transformers is imported here only, when it is needed.

What a folder holds must be the whole model: weights that are missing, superfluous or of another size are refused, and
so is code of its own. Nothing is asked on the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch

from clew.errors import ClewError, FileError, InputError, UnsupportedModelError
from clew.subject.families import FAMILIES, Family
from clew.subject.model_folder import check_config, check_folder, check_loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def family_of(architecture: str) -> Family:
    """The table's entry; UnsupportedModelError when there is none."""
    if architecture not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"architecture {architecture} is not supported; supported are {known}")
    return FAMILIES[architecture]


def name_of(source: str) -> str:
    """The name of a model: a hub id as it is, a folder's last part, the hub's name of a folder in its cache."""
    path = Path(source)
    if not source or not path.exists():
        return source
    cached = path.resolve().parents[1].name if path.resolve().parent.name == "snapshots" else ""
    if cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/")
    return path.name or path.resolve().name


def check_dtype(dtype: torch.dtype) -> None:
    """InputError for numbers in which no model can be computed here."""
    if dtype not in DTYPES:
        raise InputError(f"a model in {dtype} cannot be run: choose from {', '.join(str(known) for known in DTYPES)}")


def check_in_memory(model: PreTrainedModel) -> None:
    """UnsupportedModelError for a model in memory that is quantised, or whose weights are in several dtypes."""
    family_of(type(model).__name__)
    kinds = {parameter.dtype for parameter in model.parameters()}
    if getattr(model, "is_quantized", False) or not kinds <= set(DTYPES):
        raise UnsupportedModelError(
            f"{type(model).__name__} is quantised: give the model in float32, bfloat16 or float16"
        )
    if len(kinds) > 1:
        names = ", ".join(sorted(str(kind) for kind in kinds))
        raise UnsupportedModelError(f"the model's weights are in {names}: give one with dtype=")


def read_model(
    where: str, tokenizer: PreTrainedTokenizerBase | None, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model on the CPU, and its tokenizer unless one is passed in.

    FileError when nothing can be read there or it is not whole, UnsupportedModelError before any weight is read when
    the architecture is not in the table or the model is quantised.
    """
    if Path(where).exists():
        check_folder(Path(where))
    with _reading(f"cannot load a model from {where}"), _quiet():
        from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

        try:
            settings = PretrainedConfig.get_config_dict(where)[0]
        except OSError as error:
            if Path(where).exists():
                raise
            raise FileError(f"{where} is no model folder here, and the hub gave no answer: check the name") from error
        architecture = check_config(where, settings)
        family_of(architecture)
        AutoConfig.from_pretrained(where, trust_remote_code=False)  # a fault in it is none of the tokenizer's
        tokenizer = tokenizer or _read_tokenizer(where)
        # Sizes that differ do not raise, so that `check_loaded` can say which.
        options = {"dtype": dtype, "trust_remote_code": False, "ignore_mismatched_sizes": True}
        model, report = AutoModelForCausalLM.from_pretrained(where, output_loading_info=True, **options)
    if type(model).__name__ != architecture:
        raise UnsupportedModelError(
            f"{where} calls itself {architecture}, but its config.json describes {type(model).__name__}"
        )
    check_loaded(where, report)
    return model, tokenizer


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


def _read_tokenizer(where: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    missing = f"{where} has no tokenizer that can be read (put its tokenizer.json into the folder)"
    if Path(where).is_dir() and not any(True for name in _TOKENIZER_FILES for _ in Path(where).glob(name)):
        raise FileError(f"{missing}: it holds no file of one")  # some versions of transformers make one up
    with _reading(missing):
        return AutoTokenizer.from_pretrained(where, trust_remote_code=False)


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
    if not reason or "`" in reason or "one of:" in reason:
        return "files are missing or damaged"
    return reason


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the bars and reports that transformers writes, and bring them back as they were."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
