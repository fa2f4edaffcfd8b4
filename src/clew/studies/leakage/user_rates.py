"""Leak-Rates of a user's prompts, by the likeness of whole texts (Gonen et al. 2024).

For a row with the generations of its prompt and of its control, the cosine s of a sentence encoder between each and the
concept:

    Leak-Rate = 100 (P(s(X) > s(Y)) + P(s(X) = s(Y)) / 2),  X of the prompt and Y of the control

Beside it stands the same with the concepts exchanged among the rows, and the same without generations that repeat the
concept: an echo is like its concept and says nothing of leakage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.labels import sentence_encoder
from clew.progress import Progress
from clew.stats import UNKNOWN, Interval, null_range
from clew.studies.case import Steps
from clew.studies.case_findings import BLUE, GREY, CaseFindings, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner
from clew.studies.claim import Bar, Claim, Null
from clew.studies.leakage.leak_rate import permutations
from clew.studies.leakage.rates import PERMUTATIONS, clustered_mean
from clew.studies.leakage.user_prompts import UserPrompt, distinct, echoes

TOKENS = 20
"""Tokens that a text goes on for."""
AT_ONCE = 4
"""Prompts between two reports of progress."""
SHOWN = 40
"""Concepts in the picture, at most."""


def generations(kit: Kit, prompts: Sequence[UserPrompt], samples: int, temperature: float, seed: int) -> Steps:
    """A part: how the kit's model goes on from every prompt and control, each text once."""
    asked = [*dict.fromkeys(text for item in prompts for text in (item.prompt, item.control))]
    texts: dict[str, list[str]] = {}
    for start in range(0, len(asked), AT_ONCE):
        yield Progress(what="texts", done=start, of=len(asked), unit="prompts")
        for place, text in enumerate(asked[start : start + AT_ONCE], start=start):
            cases: list[tuple[str, list[Edit]]] = [(text, [])] * (samples if temperature > 0 else 1)
            said = kit.generate_many(cases, temperature=temperature, tokens=TOKENS, seed=seed + place * samples)
            texts[text] = [each.text for each in said]
    return {"texts": torch.frombuffer(bytearray(json.dumps(texts).encode()), dtype=torch.uint8)}


def unpacked(part: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The texts of a part."""
    texts: dict[str, list[str]] = json.loads(bytes(part["texts"].numpy()))
    return texts


@dataclass(frozen=True, kw_only=True, eq=False)
class UserRates:
    """A user's prompts, the texts that follow them, and how alike these are to every concept."""

    prompts: Sequence[UserPrompt]
    texts: Mapping[str, Sequence[str]]
    concepts: tuple[str, ...]
    likeness: Mapping[str, Float[np.ndarray, " concept"]]
    """Of every text to every concept."""
    judged_by: Int[np.ndarray, " concept"]
    """By which concept the prompts of each are judged: its own, or in the absent case another."""
    seed: int

    @cached_property
    def own(self) -> Int[np.ndarray, " row"]:
        """The number of every row's own concept."""
        return np.array([self.concepts.index(item.concept) for item in self.prompts])

    @cached_property
    def permutations(self) -> Int[np.ndarray, "draw concept"]:
        """For every draw, by which concept the prompts of each are judged."""
        return permutations(len(self.concepts), PERMUTATIONS, seed=self.seed)

    def rates(self, *, with_echoes: bool) -> Float[np.ndarray, "row concept"]:
        """The Leak-Rate of every row, judged by each concept; NaN where an echo control leaves no text."""
        rows = []
        for item in self.prompts:
            sides = []
            for prompt in (item.prompt, item.control):
                kept = np.ones(len(self.texts[prompt]), dtype=bool)
                if not with_echoes:
                    kept &= ~echoes(self.texts[prompt], item.concept)
                sides.append([self.likeness[text] for text, yes in zip(self.texts[prompt], kept, strict=True) if yes])
            rows.append(_rate(*map(np.array, sides)) if all(sides) else np.full(len(self.concepts), np.nan))
        return np.stack(rows)

    def claim(self, *, with_echoes: bool) -> Claim:
        """Whether the rows' concepts leak, beside exchanged concepts."""
        rates = self.rates(with_echoes=with_echoes)
        there = np.isfinite(rates[:, 0])
        rows, own = rates[there], self.own[there]
        value, draws = UNKNOWN, [float("nan")]
        if len(rows):
            number = np.arange(len(rows))
            value = clustered_mean(rows[number, self.judged_by[own]], own)
            draws = [float(rows[number, draw[own]].mean()) for draw in self.permutations]
        kept = "" if with_echoes else " without the texts that repeat the concept"
        return Claim(
            text=f"In your prompts ({len(rows)} of {len(self.prompts)} are judged, with {len(self.concepts)} "
            f"concepts) the concept leaks into what follows{kept}: it is more like the concept than what follows the "
            "control (Leak-Rate, by the cosine of MiniLM).",
            value=value,
            null=Null(what="concepts exchanged", draws=tuple(draws), size=len(rows), tested=len(rows), unit="prompts"),
            bar=Bar(low=50.0),
            reference="Gonen et al. 2024: 50 where nothing leaks",
        )

    def findings(self) -> CaseFindings:
        """Claims, a table of every row, a picture of every concept."""
        return CaseFindings(
            claims=(self.claim(with_echoes=True), self.claim(with_echoes=False)),
            tables={"prompts": self._table()},
            figures={"concepts": self._picture()},
        )

    def _rate_of(self, concept: int) -> Interval:
        rates = self.rates(with_echoes=True)[self.own == concept, self.judged_by[concept]]
        return Interval(float(rates.mean()), float(rates.min()), float(rates.max()))

    def _table(self) -> Table:
        judged = self.judged_by[self.own]
        number = np.arange(len(self.prompts))
        rows: list[tuple[Any, ...]] = []
        both = [self.rates(with_echoes=yes)[number, judged].tolist() for yes in (True, False)]
        for item, rate, quiet in zip(self.prompts, *both, strict=True):
            shares = [float(echoes(self.texts[text], item.concept).mean()) for text in (item.prompt, item.control)]
            counts = [len(self.texts[text]) for text in (item.prompt, item.control)]
            rows.append((item.line, item.concept, item.prompt, item.control, *counts, rate, quiet, *shares))
        names = (
            "line", "concept", "prompt", "control", "texts", "control texts", "Leak-Rate", "without echoes", "echoes",
            "echoes of control",
        )  # fmt: skip
        return Table.of_rows(
            "Every prompt",
            names,
            rows,
            "`echoes`: the share of texts that repeat the concept; where they are all there are, there is no Leak-Rate "
            "without them.",
        )

    def _picture(self) -> Picture:
        found = [self._rate_of(place) for place in range(len(self.concepts))]
        order = np.argsort([each.value for each in found])[::-1][:SHOWN]
        figure = new_figure(6.2, 1.2 + 0.22 * len(order))
        axes = figure.subplots()
        places = np.arange(len(order))[::-1]
        axes.barh(places, [found[place].value for place in order], color=BLUE, height=0.7)
        null = null_range(self.claim(with_echoes=True).null.draws)
        axes.axvspan(null.low, null.high, color=GREY, alpha=0.4, linewidth=0, label="concepts exchanged")
        axes.axvline(50, color=GREY, linestyle="--", linewidth=0.8)
        axes.set_yticks(places, [self.concepts[place] for place in order], fontsize=8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("Leak-Rate")
        open_corner(axes)
        legend(axes, loc="lower right")
        return Picture.of(
            figure,
            title="Leak-Rate by concept",
            text="The mean Leak-Rate of the prompts of every concept; 50 (broken line) is no leak. Grey: where the "
            "mean over all prompts lies when concepts are exchanged among them.",
        )


def _rate(
    test: Float[np.ndarray, "text concept"], control: Float[np.ndarray, "text2 concept"]
) -> Float[np.ndarray, " concept"]:
    """In which share of pairs the first text is more like a concept, in per cent; equals count half."""
    above = (test[:, None] > control[None]).mean((0, 1)) + (test[:, None] == control[None]).mean((0, 1)) / 2
    rate: np.ndarray = 100 * above
    return rate


def user_rates(
    prompts: Sequence[UserPrompt], texts: Mapping[str, Sequence[str]], *, dealt: bool, seed: int
) -> Iterator[Progress | UserRates]:
    """Embed texts and concepts; progress, and last the rates. InputError without the extra `minilm`."""
    concepts, every = tuple(dict.fromkeys(item.concept for item in prompts)), distinct(texts)
    yield Progress(what="embedding texts", done=0, of=len(every), unit="texts")
    encoder = sentence_encoder.SentenceEncoder()
    alike = np.asarray(encoder(every) @ encoder(concepts).T, dtype=np.float64)
    n = len(concepts)
    yield UserRates(
        prompts=prompts,
        texts=texts,
        concepts=concepts,
        likeness=dict(zip(every, alike, strict=True)),
        judged_by=permutations(n, 1, seed=seed + 1)[0] if dealt else np.arange(n),
        seed=seed,
    )
