"""From a Graph to its Circuit.

1. Find on which words the answer and the features depend (`replacements`), group the features (`grouping`).
2. Measure, in one batch of runs: every group ablated and every group alone, all of them, random sets in their place.
3. Take the edges between groups apart (`edges`), name the groups (`naming`), choose those that the sentence tells of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import influence, lost_of, start_of
from clew.attribution.local_model import LocalModel, check_traced_with
from clew.circuit.circuit import Circuit, Group, GroupEdge
from clew.circuit.edges import group_edges
from clew.circuit.grouping import EARLY, LITTLE, STAGES, Cell, FeatureEvidence, cells, members, readable
from clew.circuit.measuring import LiveRuns, Outcomes, marked
from clew.circuit.naming import GroupName, name_of, promoted, told_apart
from clew.circuit.phrases import with_phrase
from clew.circuit.random_sets import heavy_set, random_sets
from clew.circuit.replacements import dependence
from clew.circuit.telling import HALF
from clew.circuit.words import Lexicon, shown, words_of
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.intervention.integrated import circuit_scores
from clew.intervention.matched_sets import mass_of
from clew.kernels.shares import share
from clew.progress import Progress
from clew.settings import HIDDEN, Settings
from clew.subject.subject import Subject

STEPS = 4  # that are reported: words, members, groups, edges
MOST_TOLD = 4  # groups in a sentence
LEAST_ADDED = 0.1  # of the answer: what must go in addition for another group to be told of
BESIDE = 0.1  # of the last group of the sentence: what must go with a group for it to be told of beside the first


@dataclass(frozen=True, kw_only=True)
class CircuitSettings(Settings):
    """How a circuit is found."""

    groups: int = 10
    """At most so many groups."""
    coverage: float = 0.8
    """Share of the features' influence that the groups hold at least."""
    draws: int = 5
    """Random sets beside every group, and beside all of them."""
    seed: int = 0
    """Seed of the random sets."""
    lexicon: Lexicon = field(default_factory=dict, repr=False, metadata=HIDDEN)
    """Kinds of words, by which groups are named: those of the small world where the model was trained on it."""

    def __post_init__(self) -> None:
        if self.groups < 2:
            raise InputError(f"groups is {self.groups}: give at least 2")
        if not 0 < self.coverage <= 1:
            raise InputError(f"coverage is {self.coverage}: give a share in (0, 1], such as 0.8")
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}: give at least 1")


@torch.no_grad()
def find_circuit(
    subject: Subject, dictionary: Dictionary, graph: Graph, settings: CircuitSettings, atlas: Atlas | None = None
) -> Circuit:
    """The circuit of a graph; an atlas serves the groups' names.

    InputError for a graph whose outputs are no tokens or that has no features, MismatchError for one of another
    dictionary or model.
    """
    check_traced_with(subject, dictionary, graph)
    if "look" in graph.settings:
        raise InputError("a circuit explains tokens that the model may say, and this graph explains a look")
    if not graph.n_features:
        raise InputError("the graph has no features: there is nothing to group")
    report = partial(_report, settings)
    report(0)
    material = material_of(subject, dictionary, graph)
    report(1)
    chosen = members(material, settings.coverage)
    local = LocalModel.of_graph(subject, dictionary, graph)
    groups = readable(material, cells(material, chosen), most=settings.groups, coverage=settings.coverage)
    report(2)
    groups, names = _named(material, dictionary, groups, local, settings.lexicon, atlas)
    return measured_circuit(material, dictionary, groups, names, local, settings)


def measured_circuit(
    material: FeatureEvidence,
    dictionary: Dictionary,
    groups: Sequence[Cell],
    names: Sequence[GroupName],
    local: LocalModel,
    settings: CircuitSettings,
    pinned: Sequence[int] = (),
) -> Circuit:
    """The circuit of these groups, measured (steps 2 and 3); the sentence tells of the pinned ones in any case."""
    graph, report = material.runs.graph, partial(_report, settings)
    measured = _Measured(material, dictionary, groups, settings)
    report(3)
    edges = group_edges(material, groups, measured.each, local)
    built = tuple(replace(_group(material, i, groups, names, measured), pinned=i in pinned) for i in range(len(groups)))
    chain, chain_without = _told(material, groups, built, edges)
    report(STEPS)
    return Circuit(
        prompt=graph.prompt,
        tokens=graph.tokens,
        token_ids=graph.token_ids,
        words=tuple(material.words),
        answer=material.runs.answer,
        groups=built,
        edges=edges,
        coverage=sum(group.share for group in groups),
        without=measured.whole[0],
        alone=measured.whole[1],
        nothing=measured.whole[2],
        null=measured.nulls[-1],
        chain=chain,
        chain_without=chain_without,
        n_features=graph.n_features,
        subject=graph.subject,
        dictionary=graph.dictionary,
        dictionary_fingerprint=graph.dictionary_fingerprint,
        settings={name: getattr(settings, name) for name in ("groups", "coverage", "draws", "seed")},
        runs=material.runs,
    )


def _report(settings: CircuitSettings, done: int) -> None:
    settings.report(Progress(what="explaining", done=done, of=STEPS, unit="steps"))


def material_of(subject: Subject, dictionary: Dictionary, graph: Graph) -> FeatureEvidence:
    """What the features of a graph are grouped by; errors are those of `find_circuit`."""
    runs = LiveRuns(subject, dictionary, graph)
    words = words_of(subject, graph.token_ids, graph.tokens, graph.first_position)
    through = influence(graph)
    features, tokens = graph.part("feature"), graph.part("token")
    none = torch.zeros(graph.n_nodes, dtype=torch.bool)
    words, depends = with_phrase(runs, words, dependence(runs, words, through[tokens]), through[tokens])
    from_tokens = share(graph.rows[:, graph.columns("token")].abs().sum(1), graph.input_mass)
    return FeatureEvidence(
        runs=runs,
        words=words,
        influence=through[features] / through[features].sum().clamp_min(1e-30),
        scores=circuit_scores(subject, dictionary, graph)[features],
        direct=lost_of(graph, start_of(graph), none)[features],
        from_tokens=graph.over_nodes(from_tokens)[features],
        dependence=depends,
    )


class _Measured:
    """All runs of step 2."""

    def __init__(
        self, material: FeatureEvidence, dictionary: Dictionary, groups: Sequence[Cell], settings: CircuitSettings
    ):
        graph, n = material.runs.graph, material.runs.graph.n_features
        every = torch.cat([group.nodes for group in groups])
        sets = marked(n, [*(group.nodes for group in groups), every])
        mass, generator = mass_of(dictionary, graph), torch.Generator().manual_seed(settings.seed)
        drawn = [[heavy_set(each, graph, mass, generator) for _ in range(settings.draws)] for each in sets]
        random = torch.stack([draw.members for draws in drawn for draw in draws])
        whole = torch.ones(1, n, dtype=torch.bool)
        outcomes = material.runs.outcomes(torch.cat([sets, ~sets, whole, random]))
        count, probability = len(sets), outcomes.probability
        self.each = Outcomes(
            probability=probability[: count - 1],
            activations=outcomes.activations[: count - 1],
            likelihood=outcomes.likelihood[: count - 1],
        )
        self.alone = probability[count : 2 * count - 1].tolist()
        self.whole = (float(probability[count - 1]), float(probability[2 * count - 1]), float(probability[2 * count]))
        random_probability = probability[2 * count + 1 :].view(count, settings.draws).tolist()
        self.nulls = [random_sets(draws, each) for draws, each in zip(drawn, random_probability, strict=True)]


def _named(
    material: FeatureEvidence,
    dictionary: Dictionary,
    groups: Sequence[Cell],
    local: LocalModel,
    lexicon: Lexicon,
    atlas: Atlas | None,
) -> tuple[list[Cell], list[GroupName]]:
    """The groups with their names; those of one name at the output, or before it at one place, are joined."""
    joined: dict[tuple[GroupName, bool, int], Cell] = {}
    for group in groups:
        early = group.stage in EARLY
        place = _positions(material, group.nodes)[0] if early else -1
        name, group = named_cell(group, material, dictionary, local, lexicon, atlas)
        key = name, early, place
        if key in joined:
            nodes = torch.cat([joined[key].nodes, group.nodes]).sort().values
            first = min(joined[key], group, key=lambda cell: STAGES.index(cell.stage))
            group = replace(first, nodes=nodes, share=joined[key].share + group.share)
        joined[key] = group
    listed = sorted(joined.items(), key=lambda item: -item[1].share)
    cells = [cell for _, cell in listed]
    return cells, told_apart([name for (name, _, _), _ in listed], [place_of(material, cell) for cell in cells])


def named_cell(
    cell: Cell,
    material: FeatureEvidence,
    dictionary: Dictionary,
    local: LocalModel,
    lexicon: Lexicon,
    atlas: Atlas | None,
) -> tuple[GroupName, Cell]:
    """A group's name, and the group with the words that it is named by."""
    stream = local.recording.sites["resid_post", local.recording.n_layers - 1]
    added = promoted(material.runs.subject, dictionary, material.runs.graph, stream, cell.nodes)
    name, words = name_of(cell, material, added, lexicon, atlas)
    return name, replace(cell, words=words)


def place_of(material: FeatureEvidence, cell: Cell) -> str:
    """The word at which most of a group's influence stands; empty at a token that is in no word."""
    position = _positions(material, cell.nodes)[0]
    return next((shown(word.text) for word in material.words if position in word.positions), "")


def _positions(material: FeatureEvidence, nodes: Int[Tensor, " node"]) -> tuple[int, ...]:
    """Where a group's features stand, the most influential position first."""
    at = material.runs.graph.feature_keys[nodes, 1]
    weight = torch.zeros(material.runs.graph.n_tokens).index_add_(0, at, material.influence[nodes].float())
    return tuple(sorted(set(at.tolist()), key=lambda position: -float(weight[position])))


def _group(
    material: FeatureEvidence, place: int, groups: Sequence[Cell], names: Sequence[GroupName], measured: _Measured
) -> Group:
    cell, graph = groups[place], material.runs.graph
    order = cell.nodes[material.influence[cell.nodes].argsort(descending=True, stable=True)]
    return Group(
        id=f"G{place + 1}",
        named=names[place],
        role=cell.stage,
        members=tuple(str(graph.node(node).id) for node in order.tolist()),
        activations=tuple(graph.activations[order].tolist()),
        positions=_positions(material, cell.nodes),
        words=tuple(material.words[word].text for word in cell.words),
        share=cell.share,
        without=float(measured.each.probability[place]),
        alone=measured.alone[place],
        before=material.runs.answer.probability,
        null=measured.nulls[place],
    )


def _told(
    material: FeatureEvidence, cells: Sequence[Cell], groups: Sequence[Group], edges: Sequence[GroupEdge]
) -> tuple[tuple[str, ...], float]:
    """The groups that the sentence tells of, and the answer's probability without them.

    While half of the answer stands without those of `_chain`, the group is added without which most of it goes.
    """
    named = {group.id: group for group in groups}
    nodes_of = {group.id: cell.nodes for group, cell in zip(groups, cells, strict=True)}

    def without(chains: Sequence[Sequence[str]]) -> list[float]:
        sets = marked(len(material.influence), [torch.cat([nodes_of[each] for each in chain]) for chain in chains])
        return material.runs.outcomes(sets).probability.tolist()

    answer = material.dependence.answer
    deciding = frozenset(w.text for w, owed in zip(material.words, answer.tolist(), strict=True) if owed >= LITTLE)
    chain = _with_pinned(_chain(groups, edges, deciding), groups)
    if not chain:
        return (), material.runs.answer.probability
    (left,) = without([chain])
    while left > HALF * material.runs.answer.probability and len(chain) < MOST_TOLD:
        others = [g.id for g in groups if g.id not in chain and g.role not in ("against", "rest")]
        if not others:
            break
        longer = [_longer(chain, each, named) for each in others]
        found = without(longer)
        best = min(range(len(longer)), key=lambda i: found[i])
        if found[best] > left - LEAST_ADDED * material.runs.answer.probability:
            break
        chain, left = longer[best], found[best]
    return chain, left


def _longer(chain: tuple[str, ...], group: str, named: Mapping[str, Group]) -> tuple[str, ...]:
    """A chain with another group: before the output that the others make, else at its end."""
    makes = len(chain) > 1 and named[chain[-1]].named.does in ("says", "gives")
    return (*chain[:-1], group, chain[-1]) if makes else (*chain, group)


def _with_pinned(chain: tuple[str, ...], groups: Sequence[Group]) -> tuple[str, ...]:
    named = {group.id: group for group in groups}
    for group in groups:
        if group.pinned and group.id not in chain:
            chain = _longer(chain, group.id, named)
    return chain


def _chain(groups: Sequence[Group], edges: Sequence[GroupEdge], deciding: frozenset[str]) -> tuple[str, ...]:
    """The way to the answer: the group that it owes most to (one that depends on words that decide, if there is one; of
    several to which it owes about as much one that gathers words at the output), what stands beside it, and the output
    that they make.
    """
    last = next((group for group in groups if group.named.does == "says"), None)
    last = last or next((group for group in groups if group.named.does == "gives"), None)
    makers = [group for group in groups if group.role not in ("against", "rest") and group is not last]
    if not makers:
        return (last.id,) if last is not None else ()

    def rank(group: Group) -> tuple[bool, float, bool, float]:
        worded = not deciding.isdisjoint(group.words) and group.necessity >= LEAST_ADDED * group.before
        return worded, round(group.necessity, 1), group.role == "gathers" and bool(group.words), group.share

    first = max(makers, key=rank)
    if last is None:
        return (first.id,)
    into = {edge.source: edge.measured for edge in edges if edge.target == last.id}
    beside = [
        group
        for group in groups
        if group.role in ("gathers", "carries") and group is not first and into.get(group.id, 0.0) >= BESIDE
    ]
    beside = [group for group in beside if group.named.does in ("holds", "asks")]
    beside = sorted(beside, key=lambda group: -into[group.id])[:1]
    return (first.id, *(group.id for group in beside), last.id)
