"""Circuits as the page shows them: every text in every language, numbers shortened, features by their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from clew.circuit.ablation_claim import CheckedClaim
from clew.circuit.circuit import Circuit, Group, RandomSets
from clew.circuit.naming import GroupName
from clew.circuit.rival import Rival
from clew.circuit.swapping import GroupSwap
from clew.circuit.telling import group_text
from clew.ids import FeatureId, NodeId
from clew.labels.display_names import Name
from clew.web.schema.bodies import GroupChangeBody
from clew.web.schema.circuits import (
    AblationClaimView,
    CircuitEdge,
    CircuitGroup,
    CircuitView,
    CircuitWord,
    MemberView,
    RandomView,
    RivalGroup,
    RivalView,
    SwapView,
    Told,
)
from clew.web.views.graphs import short

Naming = Callable[[Iterable[FeatureId]], Mapping[FeatureId, Name]]


def circuit_view(
    circuit: Circuit, graph: str, naming: Naming, *, saved: str | None = None, name: str = ""
) -> CircuitView:
    """A circuit of a graph; `saved` is the id under which it is kept, `name` its name there."""
    features = [NodeId.parse(member).feature for group in circuit.groups for member in group.members]
    names = naming(features)
    sources = {edge.source for edge in circuit.edges if edge.source.startswith("T@")}
    words = sorted((NodeId.parse(source).position, source) for source in sources)
    return CircuitView(
        graph=graph,
        saved=saved,
        name=name,
        prompt=circuit.prompt,
        sentence=told(circuit),
        matters=circuit.matters,
        answer=circuit.answer.text,
        probability=short(circuit.answer.probability),
        without=short(circuit.without),
        alone=short(circuit.alone),
        nothing=short(circuit.nothing),
        random=_random(circuit.null),
        coverage=short(circuit.coverage),
        chain_without=short(circuit.chain_without),
        groups=[_group(circuit, group, names) for group in circuit.groups],
        words=[CircuitWord(id=source, text=circuit.word_at(source), position=position) for position, source in words],
        edges=[
            CircuitEdge(
                source=edge.source,
                target=edge.target,
                value=short(edge.value),
                effect=None if edge.effect is None else short(edge.effect),
                measured=short(edge.measured),
                heads=list(edge.heads),
            )
            for edge in circuit.edges
        ],
        n_features=circuit.n_features,
        changes=[GroupChangeBody.model_validate(change) for change in circuit.settings.get("changes", ())],
    )


def told(circuit: Circuit) -> Told:
    """The sentence in every language."""
    return Told(en=circuit.tell("en"), ru=circuit.tell("ru"))


def _name(named: GroupName) -> Told:
    return Told(en=group_text(named, "en"), ru=group_text(named, "ru"))


def _random(sets: RandomSets) -> RandomView:
    mean = sets.probability
    return RandomView(
        mean=None if math.isnan(mean) else short(mean),
        each=[short(value) for value in sets.probabilities],
        size=short(sets.size),
    )


def _group(circuit: Circuit, group: Group, names: Mapping[FeatureId, Name]) -> CircuitGroup:
    members = []
    for member, activation in zip(group.members, group.activations, strict=True):
        name = names.get(NodeId.parse(member).feature, Name("", ""))
        members.append(
            MemberView(
                id=member,
                label=name.text,
                label_kind=name.kind,  # type: ignore[arg-type]
                activation=short(activation),
            )
        )
    return CircuitGroup(
        id=group.id,
        name=_name(group.named),
        called=group.named.called,
        role=group.role,  # type: ignore[arg-type]
        place=circuit.place_of(group),
        position=group.positions[0],
        members=members,
        share=short(group.share),
        without=short(group.without),
        alone=short(group.alone),
        necessity=short(group.necessity),
        sufficiency=None if math.isnan(group.sufficiency) else short(group.sufficiency),
        random=_random(group.null),
        pinned=group.pinned,
        told=group.id in circuit.chain and circuit.matters,
    )


def claim_view(graph: str, checked: CheckedClaim) -> AblationClaimView:
    """A claim and what was measured of it."""
    return AblationClaimView(
        graph=graph,
        verdict=checked.outcome,
        sentence=checked.sentence,
        answer=checked.text,
        before=short(checked.before),
        without=short(checked.without),
        moved=short(checked.moved),
        random=[short(value) for value in checked.null.probabilities],
        random_furthest=short(checked.furthest),
        random_size=short(checked.null.size),
        random_mass=short(checked.null.mass),
        elsewhere=short(checked.null.elsewhere),
    )


def rival_view(graph: str, rival: Rival) -> RivalView:
    """What holds another token down."""
    holding = {group.id for group in rival.holds}
    return RivalView(
        graph=graph,
        sentence=Told(en=rival.tell("en"), ru=rival.tell("ru")),
        answer=rival.said,
        rival=rival.rival,
        margin=short(rival.margin),
        probabilities=(short(rival.probabilities[0]), short(rival.probabilities[1])),
        groups=[
            RivalGroup(
                id=group.id,
                name=_name(group.named),
                features=group.features,
                margin=short(group.margin),
                answer=short(group.said),
                rival=short(group.rival),
                random=short(group.random),
                holds=group.id in holding,
            )
            for group in rival.groups
        ],
        without_all=(short(rival.without_all[0]), short(rival.without_all[1]), short(rival.without_all[2])),
    )


def swap_view(graph: str, circuit: Circuit, other: Circuit, swap: GroupSwap) -> SwapView:
    """What a swap did."""
    return SwapView(
        graph=graph,
        prompt=circuit.prompt,
        other_prompt=other.prompt,
        group=_name(swap.group.named),
        other_group=_name(swap.other_group.named),
        other_groups=[(group.id, group.name) for group in other.groups],
        answer=swap.answer.text,
        other_answer=swap.other_answer.text,
        own=(short(swap.own[0]), short(swap.own[1])),
        others=(short(swap.others[0]), short(swap.others[1])),
        random=[short(value) for value in swap.null],
        random_size=short(swap.null_size),
        follows=swap.follows,
        n_edits=len(swap.edits),
    )
