"""What a feature does at one place of a prompt: told first by the contexts that are like it, then in general.

A feature may fire here for another reason than where it fires strongest. So its general name is checked against the
prompt: where it holds, it stands. Where it does not, the rules are applied to the contexts of its card that are nearest
to this place, in what stands there and in activation, with those conditions only that hold here. If these agree on
nothing either, the name says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from clew.attribution.graph import Graph
from clew.attribution.summary import FeatureSummary, GraphSummary, PathSummary
from clew.features.atlas import Atlas
from clew.features.card import Card, Context
from clew.features.label import Label
from clew.ids import FeatureId, NodeId
from clew.labels.agreement import reading_of
from clew.labels.display_names import Name
from clew.labels.pattern import parsed
from clew.labels.reading import FAR, NEAR, Key, read
from clew.labels.rules import AGREE, LEAST, RuleLabeller

WEAK = 0.25  # of the largest activation: below it a feature fires weakly
DECAY = 0.7  # of what a token counts, for every token that it is further from the place
LOOKED_AT = 6  # tokens up to the place that are compared
SOME = 0.1  # what a context counts that shares none of them


@dataclass(frozen=True, kw_only=True)
class PromptPlace:
    """Where a feature fires in a prompt, and how strongly."""

    tokens: tuple[str, ...]
    """Names of the prompt's tokens."""
    position: int
    activation: float
    follows: str = ""
    """The likeliest next token, for the last position."""

    @property
    def window(self) -> tuple[tuple[str, ...], int]:
        """The tokens around, with what follows the prompt, and the position of the first of them."""
        start = max(0, self.position - FAR)
        end = (*self.tokens, self.follows) if self.follows else self.tokens
        return tuple(end[start : self.position + NEAR + 2]), start


@dataclass(frozen=True, kw_only=True)
class NameHere:
    """A feature's name at one place of a prompt."""

    here: str
    """What it shares with the contexts like this one; empty where they agree on nothing that holds here."""
    general: str
    """Its name in general, empty where it has none but the tokens that it promotes."""
    share: float
    """Activation here, as a share of its largest."""
    score: float | None
    """Balanced accuracy on contexts that the name was not made from: of the general name its detection, of another the
    same by nearness to this place. None where there is none."""

    @property
    def text(self) -> str:
        """The name in one line: what it does here first; empty where nothing is known."""
        if not self.general or self.here == self.general:
            return self.here
        if not self.here:
            return f"{self.general}; here {'weakly, ' if self.share < WEAK else ''}for another reason"
        return f"here {self.here}; else {self.general}"


def name_here(card: Card, place: PromptPlace, rule: Label) -> NameHere:
    """The name of a feature at a place, by its card and its label by rule."""
    share = place.activation / card.max_activation if card.max_activation > 0 else 0.0
    tokens, start = place.window
    reading, at = read(tokens, start), place.position - start
    pattern = parsed(rule.text) if rule.clear else None
    if pattern is not None and pattern.mask(reading) >> at & 1:
        score = rule.score("detection")
        return NameHere(here=rule.text, general=rule.text, share=share, score=None if score is None else score.value)
    here, score_here = _nearest(card, place, frozenset(reading.keys_at(at)))
    return NameHere(here=here, general=rule.text if rule.clear else "", share=share, score=score_here)


def names_here(atlas: Atlas, graph: Graph, nodes: Sequence[int]) -> dict[int, NameHere]:
    """The names of some of a graph's features where they stand, by node.

    A negative neuron has none: its contexts are those where it is positive.
    """
    keys = {node: graph.feature_keys[node].tolist() for node in nodes if float(graph.activations[node]) > 0}
    rules = atlas.rules(FeatureId(layer, index) for layer, _, index in keys.values())
    follows = graph.next_tokens[0][0] if graph.next_tokens else ""
    names = {}
    for node, (layer, position, index) in keys.items():
        feature = FeatureId(layer, index)
        place = PromptPlace(
            tokens=tuple(graph.tokens),
            position=position,
            activation=float(graph.activations[node]),
            follows=follows if position == len(graph.tokens) - 1 else "",
        )
        names[node] = name_here(atlas[feature], place, rules[feature])
    return names


def by_rule(name: Name, here: NameHere) -> bool:
    """Whether a name gives way to what its feature does at a place: not where a person or a model wrote it.

    Of a graph's own labels it is not known who gave them; those that read as the feature's rule does are the rule's.
    """
    if name.kind in ("heuristic", "promoted") or not name.text:
        return True
    return name.kind == "" and (
        name.text == here.general or name.text.startswith(("promotes ", f"{here.general}, writes "))
    )


def summary_here(
    summary: GraphSummary,
    graph: Graph,
    atlas: Atlas | None,
    naming: Callable[[Iterable[FeatureId]], Mapping[FeatureId, Name]],
) -> GraphSummary:
    """A graph in short, its features by what they do in this prompt; what a person or a model wrote stays.

    `naming` gives names in general, with their sources (`Kit.sourced_names`); without an atlas nothing is told anew.
    """
    if atlas is None:
        return summary
    listed = [each.id for each in (*summary.input_features, *summary.output_features, *summary.strongest)]
    passed = [id for path in summary.paths for id in path.nodes if NodeId.parse(id).kind == "feature"]
    nodes = {id: graph.index(id) for id in dict.fromkeys((*listed, *passed))}
    names = naming(NodeId.parse(id).feature for id in nodes)
    here = names_here(atlas, graph, [*nodes.values()])

    def of(id: str) -> NameHere | None:
        name = here.get(nodes[id]) if id in nodes else None
        return name if name and name.text and by_rule(names[NodeId.parse(id).feature], name) else None

    def told(feature: FeatureSummary) -> FeatureSummary:
        name = of(feature.id)
        return feature if name is None else replace(feature, label=name.text)

    def along(path: PathSummary) -> PathSummary:
        """In a path a feature is called by what it does here, where that is known."""
        words = [
            f"{id} {name.here}" if (name := of(id)) and name.here else word
            for id, word in zip(path.nodes, path.words, strict=True)
        ]
        return replace(path, words=tuple(words))

    return replace(
        summary,
        paths=tuple(map(along, summary.paths)),
        input_features=tuple(map(told, summary.input_features)),
        output_features=tuple(map(told, summary.output_features)),
        strongest=tuple(map(told, summary.strongest)),
    )


def _nearest(card: Card, place: PromptPlace, holding: frozenset[Key]) -> tuple[str, float | None]:
    """The pattern of the contexts that are nearest to a place, of conditions that hold there, and its score."""
    labeller = RuleLabeller(card)
    n = len(labeller.firing)
    if n < LEAST:
        return "", None
    nearness = _nearness(labeller.firing, place)
    every, silent = range(n), range(len(card.silent))
    agreement = labeller.contexts.agreed(every, silent, nearness=nearness, holding=holding)
    if agreement is None or agreement.value < AGREE:
        return "", None
    return agreement.pattern.text, _score(labeller, nearness, holding)


def _score(labeller: RuleLabeller, nearness: np.ndarray, holding: frozenset[Key]) -> float:
    """Balanced accuracy on held-out contexts, firing ones by nearness."""
    found, silent = 0.0, 0
    for fold in labeller.folds:
        agreement = labeller.contexts.agreed(fold.seen_firing, fold.seen_silent, nearness=nearness, holding=holding)
        if agreement is None or agreement.value < AGREE:
            silent += len(fold.silent)
            continue
        for i in fold.firing:
            bits = agreement.pattern.mask(reading_of(labeller.firing[i]))
            found += nearness[i] * (bits >> labeller.firing[i].at & 1)
        silent += sum(agreement.pattern.mask(reading_of(labeller.card.silent[i])) == 0 for i in fold.silent)
    return 0.5 * (float(found / nearness.sum()) + silent / max(1, len(labeller.card.silent)))


def _nearness(contexts: Sequence[Context], place: PromptPlace) -> Float[np.ndarray, " context"]:
    """Of every context: the tokens that it shares up to the place, the last most, by how alike the activations are."""
    before = place.tokens[: place.position + 1][::-1][:LOOKED_AT]
    near = []
    for context in contexts:
        others = context.tokens[: context.at + 1][::-1]
        shared = sum(DECAY**i for i, pair in enumerate(zip(before, others, strict=False)) if pair[0] == pair[1])
        ratio = max(place.activation, 1e-9) / max(context.activation, 1e-9)
        near.append((SOME + shared) * min(ratio, 1 / ratio))
    return np.array(near)
