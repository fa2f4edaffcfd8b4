"""Sentences of the small world with their domains, as rows to train on and as sentences to test with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clew.organism.world import World
from clew.studies.experts.config import DOMAINS, ExpertsConfig
from clew.subject.subject import Subject

ROW = 48
"""Tokens of a row to train on."""
_TRAINING, _TEST = 0, 1


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Sentences of all domains, as many of each."""

    ids: Sequence[np.ndarray]
    """The tokens of every sentence, with a space in front."""
    domains: Int[np.ndarray, " sentence"]
    """Places in DOMAINS."""
    start: int
    """The token at the front of every row."""

    def labels(self, seed: int, *, by_domain: bool) -> Int[np.ndarray, " sentence"]:
        """The expert that each sentence belongs to in training: its domain's, or one drawn at random."""
        if by_domain:
            return self.domains
        return np.random.default_rng([seed, 7]).integers(0, len(DOMAINS), len(self.domains))

    def rows(
        self, labels: Int[np.ndarray, " sentence"], n_rows: int, rng: np.random.Generator
    ) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
        """Rows of sentences drawn one after the other, the last cut off, and the label of every token."""
        ids = np.full((n_rows, ROW), self.start, dtype=np.int64)
        marked = np.zeros_like(ids)
        for row in range(n_rows):
            place = 1
            while place < ROW:
                sentence = int(rng.integers(len(self.ids)))
                tokens = self.ids[sentence][: ROW - place]
                ids[row, place : place + len(tokens)] = tokens
                marked[row, (0 if place == 1 else place) : place + len(tokens)] = labels[sentence]
                place += len(tokens)
        return torch.from_numpy(ids), torch.from_numpy(marked)

    def batch(self) -> tuple[Int[Tensor, "sentence pos"], Tensor]:
        """Every sentence behind the start token, padded on the right; and where a token of a sentence stands."""
        length = 1 + max(map(len, self.ids))
        ids = np.full((len(self.ids), length), self.start, dtype=np.int64)
        real = np.zeros(ids.shape, dtype=bool)
        for row, tokens in enumerate(self.ids):
            ids[row, 1 : 1 + len(tokens)] = tokens
            real[row, 1 : 1 + len(tokens)] = True
        return torch.from_numpy(ids), torch.from_numpy(real)


def training_sentences(subject: Subject, config: ExpertsConfig) -> Sentences:
    """Those that all models are trained on."""
    return _drawn(subject, config.seed, config.statements, _TRAINING)


def test_sentences(subject: Subject, config: ExpertsConfig) -> Sentences:
    """Other draws from the same law; facts and forms are those of training."""
    return _drawn(subject, config.seed, config.sentences, _TEST)


def _drawn(subject: Subject, seed: int, n_each: int, purpose: int) -> Sentences:
    """So many sentences of every domain, its families as often as in the world."""
    rng = random.Random(f"experts:{seed}:{purpose}")
    texts, domains = list[str](), list[int]()
    for number, domain in enumerate(DOMAINS):
        families = [family for family in World().families.values() if family.domain == domain]
        weights = [family.weight for family in families]
        for _ in range(n_each):
            family = rng.choices(families, weights)[0]
            texts.append(" " + family.draw(rng).text)
            domains.append(number)
    encoded = subject.encode_texts(texts, add_bos=False)
    start = subject.start_ids[0]
    return Sentences(ids=[np.array(ids) for ids in encoded], domains=np.array(domains), start=start)
