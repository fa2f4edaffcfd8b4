"""Do the features of a dictionary's circuits tell what the small world knows? One number a prompt, beside its null.

1. The circuit of each prompt is found; its features are asked for every variable that the world knows of the prompt.
2. F1 of "the variable has the prompt's value", of every feature by itself: its threshold is chosen on one half of the
   sentences, scored on the other. Of a feature that variable counts which it tells best on the first half.
3. The best feature of a prompt is the one that is best on the first half. Shuffled labels go the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from clew.attribution.trace import trace
from clew.circuit.find_circuit import CircuitSettings, find_circuit
from clew.dictionary.dictionary import Dictionary
from clew.ids import NodeId
from clew.organism.variables import ValueQuestion
from clew.progress import Progress, Report, silent
from clew.runs.value_scores import activations_in, f1, shuffles, source_scores
from clew.stats import Interval, mean_interval
from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True)
class FeatureTruth:
    """F1 of features of circuits on held-out sentences; where chance is depends on the sentences: the nulls say."""

    prompts: int
    best: Interval
    """Of each prompt's best feature, the mean over prompts."""
    best_null: float
    """The same with shuffled labels."""
    each: Interval
    """The mean over a circuit's features, the mean over prompts."""
    each_null: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "prompts": self.prompts,
            "best": self.best.to_json(),
            "best_null": self.best_null,
            "each": self.each.to_json(),
            "each_null": self.each_null,
        }


@torch.no_grad()
def feature_truth(
    subject: Subject, dictionary: Dictionary, asked: Sequence[Sequence[ValueQuestion]], report: Report = silent
) -> FeatureTruth | None:
    """How well features tell the values of some prompts, the questions on each together; None where no prompt has a
    circuit."""
    rows = []
    for number, questions in enumerate(asked, 1):
        graph = trace(subject, dictionary, questions[0].prompt)
        if not graph.n_features:  # a dictionary of which no feature fires here has no circuit
            continue
        circuit = find_circuit(subject, dictionary, graph, CircuitSettings(draws=1))
        nodes = [NodeId.parse(member) for group in circuit.groups for member in group.members]
        rows.append(_of_prompt(subject, dictionary, questions, nodes, circuit.answer.position))
        report(Progress(what=f"truth of {dictionary.name}", done=number, of=len(asked), unit="prompts"))
    if not rows:
        return None
    best, each, best_null, each_null = zip(*rows, strict=True)
    return FeatureTruth(
        prompts=len(rows),
        best=mean_interval(best),
        best_null=float(np.mean(best_null)),
        each=mean_interval(each),
        each_null=float(np.mean(each_null)),
    )


def _of_prompt(
    subject: Subject, dictionary: Dictionary, questions: Sequence[ValueQuestion], nodes: Sequence[NodeId], output: int
) -> tuple[float, float, float, float]:
    """The best feature's F1 and the mean over features, then both with shuffled labels."""
    values = [activations_in(subject, dictionary, question.sentences, nodes, output) for question in questions]
    truth = [np.array(question.holds) for question in questions]
    best, each = _best_and_mean(values, questions, truth)
    generator = np.random.default_rng(0)
    draws = zip(*(shuffles(question, generator) for question in questions), strict=True)
    null = np.mean([_best_and_mean(values, questions, shuffled) for shuffled in draws], 0)
    return best, each, float(null[0]), float(null[1])


def _best_and_mean(
    values: Sequence[Float[np.ndarray, "sentence feature"]],
    questions: Sequence[ValueQuestion],
    labels: Sequence[Bool[np.ndarray, " sentence"]],
) -> tuple[float, float]:
    """F1 of the best feature, and the mean over all: of each the variable that it tells best on the first half."""
    pairs = [
        source_scores(sources, holds, np.array(question.held_out), f1)
        for sources, question, holds in zip(values, questions, labels, strict=True)
    ]
    chosen_on, scored_on = (np.stack(each) for each in zip(*pairs, strict=True))
    variable = chosen_on.argmax(0)
    features = np.arange(chosen_on.shape[1])
    scores = scored_on[variable, features]
    return float(scores[int(chosen_on.max(0).argmax())]), float(scores.mean())
