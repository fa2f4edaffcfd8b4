"""What the study `expanders` claims; the bars were written before anything was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clew.stats import mean_interval, null_range
from clew.studies.claim import Bar, Claim, Null
from clew.studies.expanders.config import ExpandersConfig
from clew.studies.expanders.families import apart_rule
from clew.studies.expanders.measures import MEASURED

SLACK = 0.5
"""By how much the second eigenvalue may pass 2 sqrt(d - 1): at a hundred nodes it varies."""
RULE_SLACK = 0.05
"""How far the share of graphs that fall apart may lie from n p^d's."""
HARD = 0.2
"""Bits by which every node more must lengthen a refutation."""
HALF = 0.5
"""The place between a tree, 0, and an expander, 1, from which on a circuit is nearer to the expander."""


@dataclass(frozen=True, kw_only=True)
class ExpanderMeasures:
    """All that one case measures."""

    config: ExpandersConfig
    graphs: Mapping[str, Tensor]
    deletions: Mapping[str, Tensor]
    formulas: Mapping[str, Tensor] | None
    """None without the solver."""
    circuits: Mapping[str, Tensor]

    def column(self, family: str, measure: str) -> Float[np.ndarray, " graph"]:
        """One measure of the graphs of a family."""
        return self.graphs[family][:, MEASURED.index(measure)].numpy()

    @property
    def places(self) -> Float[np.ndarray, " prompt"]:
        """Where each circuit stands between trees, 0, and expanders, 1."""
        own, (trees, expanders) = self.circuits["own"], self._means
        return ((trees - own) / (trees - expanders)).numpy()

    @property
    def tree_places(self) -> Float[np.ndarray, "draw"]:
        """Where random trees stand, the mean over circuits of every draw."""
        trees, (mean, expanders) = self.circuits["trees"], self._means
        return ((mean[:, None] - trees) / (mean - expanders)[:, None]).mean(0).numpy()

    @property
    def _means(self) -> tuple[Tensor, Tensor]:
        return self.circuits["trees"].mean(1), self.circuits["expanders"].mean(1)

    def bits(self, family: str) -> Float[np.ndarray, " draw"]:
        """By how many bits a node more lengthens a refutation: slopes of log2 conflicts, one a draw."""
        assert self.formulas is not None
        logs = np.log2(1 + self.formulas[family].numpy())
        return np.asarray(np.polyfit(np.array(self.config.sizes, float), logs, 1)[0])


def claims_of(measured: ExpanderMeasures) -> tuple[Claim, ...]:
    """The claims of one case."""
    claims = [_eigenvalue(measured), _mixing(measured), _epidemic(measured), _degree_rule(measured)]
    if measured.formulas is not None:
        claims.append(_formulas(measured))
    return (*claims, _circuits(measured))


def _kind(config: ExpandersConfig) -> str:
    return f"{'local' if config.local else 'random'} {config.degree}-regular graphs of {config.nodes} nodes"


def _beside_local(
    measured: ExpanderMeasures, measure: str, text: str, high: float, unit: str, reference: str = ""
) -> Claim:
    """A measure of the graphs under test that must be low, beside local graphs of the same degree."""
    config, draws = measured.config, measured.column("local", measure)
    return Claim(
        text=text,
        value=null_range(measured.column("tested", measure).tolist()),
        null=Null(
            what="local graphs of the same degree, in which nodes are joined to near ones",
            draws=tuple(draws.tolist()),
            size=config.nodes,
            tested=config.nodes,
            unit="nodes",
        ),
        bar=Bar(high=high),
        unit=unit,
        reference=reference,
    )


def _eigenvalue(measured: ExpanderMeasures) -> Claim:
    least = 2 * math.sqrt(measured.config.degree - 1)
    return _beside_local(
        measured,
        "eigenvalue",
        f"No bottleneck: the second eigenvalue of {_kind(measured.config)} lies at most {SLACK} above {least:.2f}, "
        "the least that large graphs can have.",
        least + SLACK,
        "",
        "Alon 1986; Friedman 2008",
    )


def _mixing(measured: ExpanderMeasures) -> Claim:
    most = math.ceil(2 * math.log2(measured.config.nodes))
    return _beside_local(
        measured,
        "mixing",
        f"A lazy walk on {_kind(measured.config)} is as good as anywhere after at most {most} steps, twice the "
        "logarithm of their number of nodes.",
        most,
        "steps",
    )


def _epidemic(measured: ExpanderMeasures) -> Claim:
    half = float(measured.column("local", "epidemic").mean()) / 2
    return _beside_local(
        measured,
        "epidemic",
        f"An epidemic reaches nine tenths of {_kind(measured.config)} in half the time that it takes in local graphs "
        "or less.",
        half,
        "steps",
    )


def _degree_rule(measured: ExpanderMeasures) -> Claim:
    config = measured.config
    rules = [apart_rule(config.nodes, config.degree, deleted) for deleted in config.deletions]
    place = int(np.argmin([abs(rule - HALF) for rule in rules]))
    rule, tested = rules[place], measured.deletions["tested"][place].numpy()
    return Claim(
        text=f"How often {_kind(config)} fall apart without a random {config.deletions[place]:.0%} of their edges is "
        f"what n p^d says, {rule:.2f}: their degree decides it, whether they are expanders or not.",
        value=mean_interval(tested.tolist()),
        null=Null(
            what="graphs with as many edges between random pairs",
            draws=tuple(measured.deletions["uneven"][place].tolist()),
            size=config.nodes,
            tested=config.nodes,
            unit="nodes",
        ),
        bar=Bar(low=rule - RULE_SLACK, high=rule + RULE_SLACK),
        effect=False,
        reference="a node loses all its d edges with the chance p^d",
    )


def _formulas(measured: ExpanderMeasures) -> Claim:
    config = measured.config
    on = "ladders" if config.local else "random 4-regular graphs"
    return Claim(
        text=f"Parities on {on} of {config.sizes[0]} to {config.sizes[-1]} nodes are hard to refute: every node more "
        f"lengthens the solver's way by {HARD} bits or more.",
        value=null_range(measured.bits("tested").tolist()),
        null=Null(
            what="the same on ladders",
            draws=tuple(measured.bits("ladder").tolist()),
            size=config.sizes[-1],
            tested=config.sizes[-1],
            unit="nodes",
        ),
        bar=Bar(low=HARD),
        unit="bits a node",
        reference="Urquhart 1987; Ben-Sasson and Wigderson 2001",
    )


def _circuits(measured: ExpanderMeasures) -> Claim:
    places = measured.places
    nodes = int(measured.circuits["sizes"][:, 0].median())
    what = "The strongest spanning trees of the kit's circuits" if measured.config.local else "The kit's circuits"
    return Claim(
        text=f"{what} are nearer to expanders of their size and degree (1) than to trees (0).",
        value=mean_interval(places.tolist()),
        null=Null(
            what="random trees of as many nodes",
            draws=tuple(measured.tree_places.tolist()),
            size=nodes,
            tested=nodes,
            unit="nodes",
        ),
        bar=Bar(low=HALF),
    )
