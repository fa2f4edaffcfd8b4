"""A claim about some features of a graph, checked in the model: without them this output falls, or rises, so far.

1. The features are ablated in a run of the model, all others read anew (`clew.circuit.measuring`).
2. So are random features in their place (`clew.circuit.random_sets`), as heavy as these where that can be had.
3. The claim *holds* where the output moves as far as was said and no random set moves it half as far; it *fails* where
   the output does not, or where random sets move it as far in the mean; between the two nothing can be said, nor where
   no random set weighs half of what the features do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from clew.attribution.graph import Graph
from clew.attribution.named_tokens import token_of
from clew.circuit.answer import answer_of_token
from clew.circuit.measuring import LiveRuns, marked
from clew.circuit.random_sets import RandomSets, heavy_set, random_sets
from clew.circuit.telling import percent
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.matched_sets import mass_of
from clew.subject.subject import Subject

Moves = Literal["falls", "rises"]
Outcome = Literal["holds", "fails", "cannot say"]
HALF = 0.5  # of what is claimed: how far a random set may move the output; of the mass: what it must have


@dataclass(frozen=True, kw_only=True)
class AblationClaim:
    """What is said. InputError for no feature, points outside (0, 100], and a direction that there is not."""

    features: tuple[str, ...]
    """At their positions: `L3/1207@4`."""
    token: str | None = None
    """Whose probability moves, behind the graph's last output; left out, the graph's answer."""
    moves: Moves = "falls"
    points: float = 10.0
    """By how many percentage points at least."""
    draws: int = 20
    """Random sets beside them."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.features:
            raise InputError("the claim names no feature: give at least one, for example L3/1207@4")
        if self.moves not in get_args(Moves):
            raise InputError(f"an output {self.moves!r} is no claim: choose from {', '.join(get_args(Moves))}")
        if not 0 < self.points <= 100:
            raise InputError(f"points is {self.points:g}: give a number of percentage points in (0, 100]")
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class CheckedClaim:
    """A claim beside what was measured and its null."""

    claim: AblationClaim
    text: str
    """Of the token, as the model writes it."""
    before: float
    """Its probability in the run as it was."""
    without: float
    """Its probability without the features."""
    null: RandomSets
    outcome: Outcome
    because: str
    """Why, in a few words."""
    sentence: str

    @property
    def moved(self) -> float:
        """How far the output moved in the claimed direction, in points."""
        return _moved(self.claim, self.before, self.without)

    @property
    def furthest(self) -> float:
        """The probability without the random set that moves it furthest in the claimed direction."""
        return (min if self.claim.moves == "falls" else max)(self.null.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Its numbers as plain values."""
        plain = {name: getattr(self, name) for name in ("text", "before", "without", "outcome", "because", "sentence")}
        return {**plain, "claim": dict(vars(self.claim)), "moved": self.moved, "null": dict(vars(self.null))}


@torch.no_grad()
def check_claim(subject: Subject, dictionary: Dictionary, graph: Graph, claim: AblationClaim) -> CheckedClaim:
    """Measure what a claim says, beside random sets.

    InputError for a feature that the graph does not have, a token that is none, and a graph whose outputs are no
    tokens; MismatchError for a graph of another dictionary.
    """
    runs = LiveRuns(subject, dictionary, graph)
    if claim.token is not None:
        place = graph.targets[-1].position
        runs.answer = answer_of_token(subject, place, token_of(subject, claim.token), runs.final)
    nodes = _places(graph, claim.features)
    chosen = marked(graph.n_features, [nodes])
    mass, generator = mass_of(dictionary, graph), torch.Generator().manual_seed(claim.seed)
    draws = [heavy_set(chosen[0], graph, mass, generator) for _ in range(claim.draws)]
    rows = torch.cat([torch.zeros_like(chosen), chosen, *(draw.members[None] for draw in draws)])
    before, without, *random = runs.outcomes(rows).probability.tolist()
    null = random_sets(draws, random)
    outcome, because = _judged(claim, before, without, null)
    n = len(set(claim.features))
    sentence = (
        f"{outcome}: without {n} feature{'s' * (n > 1)} {runs.answer.text!r} goes from {percent(before)} to "
        f"{percent(without)}, without random ones to {percent(null.probability)}; {because}"
    )
    return CheckedClaim(
        claim=claim,
        text=runs.answer.text,
        before=before,
        without=without,
        null=null,
        outcome=outcome,
        because=because,
        sentence=sentence,
    )


def _moved(claim: AblationClaim, before: float, after: float) -> float:
    return 100 * ((before - after) if claim.moves == "falls" else (after - before))


def _judged(claim: AblationClaim, before: float, without: float, null: RandomSets) -> tuple[Outcome, str]:
    """What follows from the numbers, and why."""
    moved = _moved(claim, before, without)
    random = [_moved(claim, before, each) for each in null.probabilities]
    mean, most = sum(random) / len(random), max(random)
    said = f"{claim.moves} by at least {claim.points:g} points"
    if moved < claim.points:
        return "fails", f"it {claim.moves} by {moved:.1f} points, and {claim.points:g} were said"
    if mean >= claim.points:
        return "fails", f"random features move it as far, by {mean:.1f} points in the mean"
    if null.mass < HALF:
        return "cannot say", f"random features have only {null.mass:.0%} of the mass of these"
    if most >= HALF * claim.points:
        return "cannot say", f"one of {len(random)} random sets moves it by {most:.1f} points"
    return "holds", f"it {said}, and no random set moves it by half of that"


def _places(graph: Graph, features: Sequence[str]) -> torch.Tensor:
    for feature in features:
        if graph.index(feature) not in graph.feature_range:
            raise InputError(f"{feature} is no feature: a claim names features at positions, such as L3/1207@4")
    return torch.tensor([graph.index(feature) for feature in dict.fromkeys(features)])
