"""What a group is called: by what it does in this prompt, from the words that it depends on and what it promotes.

A name is a value, so that it can be told in more than one language (`clew.circuit.telling`). In order:

- a group that reads a word is called by it, with its kind where that is known;
- an output group by the answer where that is among the first tokens it promotes (`says Paris`);
- one that carries words, or gathers them at the output, by these: `country: France`, `34 with 29`;
- one that depends on a word that is no such thing, or on none but the last, by the kind of most of what it promotes, or
  of what follows in its atlas contexts (`asks for a capital`);
- one that keeps most of its activation whatever single word changes, by the words that it depends on a little; where
  that is one word, other words in its place do in part, and the name says so (`a number like 10`).

Groups of one name are one group: at the output, and before it at one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.circuit.grouping import DEPENDS, Cell, FeatureEvidence
from clew.circuit.words import Lexicon, kinds_of, shown
from clew.dictionary.dictionary import Dictionary
from clew.features.atlas import Atlas
from clew.features.promoted_tokens import written_rows
from clew.ids import FeatureId
from clew.subject.subject import Subject

Does = Literal["reads", "holds", "like", "asks", "gives", "phrase", "says", "against", "rest"]
PROMOTED = 10  # tokens that a group promotes, of which most must be of one kind
MOST_OF = 0.6  # of these, weighted by how much it promotes them
CARDS = 2  # features of a group whose atlas contexts are read
WORDS = 3  # of a phrase that a group depends on a little
MOST_OF_INPUT = 0.5  # share of its input with which a group reads the last word and no phrase
A_LITTLE = 0.15  # share of their activation that a group's features owe to such a word
FIRST = 3  # places of the answer among them that make a group one that says it


@dataclass(frozen=True, kw_only=True)
class GroupName:
    """What a group does, with which words (and their kind, where it is known), for which kind of answer."""

    does: Does
    words: tuple[str, ...] = ()
    kind: str = ""
    place: str = ""
    """Where two groups would have one name: the token at which this one stands."""
    called: str = ""
    """The name that a person gave it, in any language."""

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain values."""
        return {**vars(self), "words": [*self.words]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GroupName:
        """Read what `to_json` gave."""
        words = tuple(map(str, value["words"]))
        called = str(value.get("called", ""))  # none in files from before people could name groups
        return cls(does=value["does"], words=words, kind=str(value["kind"]), place=str(value["place"]), called=called)


@torch.no_grad()
def promoted(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    stream: Float[Tensor, "pos d_model"],
    nodes: Int[Tensor, " node"],
) -> Float[Tensor, " vocab"]:
    """What a group's features at the last output's position add to the logits there, straight, above the mean.

    The stream before the final norm with what they write and without: the norm is exact.
    """
    position = graph.targets[-1].position
    keys = graph.feature_keys[nodes]
    written = stream.new_zeros(subject.d_model)
    for layer in torch.unique(keys[:, 0]).tolist():
        here = (keys[:, 0] == layer) & (keys[:, 1] == position)
        if bool(here.any()):
            rows = written_rows(subject, dictionary, layer, keys[here, 2]).sum(1)
            written += (graph.activations[nodes[here]].to(rows) @ rows).to(written)
    ends = torch.stack([stream[position], stream[position] - written])
    whole, without = subject.unembed(subject.normed(ends, subject.final_norm).to(subject.dtype))
    added = (whole - without).float().cpu()
    return added - added.mean()


def name_of(
    cell: Cell, material: FeatureEvidence, added: Float[Tensor, " vocab"], lexicon: Lexicon, atlas: Atlas | None
) -> tuple[GroupName, tuple[int, ...]]:
    """What one group is called, and the words that it is named by; names may be alike."""
    subject, answer, words = material.runs.subject, material.runs.answer, material.words
    texts = tuple(shown(words[place].text) for place in cell.words)
    match cell.stage:
        case "rest":
            return GroupName(does="rest"), cell.words
        case "against":
            return GroupName(does="against", words=(answer.text,)), cell.words
        case "reads":
            return GroupName(does="reads", words=texts, kind=_kind(texts, lexicon)), cell.words
        case "carries":
            return _holds(texts, lexicon), cell.words
    top = added.topk(min(PROMOTED, len(added)))
    tokens, weights = top.indices.tolist(), top.values.clamp_min(0).tolist()
    said = answer.tokens[-1][1]
    first = min(FIRST, max(1, len(added) // 2))  # of two classes one is promoted
    if cell.stage == "output" and any(token in tokens[: max(first, len(said))] for token in said):
        return GroupName(does="says", words=(answer.text,)), cell.words
    if _kind(texts, lexicon) or _is_phrase(texts):
        return _holds(texts, lexicon), cell.words
    if len(texts) < 2:
        asked = _shared_kind(subject.token_strings(tokens), weights, lexicon)
        if asked := asked or _followed_by(cell, material, lexicon, atlas):
            return GroupName(does="gives" if cell.stage == "output" else "asks", kind=asked), cell.words
    return (_holds(texts, lexicon), cell.words) if texts else _phrase(cell, material, lexicon)


def _holds(texts: tuple[str, ...], lexicon: Lexicon) -> GroupName:
    """Of words that are carried; several that are one word of the prompt are a phrase."""
    return GroupName(does="phrase" if _is_phrase(texts) else "holds", words=texts, kind=_kind(texts, lexicon))


def _is_phrase(texts: Sequence[str]) -> bool:
    return len(texts) == 1 and " " in texts[0]


def _followed_by(cell: Cell, material: FeatureEvidence, lexicon: Lexicon, atlas: Atlas | None) -> str:
    """The kind of most words that follow where the group's most influential features fire strongest in the atlas."""
    if atlas is None or not lexicon:
        return ""
    order = cell.nodes[material.influence[cell.nodes].argsort(descending=True, stable=True)]
    following: list[str] = []
    for layer, _, index in material.runs.graph.feature_keys[order[:CARDS]].tolist():
        for context in atlas[str(FeatureId(layer, index))].top:
            behind = context.tokens[context.at + 1 :]
            ends = [i for i, token in enumerate(behind) if i and not token[:1].isalpha()]
            following.append("".join(behind[: ends[0] if ends else None]))
    return _shared_kind(following, [1.0] * len(following), lexicon)


def _phrase(cell: Cell, material: FeatureEvidence, lexicon: Lexicon) -> tuple[GroupName, tuple[int, ...]]:
    """Of a group at the output that depends on no deciding word as such: the words that it depends on a little, of one
    such word that words like it do in part; else the last word, if most of its input stands there; else the words that
    most of it comes from.
    """
    position, depends = material.runs.answer.position, material.dependence
    weights = material.influence[cell.nodes] / material.influence[cell.nodes].sum().clamp_min(1e-30)
    owed = (depends.features[cell.nodes] * weights[:, None]).sum(0)
    inputs = _inputs(cell, material, weights)
    last = [place for place, word in enumerate(material.words) if position in word.positions]
    marks = [place for place, word in enumerate(material.words) if not any(map(str.isalnum, word.text))]
    owed[marks], inputs[marks] = 0, 0  # of a phrase one names the words
    some = [place for place in range(len(owed)) if place not in last and float(owed[place]) >= A_LITTLE]
    if not some and last and float(inputs[last[0]]) >= MOST_OF_INPUT:
        text = (shown(material.words[last[0]].text),)
        like = bool(depends.tried[last[0]]) and float(owed[last[0]]) < DEPENDS  # others in its place do as well
        return GroupName(does="like" if like else "reads", words=text, kind=_kind(text, lexicon)), ()
    measure = owed if some else inputs
    named = some or [
        place for place in range(len(inputs)) if place not in last and float(inputs[place]) >= A_LITTLE / 3
    ]
    named = sorted(sorted(named, key=lambda place: -float(measure[place]))[:WORDS])
    texts = tuple(shown(material.words[place].text) for place in named)
    if len(texts) == 1 and bool(depends.tried[named[0]]) and " " not in texts[0]:
        return GroupName(does="like", words=texts, kind=_kind(texts, lexicon)), tuple(named) if some else ()
    if len(texts) == 1:
        return _holds(texts, lexicon), tuple(named) if some else ()
    return GroupName(does="phrase", words=texts), tuple(named[:2]) if some else ()


def _inputs(cell: Cell, material: FeatureEvidence, weights: Float[Tensor, " node"]) -> Float[Tensor, " word"]:
    """The shares of a group's absolute input that come straight from where each word stands."""
    graph = material.runs.graph
    straight = graph.between(cell.nodes.tolist(), list(range(graph.n_nodes))).abs().to(weights)
    straight = (straight / straight.sum(1, keepdim=True).clamp_min(1e-30) * weights[:, None]).sum(0)
    at = torch.zeros(graph.n_tokens).index_add_(0, graph.node_positions, straight.float())
    return torch.stack([at[list(word.positions)].sum() for word in material.words])


def _kind(texts: Sequence[str], lexicon: Lexicon) -> str:
    """The kind of a single word, if it has one."""
    return next(iter(kinds_of(texts[0], lexicon)), "") if len(texts) == 1 else ""


def _shared_kind(names: Sequence[str], weights: Sequence[float], lexicon: Lexicon) -> str:
    """The kind of most of these tokens, weighted; none where no kind has most."""
    counts: Counter[str] = Counter()
    for name, weight in zip(names, weights, strict=True):
        for kind in kinds_of(name, lexicon):
            counts[kind] += weight  # type: ignore[assignment]  # a Counter may count in parts
    kind, count = counts.most_common(1)[0] if counts else ("", 0)
    return kind if count >= MOST_OF * sum(weights) > 0 else ""


def told_apart(names: Sequence[GroupName], places: Sequence[str]) -> list[GroupName]:
    """The same names, those that are alike with the token at which the group stands, and a number if need be."""
    counts = Counter(names)
    apart = [
        replace(name, place=place) if counts[name] > 1 else name for name, place in zip(names, places, strict=True)
    ]
    seen: Counter[GroupName] = Counter()
    for i, name in enumerate(apart):
        seen[name] += 1
        if seen[name] > 1:
            apart[i] = replace(name, place=f"{name.place} {seen[name]}")
    return apart
