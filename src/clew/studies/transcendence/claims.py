"""What the study `transcendence` claims; the rules were written before anything was measured."""

from __future__ import annotations

from clew.studies.claim import Bar, Claim, Null
from clew.studies.transcendence.groups import ExpertGroup

GAIN_BAR = 0.1
"""By how much low temperature must raise accuracy."""
VOTE_BAR = 0.9
"""How often the most likely answer must be the vote's."""
_SUBJECT = {"taught": "the kit's model", "withheld": "the kit's model", "planted": "a small model taught by them"}


def better_than_experts(group: ExpertGroup) -> Claim:
    """Whether the most likely answer is right more often than any single expert."""
    n = len(group.right)
    return Claim(
        text=f"{_head(group)}: at temperature 0 {_SUBJECT[group.name]} is right more often than every single expert by "
        f"whose answers it was taught, of whom the best is right in {group.best:.3f} of the cases.",
        value=group.accuracy(0.0),
        null=Null(
            what="single experts, each answering the same questions",
            draws=group.expert_accuracies,
            size=n,
            tested=n,
            unit=group.unit,
        ),
        bar=Bar(low=group.best),
        reference="Zhang et al. 2024: chess, where models of players rated 1000 play at 1500 at low temperature",
    )


def temperature_helps(group: ExpertGroup, draws: int, seed: int) -> Claim:
    """Whether sharpening is what makes it better."""
    n = len(group.right)
    return Claim(
        text=f"{_head(group)}: low temperature is what makes it better: at 0 {_SUBJECT[group.name]} is right at least "
        "a tenth more often than at 1.",
        value=group.gain(0.0, 1.0),
        null=Null(
            what="right answers exchanged among the questions",
            draws=group.exchanged_gains(0.0, 1.0, draws, seed),
            size=n,
            tested=n,
            unit=group.unit,
        ),
        bar=Bar(low=GAIN_BAR),
    )


def votes_with_experts(group: ExpertGroup) -> Claim:
    """Whether the most likely answer is the experts' vote; so it must be where errors agree, too."""
    n = len(group.right)
    return Claim(
        text=f"{_head(group)}: the most likely answer is a vote: it is the answer that most experts give, more often "
        "than it is that of any single expert.",
        value=group.follows_vote,
        null=Null(what="agreement with single experts", draws=group.follows_experts, size=n, tested=n, unit=group.unit),
        bar=Bar(low=VOTE_BAR),
        effect=False,
    )


def _head(group: ExpertGroup) -> str:
    return group.title[0].upper() + group.title[1:]
