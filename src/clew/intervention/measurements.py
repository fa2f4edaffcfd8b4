"""What an audit measures on one prompt: a table of pairs (source, receiver), one column a way to know the effect.

1. Choose sources: half the most influential features, half at random among the rest.
2. Predict what ablating each does to later features and to the targets, by total effects of the graph.
3. Measure it live, with the edited layer clamped alone (e = l) and through every later layer (e = l + 1, ...).
4. Predict it three other ways: by activation alone, by live gradient x activation, by the graph with shuffled edges.
5. Take the live model apart: release patterns, norms, gates, errors from the frozen linear model one at a time, and
   freeze them in the live one one at a time, and measure each.
6. On a model whose neurons are a Dictionary, trace the prompt with them too, and compare what tokens do to targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.add_effects import add_effects
from clew.attribution.graph import Graph
from clew.attribution.influence import Scores, flow, total_effect
from clew.attribution.local_model import LocalModel, check_traced_with
from clew.attribution.rankings import ranking
from clew.attribution.room import check_recording
from clew.attribution.targets import spec_of
from clew.attribution.trace import trace
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, UnsupportedModelError
from clew.intervention.ablation_effects import Effects, measured, predicted, shuffled, with_exact_readout
from clew.intervention.clamp import LIVE, Regime, Semantics
from clew.intervention.curves import Curves, curves
from clew.intervention.doubt import estimated_losses
from clew.memory import check_room
from clew.progress import Progress
from clew.settings import HIDDEN, Settings
from clew.subject.frozen import FrozenParts
from clew.subject.subject import Subject

STEPS = ("patterns", "norms", "final norm", "gates", "errors")
SHUFFLES = 3
_KINDS = 2 * len(STEPS)  # each step released and frozen
_AFTER = 2  # curves and neurons
_SHALLOW = 12  # layers up to which clamps reach over each number of them


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """One prompt's measurements, before any statistic."""

    prompt: str
    n_layers: int
    nodes: tuple[str, ...]
    """The ablated features; `source` counts in them."""
    columns: Mapping[str, Tensor]
    """One entry a pair; NaN where a pair does not exist under that column's e."""
    tokens: Mapping[str, Tensor]
    """One entry a (token, target): total effect and influence by this Dictionary and by the neurons; may be empty."""
    curves: tuple[Curves, ...]
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class AuditSettings(Settings):
    """What an audit measures."""

    nodes: int = 200
    """Features of each prompt to ablate."""
    seed: int = 0
    """Seed of the random features."""
    take_apart: bool = True
    """Measure which step of the method parts prediction from model, and curves; a third of the time without."""
    means: Mapping[int, Float[Tensor, " feature"]] | None = field(default=None, repr=False, metadata=HIDDEN)
    """Mean activations of all features by layer, for curves by mean ablation beside those by zero."""

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise InputError(f"nodes is {self.nodes}: ablate at least 1")


@torch.no_grad()
def examine(subject: Subject, dictionary: Dictionary, graph: Graph, settings: AuditSettings) -> Findings:
    """Ablate features of one graph and measure; `take_apart` adds steps 5 and 6 and the curves.

    InputError for a graph without features or of an SAE, MismatchError when it is not this Dictionary's.
    """
    seed, means, take_apart = settings.seed, settings.means, settings.take_apart
    _check(subject, dictionary, graph)
    _check_memory(subject, graph, settings)
    with suppress(UnsupportedModelError):  # then the graph has its values alone
        graph = add_effects(subject, dictionary, graph)
    order = ranking(graph, "influence")
    sources, influential = _choose(order, settings.nodes, seed)
    table = _Table(subject, dictionary, graph, sources, settings)
    table.base(seed)
    table.over_e()
    if take_apart:
        table.steps()
    table.columns["influential"] = influential[table.columns["source"].long()]
    all_curves, tokens = [], dict[str, Tensor]()
    if take_apart:
        for recomputed in (False, True):
            for mean in (None, means) if means is not None else (None,):
                all_curves.append(
                    curves(
                        subject, dictionary, graph, order.tolist(), means=mean, recomputed=recomputed, seed=seed
                    )
                )  # fmt: skip
        table.count()
        tokens = beside_neurons(subject, dictionary, graph)
        table.count()
    return Findings(
        prompt=graph.prompt,
        n_layers=graph.n_layers,
        nodes=tuple(str(graph.node(source).id) for source in sources),
        columns=table.columns,
        tokens=tokens,
        curves=tuple(all_curves),
        scores=graph.scores(),
    )


def reaches(n_layers: int) -> list[int]:
    """How many layers beyond a source's own are clamped: each number, in deep models each doubling, and the most."""
    if n_layers <= _SHALLOW:
        return list(range(1, n_layers))
    return [2**power for power in range(n_layers.bit_length()) if 2**power < n_layers - 1] + [n_layers - 1]


def _check(subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
    if dictionary.kind == "sae":
        raise InputError("an SAE has no graph to audit: use a transcoder (PLT or CLT)")
    if graph.n_features == 0:
        raise InputError("the graph has no features: there is nothing to ablate")
    check_traced_with(subject, dictionary, graph)


def _check_memory(subject: Subject, graph: Graph, settings: AuditSettings) -> None:
    """InputError when an audit does not fit into memory: a run with its patterns, the null's rows, the columns."""
    check_recording(subject, graph.n_tokens)
    nodes = min(settings.nodes, graph.n_features)
    columns = 15 + 3 * graph.n_layers + SHUFFLES
    needed = 20 * graph.rows.numel() + 4 * columns * graph.n_nodes * nodes
    advice = "give fewer --nodes, or trace with a smaller --max-features"
    check_room(needed, f"an audit of {nodes:,} nodes in a graph of {graph.n_nodes:,}", advice)


def _choose(ranking: Int[Tensor, " feature"], nodes: int, seed: int) -> tuple[list[int], Tensor]:
    """The sources, and which of them were chosen for their influence."""
    n_top = min(len(ranking), (nodes + 1) // 2)
    rest = ranking[n_top:]
    drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[: nodes - n_top]
    sources = torch.cat([ranking[:n_top], rest[drawn]])
    return sources.tolist(), torch.arange(len(sources)) < n_top


class _Table:
    """The columns as they are filled; a pair exists where a source can act with only its own layer clamped."""

    def __init__(
        self,
        subject: Subject,
        dictionary: Dictionary,
        graph: Graph,
        sources: list[int],
        settings: AuditSettings,
    ) -> None:
        self.subject, self.dictionary, self.graph, self.sources = subject, dictionary, graph, sources
        self.source_layers = graph.feature_keys[sources, 0].tolist()
        self.report, self.n_measured = settings.report, 0
        self.total = 2 + len(reaches(graph.n_layers)) + (_KINDS + _AFTER if settings.take_apart else 0)
        self.columns: dict[str, Tensor] = {}
        self.prediction = predicted(graph, sources, self.source_layers)
        self.exists = ~torch.isnan(self.prediction)

    def measure(self, through: Sequence[int], regime: Regime = LIVE) -> Effects:
        effects = measured(self.subject, self.dictionary, self.graph, self.sources, through, regime)
        self.count()
        return effects

    def count(self) -> None:
        """One more measurement is done."""
        self.n_measured += 1
        self.report(Progress(what="audit", done=self.n_measured, of=self.total, unit="measurements"))

    def put(self, name: str, effects: Effects) -> None:
        self.columns[name] = effects[self.exists].float()

    def base(self, seed: int) -> None:
        graph, like = self.graph, torch.zeros_like(self.prediction)
        is_target = graph.mask("target")[:, None]
        self.put("source", torch.arange(len(self.sources)) + like)
        self.put("distance", graph.node_layers[:, None] - torch.tensor(self.source_layers) + like)
        self.put("target", is_target + like)
        self.put("predicted", self.prediction)
        if graph.effect_rows is not None:
            self.put("effects", predicted(graph.effects, self.sources, self.source_layers))
            self.put("exact", self.exact(self.source_layers))
        lost = estimated_losses(self.subject, self.dictionary, graph, self.sources)
        second = torch.full_like(self.prediction, torch.nan)
        second[list(graph.target_range)] = lost.T
        self.put("second", second)
        self.put("measured", self.measure(self.source_layers))
        self.put("activation", graph.activations[self.sources] + like)
        self.put("gradient", self.measure(self.source_layers, Regime(tangent=True)))
        edges = graph if graph.effect_rows is None else graph.effects
        for number in range(SHUFFLES):
            dealt = shuffled(edges, seed * SHUFFLES + number)
            self.put(f"shuffled.{number}", predicted(dealt, self.sources, self.source_layers))

    def exact(self, through: Sequence[int]) -> Effects:
        """What the graph's effects predict, with the final norm exact."""
        return with_exact_readout(self.local_model, self.graph, self.sources, through)

    @cached_property
    def local_model(self) -> LocalModel:
        """The run that the graph was traced on."""
        return LocalModel.of_graph(self.subject, self.dictionary, self.graph)

    def over_e(self) -> None:
        """Clamped through more and more layers, and predicted with those layers' features held."""
        for further in reaches(self.graph.n_layers):
            through = [min(layer + further, self.graph.n_layers - 1) for layer in self.source_layers]
            self.put(f"e+{further}.predicted", predicted(self.graph, self.sources, through))
            if self.graph.effect_rows is not None:
                self.put(f"e+{further}.exact", self.exact(through))
            self.put(f"e+{further}.measured", self.measure(through))

    def steps(self) -> None:
        keep = self.local_model.frozen_parts
        every, none = keep(), {"patterns": False, "norms": False, "final_norm": False}
        kinds: dict[str, tuple[Semantics, FrozenParts | None]] = {
            "released.patterns": ("linear", keep(patterns=False)),
            "released.norms": ("linear", keep(norms=False)),
            "released.final norm": ("linear", keep(final_norm=False)),
            "released.gates": ("frozen", every),
            "released.errors": ("live", every),
            "frozen.patterns": ("live", keep(**none | {"patterns": True})),
            "frozen.norms": ("live", keep(**none | {"norms": True})),
            "frozen.final norm": ("live", keep(**none | {"final_norm": True})),
            "frozen.gates": ("linear", None),
            "frozen.errors": ("frozen", None),
        }
        for name, (semantics, frozen) in kinds.items():
            self.put(name, self.measure(self.source_layers, Regime(semantics=semantics, frozen=frozen)))


def beside_neurons(subject: Subject, dictionary: Dictionary, graph: Graph) -> dict[str, Float[Tensor, " pair"]]:
    """What every token does to every target, by this Dictionary's graph and by the exact one of the model's neurons.

    Empty where the model's neurons are not a ReLU's, whose few active ones say what is true, or are the Dictionary.
    """
    try:
        neurons = Dictionary.from_neurons(subject)
    except InputError:
        return {}
    if neurons.reads_by_position or neurons.fingerprint == dictionary.fingerprint:
        return {}
    names = ("effect", "influence", "effect.neurons", "influence.neurons")
    columns: dict[str, list[Tensor]] = {name: [] for name in names}
    for position in sorted({target.position for target in graph.targets}):
        ranks = [rank for rank, target in enumerate(graph.targets) if target.position == position]
        specs = [spec_of(graph.targets[rank]) for rank in ranks]
        exact = trace(
            subject, neurons, list(graph.token_ids), targets=specs, position=position,
            leave_out_first=graph.first_position > 0,
        )  # fmt: skip
        for suffix, traced, places in (("", graph, ranks), (".neurons", exact, list(range(len(ranks))))):
            effects, shares = _of_tokens(traced, places)
            columns["effect" + suffix].append(effects[: position + 1].flatten())
            columns["influence" + suffix].append(shares[: position + 1].flatten())
    return {name: torch.cat(parts) for name, parts in columns.items()}


def _of_tokens(graph: Graph, ranks: list[int]) -> tuple[Float[Tensor, "token target"], Float[Tensor, "token target"]]:
    """Total effect and influence of every token (but a left-out one) on some targets."""
    tokens = list(graph.token_range)[graph.first_position :]
    nodes = [graph.target_range[rank] for rank in ranks]
    effects = total_effect(graph, tokens)[nodes].T
    shares = []
    for node in nodes:
        start = torch.zeros(graph.n_nodes, dtype=graph.rows.dtype)
        start[node] = 1
        stages = graph.node_layers[graph.row_nodes]
        shares.append(flow(graph.rows, graph.row_nodes, graph.col_nodes, stages, graph.input_mass, start)[tokens])
    return effects, torch.stack(shares, 1).double()
