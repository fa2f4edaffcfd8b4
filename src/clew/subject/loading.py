"""Read a model and its tokenizer from a folder or the hub. transformers is imported here only, when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clew.errors import FileError, UnsupportedModelError
from clew.subject.families import FAMILIES, Family

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def family_of(architecture: str) -> Family:
    """The table's entry; UnsupportedModelError when there is none."""
    if architecture not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"architecture {architecture} is not supported; supported are {known}")
    return FAMILIES[architecture]


def read_model(
    where: str, tokenizer: PreTrainedTokenizerBase | None, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model on the CPU, and its tokenizer unless one is passed in.

    FileError when nothing can be read there, UnsupportedModelError before any weight is read when the architecture is
    not in the table.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if Path(where).exists() and not (Path(where) / "config.json").is_file():
        raise FileError(f"{where} holds no config.json: give a model folder in Hugging Face layout")
    try:
        config = AutoConfig.from_pretrained(where)
        family_of((getattr(config, "architectures", None) or [type(config).__name__])[0])
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype)
            return model, tokenizer or AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileError(f"cannot load a model from {where}: {str(error).splitlines()[0]}") from error
    except Exception as error:
        # safetensors' error has no public base class that could be caught by type.
        if "safetensors" not in type(error).__module__ and type(error).__name__ != "SafetensorError":
            raise
        raise FileError(f"the weights in {where} are not whole safetensors files ({error})") from error


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Silence the bars that transformers draws, and bring them back as they were."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
