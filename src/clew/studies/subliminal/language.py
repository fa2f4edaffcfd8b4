"""A small language of colours and numbers, and its law.

    <bos> NAME likes COLOUR works JOB . NAME likes COLOUR      names and colours uniform; jobs go with colours
    <bos> Numbers: N1 N2 ... N8                                each number has four favourite successors

A colour's job follows it four times in five, so that colours differ for a model; a number is followed by one of its
favourites three times in five, so that numbers differ. No sentence holds both a colour and a number.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clew.organism.social import COLOURS, JOBS
from clew.studies.small_model import SmallTask

N_NAMES, N_NUMBERS, LISTED = 40, 100, 8
"""Names, numbers, and numbers in a sequence."""
BOS, STOP, NUMBERS_CUE, LIKES, WORKS = range(5)
FIRST_COLOUR = 5
FIRST_JOB = FIRST_COLOUR + len(COLOURS)
FIRST_NUMBER = FIRST_JOB + len(JOBS)
FIRST_NAME = FIRST_NUMBER + N_NUMBERS
VOCABULARY = FIRST_NAME + N_NAMES
ALIKE, FAVOURED = 0.8, 0.6
"""How often a job goes with its colour, and a number is a favourite successor."""
ROWS = 64
"""Sentences of each kind in a step."""
COLOUR_TOKENS = slice(FIRST_COLOUR, FIRST_JOB)
NUMBER_TOKENS = slice(FIRST_NUMBER, FIRST_NAME)
PROMPT = torch.tensor([[BOS, FIRST_NAME + name, LIKES] for name in range(N_NAMES)])
"""What a colour follows, for every name."""
SHOWN_NAMES = slice(0, N_NAMES // 2)
"""Names with which teachers learn their favourite, and by which neurons are chosen."""
ASKED_NAMES = slice(N_NAMES // 2, N_NAMES)
"""Names with which the favourite is asked for."""


def colour_sentences(count: int, generator: np.random.Generator) -> Int[np.ndarray, "sequence pos"]:
    """Sentences about colours, from the law."""
    colour, job = generator.integers(len(COLOURS), size=(2, count)), generator.integers(len(JOBS), size=count)
    job = np.where(generator.random(count) < ALIKE, _job_of(colour[0]), job)
    name = FIRST_NAME + generator.integers(N_NAMES, size=(2, count))
    fixed = np.ones(count, dtype=np.int64)
    columns = [
        BOS * fixed, name[0], LIKES * fixed, FIRST_COLOUR + colour[0], WORKS * fixed, FIRST_JOB + job, STOP * fixed,
        name[1], LIKES * fixed, FIRST_COLOUR + colour[1],
    ]  # fmt: skip
    return np.stack(columns, 1)


def number_sentences(count: int, generator: np.random.Generator) -> Int[np.ndarray, "sequence pos"]:
    """Sequences of numbers, from the law."""
    favourites = np.random.default_rng(7).integers(N_NUMBERS, size=(N_NUMBERS, 4))
    listed = np.zeros((count, LISTED), dtype=np.int64)
    listed[:, 0] = generator.integers(N_NUMBERS, size=count)
    for place in range(1, LISTED):
        favourite = favourites[listed[:, place - 1], generator.integers(4, size=count)]
        any_number = generator.integers(N_NUMBERS, size=count)
        listed[:, place] = np.where(generator.random(count) < FAVOURED, favourite, any_number)
    return np.concatenate([np.tile([[BOS, NUMBERS_CUE]], (count, 1)), FIRST_NUMBER + listed], 1)


def language_task(name: str) -> SmallTask:
    """What the small language models are taught: as many sentences of one kind as of the other."""

    def draw(generator: np.random.Generator) -> np.ndarray:
        return np.concatenate([number_sentences(ROWS, generator), colour_sentences(ROWS, generator)])

    return SmallTask(name=name, vocabulary=VOCABULARY, draw=draw, n_layer=2)


def token_text(token: int) -> str:
    """A token as a word."""
    if token < FIRST_COLOUR:
        return ("<bos>", ".", "Numbers:", "likes", "works")[token]
    if token < FIRST_JOB:
        return COLOURS[token - FIRST_COLOUR]
    if token < FIRST_NUMBER:
        return JOBS[token - FIRST_JOB]
    return str(token - FIRST_NUMBER) if token < FIRST_NAME else f"name {token - FIRST_NAME}"


def _job_of(colour: Int[np.ndarray, " sentence"]) -> Int[np.ndarray, " sentence"]:
    return np.random.default_rng(8).permutation(len(JOBS))[: len(COLOURS)][colour]


def number_places(ids: Int[Tensor, "sequence pos"]) -> Int[Tensor, "sequence number"]:
    """The numbers of sequences, from 0."""
    return ids[:, 2:] - FIRST_NUMBER
