"""How far to trust a graph: predicted effects beside measured ones, with every baseline, in one value.

`audit` ablates features of one graph, `audit_all` those of many; what is measured stands in
`clew.intervention.measurements`. Intervals resample sources for one prompt, prompts for several.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.influence import Scores
from clew.dictionary.dictionary import Dictionary
from clew.displays import Displayed, brief
from clew.errors import FileError, InputError
from clew.intervention.agreement import Agreement, agreement
from clew.intervention.curves import Curves, mean_curves, number
from clew.intervention.doubt import Marks, marks_of
from clew.intervention.measurements import SHUFFLES, STEPS, AuditSettings, Findings, examine
from clew.settings import accepts
from clew.stats import Interval
from clew.subject.subject import Subject

ENVELOPE = files.Envelope(format="clew.audit", schema=1, what="audit")
HOLDS, PARTLY = 0.8, 0.5  # rank correlation from which effects are ranked well, and in part
RIGHT = 1.25  # the factor up to which sizes are about right
KINDS = ("outputs", "features")
_NAMES = {
    "patterns": "attention patterns",
    "norms": "the scales of norms",
    "final norm": "the scale of the final norm",
    "gates": "features that switch",
    "errors": "errors of the dictionary",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table: what is compared, and how far it agrees, on outputs and on features."""

    name: str
    outputs: Agreement
    features: Agreement


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit(Displayed):
    """What was measured of one graph or of several, and what it means.

    Effects on outputs are centred logits, on features pre-activations.
    """

    prompts: tuple[str, ...]
    subject: str
    dictionary: str
    nodes: int
    lines: Mapping[str, Line]
    """`total`: prediction against measurement. `influential`, `random`: by how the node was chosen. `distance.1` and so
    on: by layers between source and receiver (outputs lie one behind the last layer). `gradient`, `activation`,
    `shuffled`: baselines. `e+1` and so on: clamped through later layers. All of these predict by the graph's values;
    where it has effects, `effects` and `exact` (the final norm exact) predict by those, and so do `exact.distance.1`,
    `exact.e+1` and so on. `released.patterns` and so on: the frozen model with one part released. `frozen.patterns` and
    so on: the live model with one part frozen. `second`: the model's own derivatives up to the second, on outputs."""
    tokens: Mapping[str, Agreement]
    """This Dictionary's graph against the exact one of the neurons: `effect` and `influence` of tokens on targets."""
    curves: tuple[Curves, ...]
    """Faithfulness and completeness, a mean over prompts: other features held, then recomputed, by way of ablation."""
    scores: Scores
    """Replacement and completeness of the graphs, a mean over prompts; NaN in a file of an older program."""
    marks: Marks | None
    """What the marks of predictions not to trust hold; None without effects, and in a file of an older program."""
    seconds: float
    pairs: Float[Tensor, "pair 4"] = field(repr=False)
    """Predicted, measured, layers between, 1 for an output: what the figure draws. Predicted by effects, the final norm
    exact, where the graph has any, else by values."""
    shuffled: Float[Tensor, " pair"] = field(repr=False)
    """What a graph with shuffled edges predicts of the same pairs; of no pair in a file of an older program."""
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        prompts = brief(self.prompts[0]) if len(self.prompts) == 1 else f"{len(self.prompts)} prompts"
        best = "exact" if "exact" in self.lines else "total"
        says = f"predictions {self._in_words(best)} ({self._in_figures(best)})"
        return f"Audit({prompts}, {self.nodes:,} features ablated; {self.subject}, {self.dictionary}: {says})"

    @property
    def verdict(self) -> str:
        """In one line, words first and figures after: how far the graph's predictions hold, and what parts them from
        the model."""
        ways = {"exact": "effects", "total": "values"} if "exact" in self.lines else {"total": "values"}
        words = [f"The graph's {kind} {self._in_words(name)}." for name, kind in ways.items()]
        parts = [f"{_NAMES[step]} on {kind}" for kind in KINDS if (step := self.culprit(kind)) is not None]
        lost = [f"What parts its values from the model most: {', '.join(parts)}."] if parts else []
        figures = "; ".join(f"{kind} {self._in_figures(name)}" for name, kind in ways.items())
        return " ".join([*words, *lost, f"Figures: {figures}."])

    def _in_words(self, name: str) -> str:
        """How well one way to predict ranks, sizes and signs effects; outputs and features together if they agree."""
        both = [getattr(self.lines[name], kind) for kind in KINDS]
        says = [(_ranks(agreement), _sizes(agreement)) for agreement in both]
        wrong = [f"{agreement.sign_errors.value:.0%}".replace("%", " %") for agreement in both]
        if says[0] == says[1]:
            ranks, sizes = says[0]
            return f"rank outputs and features {ranks}, {sizes}; sign wrong for {wrong[0]} and {wrong[1]} of the effect"
        return "; ".join(
            f"rank {kind} {ranks}, {sizes}, sign wrong for {share} of the effect"
            for kind, (ranks, sizes), share in zip(KINDS, says, wrong, strict=True)
        )

    def _in_figures(self, name: str) -> str:
        outputs, features = (getattr(self.lines[name], kind) for kind in KINDS)
        return (
            f"Spearman {outputs.spearman} on outputs and {features.spearman} on features, "
            f"slope {outputs.slope.value:.2f} and {features.slope.value:.2f}"
        )

    def culprit(self, kind: str) -> str | None:
        """The step that costs the most rank correlation: lost by releasing it alone plus gained by freezing it alone.

        Gates can only be frozen where errors are, so that their gain is counted beyond the errors'.
        """

        def spearman(name: str) -> float:
            return getattr(self.lines[name], kind).spearman.value

        cost = {}
        for step in STEPS:
            if f"released.{step}" in self.lines:
                before = "frozen.errors" if step == "gates" else "total"
                cost[step] = 1 - spearman(f"released.{step}") + spearman(f"frozen.{step}") - spearman(before)
        known = {step: value for step, value in cost.items() if not math.isnan(value)}
        return max(known, key=lambda step: known[step], default=None)

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values; NaN is null."""
        lines = {name: {kind: getattr(line, kind).to_json() for kind in KINDS} for name, line in self.lines.items()}
        return {
            "verdict": self.verdict,
            "prompts": list(self.prompts),
            "subject": self.subject,
            "dictionary": self.dictionary,
            "nodes": self.nodes,
            "lines": lines,
            "tokens": {name: value.to_json() for name, value in self.tokens.items()},
            "curves": _plain([asdict(each) for each in self.curves]),
            "scores": _plain(asdict(self.scores)),
            "marks": None if self.marks is None else _plain(asdict(self.marks)),
            "seconds": self.seconds,
        }

    def save(self, path: Path | str) -> None:
        """Write figures and pairs as one file, and the figure beside it as PNG."""
        head = self.to_json() | {"provenance": files.provenance(**self.provenance)}
        note = ENVELOPE.note(head=json.dumps(head, ensure_ascii=False))
        files.save_tensors(path, {"pairs": self.pairs, "shuffled": self.shuffled}, note)
        from clew.intervention.audit_figure import draw

        files.write_bytes(Path(path).with_suffix(".png"), draw(self))

    @classmethod
    def load(cls, path: Path | str) -> Audit:
        """Read an audit; FileError when the file is truncated, foreign or of a newer schema."""
        note = files.load_note(path)
        ENVELOPE.check_note(note, path)
        try:
            head = json.loads(note["head"])
            lines = {
                name: Line(name=name, **{kind: _agreement(value[kind]) for kind in KINDS})
                for name, value in head["lines"].items()
            }
            tensors = files.load_tensors(path)
            return cls(
                prompts=tuple(head["prompts"]),
                lines=lines,
                tokens={name: _agreement(value) for name, value in head["tokens"].items()},
                curves=tuple(Curves.from_json(value) for value in head["curves"]),
                scores=Scores(*(number(head.get("scores", {}).get(name)) for name in ("replacement", "completeness"))),
                marks=Marks(**{k: number(v) for k, v in marks.items()}) if (marks := head.get("marks")) else None,
                pairs=tensors["pairs"],
                shuffled=tensors.get("shuffled", torch.zeros(0)),
                **{name: head[name] for name in ("subject", "dictionary", "nodes", "seconds", "provenance")},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(f"{path} lacks part of an audit or holds a damaged one ({error})") from error


def _ranks(agreement: Agreement) -> str:
    low = agreement.spearman.low
    return "well" if low >= HOLDS else "in part" if low >= PARTLY else "badly"


def _sizes(agreement: Agreement) -> str:
    """What the slope, measured over predicted, says of the predicted sizes."""
    slope = agreement.slope.value
    if math.isnan(slope):
        return "sizes unknown"
    if slope <= 0:
        return "sizes wrong"
    factor = max(slope, 1 / slope)
    return (
        "sizes about right" if factor <= RIGHT else f"sizes {factor:.1f} times too {'small' if slope > 1 else 'large'}"
    )


@accepts(AuditSettings)
def audit(subject: Subject, dictionary: Dictionary, graph: Graph, settings: AuditSettings) -> Audit:
    """Test a graph against the model that it explains; errors are those of `audit_all`."""
    return audit_with(subject, dictionary, [graph], settings)


@accepts(AuditSettings)
def audit_all(subject: Subject, dictionary: Dictionary, graphs: Iterable[Graph], settings: AuditSettings) -> Audit:
    """Test several graphs together: up to `nodes` features of each are ablated.

    InputError for a graph that cannot be measured, MismatchError for one of another Dictionary.
    """
    return audit_with(subject, dictionary, graphs, settings)


def audit_with(subject: Subject, dictionary: Dictionary, graphs: Iterable[Graph], settings: AuditSettings) -> Audit:
    """`audit_all` with its settings as a value; InputError when there is no graph."""
    started = time.perf_counter()
    findings = [examine(subject, dictionary, graph, settings) for graph in graphs]
    if not findings:
        raise InputError("there is no graph to audit: give at least one")
    table = _joined(findings)
    best = "exact" if "exact" in table else "predicted"
    return Audit(
        prompts=tuple(finding.prompt for finding in findings),
        subject=subject.name,
        dictionary=dictionary.name,
        nodes=sum(len(finding.nodes) for finding in findings),
        lines=dict(_lines(table, findings[0].n_layers)),
        tokens=_tokens(findings),
        curves=_mean_curves(findings),
        scores=_mean_scores(findings),
        marks=_marks(table),
        pairs=torch.stack([table[name] for name in (best, "measured", "distance", "target")], 1).float(),
        shuffled=table["shuffled.0"].float(),
        seconds=time.perf_counter() - started,
        provenance={"nodes": settings.nodes, "seed": settings.seed, **dictionary.other_model},
    )


# --- from findings to figures -----------------------------------------------------------------------------------------


def _marks(table: Mapping[str, Tensor]) -> Marks | None:
    if "exact" not in table:
        return None
    outputs = table["target"] == 1
    return marks_of(*(table[name][outputs] for name in ("exact", "second", "measured")))


def _joined(findings: Sequence[Findings]) -> dict[str, Tensor]:
    """All pairs in one table; `cluster` is the source, or the prompt where there are several."""
    clusters = [
        torch.full_like(finding.columns["source"], number) if len(findings) > 1 else finding.columns["source"]
        for number, finding in enumerate(findings)
    ]
    table = {name: torch.cat([finding.columns[name] for finding in findings]) for name in findings[0].columns}
    return table | {"cluster": torch.cat(clusters).long()}


def _lines(table: Mapping[str, Tensor], n_layers: int) -> Iterable[tuple[str, Line]]:
    everything = torch.ones_like(table["target"], dtype=torch.bool)

    def line(name: str, says: str, is_so: str, rows: Tensor = everything) -> tuple[str, Line]:
        kinds = {}
        for kind, target in zip(KINDS, (1, 0), strict=True):
            chosen = rows & (table["target"] == target) & ~torch.isnan(table[says]) & ~torch.isnan(table[is_so])
            kinds[kind] = agreement(table[says][chosen], table[is_so][chosen], table["cluster"][chosen])
        return name, Line(name=name, **kinds)

    yield line("total", "predicted", "measured")
    if "effects" in table:
        yield line("effects", "effects", "measured")
        yield line("exact", "exact", "measured")
    yield line("influential", "predicted", "measured", table["influential"])
    yield line("random", "predicted", "measured", ~table["influential"])
    for distance in range(1, n_layers + 1):
        yield line(f"distance.{distance}", "predicted", "measured", table["distance"] == distance)
        if "exact" in table:
            yield line(f"exact.distance.{distance}", "exact", "measured", table["distance"] == distance)
    yield line("gradient", "gradient", "measured")
    yield line("second", "second", "measured")
    yield line("activation", "activation", "measured")
    yield _shuffled(line)
    for name in table:
        if name.startswith("e+") and name.endswith(".measured"):
            e = name.removesuffix(".measured")
            yield line(e, f"{e}.predicted", name)
            if "exact" in table:
                yield line(f"exact.{e}", f"{e}.exact", name)
        elif name.startswith(("released.", "frozen.")):
            yield line(name, "predicted", name)


def _shuffled(line: Callable[..., tuple[str, Line]]) -> tuple[str, Line]:
    """The mean over several shuffles, so that no lucky one stands for all."""
    lines = [line("shuffled", f"shuffled.{number}", "measured")[1] for number in range(SHUFFLES)]

    def mean(kind: str, name: str) -> Interval:
        values = [getattr(getattr(shuffle, kind), name) for shuffle in lines]
        return Interval(*(sum(getattr(v, end) for v in values) / len(values) for end in ("value", "low", "high")))

    kinds = {
        kind: Agreement(
            pairs=getattr(lines[0], kind).pairs,
            **{name: mean(kind, name) for name in ("spearman", "slope", "sign_errors")},
        )
        for kind in KINDS
    }
    return "shuffled", Line(name="shuffled", **kinds)


def _tokens(findings: Sequence[Findings]) -> dict[str, Agreement]:
    if not all(finding.tokens for finding in findings):
        return {}
    table = {name: torch.cat([finding.tokens[name] for finding in findings]) for name in findings[0].tokens}
    sizes = [len(finding.tokens["effect"]) for finding in findings]
    many = torch.repeat_interleave(torch.arange(len(findings)), torch.tensor(sizes))
    cluster = many if len(findings) > 1 else torch.arange(sizes[0])
    return {name: agreement(table[name], table[f"{name}.neurons"], cluster) for name in ("effect", "influence")}


def _mean_curves(findings: Sequence[Findings]) -> tuple[Curves, ...]:
    """Curves of one prompt as they are; of several, the mean area stands for curves whose sizes differ."""
    if len(findings) == 1:
        return findings[0].curves
    return tuple(mean_curves([finding.curves[i] for finding in findings]) for i in range(len(findings[0].curves)))


def _mean_scores(findings: Sequence[Findings]) -> Scores:
    def mean(name: str) -> float:
        return sum(getattr(finding.scores, name) for finding in findings) / len(findings)

    return Scores(mean("replacement"), mean("completeness"))


# --- to and from plain values -----------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Without NaN, which JSON does not have."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(member) for member in value] if isinstance(value, list | tuple) else value


def _agreement(value: Mapping[str, Any]) -> Agreement:
    numbers = {name: Interval(*map(number, value[name])) for name in ("spearman", "slope", "sign_errors")}
    return Agreement(pairs=value["pairs"], **numbers)
