"""What came of `clew label`: labels, their scores by a judge that costs nothing, and how both are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from clew.cli.kits import bar, table
from clew.features.label import UNCLEAR

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.features.label import Label, Score
    from clew.ids import FeatureId
    from clew.labels.endpoint import Spent
    from clew.labels.judges import Judge
    from clew.labels.scoring import ScoreSummary
    from clew.labels.store import LabelStore

_NAMED = 5  # failures that are printed
_TOGETHER = 500  # labels between two writes
_FEW = 50  # labels that are too few to be each other's null


@dataclass
class Outcome:
    """What came of a command so far."""

    made: list[Label] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: str = ""
    spent: Spent | None = None


def local_judge(name: str) -> Judge | None:
    """A judge that needs no language model; None where nobody is to judge."""
    from clew.labels.judges import MeaningJudge, TokenJudge

    if name == "minilm":
        from clew.labels.sentence_encoder import Encoder

        return MeaningJudge(Encoder())
    return TokenJudge() if name == "tokens" else None


def null_pool(atlas: Atlas, store: LabelStore) -> list[str]:
    """Texts that say something, of which nulls are drawn: all labels in the file, and what the rules say."""
    return sorted({*store.texts(), *atlas.features_by_rule} - {UNCLEAR})


def own_texts(atlas: Atlas, store: LabelStore, features: Iterable[FeatureId]) -> dict[FeatureId, set[str]]:
    """All that is said of each feature: no label of it is a null for another of its own."""
    rules = {feature: {label.text} for feature, label in atlas.rules(features).items()}
    return {feature: said | {label.text for label in store.of(feature)} for feature, said in rules.items()}


def scored(atlas: Atlas, store: LabelStore, made: Sequence[Label], judge: Judge | None) -> list[Score]:
    """Score labels and keep the scores; of a few labels the nulls are drawn from all that there are."""
    from clew.labels.scoring import score_labels

    if judge is None:
        return []
    labels = {label.feature: label for label in made}
    scores: list[tuple[Score, ...]] = []
    few = len(made) <= _FEW
    pool, own = (null_pool(atlas, store), own_texts(atlas, store, labels)) if few else (None, None)
    waiting: dict[int, tuple[Score, ...]] = {}
    with bar("scoring", len(labels)) as report:
        for label, found in score_labels(labels, atlas.__getitem__, judge, pool, own):
            waiting[number_of(label)] = found
            scores.append(found)
            if len(waiting) == _TOGETHER:
                store.score(waiting)
                waiting = {}
                report(len(scores), len(labels))
    store.score(waiting)
    return [score for found in scores for score in found]


def number_of(label: Label) -> int:
    """Of a label that is in a store."""
    assert label.id is not None
    return label.id


# --- what is said ---------------------------------------------------------------------------------------------------


def money(spent: Spent) -> str:
    """What was spent, or will be, in words."""
    money = f", {spent.money:.4g} in money" if spent.money else ""
    return f"{spent.calls} calls, {spent.tokens} tokens{money}"


def say(outcome: Outcome, labels: Path, as_json: bool) -> None:
    """Print it, as a person or a machine reads it."""
    from clew.labels.scoring import summarise

    summaries = summarise(outcome.scores)
    clear = sum(label.clear for label in outcome.made)
    if as_json:
        value: dict[str, Any] = {"labelled": len(outcome.made), "clear": clear, "labels": str(labels)}
        value["scores"] = [asdict(summary) for summary in summaries]
        if outcome.spent is not None:
            value |= {"failures": outcome.failures, "stopped": outcome.stopped, "spent": asdict(outcome.spent)}
        print(json.dumps(value, ensure_ascii=False, indent=1))
        return
    console = Console(highlight=False)
    if len(outcome.made) == 1:
        console.print(f"{outcome.made[0].feature}: {outcome.made[0].text}", markup=False)
    else:
        share = f" ({clear / len(outcome.made):.0%})" if outcome.made else ""
        console.print(f"{len(outcome.made)} labels in {labels}, {clear} of them clear{share}.")
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
    for one in summaries:
        between = f"{one.low:.3f} to {one.high:.3f}" if one.labels > 1 else ""
        null = "–" if one.null is None else f"{one.null:.3f}"
        above = "–" if one.above_null is None else f"{one.above_null:.0%}"
        shown.add_row(one.test, one.judge, str(one.labels), f"{one.mean:.3f}", between, null, above)
    return shown
