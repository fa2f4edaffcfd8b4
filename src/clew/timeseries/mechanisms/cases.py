"""Series that a transformer reads, with everything that a Kit does with prompts done with cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clew.attribution.graph import Graph
from clew.circuit.circuit import Circuit
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.kit import Kit
from clew.stats import Interval, null_range, wilson
from clew.timeseries.mechanisms.points import token_gradients
from clew.timeseries.mechanisms.series_arrays import checked_labels
from clew.timeseries.mechanisms.series_subject import SeriesSubject
from clew.timeseries.mechanisms.transformer import SeriesTransformer

PERMUTATIONS = 1000
"""Of labels, behind the accuracy of a transformer that has learned nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesCases:
    """Series, the class of each where it is known, and a Kit that reads them; made by `read_series`.

    Everything that `clew.Kit` does with a prompt is done with `kit` and `prompt(case)`.
    """

    transformer: SeriesTransformer
    kit: Kit
    series: Float[np.ndarray, "case channel time"]
    labels: tuple[str, ...] | None

    def __repr__(self) -> str:
        labels = "with their classes" if self.labels is not None else "without classes"
        return f"SeriesCases({len(self):,} series {labels}, read by {self.transformer!r})"

    def __len__(self) -> int:
        return len(self.series)

    @property
    def subject(self) -> SeriesSubject:
        """The transformer as a Subject that reads these series."""
        assert isinstance(self.kit.subject, SeriesSubject)
        return self.kit.subject

    def prompt(self, case: int) -> list[int]:
        """The tokens of a series; InputError for a case that there is not."""
        if not -len(self) <= case < len(self):
            raise InputError(f"there is no case {case}: they are 0..{len(self) - 1}")
        return self.subject.rows[case].tolist()

    def case_of(self, graph: Graph) -> int:
        """The series that a graph is of; MismatchError for a graph of other series."""
        rows = (self.subject.rows == torch.tensor(graph.token_ids)).all(1) if self._fits(graph) else torch.zeros(1)
        if not bool(rows.any()):
            raise MismatchError("the graph is of another transformer's series: give the cases that it was traced on")
        return int(rows.nonzero()[0, 0])

    def _fits(self, graph: Graph) -> bool:
        return len(graph.token_ids) == self.subject.rows.shape[1]

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "case class"]:
        """Of the classes, for every series."""
        return torch.softmax(self.subject.class_logits.double(), -1).numpy()

    def predicted(self, case: int) -> str:
        """The likeliest class of a series."""
        return self.transformer.classes[int(self.probabilities[case].argmax())]

    def trace(self, case: int, *, target: str | None = None, effects: bool = True, **settings: Any) -> Graph:
        """The attribution graph of a class of one series, of its likeliest class unless `target` names another.

        `settings` are those of `clew.trace`, and so are the errors.
        """
        target = self.predicted(case) if target is None else target
        return self.kit.trace(self.prompt(case), targets=target, effects=effects, **settings)

    def circuit(self, graph: Graph, **settings: Any) -> Circuit:
        """The circuit of a graph, its groups named by patches; settings and errors are those of `clew.Kit.circuit`."""
        lexicon = dict.fromkeys(graph.tokens, ("patch",))
        return self.kit.circuit(graph, lexicon=lexicon, **settings)

    def points(self, graph: Graph, *, target: int = 0, effects: bool = False) -> Float[np.ndarray, "channel time"]:
        """What every value of a series makes of a graph's output over all paths, in logits above the mean class.

        Of the value less its channel's mean: patterns, norms and gates held, or with `effects` following to first
        order, so that it says what goes with the value. The points of a patch add up to its token's total. InputError
        for a graph that left features out and for effects of one without, MismatchError for one of other series.
        """
        case = self.case_of(graph)
        gradients = token_gradients(self.kit, graph, target, effects=effects)[1:-1].double().cpu()
        transformer = self.transformer
        weight: Any = self.subject.model.get_input_embeddings().weight.detach().double().cpu()
        patches = transformer.patches(self.series[case : case + 1])[0]
        points = (gradients @ weight) * patches
        shape = (transformer.n_patches, transformer.n_channels, transformer.patch)
        return points.view(shape).permute(1, 0, 2).flatten(1)[:, : transformer.n_times].numpy()

    @cached_property
    def accuracy(self) -> Interval:
        """The share of series whose class is said; InputError where the classes are not known."""
        return wilson(int(self._right.sum()), len(self))

    @cached_property
    def chance(self) -> Interval:
        """The same with the classes permuted among the series, and where 95 % of the permutations lie."""
        generator, labels = np.random.default_rng(0), np.array(self._known)
        said = np.array(self.transformer.classes)[self.probabilities.argmax(1)]
        return null_range([float((said == generator.permutation(labels)).mean()) for _ in range(PERMUTATIONS)])

    @property
    def tells(self) -> bool:
        """Whether it says the right class more often than with permuted classes; InputError where none are known."""
        return self.accuracy.low > self.chance.high

    @property
    def _right(self) -> np.ndarray:
        return np.array(self.transformer.classes)[self.probabilities.argmax(1)] == np.array(self._known)

    @property
    def _known(self) -> tuple[str, ...]:
        if self.labels is None:
            raise InputError("the classes of the series are not known here: give labels to read_series")
        return self.labels


def read_series(
    transformer: SeriesTransformer,
    series: Any,
    labels: Sequence[Any] | None = None,
    *,
    dictionary: Dictionary | None = None,
    dtype: torch.dtype = torch.float32,
) -> SeriesCases:
    """Series for a transformer to read, in the dtype in which it shall run.

    Features are the transformer's own neurons, or those of a `dictionary` that was trained on it. InputError for series
    of another shape than it was trained on and another number of labels than series, MismatchError for a dictionary of
    another model.
    """
    array = np.asarray(series, dtype=np.float64)
    subject = SeriesSubject(transformer, array, dtype)
    known = None if labels is None else checked_labels(labels, len(array))
    kit = Kit(subject, dictionary, name=transformer.name) if dictionary is not None else Kit(subject)
    return SeriesCases(transformer=transformer, kit=kit, series=array, labels=known)
