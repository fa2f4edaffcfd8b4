"""One agent's session with a kit: its verbs as values of `replies`, the graphs and circuits that they made by id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clew.agents import replies
from clew.agents.replies import Detail
from clew.agents.study_options import configured, meaning_of_options
from clew.attribution.graph import Graph
from clew.attribution.summary import FeatureSummary, summarise
from clew.circuit.ablation_claim import AblationClaim, CheckedClaim, check_claim
from clew.circuit.circuit import Circuit, Group
from clew.circuit.random_sets import RandomSets
from clew.circuit.rival import Rival
from clew.circuit.telling import Language, checked, group_text
from clew.errors import InputError
from clew.features.card import Context
from clew.intervention.edit import Edit
from clew.intervention.generate import side_by_side
from clew.kit import Kit
from clew.labels.in_prompt import summary_here
from clew.progress import Report
from clew.search.finder import Finder
from clew.search.query import WAYS, Query
from clew.studies.catalogue import STUDIES, study
from clew.studies.claim import Claim

T = TypeVar("T")
KEPT = 20  # graphs, and circuits, that a session remembers
_SMALL, _FULL = 4, 20  # features, paths and changes in an answer
_CONTEXTS = 3
_OUTPUTS = 5


@dataclass
class Shelf:
    """Values by id, the last ones: `g1`, `g2` and so on."""

    letter: str
    what: str
    count: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    def put(self, value: Any) -> str:
        """Keep a value, and give it its id."""
        self.count += 1
        name = f"{self.letter}{self.count}"
        self.values[name] = value
        while len(self.values) > KEPT:
            del self.values[next(iter(self.values))]
        return name

    def get(self, name: str) -> Any:
        """A value by its id; InputError, with those that there are, for another."""
        if name not in self.values:
            there = ", ".join(self.values) or "none yet"
            raise InputError(f"there is no {self.what} {name!r}: there are {there}")
        return self.values[name]


class Session:
    """What an agent has made of one kit so far."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.graphs, self.circuits = Shelf("g", "graph"), Shelf("c", "circuit")

    # --- graphs ---------------------------------------------------------------------------------------------------

    def trace(
        self, prompt: str, targets: Sequence[str] | None, position: int, detail: Detail, report: Report
    ) -> replies.Traced:
        """Trace a prompt, and keep its graph."""
        graph = self.kit.trace(
            prompt, targets=list(targets) if targets else None, position=position, effects=True, report=report
        )
        count = _FULL if detail == "full" else _SMALL
        atlas = self.kit.atlas if self.kit.atlas_path else None
        summary = summary_here(summarise(graph, paths=count, features=count), graph, atlas, self.kit.sourced_names)
        features = {f.id: f for f in (*summary.strongest, *summary.output_features, *summary.input_features)}
        return replies.Traced(
            graph=self.graphs.put(graph),
            outputs=[replies.NextToken(token=t, probability=p) for t, p in summary.outputs[:_OUTPUTS]],
            explains=list(summary.targets),
            features=summary.n_features,
            replacement=summary.replacement,
            completeness=summary.completeness,
            strongest=[_feature(f) for f in sorted(features.values(), key=_size)[:count]],
            paths=[" → ".join(path.words) for path in summary.paths],
            tokens=list(graph.tokens) if detail == "full" else None,
        )

    def graph_of(self, prompt: str | None, graph: str | None, report: Report) -> tuple[str, Graph]:
        """The graph that is meant, traced where a prompt is given; InputError for both, or neither."""
        if (prompt is None) == (graph is None):
            raise InputError("give a prompt, or the id of a graph that trace gave: one of them")
        if graph is not None:
            return graph, self.graphs.get(graph)
        assert prompt is not None
        traced = self.kit.trace(prompt, effects=True, report=report)
        return self.graphs.put(traced), traced

    # --- circuits -------------------------------------------------------------------------------------------------

    def explain(
        self,
        prompt: str | None,
        graph: str | None,
        why_not: str | None,
        language: str,
        detail: Detail,
        report: Report,
    ) -> replies.Explained:
        """The circuit of a prompt or of a graph, kept."""
        told_in = checked(language)
        name, traced = self.graph_of(prompt, graph, report)
        circuit = self.kit.circuit(traced, report=report)
        full = detail == "full"
        named = {group.id: group_text(group.named, told_in) for group in circuit.groups}
        edges = [
            replies.EdgeReply(
                source=named.get(edge.source) or circuit.word_at(edge.source),
                target=named.get(edge.target, edge.target),
                measured=edge.measured,
                heads=list(edge.heads),
            )
            for edge in circuit.edges
        ]
        return replies.Explained(
            circuit=self.circuits.put(circuit),
            graph=name,
            sentence=circuit.tell(told_in),
            answer=circuit.answer.text,
            measured=_numbers(circuit.answer.probability, circuit.without, circuit.alone, circuit.null),
            coverage=circuit.coverage,
            groups=[_group(circuit, group, named[group.id], full) for group in circuit.groups],
            why_not=None if why_not is None else _rival(circuit.why_not(why_not), told_in),
            edges=edges if full else None,
        )

    # --- features -------------------------------------------------------------------------------------------------

    def card(self, feature: str, detail: Detail) -> replies.CardReply:
        """What the atlas knows of a feature."""
        card = self.kit.atlas[feature.split("@")[0]]
        return replies.CardReply(
            feature=str(card.feature),
            label=self.kit.names([card.feature])[card.feature],
            density=card.density,
            max_activation=card.max_activation,
            promotes=[each.token for each in card.promoted[:_OUTPUTS]],
            contexts=[_marked(context) for context in card.top[:_CONTEXTS]],
            whole=card.to_json() if detail == "full" else None,
        )

    def search(self, query: str, by: str, limit: int, max_density: float, report: Report) -> replies.Found:
        """Features by a query, in one of five ways."""
        if by not in WAYS:
            raise InputError(f"by is {by!r}: search by {', '.join(WAYS)}")
        way: dict[str, Any] = {by: query}
        kit = self.kit
        finder = Finder(atlas=kit.atlas, labels=kit.labels, subject=kit.subject, dictionary=kit.dictionary)
        hits, total = finder.counted(Query(**way, limit=limit, max_density=max_density, report=report))
        found = [
            replies.HitReply(feature=str(hit.feature), label=hit.label, by=hit.by, value=hit.value, how=hit.how)
            for hit in hits
        ]
        return replies.Found(total=total, hits=found)

    # --- interventions --------------------------------------------------------------------------------------------

    def edit(self, prompt: str, edits: Sequence[str], generate: int, detail: Detail, report: Report) -> replies.Edited:
        """What edits, each written `ablate L3/1207@4` or `set L0/447@4=12`, do to a prompt."""
        if generate < 0:
            raise InputError(f"generate is {generate}: give 0, or a number of tokens")
        parsed = [_edit(text) for text in edits]
        effect = self.kit.edit(prompt, parsed, report=report)
        texts: list[str | None] = [None, None]
        if generate:
            steps = side_by_side(self.kit.subject, self.kit.dictionary, prompt, parsed, tokens=generate)
            both = zip(*steps, strict=True)
            texts = ["".join(step.text for step in stream if step is not None) for stream in both]
        names = self.kit.subject.token_strings
        changes = effect.changes[: _FULL if detail == "full" else _SMALL]
        labels = self.kit.names({change.node.feature for change in changes})
        return replies.Edited(
            edits=[str(each) for each in effect.edits],
            outputs=[
                replies.TokenChange(token=names([i])[0], before=before, predicted=predicted, measured=measured)
                for i, before, predicted, measured in effect.top_tokens(count=_OUTPUTS)
            ],
            changed=len(effect.changes),
            changes=[
                replies.ChangedFeature(
                    feature=str(change.node),
                    label=labels[change.node.feature],
                    before=change.before,
                    measured=change.measured,
                )
                for change in changes
            ],
            text=texts[0],
            edited_text=texts[1],
        )

    def audit(
        self, prompt: str | None, graph: str | None, nodes: int, detail: Detail, report: Report
    ) -> replies.Audited:
        """How far a graph's predictions hold in the model."""
        name, traced = self.graph_of(prompt, graph, report)
        audit = self.kit.audit(traced, nodes=nodes, take_apart=detail == "full", report=report)
        return replies.Audited(
            graph=name,
            claim=None,
            verdict=audit.verdict,
            features_ablated=audit.nodes,
            figures=audit.to_json() if detail == "full" else None,
        )

    def check(
        self, prompt: str | None, graph: str | None, claim: AblationClaim, circuit: str | None, report: Report
    ) -> replies.Audited:
        """A claim about features of a graph, measured; InputError where they are those of another prompt's circuit."""
        name, traced = self.graph_of(prompt, graph, report)
        if circuit is not None and (of := self.circuits.get(circuit)).token_ids != traced.token_ids:
            raise InputError(f"{circuit} is the circuit of {of.prompt!r}, and {name} the graph of {traced.prompt!r}")
        found = check_claim(self.kit.subject, self.kit.dictionary, traced, claim)
        n = len(set(claim.features))
        return replies.Audited(graph=name, claim=_claim(found), verdict=None, features_ablated=n, figures=None)

    def members_of(self, circuit: str, groups: Sequence[str]) -> tuple[str, ...]:
        """The features of some groups of a circuit, by their ids or names; InputError for one that there is not."""
        kept: Circuit = self.circuits.get(circuit)
        return tuple(member for name in groups for member in kept.group(name).members)

    # --- studies --------------------------------------------------------------------------------------------------

    def study(
        self, name: str | None, options: dict[str, Any], neurons: bool, detail: Detail, report: Report
    ) -> replies.Studied:
        """Run a study; without a name say which there are."""
        if name is None:
            listed = {each: study(each).question for each in STUDIES}
            return replies.Studied(
                study=None, question=None, studies=listed, options=None, claims=[], false_effects=None, whole=None
            )
        chosen = study(name)
        config = configured(chosen, options)
        result = chosen.run(self.kit, config=config, neurons=neurons, report=report)
        full = detail == "full"
        return replies.Studied(
            study=name,
            question=result.question,
            studies=None,
            options=meaning_of_options(chosen) if full else None,
            claims=[_study_claim(claim) for claim in result.claims],
            false_effects=len(result.false_effects),
            whole=result.to_json() if full else None,
        )


def _size(feature: FeatureSummary) -> float:
    return -abs(feature.share if feature.effect is None else feature.effect)


def _feature(feature: FeatureSummary) -> replies.Feature:
    return replies.Feature(
        id=feature.id,
        token=feature.token,
        label=feature.label,
        activation=feature.activation,
        influence=feature.share,
        effect=feature.effect,
    )


def _numbers(before: float, without: float, alone: float, null: RandomSets) -> replies.Numbers:
    return replies.Numbers(before=before, without=without, alone=alone, random=null.probability, random_mass=null.mass)


def _group(circuit: Circuit, group: Group, name: str, full: bool) -> replies.GroupReply:
    return replies.GroupReply(
        id=group.id,
        name=name,
        at=circuit.place_of(group),
        features=len(group.members),
        influence=group.share,
        measured=_numbers(group.before, group.without, group.alone, group.null),
        members=list(group.members) if full else None,
    )


def _rival(rival: Rival, language: Language) -> replies.RivalReply:
    groups = [
        replies.HeldDownReply(name=group_text(group.named, language), margin=group.margin, random=group.random)
        for group in rival.groups
    ]
    return replies.RivalReply(sentence=rival.tell(language), margin=rival.margin, groups=groups)


def _marked(context: Context) -> str:
    """A context's text with the recorded token in « »."""
    return "".join(f"«{token}»" if i == context.at else token for i, token in enumerate(context.shown))


def _edit(text: str) -> Edit:
    verb, _, rest = text.strip().partition(" ")
    if not rest or verb not in ("ablate", "set", "scale", "add", "steer"):
        raise InputError(f"{text!r} is no edit: write ablate L3/1207@4, set L3/1207@4=2.5, scale, add or steer")
    return Edit.parse(verb, rest)  # type: ignore[arg-type]


def _claim(found: CheckedClaim) -> replies.ClaimReply:
    return replies.ClaimReply(
        verdict=found.outcome,
        sentence=found.sentence,
        before=found.before,
        without=found.without,
        random=found.null.probability,
        random_furthest=found.furthest,
        random_mass=found.null.mass,
        elsewhere=found.null.elsewhere,
    )


def _study_claim(claim: Claim) -> replies.StudyClaim:
    null = claim.null.range

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return replies.StudyClaim(
        text=claim.text,
        verdict=claim.verdict,
        value=number(claim.value.value),
        low=number(claim.value.low),
        high=number(claim.value.high),
        unit=claim.unit,
        null_low=number(null.low),
        null_high=number(null.high),
    )
