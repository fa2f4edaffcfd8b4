"""Which features carry the country, the question and the answer: means over two slots of the prompts.

1. What a feature writes is its activation at the prompt's last token times the length of its decoder.
2. Its mean by country and by question (the capital, or something else of the country) has four parts: a grand mean, a
   main effect of the country (the country whatever is asked), a main effect of the question ("capital of"), and their
   interaction: what is written only for one country and one question, which is the answer.
3. *Carriers* are the fewest features that hold a share of the mean squares of country and answer together. Those of a
   sentence are found in the other sentences, so that what is tested is never what they were chosen on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.studies.factors import factorial_means

GROUPS = ("country", "capital of", "answer")
"""What a feature may carry: main effects of the country and of the question, and their interaction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Carriers:
    """What every feature carries, and which ones are taken for carriers."""

    spread: Float[Tensor, "group feature"]
    """The mean square of what is written by country, by question, and by both, as in GROUPS."""
    highest: Int[Tensor, " feature"]
    """The country at which a feature writes most."""
    elsewhere: Bool[Tensor, " feature"]
    """Whether it writes most when something else than the capital is asked for."""
    asks: Float[Tensor, " feature"]
    """By how much a feature writes more when the capital is asked for than on average."""
    identity: Bool[Tensor, " feature"]
    """Carriers of country or answer."""
    question: Bool[Tensor, " feature"]
    """Carriers of the question: the fewest that hold the share of its mean square, those that speak for the capital."""

    @property
    def group(self) -> Int[Tensor, " feature"]:
        """Which of GROUPS has most of each feature's mean squares."""
        return self.spread.argmax(0)


def find_carriers(
    capital: Sequence[Float[Tensor, "country feature"]],
    other: Sequence[Float[Tensor, "country feature"]],
    norm: Float[Tensor, " feature"],
    share: float,
) -> Carriers:
    """Carriers by factorial means over country and question; `capital` and `other` are activations by sentence."""
    n = len(capital[0])
    names = [str(country) for country in range(n)]
    questions = ["capital"] * (n * len(capital)) + ["other"] * (n * len(other))
    factors = {"question": questions, "country": names * (len(capital) + len(other))}
    means = factorial_means(torch.cat([*capital, *other]) * norm, factors)
    spread = torch.stack([means.spread("country"), means.spread("question"), means.spread("question", "country")])
    asks = means.main["question"][0]
    return Carriers(
        spread=spread,
        highest=means.cells.amax(0).argmax(0),
        elsewhere=means.cells[1].amax(0) > means.cells[0].amax(0),
        asks=asks,
        identity=_fewest(spread[0] + spread[2], share),
        question=_fewest(spread[1] * (asks > 0), share),
    )


def _fewest(weights: Float[Tensor, " feature"], share: float) -> Bool[Tensor, " feature"]:
    """The smallest set with a share of the sum."""
    order = weights.argsort(descending=True)
    count = int((weights[order].cumsum(0) < share * weights.sum()).sum()) + 1
    chosen = torch.zeros(len(weights), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen & (weights > 0)
