"""What the study `compression` claims: how much of the circuits is left, each number beside its null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.stats import Interval, bootstrap, mean_interval, spearman, wilson
from clew.studies.claim import Bar, Claim, Null
from clew.studies.compression.measures import MEASURES

PERMUTATIONS = 200
SHARED = {8: 0.99, 4: 0.95, 3: 0.9}
"""What must be left of the influence, by bits."""
AS_NOISE = 0.03
"""By how much rounding may part from noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompressionMeasures:
    """One case of the study, before claims are made of it."""

    found: Mapping[str, Tensor]
    bits: tuple[int, ...]
    codebook: str
    prompts: int
    seed: int

    @property
    def models(self) -> list[str]:
        """The names of all models beside the original."""
        return [name.removeprefix("prompts/") for name in self.found if name.startswith("prompts/")]

    def column(self, way: str, measure: str) -> Float[Tensor, " prompt"]:
        """One measure of every prompt."""
        return self.found[f"prompts/{way}"][:, MEASURES.index(measure)]

    def draws(self, prefix: str) -> list[str]:
        """The models of a null."""
        return [name for name in self.models if name.startswith(f"{prefix}.")]

    def noise(self, way: str, measure: str) -> Float[Tensor, " prompt"]:
        """The mean over the models with noise as long as a way's error."""
        return torch.stack([self.column(name, measure) for name in self.draws(f"noise.{way}")]).mean(0)

    def null(self, measure: str) -> tuple[float, ...]:
        """The mean of every model with shuffled matrices."""
        return tuple(float(self.column(name, measure).mean()) for name in self.draws("shuffle"))

    def agreement(self, way: str) -> Interval:
        """Rank correlation of predicted and measured losses, a mean over prompts with the interval over them."""
        return mean_interval(self._agreements(self.found["predicted"], way))

    def dealt(self, way: str) -> tuple[float, ...]:
        """The same with the predictions dealt anew among each prompt's features."""
        generator, draws = torch.Generator().manual_seed(self.seed), []
        for _ in range(PERMUTATIONS):
            rows = [row[torch.randperm(len(row), generator=generator)] for row in self.found["predicted"]]
            draws.append(float(np.mean(self._agreements(torch.stack(rows), way))))
        return tuple(draws)

    def _agreements(self, predicted: Float[Tensor, "prompt feature"], way: str) -> list[float]:
        measured = self.found[f"losses/{way}"]
        return [spearman(a.numpy(), b.numpy()) for a, b in zip(predicted, measured, strict=True)]


def claims_of(m: CompressionMeasures) -> tuple[Claim, ...]:
    """The study's claims, in their order."""
    return (
        *(_shared(m, bits) for bits in m.bits),
        *(_as_noise(m, bits) for bits in m.bits if bits < 8),
        _kept(m),
        _predicted(m),
        _codebook(m),
    )


def over_prompts(values: Float[Tensor, " prompt"], seed: int = 0) -> Interval:
    """The mean with its interval over resampled prompts."""
    terms = np.stack([np.ones(len(values)), values.double().numpy()])
    return bootstrap(terms, lambda sums: sums[1] / sums[0], seed=seed)


def _null(m: CompressionMeasures, measure: str) -> Null:
    return Null(
        what="models with the entries of every matrix shuffled",
        draws=m.null(measure),
        size=m.prompts,
        tested=m.prompts,
        unit="prompts",
    )


def _shared(m: CompressionMeasures, bits: int) -> Claim:
    return Claim(
        text=f"Circuits survive rounding to {bits} bits: the share of the original graphs' influence in features that "
        "the compressed model's graphs have too, by the same dictionary.",
        value=over_prompts(m.column(f"round.{bits}", "shared")),
        null=_null(m, "shared"),
        bar=Bar(low=SHARED[bits]),
    )


def _as_noise(m: CompressionMeasures, bits: int) -> Claim:
    way = f"round.{bits}"
    noise = m.noise(way, "shared")
    return Claim(
        text=f"They survive rounding to {bits} bits as they survive noise: by how much the shared influence exceeds "
        "that of models with normal noise as long as the error in every matrix.",
        value=over_prompts(m.column(way, "shared") - noise),
        null=Null(
            what="models with shuffled matrices in place of the rounded one",
            draws=tuple(float((m.column(name, "shared") - noise).mean()) for name in m.draws("shuffle")),
            size=m.prompts,
            tested=m.prompts,
            unit="prompts",
        ),
        bar=Bar(low=-AS_NOISE, high=AS_NOISE),
    )


def _kept(m: CompressionMeasures) -> Claim:
    kept = m.column("round.4", "kept")
    return Claim(
        text="At 4 bits the answer stays: the share of prompts whose most likely token is the original's.",
        value=wilson(int(kept.sum()), len(kept)),
        null=_null(m, "kept"),
        bar=Bar(low=0.9),
    )


def _predicted(m: CompressionMeasures) -> Claim:
    count, n = m.found["predicted"].shape
    return Claim(
        text="What the original graph predicts holds in the model at 4 bits: rank correlation of what the answer's "
        f"logit loses with each feature, predicted by effects and measured live on {count} prompts (each edited "
        "layer clamped alone, through its own layer).",
        value=m.agreement("round.4"),
        null=Null(what="predictions dealt among the features of a prompt", draws=m.dealt("round.4"), size=n, tested=n),
        bar=Bar(low=0.7),
    )


def _codebook(m: CompressionMeasures) -> Claim:
    """Whether the codebook says more of what the model said than rounding with as many bits."""
    bits = int(m.codebook.partition(".")[2])
    gained = m.column(f"round.{bits}", "divergence") - m.column(m.codebook, "divergence")
    signs = torch.randint(2, (PERMUTATIONS, len(gained)), generator=torch.Generator().manual_seed(m.seed)) * 2.0 - 1
    return Claim(
        text=f"A tuned codebook of {bits} bits a weight (books not counted) stays nearer to the model than rounding to "
        f"{bits} bits: by how many nats its next tokens diverge less.",
        value=over_prompts(gained),
        null=Null(
            what="codebook and rounding interchanged at random in every prompt",
            draws=tuple((signs @ gained / len(gained)).tolist()),
            size=m.prompts,
            tested=m.prompts,
            unit="prompts",
        ),
        bar=Bar(low=0.0),
        unit="nats",
        reference="Egiazarian et al. 2024: additive codebooks beat rounding at 2 to 3 bits a weight",
    )
