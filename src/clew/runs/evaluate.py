"""A Dictionary beside its nulls: every figure of the evaluation, and how well prompts can be traced with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clew.dictionary import Dictionary
from clew.runs.fidelity import Fidelity, measure_fidelity, plain
from clew.runs.nulls import config_like, untrained, with_random_weights
from clew.subject.subject import Prompt, Subject
from clew.training.corpus import Documents
from clew.training.trainer import train_dictionary

Score = Callable[[Subject, Dictionary, Prompt], tuple[float, float]]  # replacement and completeness of one prompt
Stage = Callable[[str, int, int], None]  # what is being done, how much is done, how much there is


@dataclass(frozen=True, kw_only=True)
class PromptScores:
    """Means over prompts, each with half the width of its 95 % interval."""

    prompts: int
    replacement: float
    replacement_within: float
    completeness: float
    completeness_within: float


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What was measured of one Dictionary."""

    name: str
    evaluation: Fidelity
    scores: PromptScores | None
    """None for an SAE, which cannot be traced, and where there were no prompts."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is None."""
        return plain(asdict(self))


def assess(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    prompts: Sequence[Prompt],
    score: Score,
    *,
    by_layer: bool = True,
    stage: Stage = lambda *_: None,
) -> Assessment:
    """Measure a Dictionary on text and prompts."""
    found = measure_fidelity(
        subject,
        dictionary,
        documents,
        by_layer=by_layer,
        progress=lambda done, of: stage(f"measuring {dictionary.name}", done, of),
    )
    scores = None
    if prompts and dictionary.kind != "sae":
        each = []
        for number, prompt in enumerate(prompts, 1):
            each.append(score(subject, dictionary, prompt))
            stage(f"tracing with {dictionary.name}", number, len(prompts))
        scores = _summary(each)
    return Assessment(name=dictionary.name, evaluation=found, scores=scores)


def assess_nulls(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    train_on: Documents,
    prompts: Sequence[Prompt],
    score: Score,
    evaluation: Fidelity,
    *,
    steps: int,
    buffer: int,
    by_layer: bool = True,
    stage: Stage = lambda *_: None,
) -> Iterator[Assessment]:
    """The same for an untrained Dictionary of the same density, then for one trained on a model of random weights.

    `evaluation` is the Dictionary's own; `steps` bounds the training of the second null (0: leave it out). `stage` is
    told how many steps that takes before the first.
    """
    l0 = dict(zip(evaluation.layers, evaluation.l0, strict=True))
    null = untrained(subject, dictionary, documents, l0)
    yield assess(subject, null, documents, prompts, score, by_layer=by_layer, stage=stage)
    if not steps:
        return
    random = with_random_weights(subject)
    config = config_like(dictionary, sum(l0.values()) / len(l0), steps=steps)
    same: dict[str, Any] = {"buffer": buffer, "layer_weights": dictionary.provenance.get("layer_weights")}
    what = "training on shuffled weights"
    stage(what, 0, config.steps)
    with tempfile.TemporaryDirectory() as folder:
        for report in train_dictionary(random, train_on, config, folder, **same):
            stage(what, report.step, report.steps)
        trained = Dictionary.load(Path(folder) / "dictionary")
        yield assess(random, trained, documents, prompts, score, by_layer=by_layer, stage=stage)


def _summary(each: Sequence[tuple[float, float]]) -> PromptScores:
    values = torch.tensor(each, dtype=torch.float64)
    mean = values.mean(0).tolist()
    within = (1.96 * values.std(0, correction=0) / max(1, len(values) - 1) ** 0.5).tolist()
    return PromptScores(
        prompts=len(each),
        replacement=mean[0],
        replacement_within=within[0],
        completeness=mean[1],
        completeness_within=within[1],
    )
