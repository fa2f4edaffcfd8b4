"""Tables of numbers with a row for every feature, and the constants that fix their layout.

The harvest fills these tables, `packing` writes them into an atlas and `unpack_card` reads them back. They stand here,
beside the layout of the file, so that an atlas can be read without the code that harvests one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LOW, OCTAVES, STEPS = -10, 24, 4  # the log histogram: octaves from 2^-10 on, in quarters; its end bins are open
BANDS = 8  # octaves of a feature that have slots
WIDTH = 5  # a largest activation in [2^(e + 5), 2^(e + 6)) asks for bins of width 2^e
BOUNDS = (0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512)  # first positions of the bins of places
LOGIT_BINS = 32


class Slots(NamedTuple):
    """The contexts that are kept, a row of slots for each feature (or band of a feature)."""

    key: np.ndarray
    """Smaller comes first; uint64."""
    document: np.ndarray
    """-1 where the slot is empty."""
    position: np.ndarray
    window: np.ndarray
    """Hash of the tokens around; uint64."""
    around: np.ndarray
    """Activations around, as the bits of float16."""
    limit: np.ndarray
    """The largest key of a full row: nothing beyond it need be looked at."""


class FeatureCounts(NamedTuple):
    """Numbers of every feature."""

    fired: np.ndarray
    whole: np.ndarray
    rest: np.ndarray
    """In units of 2^-40; below one."""
    documents: np.ndarray
    last: np.ndarray
    """The document that was counted last."""
    most: np.ndarray
    scale: np.ndarray
    """Exponent of the linear histogram's width."""
    log: np.ndarray
    linear: np.ndarray
    places: np.ndarray
    at_end: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """For every feature the numbers of some others, best first, and how strong; number -1 where there is none."""

    feature: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Rows by feature, features numbered through all layers."""

    promoted: Strongest
    """Tokens, not features."""
    suppressed: Strongest
    logit_range: np.ndarray
    """Smallest and largest weight on a token of the vocabulary."""
    logits: np.ndarray
    """Counts of the vocabulary in equal bins of this range."""
    nearest_decoder: Strongest
    nearest_encoder: Strongest
    inputs: Strongest
    outputs: Strongest


def octave_of(exponent: int) -> int:
    """The octave of the log histogram for a binary exponent, counted from 0."""
    return min(max(exponent - LOW, 0), OCTAVES - 1)
