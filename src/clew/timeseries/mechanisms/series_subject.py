"""A transformer of series as a Subject: it reads patches of the series at hand, and says classes.

What differs from a language model is said here and nowhere else: the tokens that it reads are not those that it says,
tokens are named by the times of their patch, a patch gives way to the patch that series of other classes have in its
place, and a row of patches is no text whose likelihood means anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.subject.subject import Subject
from clew.subject.text import Prompt
from clew.subject.token_names import TokenNames
from clew.timeseries.mechanisms.transformer import AT_ONCE, SeriesTransformer, class_logits

START, END = "[start]", "[end]"
CLASS = "class "
"""Stands before a class in names, so that a class 3 is no number in the prompt."""
_ID = re.compile(r"#(\d+)")


class PatchNames(TokenNames):
    """Names of classes, marks and patches; a patch is named by its times, and so is that of every other series."""

    def __init__(self, transformer: SeriesTransformer) -> None:
        super().__init__(None)
        self.transformer = transformer

    def names(self, tokens: Iterable[int]) -> tuple[str, ...]:
        """Each token's name."""
        return tuple(self._named(token) for token in tokens)

    def token(self, name: str) -> int | None:
        """The token of a class, with `class ` in front or without, or of `#12`; None for any other name."""
        if number := _ID.fullmatch(name):
            return int(number[1])
        classes, plain = self.transformer.classes, name.strip()
        for spelling in (plain, plain.removeprefix(CLASS)):
            if spelling in classes:
                return classes.index(spelling)
        return None

    def ids(self, text: str) -> list[int]:
        """The class that a text names; none for any other text."""
        token = self.token(text)
        return [] if token is None else [token]

    def text(self, tokens: Iterable[int]) -> str:
        """The names of tokens."""
        return " ".join(self.names(tokens))

    def single(self, text: str) -> int | None:
        """The class that a text names."""
        return self.token(text)

    def _named(self, token: int) -> str:
        place = token - len(self.transformer.classes)
        if place < 0:
            return CLASS + self.transformer.classes[token]
        if place < 2:
            return (START, END)[place]
        times = self.transformer.times_of((place - 2) % self.transformer.n_patches)
        return f"t{times.start}" if len(times) == 1 else f"t{times.start}-{times.stop - 1}"


class SeriesSubject(Subject):
    """A transformer of series and the series that it reads; made by `clew.timeseries.mechanisms.SeriesCases`."""

    def __init__(self, transformer: SeriesTransformer, series: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(transformer.loaded(series, dtype), None, transformer.name)
        self.transformer = transformer
        self.rows = transformer.rows(len(series))

    @property
    def n_tokens(self) -> int:
        """Classes, marks and the patches of all series."""
        return int(self.rows[-1, -2]) + 1

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The mark in front of every series."""
        return frozenset({len(self.transformer.classes)})

    @cached_property
    def marker_ids(self) -> frozenset[int]:
        """The mark in front of every series: what stands there says nothing of it."""
        return self.special_ids

    @cached_property
    def token_names(self) -> PatchNames:
        """Names of patches and classes."""
        return PatchNames(self.transformer)

    def encode(self, prompt: Prompt, *, add_bos: bool = True) -> Int[Tensor, " pos"]:
        """The token ids of one series, as `SeriesCases.prompt` gives them; InputError for anything else."""
        if isinstance(prompt, str):
            raise InputError("a transformer of series reads no text: give cases.prompt(0), the first series' patches")
        ids = super().encode(prompt, add_bos=add_bos)
        if int(ids.min()) < len(self.transformer.classes):
            raise InputError(
                f"{self.token_strings([int(ids.min())])[0]} is said, not read: give the patches of a series"
            )
        return ids

    @cached_property
    def class_logits(self) -> Float[Tensor, "case class"]:
        """Of every series at hand."""
        with torch.no_grad():
            return torch.cat([class_logits(self.model, rows).cpu() for rows in self.rows.split(AT_ONCE)])

    def substitutes(
        self, ids: Int[Tensor, " pos"], position: int, final: Float[Tensor, "pos d_model"], count: int
    ) -> list[int]:
        """The patches at the same place of series that are read as another class; none for a mark.

        Of any other series where all are read as one class. They are drawn evenly over the series at hand.
        """
        n_patches = self.transformer.n_patches
        case, place = divmod(int(ids[position]) - len(self.transformer.classes) - 2, n_patches)
        if case < 0:
            return []
        said = self.class_logits.argmax(-1)
        others = (said != int(self.unembed(final[-1]).argmax())).nonzero()[:, 0]
        others = others if len(others) else torch.arange(len(said))
        others = others[others != case]
        chosen = others[:: max(1, len(others) // count)][:count]
        return self.rows[chosen, 1 + place].tolist()

    def log_likelihood(
        self, final: Float[Tensor, "row pos d_model"], ids: Int[Tensor, "row pos"]
    ) -> Float[Tensor, " row"]:
        """0 of every row: it says classes, not what it reads."""
        return torch.zeros(len(ids), dtype=torch.float64, device=final.device)
