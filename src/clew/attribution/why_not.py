"""Why this token and not that one: what speaks for the likeliest next token against another.

The graph explains one output, the named difference of two tokens. A feature's effect is what the difference loses with
it, over all paths: positive speaks for the token that was said, negative for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from clew.attribution.contrast import Contrast
from clew.attribution.graph import Graph
from clew.attribution.influence import lost_of
from clew.attribution.local_model import check_traced_with
from clew.attribution.named_tokens import token_of
from clew.attribution.nodes import signed_label
from clew.attribution.trace import TraceSettings, trace_with
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.ids import FeatureId
from clew.subject.subject import Prompt, Subject
from clew.subject.text import as_id


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One feature at one position, and what the difference loses with it."""

    node: str
    token: str
    label: str
    activation: float
    effect: float


@dataclass(frozen=True, kw_only=True, eq=False)
class WhyNot:
    """What speaks for the token that was said and what for the other; the strongest first in `reasons`."""

    said: str
    other: str
    margin: float
    """How much higher the logit of the token that was said is."""
    probabilities: tuple[float, float]
    """Of the token that was said and of the other."""
    reasons: tuple[Reason, ...]
    graph: Graph
    """It explains the difference; effects are there."""

    def __repr__(self) -> str:
        return f"WhyNot({self.sentence})"

    @property
    def speaks_for(self) -> tuple[Reason, ...]:
        """Features without which the difference would be smaller."""
        return tuple(reason for reason in self.reasons if reason.effect > 0)

    @property
    def speaks_against(self) -> tuple[Reason, ...]:
        """Features without which it would be larger."""
        return tuple(reason for reason in self.reasons if reason.effect < 0)

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        head = (
            f"{self.said!r} ({self.probabilities[0]:.3f}) stands {self.margin:.2f} above {self.other!r} "
            f"({self.probabilities[1]:.3f})"
        )
        sides = [
            ", ".join(f"{each.label or each.node} ({each.node}, {each.effect:+.2f})" for each in side[:3]) or "nothing"
            for side in (self.speaks_for, self.speaks_against)
        ]
        return f"{head}: for it speak most {sides[0]}; against it {sides[1]}."

    def to_json(self) -> dict[str, Any]:
        """Everything but the graph as plain values."""
        plain = {name: getattr(self, name) for name in ("said", "other", "margin", "probabilities", "sentence")}
        return plain | {"reasons": [asdict(reason) for reason in self.reasons]}


def why_not(
    subject: Subject, dictionary: Dictionary, prompt: Prompt | Graph, token: str | int, settings: TraceSettings
) -> WhyNot:
    """What speaks for the likeliest next token against `token`; of a graph, on its prompt, at its first output.

    InputError for a token that is none or is the likeliest itself, and MismatchError for a graph of another dictionary.
    """
    place, ids, settings = _asked(subject, dictionary, prompt, settings)
    recording = subject.record(ids)
    if not -len(recording) <= place < len(recording):
        raise InputError(f"position {place} is outside the prompt's {len(recording)} tokens (0..{len(recording) - 1})")
    probabilities, logits = recording.probabilities[place], recording.logits[place]
    said, number = int(probabilities.argmax()), as_id(token)
    other = token_of(subject, str(token)) if number is None else number
    if not 0 <= other < len(probabilities):
        raise InputError(f"token id {other} is outside the vocabulary 0..{len(probabilities) - 1}")
    names = subject.token_strings([said, other])
    if said == other:
        raise InputError(f"{names[0]!r} is what the model says here: name another token that it might have said")
    target = Contrast(f"{names[0]} - {names[1]}", [said], [other])
    graph = trace_with(subject, dictionary, ids, replace(settings, targets=target, position=place, effects=True))
    return WhyNot(
        said=names[0],
        other=names[1],
        margin=float(logits[said] - logits[other]),
        probabilities=(float(probabilities[said]), float(probabilities[other])),
        reasons=_reasons(graph),
        graph=graph,
    )


def _asked(
    subject: Subject, dictionary: Dictionary, prompt: Prompt | Graph, settings: TraceSettings
) -> tuple[int, Any, TraceSettings]:
    if not isinstance(prompt, Graph):
        return settings.position, subject.encode(prompt, add_bos=settings.add_bos), settings
    check_traced_with(subject, dictionary, prompt)
    ids = torch.tensor(prompt.token_ids, device=subject.device)
    kept = replace(settings, leave_out_first=prompt.first_position > 0)
    return prompt.targets[0].position, ids, kept


def _reasons(graph: Graph) -> tuple[Reason, ...]:
    """Every feature, the largest effect first."""
    effects = graph.effects
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[list(graph.target_range)] = 1
    lost = lost_of(effects, start, graph.mask("feature"))[graph.part("feature")].tolist()
    order = sorted(graph.feature_range, key=lambda node: -abs(lost[node]))
    return tuple(_reason(graph, node, lost[node]) for node in order)


def _reason(graph: Graph, node: int, effect: float) -> Reason:
    layer, position, index = graph.feature_keys[node].tolist()
    activation = float(graph.activations[node])
    return Reason(
        node=str(graph.node(node).id),
        token=graph.tokens[position],
        label=signed_label(graph.labels.get(FeatureId(layer, index), ""), activation),
        activation=activation,
        effect=effect,
    )


def named(answer: WhyNot, labels: Mapping[FeatureId, str]) -> WhyNot:
    """The same answer with its features named."""
    graph = answer.graph.with_labels(labels)
    reasons = tuple(_reason(graph, graph.index(reason.node), reason.effect) for reason in answer.reasons)
    return replace(answer, graph=graph, reasons=reasons)
