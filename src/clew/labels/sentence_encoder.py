"""Sentence embeddings from the extra `minilm`: a small encoder that is installed as a package, not downloaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from clew import extras
from clew.labels.text_encoder import MINILM, MINILM_PACKAGE, load_encoder

NAME = MINILM
WIDTH = 384
_CACHED = 20_000  # vectors in memory: 30 MB
_LONGEST = 128  # tokens of a text that are read


def installed() -> bool:
    """Whether the extra is installed."""
    return extras.installed(MINILM_PACKAGE)


class SentenceEncoder:
    """Unit vectors of texts under MiniLM, kept for texts that come again: the mean over the first 128 tokens.

    InputError when the extra is not installed.
    """

    name = NAME

    def __init__(self) -> None:
        self._encoder = load_encoder(NAME, use="search by meaning")
        self._cache: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]:
        if len(self._cache) > _CACHED:
            self._cache.clear()
        if new := [text for text in dict.fromkeys(texts) if text not in self._cache]:
            self._cache.update(zip(new, self._encoder(new, cut=_LONGEST).astype(np.float32), strict=True))
        return np.stack([self._cache[text] for text in texts]) if texts else np.zeros((0, WIDTH), np.float32)
