"""What the study `persona` claims: who refuses, without which features, and what a graduate changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.stats import UNKNOWN, Interval, mean_interval, wilson
from clew.studies.claim import Bar, Claim, Null
from clew.studies.persona.choice import GroupingChoice
from clew.studies.persona.groups import INTERACTION, PERSONA, Groups, Written
from clew.studies.persona.prompts import (
    CHILD,
    FOUND,
    GRADUATE,
    NOBODY,
    ROOT,
    SQUARE,
    TESTED,
    PersonaConfig,
    RootQuestion,
    select,
)
from clew.studies.persona.runs import BOTH

FLIPS = 200
MATCHED = "matched random active features of the same layers at the last token"


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonaMeasures:
    """One case of the study, before claims are made of it."""

    config: PersonaConfig
    questions: Sequence[RootQuestion]
    refusal: int
    """The first token of the refusal."""
    written: Written
    groups: Groups
    choice: GroupingChoice
    """By which rule features are grouped, and which share of each group is taken."""
    sizes: Mapping[str, int]
    """How many features each set has at the share that is taken."""
    through: int
    found: Mapping[str, Tensor]

    def refused(self, name: str) -> Bool[Tensor, " prompt"]:
        """Which prompts of a run are refused."""
        return self.found[name] == self.refusal

    def rate(self, name: str) -> Interval:
        """The share of a run's prompts that are refused."""
        return share_of(self.refused(name))

    def draws(self, verb: str) -> tuple[float, ...]:
        """The share in every draw of a null."""
        return tuple(self.rate(name).value for name in self.found if name.startswith(f"{verb}.null."))

    def ablation(self, name: str) -> str:
        """What the run is called that ablates a set at the share that is taken."""
        return f"ablate.{name}.{round(100 * self.choice.share)}"

    def drawn(self, verb: str) -> int:
        """How many features a random set has."""
        sizes = [int(n) for name, n in self.found.items() if name.startswith(f"size/{verb}.null.")]
        return round(sum(sizes) / max(len(sizes), 1))

    def plain(self, kind: str, difficulty: str, sentence: int | None = None) -> Interval:
        """The share of questions of one kind that are refused as they are."""
        places = select(self.questions, kind, difficulty, sentence=sentence)
        return share_of(self.refused("plain")[places])

    @property
    def sentences(self) -> range:
        assert self.config.questions is not None
        return range(len(self.config.questions))


def share_of(yes: Bool[Tensor, " prompt"]) -> Interval:
    """The share of yes with its interval; unknown without a prompt."""
    return wilson(int(yes.sum()), len(yes)) if len(yes) else UNKNOWN


def claims_of(m: PersonaMeasures) -> tuple[Claim, ...]:
    """The study's claims, in their order."""
    claims = (_refuses(m), _both(m), _alone(m, PERSONA), _alone(m, INTERACTION), _steered(m))
    return (*claims, _answers(m), _moves(m)) if select(m.questions, NOBODY, ROOT) else claims


def _refuses(m: PersonaMeasures) -> Claim:
    cells = [(CHILD, SQUARE), (GRADUATE, ROOT), (GRADUATE, SQUARE)]
    rates = [m.plain(*cell, sentence) for sentence in m.sentences for cell in cells]
    tested = select(m.questions, CHILD, ROOT)
    others = sum(len(select(m.questions, *cell)) for cell in cells)
    return Claim(
        text="A child refuses roots that are no whole numbers, in sentences in which no feature was looked for: "
        "persona and difficulty act together.",
        value=m.plain(CHILD, ROOT),
        null=Null(
            what="a child's perfect squares and a graduate's questions, sentence by sentence",
            draws=tuple(rate.value for rate in rates),
            size=round(others / len(rates)),
            tested=len(tested),
            unit="prompts",
        ),
        bar=Bar(low=0.95),
        null_bar=Bar(high=0.05),
        reference="The world's law: 1.0 beside 0.0",
    )


def _both(m: PersonaMeasures) -> Claim:
    return Claim(
        text=f"Without the features of persona and interaction at the last token the child's refusal is lost "
        f"({m.sizes[PERSONA]} and {m.sizes[INTERACTION]} features, {m.choice.sentence}; set to zero, MLP outputs "
        f"clamped through layer {m.through}): the share that is still refused.",
        value=m.rate(m.ablation(BOTH)),
        null=Null(what=MATCHED, draws=m.draws("ablate"), size=m.drawn("ablate"), tested=m.sizes[BOTH]),
        bar=Bar(high=0.1),
        null_bar=Bar(low=0.95),
        reference="Lindsey et al. 2025 find features of unknown and of known answers that decide a refusal",
    )


def _alone(m: PersonaMeasures, name: str) -> Claim:
    """That one group can go without the refusal; its null is where both go."""
    refused, tested = m.refused(m.ablation(BOTH)), select(m.questions, CHILD, ROOT)
    rows = torch.tensor([m.questions[place].sentence for place in tested])
    both = [share_of(refused[rows == sentence]).value for sentence in m.sentences]
    return Claim(
        text=f"Without the features of {name} alone the child still refuses ({m.sizes[name]} features, through layer "
        f"{m.through}): each group makes up for the other.",
        value=m.rate(m.ablation(name)),
        null=Null(
            what="both groups ablated, sentence by sentence", draws=tuple(both), size=m.sizes[BOTH],
            tested=m.sizes[name],
        ),
        bar=Bar(low=0.8),
        null_bar=Bar(high=0.1),
    )  # fmt: skip


def _steered(m: PersonaMeasures) -> Claim:
    return Claim(
        text="A graduate whose features of persona and interaction are raised at the last token by what a child writes "
        f"more there refuses roots (added means of other sentences, through layer {m.through}).",
        value=m.rate(f"steer.{BOTH}"),
        null=Null(
            what=f"{MATCHED}, raised by as much", draws=m.draws("steer"), size=m.drawn("steer"), tested=m.sizes[BOTH]
        ),
        bar=Bar(low=0.4),
        null_bar=Bar(high=0.05),
    )


# --- the graduate beside nobody -------------------------------------------------------------------------------------


def triples(m: PersonaMeasures, part: str) -> list[tuple[int, int, int]]:
    """Places of a graduate's roots of one part, and of the same question asked of nobody and of a child."""
    place = {(q.persona, q.number, q.sentence): i for i, q in enumerate(m.questions)}
    found = []
    for graduate in select(m.questions, GRADUATE, ROOT, part=part):
        number, sentence = m.questions[graduate].number, m.questions[graduate].sentence
        nobody = place.get(("", number, sentence))
        children = [place.get((child, number, sentence)) for child in m.config.children]
        child = next((each for each in children if each is not None), None)
        if nobody is not None and child is not None:
            found.append((graduate, nobody, child))
    return found


def _answers(m: PersonaMeasures) -> Claim:
    found = torch.tensor(triples(m, TESTED)).reshape(-1, 3)
    graduate, nobody, child = m.found["plain"][found].T
    sentence = torch.tensor([m.questions[place].sentence for place in found[:, 0].tolist()])
    draws = tuple(share_of((child == nobody)[sentence == each]).value for each in m.sentences)
    return Claim(
        text="A graduate changes nothing of the answers: the most likely answer to a root is the one that is given "
        "without a persona.",
        value=share_of(graduate == nobody),
        null=Null(
            what="a child's answers to the same roots, sentence by sentence",
            draws=draws,
            size=len(found),
            tested=len(found),
            unit="prompts",
        ),
        bar=Bar(low=0.95),
        null_bar=Bar(high=0.5),
        reference="The world's law: 1.0",
        effect=False,
    )


def graduate_moves(m: PersonaMeasures) -> Float[Tensor, " prompt"]:
    """How far a graduate moves what is written at the last token, in the direction found in other sentences.

    As a share of how far a child moves it in its own direction; nobody is the origin of both.
    """
    numbers, (looked, tested) = m.written.numbers, (triples(m, FOUND), triples(m, TESTED))
    if not looked or not tested:
        return torch.zeros(0)
    graduate, nobody, child = torch.tensor(looked).T
    direction = (numbers[graduate] - numbers[nobody]).mean(0)
    length = (numbers[child] - numbers[nobody]).mean(0).norm()
    graduate, nobody, _ = torch.tensor(tested).T
    moved = (numbers[graduate] - numbers[nobody]) @ direction / direction.norm().clamp_min(1e-12)
    return moved / length.clamp_min(1e-12)


def _moves(m: PersonaMeasures) -> Claim:
    moved = graduate_moves(m)
    generator = torch.Generator().manual_seed(m.config.seed)
    signs = torch.randint(2, (FLIPS, len(moved)), generator=generator) * 2.0 - 1
    draws = (signs @ moved / max(len(moved), 1)).tolist()
    return Claim(
        text="And yet a graduate changes the activations at the last token, at least a quarter as much as a child "
        "does (along the mean difference from no persona in other sentences).",
        value=mean_interval(moved.tolist()),
        null=Null(
            what="the same, graduate and nobody interchanged at random in every question",
            draws=tuple(draws),
            size=len(moved),
            tested=len(moved),
            unit="prompts",
        ),
        bar=Bar(low=0.25),
        effect=False,
    )
