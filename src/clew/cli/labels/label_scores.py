"""What came of `clew label`: labels, their scores by a judge that costs nothing, and how both are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clew.cli.progress_bar import bar
from clew.cli.tables import table
from clew.features.atlas import Atlas
from clew.features.label import UNCLEAR, Label, Score
from clew.ids import FeatureId
from clew.labels.endpoint import Spent
from clew.labels.judges import Judge, MeaningJudge, TokenJudge
from clew.labels.scoring import ScoreSummary, score_labels, summarise
from clew.labels.sentence_encoder import SentenceEncoder
from clew.labels.store import LabelStore
from clew.progress import Progress

_NAMED = 5  # failures that are printed
_TOGETHER = 500  # labels between two writes
_FEW = 50  # labels that are too few to be each other's null


@dataclass
class LabelOutcome:
    """What came of a command so far."""

    labels: list[Label] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: str = ""
    fruitless: str = ""
    """Why nothing came of any call, if that is so."""
    spent: Spent | None = None


def local_judge(name: str) -> Judge | None:
    """A judge that needs no language model; None where nobody is to judge."""
    if name == "minilm":
        return MeaningJudge(SentenceEncoder())
    return TokenJudge() if name == "tokens" else None


def null_pool(atlas: Atlas, store: LabelStore) -> list[str]:
    """Texts that say something, of which nulls are drawn: all labels in the file, and what the rules say."""
    return sorted({*store.texts(), *atlas.features_by_rule} - {UNCLEAR})


def texts_by_feature(atlas: Atlas, store: LabelStore, features: Iterable[FeatureId]) -> dict[FeatureId, set[str]]:
    """Every label of each feature: none of them is a null for another label of the same feature."""
    rules = {feature: {label.text} for feature, label in atlas.rules(features).items()}
    return {feature: texts | {label.text for label in store.of(feature)} for feature, texts in rules.items()}


def scored(atlas: Atlas, store: LabelStore, labels: Sequence[Label], judge: Judge | None) -> list[Score]:
    """Score labels that this judge has not scored, and keep that; of a few labels the nulls are drawn from all."""
    if judge is None:
        return []
    scores = [score for label in labels for score in label.scores if score.judge == judge.name]
    by_feature = {label.feature: label for label in labels if all(s.judge != judge.name for s in label.scores)}
    pool, texts = None, None
    if len(labels) <= _FEW:
        pool, texts = null_pool(atlas, store), texts_by_feature(atlas, store, by_feature)
    waiting: dict[int, tuple[Score, ...]] = {}
    with bar("scoring", len(by_feature)) as report:
        for done, (label, own) in enumerate(score_labels(by_feature, atlas.__getitem__, judge, pool, texts), 1):
            waiting[number_of(label)] = own
            scores += own
            if len(waiting) == _TOGETHER:
                store.score(waiting)
                waiting = {}
                report(Progress(what="scoring", done=done, of=len(by_feature), unit="labels"))
    store.score(waiting)
    return scores


def number_of(label: Label) -> int:
    """Of a label that is in a store."""
    assert label.id is not None
    return label.id


# --- printing -------------------------------------------------------------------------------------------------------


def money(spent: Spent) -> str:
    """What was spent, or will be, in words."""
    money = f", {spent.money:.4g} in money" if spent.money else ""
    return f"{spent.calls} calls, {spent.tokens} tokens{money}"


def print_outcome(outcome: LabelOutcome, labels: Path, as_json: bool) -> None:
    """Print an outcome, as text or as JSON."""
    summaries = summarise(outcome.scores)
    clear = sum(label.clear for label in outcome.labels)
    if as_json:
        value: dict[str, Any] = {"labelled": len(outcome.labels), "clear": clear, "labels": str(labels)}
        value["scores"] = [asdict(summary) for summary in summaries]
        if outcome.spent is not None:
            value |= {
                "failures": outcome.failures,
                "fruitless": outcome.fruitless,
                "stopped": outcome.stopped,
                "spent": asdict(outcome.spent),
            }
        print(json.dumps(value, ensure_ascii=False, indent=1))
        return
    console = Console(highlight=False)
    if len(outcome.labels) == 1:
        console.print(f"{outcome.labels[0].feature}: {outcome.labels[0].text}", markup=False)
    else:
        share = f" ({clear / len(outcome.labels):.0%})" if outcome.labels else ""
        line = f"{len(outcome.labels)} labels in {labels}, {clear} of them clear{share}."
        console.print(line, soft_wrap=True)  # a long path stays whole, to be copied
    if summaries:
        console.print(_score_table(summaries))
    for failure in outcome.failures[:_NAMED]:
        console.print(f"no label: {failure}", markup=False)
    if len(outcome.failures) > _NAMED:
        console.print(f"no label: {len(outcome.failures) - _NAMED} more")
    if outcome.spent is not None:
        console.print(f"Spent: {money(outcome.spent)}.")
    if outcome.stopped:
        console.print(outcome.stopped[0].upper() + outcome.stopped[1:] + ".")


def _score_table(summaries: Sequence[ScoreSummary]) -> Table:
    shown = table("test", "judge", ">labels", ">score", "95 %", ">null", ">above null")
    for row in summaries:
        between = f"{row.low:.3f} to {row.high:.3f}" if row.labels > 1 else ""
        null = "–" if row.null is None else f"{row.null:.3f}"
        above = "–" if row.above_null is None else f"{row.above_null:.0%}"
        shown.add_row(row.test, row.judge, str(row.labels), f"{row.mean:.3f}", between, null, above)
    return shown
