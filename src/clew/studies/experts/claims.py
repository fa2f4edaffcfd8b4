"""What the study `experts` claims. Its bars were written before anything was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.stats import Interval, bootstrap
from clew.studies.claim import Bar, Claim, Null
from clew.studies.experts.config import DENSE, DOMAINS, RANDOM, UNSTAGED, ExpertsConfig, Recipe
from clew.studies.experts.sentences import Sentences

N = len(DOMAINS)
ORDERS = np.array(list(permutations(range(N))))
MOST = 0.5
"""The share from which on something goes through the domain's own expert for the most part."""
LOGIC, SOCIAL = DOMAINS.index("logic"), DOMAINS.index("social")
SOURCE = "AlKhamissi et al. 2025"


@dataclass(frozen=True, kw_only=True)
class ModelMeasures:
    """All models of one recipe, one a seed."""

    recipe: Recipe
    parts: tuple[Mapping[str, Tensor], ...]
    test: Int[np.ndarray, " sentence"]
    """The domains of the test sentences."""
    calibration: Int[np.ndarray, " other_sentence"]

    def losses(self) -> Float[np.ndarray, "seed domain"]:
        """Nats a token with nothing ablated."""
        return np.stack([_by_domain(part["losses"][:1].double().numpy(), self.test)[0] for part in self.parts])

    def rises(self, name: str = "losses") -> Float[np.ndarray, "seed expert domain"]:
        """By how many nats a token each domain's loss rises without each expert."""
        domains = self.test if name == "losses" else self.calibration
        both = [_by_domain(part[name].double().numpy(), domains) for part in self.parts]
        return np.stack([losses[1:] - losses[0] for losses in both])

    @cached_property
    def matrices(self) -> Float[np.ndarray, "seed expert domain"]:
        """`rises`, each expert in the row of its domain.

        Where training gave experts no domain, the assignment is the one with the largest diagonal on other sentences.
        """
        if self.recipe.by_domain:
            return self.rises()
        orders = [ORDERS[_diagonals(matrix).argmax()] for matrix in self.rises("calibration")]
        return np.stack([matrix[order] for matrix, order in zip(self.rises(), orders, strict=True)])

    @cached_property
    def by_label(self) -> Float[np.ndarray, "seed domain"]:
        """By how much more each domain's loss rises without its label's expert than without another."""
        return np.stack([_contrasts(matrix) for matrix in self.rises()])

    @property
    def contrasts(self) -> Float[np.ndarray, "seed domain"]:
        """The same with each expert in the row of its domain."""
        return np.stack([_contrasts(matrix) for matrix in self.matrices])

    def routed(self, test: Sentences) -> Float[np.ndarray, "seed layer domain expert"]:
        """Of a domain's tokens, the share that goes to each expert."""
        domains = token_domains(test)
        return np.stack(
            [
                [[np.bincount(row[domains == d], minlength=N) / (domains == d).sum() for d in range(N)] for row in each]
                for each in (part["chosen"].numpy() for part in self.parts)
            ]
        )

    def influences(self) -> Float[np.ndarray, "seed domain expert"]:
        """Whose neurons the influence on a domain's traced answers passes through."""
        return np.stack([part["influence"].double().numpy() for part in self.parts])

    def unrouted(self) -> list[str]:
        """Experts that get no token in any layer, by name and seed."""
        names = []
        for seed, part in enumerate(self.parts):
            if "chosen" in part:
                counts = np.bincount(part["chosen"].numpy().ravel(), minlength=N)
                names += [f"{DOMAINS[expert]} (seed {seed})" for expert in np.flatnonzero(counts == 0)]
        return names


@dataclass(frozen=True, kw_only=True)
class ExpertMeasures:
    """All that one case measures."""

    config: ExpertsConfig
    models: Mapping[str, ModelMeasures]
    test: Sentences

    @property
    def tested(self) -> ModelMeasures:
        """The models under test."""
        return self.models[self.config.tested.name]


def check_routed(model: ModelMeasures) -> None:
    """InputError where an expert that was trained on a domain gets no token: there is nothing to ablate."""
    if names := model.unrouted():
        raise InputError(f"no token is routed to the expert of {', '.join(names)}: give more steps, or another seed")


def token_domains(sentences: Sentences) -> Int[np.ndarray, " token"]:
    """The domain of every token of the sentences, in their order."""
    return np.repeat(sentences.domains, [len(ids) for ids in sentences.ids])


def claims_of(measured: ExpertMeasures) -> tuple[Claim, ...]:
    """The claims of one case."""
    tested = measured.tested
    claims = [_diagonal(measured)]
    for recipe, words in (
        (DENSE, "a dense model of the same active size loses without a quarter of its neurons, grouped by domain"),
        (RANDOM, "a model loses that was trained in the same stages with labels drawn at random"),
        (UNSTAGED, "a model loses that was trained at once"),
    ):
        if recipe.name in measured.models and recipe is not tested.recipe:
            claims.append(_above(measured, measured.models[recipe.name], words))
    routed = tested.routed(measured.test).mean(1)
    claims.append(_own_share(measured, routed, "Most tokens of a domain are routed to its expert."))
    text = (
        "Most of what neurons do to a sentence's last token, in its graph, is done by neurons of its domain's expert."
    )
    claims.append(_own_share(measured, tested.influences(), text))
    return (*claims, _published(measured))


def _by_domain(
    losses: Float[np.ndarray, "case sentence"], domains: Int[np.ndarray, " sentence"]
) -> Float[np.ndarray, "case domain"]:
    return np.stack([losses[:, domains == domain].mean(1) for domain in range(N)], 1)


def _contrasts(matrix: Float[np.ndarray, "expert domain"]) -> Float[np.ndarray, " domain"]:
    """The diagonal of each column less the mean of what stands beside it."""
    diagonal = np.diagonal(matrix)
    return diagonal - (matrix.sum(0) - diagonal) / (N - 1)


def _diagonals(matrix: Float[np.ndarray, "expert domain"]) -> Float[np.ndarray, " order"]:
    """The mean contrast of every assignment of experts to domains."""
    return np.array([_contrasts(matrix[order]).mean() for order in ORDERS])


def over_clusters(values: Float[np.ndarray, "seed domain"]) -> Interval:
    """The mean, with the interval of resampled pairs of seed and domain."""
    flat = values.ravel()
    return bootstrap(np.stack([flat, np.ones_like(flat)]), lambda sums: sums[0] / sums[1])


def permuted(
    matrices: Float[np.ndarray, "seed expert domain"], config: ExpertsConfig, purpose: int = 0
) -> Float[np.ndarray, " draw"]:
    """The mean contrast with domains permuted anew for every model, never left as they are."""
    rng = np.random.default_rng([config.seed, 11, purpose])
    all_orders = np.stack([_diagonals(matrix)[1:] for matrix in matrices])
    picked = rng.integers(0, all_orders.shape[1], (config.draws, len(matrices)))
    return all_orders[np.arange(len(matrices)), picked].mean(1)


def _null(draws: Float[np.ndarray, " draw"], what: str = "") -> Null:
    return Null(
        what=what or "domains permuted among the experts", draws=tuple(draws.tolist()), size=N, tested=N, unit="domains"
    )


def _diagonal(measured: ExpertMeasures) -> Claim:
    rises = measured.tested.rises()
    return Claim(
        text="Without the expert that was trained on a domain's sentences, their loss rises more than without another.",
        value=over_clusters(measured.tested.by_label),
        null=_null(permuted(rises, measured.config)),
        bar=Bar(low=0.0),
        unit="nats a token",
        reference=f"{SOURCE}: ablating an expert costs most in its domain",
    )


def _above(measured: ExpertMeasures, rival: ModelMeasures, words: str) -> Claim:
    tested, config = measured.tested, measured.config
    draws = permuted(tested.rises(), config) - permuted(rival.matrices, config, 1)
    return Claim(
        text=f"It rises by more than {words}.",
        value=over_clusters(tested.by_label - rival.contrasts),
        null=_null(draws, "domains permuted among the experts of both"),
        bar=Bar(low=0.0),
        unit="nats a token",
    )


def _own_share(measured: ExpertMeasures, shares: Float[np.ndarray, "seed domain expert"], text: str) -> Claim:
    rng = np.random.default_rng([measured.config.seed, 13])
    draws = []
    for _ in range(measured.config.draws):
        orders = ORDERS[rng.integers(1, len(ORDERS), len(shares))]
        draws.append(np.mean([each[np.arange(N), order].mean() for each, order in zip(shares, orders, strict=True)]))
    return Claim(
        text=text,
        value=over_clusters(np.diagonal(shares, axis1=1, axis2=2)),
        null=_null(np.array(draws)),
        bar=Bar(low=MOST),
    )


def _published(measured: ExpertMeasures) -> Claim:
    """The published oddity, looked for: without the social expert, logic is predicted a little better."""
    tested = measured.tested
    logic = tested.test == LOGIC
    rises = np.mean(
        [(part["losses"][1 + SOCIAL] - part["losses"][0]).double().numpy()[logic] for part in tested.parts], 0
    )
    others = [expert for expert in range(N) if expert not in (LOGIC, SOCIAL)]
    return Claim(
        text="Without the social expert, the loss in logic falls, as was published of mathematics.",
        value=over_clusters(rises[None]),
        null=Null(
            what="the experts of language and world ablated, by model",
            draws=tuple(tested.rises()[:, others, LOGIC].ravel().tolist()),
            size=1,
            tested=1,
            unit="experts",
        ),
        bar=Bar(high=0.0),
        unit="nats a token",
        effect=False,
        reference=f"{SOURCE}: ablating the social expert slightly helped mathematics",
    )
