"""Why another token was not said: which groups of a circuit hold it down, measured.

1. The margin is how much higher the logit of the answer is than the rival's, in a run of the model.
2. Every group is ablated, all other features read anew, and the margin measured again: what it loses is what the group
   held. Random features as heavy as the group do the same in its place.
3. A circuit explains its own answer. Features at the output that write against the rival and belong to no group are
   therefore a group of their own here: those, strongest first, that make up most of what is written against it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.named_tokens import token_of
from clew.circuit.measuring import LiveRuns, marked
from clew.circuit.naming import GroupName
from clew.circuit.random_sets import heavy_set
from clew.circuit.telling import checked, group_text, percent
from clew.circuit.words import shown
from clew.errors import InputError
from clew.features.promoted_tokens import written_rows
from clew.intervention.matched_sets import mass_of

MOST_OF = 0.8  # of what is written against the rival
MOST = 40  # features that make it up
HOLDS = 0.2  # of the margin: what must go with a group for the sentence to name it
NAMED = 2  # groups in the sentence
DRAWS = 5


@dataclass(frozen=True, kw_only=True)
class NamedFeatures:
    """A group as far as it matters here."""

    id: str
    """Of the circuit's group; `R` for what writes against the rival and is in none."""
    named: GroupName
    nodes: Int[Tensor, " node"]


@dataclass(frozen=True, kw_only=True)
class HeldDown:
    """What is left of the margin without one group, in logits, and what answer and rival come to."""

    id: str
    named: GroupName
    features: int
    margin: float
    said: float
    """The answer's probability without the group."""
    rival: float
    """The rival's probability without the group."""
    random: float
    """The margin without random features in the group's place, the mean of several draws."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Why the answer and not another token."""

    said: str
    rival: str
    margin: float
    """How much higher the answer's logit is."""
    probabilities: tuple[float, float]
    """Of the answer and of the rival."""
    groups: tuple[HeldDown, ...]
    """The one that holds most first."""
    without_all: tuple[float, float, float]
    """Margin and both probabilities without all of them."""

    @property
    def holds(self) -> tuple[HeldDown, ...]:
        """The groups with which a good part of the margin goes, and not with random features: most first."""
        least = HOLDS * abs(self.margin)
        return tuple(
            group
            for group in self.groups
            if self.margin - group.margin >= least and group.random - group.margin >= least / 2
        )

    @property
    def sentence(self) -> str:
        """The answer in English."""
        return self.tell("en")

    def tell(self, language: str = "en") -> str:
        """The answer in a language, `en` or `ru`; InputError for another."""
        told_in = checked(language)
        words = _WORDS[told_in]

        def where(margin: float) -> str:
            return words["behind" if margin >= 0 else "ahead"].format(abs(margin))

        groups = [(f"*{group_text(each.named, told_in)}*", each.margin) for each in self.holds[:NAMED]]
        parts = [words["without"].format(name, where(margin)) for name, margin in groups] or [words["none"]]
        return words["sentence"].format(
            rival=words["quoted"].format(self.rival),
            less=percent(self.probabilities[1]),
            said=words["quoted"].format(self.said),
            more=percent(self.probabilities[0]),
            margin=f"{self.margin:.1f}",
            groups=", ".join(parts),
            all=where(self.without_all[0]),
        )

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain values, with the sentence."""
        groups = [dict(vars(group)) | {"named": group.named.to_json()} for group in self.groups]
        plain = {name: getattr(self, name) for name in ("said", "rival", "margin", "sentence")}
        return {**plain, "probabilities": [*self.probabilities], "without_all": [*self.without_all], "groups": groups}


_WORDS = {
    "en": {
        "quoted": "'{}'",
        "sentence": "{rival} ({less}) is {margin} logits behind {said} ({more}): {groups}, without all groups {all}.",
        "without": "without {} {}",
        "none": "no single group makes much of that",
        "behind": "{:.1f} behind",
        "ahead": "{:.1f} ahead",
    },
    "ru": {
        "quoted": "«{}»",
        "sentence": "{rival} ({less}) позади {said} ({more}) на {margin} логита: {groups}, без всех групп {all}.",
        "without": "без группы {} {}",
        "none": "ни одна группа по отдельности за это не отвечает",
        "behind": "позади на {:.1f}",
        "ahead": "впереди на {:.1f}",
    },
}


@torch.no_grad()
def why_not(runs: LiveRuns, groups: Sequence[NamedFeatures], token: str, *, seed: int = 0) -> Rival:
    """What holds a token down where a circuit says another; InputError for one that is none, or is the answer."""
    subject, position = runs.subject, runs.answer.position
    said, rival = runs.answer.tokens[-1][1][0], token_of(subject, token)
    names = [shown(name) for name in subject.token_strings([said, rival])]
    if rival in runs.answer.tokens[-1][1]:
        raise InputError(f"{names[1]!r} is what the model says here: name another token that it might have said")
    listed = [*groups, *_against(runs, groups, rival, names[1])]
    sets = marked(len(runs.activations), [group.nodes for group in listed])
    mass, generator = mass_of(runs.dictionary, runs.graph), torch.Generator().manual_seed(seed)
    drawn = [heavy_set(each, runs.graph, mass, generator).members for each in sets for _ in range(DRAWS)]
    rows = torch.cat([torch.zeros_like(sets[:1]), sets, sets.any(0)[None], torch.stack(drawn)])
    finals = torch.cat([final[1:, position] for final in runs.finals(rows)])
    logits = subject.unembed(finals)
    both = subject.probabilities(logits)[:, [said, rival]].tolist()
    margins = (logits[:, said] - logits[:, rival]).tolist()
    n = len(listed)
    random = torch.tensor(margins[n + 2 :]).view(n, DRAWS).mean(1).tolist()
    held = [
        HeldDown(
            id=group.id, named=group.named, features=len(group.nodes), margin=margins[i + 1], said=both[i + 1][0],
            rival=both[i + 1][1], random=random[i],
        )
        for i, group in enumerate(listed)
    ]  # fmt: skip
    return Rival(
        said=names[0],
        rival=names[1],
        margin=margins[0],
        probabilities=(both[0][0], both[0][1]),
        groups=tuple(sorted(held, key=lambda group: group.margin)),
        without_all=(margins[n + 1], *both[n + 1]),
    )


def _against(runs: LiveRuns, groups: Sequence[NamedFeatures], rival: int, name: str) -> list[NamedFeatures]:
    """Features at the output, of no group, that write against the rival straight."""
    graph, position = runs.graph, runs.answer.position
    free = torch.ones(graph.n_features, dtype=torch.bool)
    for group in groups:
        free[group.nodes] = False
    nodes = (free & (graph.feature_keys[:, 1] == position)).nonzero()[:, 0]
    written = _written(runs, nodes, rival)
    order = written.argsort(stable=True)
    order = order[written[order] < 0]
    if not len(order):
        return []
    share = written[order].cumsum(0) / written[order].sum()
    count = min(MOST, int((share < MOST_OF).sum()) + 1)
    return [
        NamedFeatures(id="R", named=GroupName(does="against", words=(name,)), nodes=nodes[order[:count]].sort().values)
    ]


def _written(runs: LiveRuns, nodes: Int[Tensor, " node"], token: int) -> Float[Tensor, " node"]:
    """What each feature adds to a token's logit straight, above what it adds to the mean token: the norm is exact."""
    subject, graph, position = runs.subject, runs.graph, runs.answer.position
    stream = subject.record(runs.ids).sites["resid_post", subject.n_layers - 1][position]
    added = torch.zeros(len(nodes))
    for layer in torch.unique(graph.feature_keys[nodes, 0]).tolist():
        here = (graph.feature_keys[nodes, 0] == layer).nonzero()[:, 0]
        rows = written_rows(subject, runs.dictionary, layer, graph.feature_keys[nodes[here], 2]).sum(1)
        written = graph.activations[nodes[here]].to(rows)[:, None] * rows
        ends = torch.cat([stream[None], stream - written.to(stream)])
        logits = subject.unembed(subject.normed(ends, subject.final_norm).to(subject.dtype)).float().cpu()
        centred = logits[:, token] - logits.mean(1)
        added[here] = centred[0] - centred[1:]
    return added
