"""One decision, explained and tested: its graph, its circuit, the patches that it hangs on, and whether that holds.

The circuit's features are ablated, and all others are; beside each stand random features of as much mass
(`clew.circuit.random_sets`). The verdict follows from the numbers:

1. *cannot say* where nothing was decided: the classes are not known, or the transformer is right no more often than
   with permuted classes.
2. *cannot say* where features have no say: with every one ablated, half of the class's probability stands. It is then
   what the transformer says by default, or what attention alone decides (`patch_heads`).
3. *fails* where the class keeps half of its probability without the circuit, or loses half with the circuit alone.
4. *fails* where random features do as much in the mean: the class loses half of its probability without them.
5. *cannot say* where random features have less than half of the circuit's mass, or one of the random sets takes half of
   what the circuit takes. Else *holds*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from clew.attribution.graph import Graph
from clew.circuit.circuit import Circuit
from clew.circuit.measuring import marked
from clew.circuit.random_sets import RandomSets, heavy_set, random_sets
from clew.circuit.telling import percent
from clew.errors import InputError
from clew.intervention.matched_sets import mass_of
from clew.progress import Progress
from clew.settings import Settings, accepts
from clew.timeseries.mechanisms.cases import SeriesCases
from clew.timeseries.mechanisms.replaced_patches import PatchRole, patch_roles

HALF = 0.5
"""Of the class's probability: what must go, and what must stand; of the circuit's mass: what random sets must have."""
STEPS = 4
Verdict = Literal["holds", "fails", "cannot say"]


@dataclass(frozen=True, kw_only=True)
class DecisionSettings(Settings):
    """How a decision is explained."""

    target: str | None = None
    """The class; left out, the likeliest."""
    draws: int = 20
    """Random sets beside the circuit."""
    donors: int = 64
    """Series whose patches stand in for those of the series at hand."""
    seed: int = 0
    """Seed of random sets and donors."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Why a transformer says a class of one series."""

    case: int
    predicted: str
    label: str | None
    graph: Graph
    circuit: Circuit
    patches: tuple[PatchRole, ...]
    """In the order of time."""
    random_without: RandomSets
    """The class's probability with random features ablated in the circuit's place."""
    random_alone: tuple[float, ...]
    """With every feature ablated but each of these."""
    verdict: Verdict
    because: str

    @property
    def deciding(self) -> tuple[PatchRole, ...]:
        """The patches that it hangs on, the one that takes most first."""
        return tuple(sorted((patch for patch in self.patches if patch.decides), key=lambda each: -each.fall.value))

    @property
    def sentence(self) -> str:
        """Verdict, reason, patches and circuit."""
        patches = " and ".join(patch.name for patch in self.deciding)
        hangs = f"it hangs on {patches}" if patches else "it hangs on no patch more than on others"
        return f"{self.verdict}: {self.because}; {hangs}. {self.circuit.sentence}"


@accepts(DecisionSettings)
@torch.no_grad()
def explain_decision(cases: SeriesCases, case: int, settings: DecisionSettings) -> Decision:
    """Explain what is said of one series, and test it.

    InputError for a case or a class that there is not, and for fewer than 8 other series.
    """
    report = partial(_report, settings)
    report(0)
    graph = cases.trace(case, target=settings.target)
    report(1)
    circuit = cases.circuit(graph, draws=settings.draws, seed=settings.seed)
    report(2)
    without, alone = _random(cases, graph, circuit, settings)
    report(3)
    patches = patch_roles(cases, graph, donors=settings.donors, seed=settings.seed)
    report(STEPS)
    verdict, because = _judged(cases, circuit, without, alone)
    return Decision(
        case=cases.case_of(graph),
        predicted=cases.predicted(case),
        label=None if cases.labels is None else cases.labels[case],
        graph=graph,
        circuit=circuit,
        patches=patches,
        random_without=without,
        random_alone=alone,
        verdict=verdict,
        because=because,
    )


def _report(settings: DecisionSettings, done: int) -> None:
    settings.report(Progress(what="explaining", done=done, of=STEPS, unit="steps"))


def _random(
    cases: SeriesCases, graph: Graph, circuit: Circuit, settings: DecisionSettings
) -> tuple[RandomSets, tuple[float, ...]]:
    """The class's probability without random features in the circuit's place, and with these alone."""
    assert circuit.runs is not None
    members = [graph.index(member) for group in circuit.groups for member in group.members]
    (chosen,) = marked(graph.n_features, [torch.tensor(members)])
    mass, generator = mass_of(cases.kit.dictionary, graph), torch.Generator().manual_seed(settings.seed)
    draws = [heavy_set(chosen, graph, mass, generator) for _ in range(settings.draws)]
    sets = torch.stack([draw.members for draw in draws])
    probability = circuit.runs.outcomes(torch.cat([sets, ~sets])).probability.tolist()
    return random_sets(draws, probability[: len(sets)]), tuple(probability[len(sets) :])


def _judged(
    cases: SeriesCases, circuit: Circuit, random: RandomSets, random_alone: tuple[float, ...]
) -> tuple[Verdict, str]:
    """What follows from the numbers, and why."""
    if cases.labels is None:
        return "cannot say", "the classes of the series are not known, so that nothing says whether it tells them apart"
    if not cases.tells:
        seen, chance = cases.accuracy, cases.chance
        return "cannot say", (
            f"it says the right class of {percent(seen.value)} of {len(cases)} series, and with permuted classes of "
            f"{percent(chance.low)} to {percent(chance.high)}"
        )
    before = circuit.answer.probability
    name, least = circuit.answer.text, HALF * before
    if circuit.nothing > least:
        return "cannot say", f"{name} stands at {percent(circuit.nothing)} with every feature ablated"
    numbers = (
        f"{name} falls from {percent(before)} to {percent(circuit.without)} without the circuit, and stands at "
        f"{percent(circuit.alone)} with it alone; with random features in its place {percent(random.probability)} and "
        f"{percent(sum(random_alone) / len(random_alone))}"
    )
    if circuit.without > least or circuit.alone < least or random.probability < least:
        return "fails", numbers
    if random.mass < HALF:
        return "cannot say", f"{numbers}, but random features have {percent(random.mass)} of its mass"
    if before - min(random.probabilities) >= HALF * (before - circuit.without):
        return "cannot say", f"{numbers}, but one random set leaves {percent(min(random.probabilities))}"
    return "holds", numbers
