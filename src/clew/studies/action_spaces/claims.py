"""What the study `action-spaces` claims; the bars were written before anything was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from clew.stats import Interval, bootstrap, mean_interval
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.copying import Copying, head_name
from clew.studies.claim import Bar, Claim, Null

NEAR = 1.3
"""Thompson's regret times this is the most that a player may have on numbers of arms that it never saw."""
MORE = 1.0
"""Logits by which a whole look at a pull that paid must raise its arm above what one at a pull without pay does."""
CARRIED = 0.5
"""The share of what the player gains on pulling any arm that must go with the heads that copy."""
HALVED = math.log(2)
"""Nats by which a look must fall when what it looks at no longer paid: to half."""
GROUPS = 10
"""Draws of a null of games."""


@dataclass(frozen=True, kw_only=True)
class ActionSpacesMeasures:
    """All that one case measures."""

    config: ActionSpacesConfig
    teachers: Mapping[str, Tensor]
    drawn: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]
    """Regrets by way of playing and number of arms (`playing`), of the players by their embeddings."""
    copying: Copying
    ablations: Mapping[str, Tensor]
    flips: Mapping[str, Tensor]
    look: Mapping[str, Tensor]

    def ratio(self, of: Tensor, to: Tensor) -> Interval:
        """The ratio of two sums of regrets over the same games, games resampled."""
        return bootstrap(np.stack([of.numpy(), to.numpy()]), lambda sums: sums[0] / sums[1])

    def pooled(self, of: Mapping[str, Tensor], name: str, arms: Sequence[int]) -> Tensor:
        """Regrets of games, the mean over numbers of arms."""
        total: Tensor = sum(of[f"{name}.{each}"] for each in arms) / len(arms)  # type: ignore[assignment]
        return total

    @cached_property
    def permuted(self) -> tuple[float, ...]:
        """The copying of the chosen heads when rewards are exchanged among the pulls of a game."""
        generator = np.random.default_rng([self.config.seed, 5])
        return tuple(
            float(np.mean(copied_for_pay(self.copying, generator.permuted(self.copying.paid, axis=1))))
            for _ in range(2 * GROUPS)
        )

    def carried(self, silenced: Tensor) -> Interval:
        """The share of the player's gain on pulling any arm that is lost, games resampled."""
        whole, uniform = self.ablations["whole"], self.ablations["uniform"]
        sums = np.stack([(silenced - whole).numpy(), (uniform - whole).numpy()])
        return bootstrap(sums, lambda drawn: drawn[0] / drawn[1])

    def favour(self, heads: Sequence[int]) -> Float[np.ndarray, " game"]:
        """By how many nats more heads look at a pull because it paid, their mean."""
        return self.flips["favour"].numpy()[:, list(heads)].mean(1)


def copied_for_pay(copying: Copying, paid: Int[np.ndarray, "game step"] | None = None) -> Float[np.ndarray, " game"]:
    """By how many logits a whole look of a chosen head raises an arm more for its pay, in every measured game."""
    paid = copying.paid if paid is None else paid
    heads = list(copying.chosen)
    paid_copies, unpaid_copies = (
        copying.of_paid(copying.copied, paid, unpaid=unpaid)[copying.half :, heads]
        / np.maximum(copying.of_paid(copying.attended, paid, unpaid=unpaid)[copying.half :, heads], 1e-12)
        for unpaid in (False, True)
    )
    mean: Float[np.ndarray, " game"] = (paid_copies - unpaid_copies).mean(1)
    return mean


def claims_of(measured: ActionSpacesMeasures) -> tuple[Claim, ...]:
    """The claims of one case."""
    arms = measured.config.unseen
    names = ", ".join(map(str, arms))
    return (
        _near_teacher(
            measured,
            "nearest",
            f"With {names} arms, numbers that it never saw, the player that pulls the arm nearest to its output",
        ),
        _near_teacher(
            measured, "sampled", "Where it samples the arm by its probabilities instead, as its teacher does, it"
        ),
        _learned_fail(measured),
        _copies(measured),
        _carries(measured),
        _looks(measured),
    )


def _groups(of: Tensor, to: Tensor) -> tuple[float, ...]:
    """Ratios of regrets in some groups of games."""
    parts = np.array_split(np.arange(len(of)), GROUPS)
    return tuple(float(of[part].sum() / to[part].sum()) for part in parts)


def _near_teacher(measured: ActionSpacesMeasures, way: str, who: str) -> Claim:
    arms = measured.config.unseen
    regrets, blind = (measured.pooled(measured.drawn, name, arms) for name in (way, f"blind {way}"))
    teacher = measured.pooled(measured.teachers, "thompson", arms)
    games = len(regrets)
    return Claim(
        text=f"{who} has at most {NEAR} times the regret of Thompson sampling.",
        value=measured.ratio(regrets, teacher),
        null=Null(
            what="the same player, shown the rewards of arms drawn at random",
            draws=_groups(blind, teacher),
            size=games // GROUPS,
            tested=games,
            unit="games",
        ),
        bar=Bar(high=NEAR),
        unit="times Thompson's",
        reference="Sinii et al. 2024, who train far longer",
    )


def _learned_fail(measured: ActionSpacesMeasures) -> Claim:
    arms = (min(measured.config.unseen),)
    learned, drawn = (measured.pooled(of, "nearest", arms) for of in (measured.learned, measured.drawn))
    uniform = measured.pooled(measured.teachers, "uniform", arms)
    return Claim(
        text=f"With learned embeddings, a player of {arms[0]} arms that have numbers it never saw is no better than "
        "pulling any arm.",
        value=measured.ratio(learned, uniform),
        null=Null(
            what="the player with embeddings drawn anew, in the same games",
            draws=_groups(drawn, uniform),
            size=len(drawn) // GROUPS,
            tested=len(learned),
            unit="games",
        ),
        bar=Bar(low=1.0),
        unit="times the regret of any arm",
        reference="Sinii et al. 2024: algorithm distillation cannot take actions that it was not trained on",
    )


def _copies(measured: ActionSpacesMeasures) -> Claim:
    copying = measured.copying
    return Claim(
        text=f"The embedding of an arm that paid is copied by {_heads(copying)}: a whole look at its pull raises "
        f"its logit by {MORE:g} or more above what a look at a pull without pay does, in games on which the heads were "
        "not chosen.",
        value=mean_interval(copied_for_pay(copying).tolist()),
        null=Null(
            what="the same heads, rewards exchanged among the pulls of every game",
            draws=measured.permuted,
            size=len(copying.chosen),
            tested=len(copying.chosen),
            unit="heads",
        ),
        bar=Bar(low=MORE),
        unit="logits",
    )


def _carries(measured: ActionSpacesMeasures) -> Claim:
    others = [measured.carried(each).value for each in measured.ablations["others"]]
    return Claim(
        text=f"Without {_heads(measured.copying)} at least half of what the player gains on pulling any arm is lost.",
        value=measured.carried(measured.ablations["chosen"]),
        null=Null(
            what="sets of as many other heads, silenced",
            draws=tuple(others),
            size=measured.config.heads,
            tested=len(measured.copying.chosen),
            unit="heads",
        ),
        bar=Bar(low=CARRIED),
    )


def _looks(measured: ActionSpacesMeasures) -> Claim:
    copying = measured.copying
    others = copying.other_sets(measured.config.seed)
    return Claim(
        text=f"It is the pay that {_heads(copying)} look for: a pull that paid, turned into one that did not, gets at "
        "most half of the look.",
        value=mean_interval(measured.favour(copying.chosen).tolist()),
        null=Null(
            what="sets of as many other heads",
            draws=tuple(float(measured.favour(each).mean()) for each in others),
            size=measured.config.heads,
            tested=len(copying.chosen),
            unit="heads",
        ),
        bar=Bar(low=HALVED),
        unit="nats",
    )


def _heads(copying: Copying) -> str:
    names = [head_name(head) for head in copying.chosen]
    return f"heads {', '.join(names)}" if len(names) > 1 else f"head {names[0]}"
