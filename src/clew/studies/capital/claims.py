"""What the study `capital` claims: how often the answer follows, each share beside its null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clew.stats import Interval, mean_interval, wilson
from clew.studies.capital.facts import CountryPair, CountryPrompts
from clew.studies.capital.runs import CountryFeatures
from clew.studies.claim import Bar, Claim, Null
from clew.studies.swaps import SwapAnswers

MATCHED = "matched random active features of the same layers at the last token"


@dataclass(frozen=True, kw_only=True, eq=False)
class CapitalMeasured:
    """One case of the study, before claims are made of it."""

    asked: CountryPrompts
    answers: Int[Tensor, " country"]
    """The first token of what counts as each country's capital."""
    pairs: list[CountryPair]
    two_hop_pairs: list[CountryPair]
    features: CountryFeatures
    layers: list[int]
    found: Mapping[str, SwapAnswers]
    looks: Mapping[str, Tensor]
    head: int
    """The head of the first layer that looks at the country most."""

    def follow(self, name: str, *, own: bool = False) -> Interval:
        """In which share of a run's cases the other country's capital is answered, or the own one still is."""
        pairs = self.two_hop_pairs if name.startswith(("transplant", "third")) else self.pairs
        wanted = self.answers[torch.tensor([pair.a if own else pair.b for pair in pairs])]
        return wilson(self.found[name].follow(wanted), len(pairs))

    def draws(self, prefix: str, *, own: bool = False) -> tuple[float, ...]:
        """The same share in every draw of a null."""
        names = [name for name in self.found if name.startswith(f"{prefix}.")]
        return tuple(self.follow(name, own=own).value for name in names)

    def beside(self, name: str) -> str:
        """How much the random features of a run's null write, in words."""
        written = [each.written for key, each in self.found.items() if key.startswith(f"{name}.null")]
        return f"they write {sum(written) / max(len(written), 1):.0%} of what"

    def mean_size(self, prefix: str) -> int:
        sizes = [each.features for name, each in self.found.items() if name.startswith(prefix)]
        return round(sum(sizes) / max(len(sizes), 1))


def claims_of(m: CapitalMeasured) -> tuple[Claim, ...]:
    """The study's claims, in their order."""
    last, first = m.layers[-1], m.layers[0]
    return (
        _swap(
            m,
            "swap",
            f"Another country's activations of the carriers of country and answer at the last token, in all layers, "
            f"make the model answer the other country's capital (MLP outputs clamped through layer {last}, the last "
            "edited).",
            Bar(low=0.9),
        ),
        _swap(
            m,
            "first",
            f"Those of the first layer are enough, at the last token alone (through layer {first}: all later layers "
            "are the model's own).",
            Bar(low=0.55),
        ),
        _token(m),
        _transplant(m),
        _ablation(m),
        _look(m),
    )


def _swap(m: CapitalMeasured, name: str, text: str, bar: Bar) -> Claim:
    return Claim(
        text=text,
        value=m.follow(name),
        null=Null(
            what=f"{MATCHED}, changed by as much ({m.beside(name)} the swap writes)",
            draws=m.draws(f"{name}.null"),
            size=m.mean_size(f"{name}.null"),
            tested=round(m.found[name].features),
        ),
        bar=bar,
        null_bar=Bar(high=0.02),
        reference="Ameisen et al. 2025 and Lindsey et al. 2025 swap supernodes of one prompt by hand; no rates are "
        "given",
    )


def _token(m: CapitalMeasured) -> Claim:
    """That the country's own token does nothing; its null is where the swap must do something."""
    n = len(m.asked.prompts["one_hop"])
    draws = []
    for sentence in range(n):
        rows = [row for row, pair in enumerate(m.pairs) if pair.sentence == sentence]
        if rows:
            wanted = m.answers[torch.tensor([m.pairs[row].b for row in rows])]
            draws.append(float((m.found["swap"].top[rows] == wanted).float().mean()))
    return Claim(
        text=f"All features at the country's own token, in all layers (through layer {m.layers[-1]}), do nothing: the "
        "other country's put there, its capital is not answered.",
        value=m.follow("token"),
        null=Null(
            what="the swap at the last token, sentence by sentence",
            draws=tuple(draws),
            size=round(m.found["swap"].features),
            tested=round(m.found["token"].features),
        ),
        bar=Bar(high=0.02),
    )


def _transplant(m: CapitalMeasured) -> Claim:
    return Claim(
        text="One and two hops end in the same features: activations of the carriers in another country's one-hop "
        "prompt, put into the last token of a two-hop prompt, make the model answer that country's capital (through "
        f"layer {m.layers[-1]}). The carriers were found in one-hop prompts only.",
        value=m.follow("transplant") if m.two_hop_pairs else Interval(*[float("nan")] * 3),
        null=Null(
            what="a third country's activations in the same features",
            draws=m.draws("third") or (float("nan"),),
            size=m.mean_size("third."),
            tested=round(m.found["transplant"].features),
        ),
        bar=Bar(low=0.85),
        null_bar=Bar(high=0.02),
    )


def _ablation(m: CapitalMeasured) -> Claim:
    return Claim(
        text="Without the carriers of country and answer at the last token the capital is lost: the share of prompts "
        f"still answered (all set to zero, through layer {m.layers[-1]}).",
        value=m.follow("ablate.identity", own=True),
        null=Null(
            what=f"{MATCHED}, set to zero ({m.beside('ablate.identity')} the carriers write)",
            draws=m.draws("ablate.identity.null", own=True),
            size=m.mean_size("ablate.identity.null"),
            tested=round(m.found["ablate.identity"].features),
        ),
        bar=Bar(high=0.5),
    )


def _look(m: CapitalMeasured) -> Claim:
    """How the country comes to the last token; it holds whatever the capitals are called."""
    own, others = m.looks["own"][:, 0, m.head], m.looks["others"][:, 0, m.head]
    return Claim(
        text=f"The country comes to the last token by attention of the first layer: head L0H{m.head} gives most of its "
        "attention there to the country's token.",
        value=mean_interval(own.tolist()),
        null=Null(
            what="the same head's attention to each other token, prompt by prompt",
            draws=tuple(others.tolist()),
            size=1,
            tested=1,
            unit="tokens",
        ),
        bar=Bar(low=0.5),
        effect=False,
    )
