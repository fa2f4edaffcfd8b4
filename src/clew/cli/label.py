"""`clew label`: name features, by rule, by a language model or by hand; `clew labels`: look at labels, share them."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clew.cli.common import WORKSPACE, JsonOption, KitOption, LabelsOption, bar, table
from clew.cli.features import AtlasOption, console_for_cards, open_atlas
from clew.cli.options import with_settings
from clew.errors import InputError
from clew.features.label import UNCLEAR

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.features.config import EndpointConfig
    from clew.features.endpoint import Spent
    from clew.features.judging import Judge
    from clew.features.label import Label, Score
    from clew.features.labels import LabelStore
    from clew.features.model_labeller import Asker
    from clew.features.scoring import Summary
    from clew.ids import FeatureId

_NAMED = 5  # failures and broken lines that are printed
_TOGETHER = 500  # features between two writes
_SAMPLE = 100  # cards from which the cost is estimated
_FEW = 50  # labels that are too few to be each other's null

app = typer.Typer(help="Labels: look at them, share them.", no_args_is_help=True)


@with_settings("clew.features.config:EndpointConfig")
def label(
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Features to label, for example L3/120; left out, all.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Your own label, for one feature.")] = None,
    author: Annotated[str | None, typer.Option(help="Your name; left out, that of your account.")] = None,
    judge: Annotated[
        str, typer.Option(help="Who scores: tokens (words of the label), minilm (meaning), model (--model), none.")
    ] = "tokens",
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="Name of the environment variable that holds the endpoint's key.")
    ] = None,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Label features: by rules from their cards, which costs nothing; with --endpoint by a language model; with --text
    by hand. Every label is scored on contexts that its author did not see, beside labels of other features.

    Example: `clew label L3/120 --text "names of capitals"`
    """
    from clew.ids import FeatureId

    if judge not in ("tokens", "minilm", "model", "none"):
        raise InputError(f"there is no judge {judge!r}: choose tokens, minilm, model or none")
    run = _model_run(settings, key_env, judge)
    if text is not None and (run is not None or len(features or []) != 1):
        raise InputError('--text labels one feature: clew label L3/120 --text "names of capitals"')
    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        wanted = [FeatureId.parse(name) for name in features] if features else list(opened)
        for feature in features or ():
            opened.number(feature)  # an unknown one is refused before anything is written
        if run is not None:
            outcome = _by_model(opened, store, wanted, run)
        else:
            local = _local_judge(judge)
            made = _by_rule(opened, store, wanted) if text is None else [_by_hand(store, wanted[0], text, author)]
            outcome = _Outcome(made=made, scores=_scored(opened, store, made, local))
    _say(outcome, labels, as_json)


@dataclass(frozen=True)
class _ModelRun:
    config: EndpointConfig
    key: str
    judge: str


@dataclass
class _Outcome:
    """What came of a command so far."""

    made: list[Label] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: str = ""
    spent: Spent | None = None


@contextmanager
def store_of(labels: Path, atlas: Atlas) -> Iterator[LabelStore]:
    """The labels of an atlas' dictionary."""
    from clew.features.labels import LabelStore

    with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
        yield store


def _model_run(settings: dict[str, Any], key_env: str | None, judge: str) -> _ModelRun | None:
    from clew.features.config import EndpointConfig

    if "endpoint" not in settings:
        if settings or key_env is not None or judge == "model":
            raise InputError("a language model needs its address and name: give --endpoint and --model")
        return None
    if "model" not in settings:
        raise InputError("--endpoint needs the name of a model there: give --model")
    return _ModelRun(EndpointConfig(**settings), _key(key_env), judge)


def _key(name: str | None) -> str:
    if name is None:
        return ""
    if not os.environ.get(name):
        raise InputError(f"the environment variable {name} holds no key: set it, or leave --key-env out")
    return os.environ[name]


def _local_judge(name: str) -> Judge | None:
    from clew.features.judging import MeaningJudge, TokenJudge

    if name == "minilm":
        from clew.features.meaning import Encoder

        return MeaningJudge(Encoder())
    return TokenJudge() if name == "tokens" else None


# --- who labels -----------------------------------------------------------------------------------------------------


def _by_hand(store: LabelStore, feature: FeatureId, text: str, author: str | None) -> Label:
    from clew.features.label import Label

    made = Label(feature=feature, text=text, kind="person", author=author or getpass.getuser(), method="by hand")
    (number,) = store.add([made])
    return changed(made, id=number)


def _by_rule(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId]) -> list[Label]:
    from clew.features.heuristic import heuristic_label

    found: list[Label] = []
    with bar("labelling", len(features)) as report:
        for start in range(0, len(features), _TOGETHER):
            made = [heuristic_label(atlas[feature]) for feature in features[start : start + _TOGETHER]]
            found += [changed(label, id=number) for label, number in zip(made, store.add(made), strict=True)]
            report(len(found), len(features))
    return found


def _by_model(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId], run: _ModelRun) -> _Outcome:
    """Label what has no label by this model yet, and score it; what the budget leaves out waits for another run."""
    from clew.features.endpoint import BudgetError, Endpoint
    from clew.features.model_labeller import Asker, estimate, lacking, readable

    wanted = list(lacking(features, store, run.config.model))
    outcome = _Outcome()
    with Endpoint(run.config, run.key) as endpoint:
        expected = estimate(readable(map(atlas.__getitem__, wanted[:_SAMPLE])), len(wanted), endpoint)
        typer.echo(f"At most {_money(expected)}{_budget(run.config)}, scores not counted.", err=True)
        try:
            _ask(atlas, store, wanted, Asker(endpoint, store), run, outcome)
        except BudgetError as error:
            outcome.stopped = f"the budget is used up ({error}): run again to go on where this stopped"
        outcome.spent = endpoint.spent
    return outcome


def _ask(
    atlas: Atlas, store: LabelStore, wanted: Sequence[FeatureId], asker: Asker, run: _ModelRun, outcome: _Outcome
) -> None:
    from clew.features.model_labeller import label_with_model, score_with_model

    cards = map(atlas.__getitem__, wanted)
    with _spending(len(wanted)) as report:
        for found in label_with_model(cards, store, asker):
            if found.label is None:
                outcome.failures.append(f"{found.card.feature}: {found.failure}")
            else:
                outcome.made.append(found.label)
            report(found.spent)
    if run.judge != "model":
        outcome.scores = _scored(atlas, store, outcome.made, _local_judge(run.judge))
        return
    labels = {label.feature: label for label in outcome.made}
    pool = [text for text in store.texts() if text != UNCLEAR]
    with _spending(len(labels)) as report:
        for label, scores in score_with_model(labels, map(atlas.__getitem__, labels), asker, pool):
            store.score({_number(label): scores})
            outcome.scores += scores
            report(asker.endpoint.spent)


def _scored(atlas: Atlas, store: LabelStore, made: Sequence[Label], judge: Judge | None) -> list[Score]:
    """Score labels and keep the scores; of a few labels the nulls are drawn from all in the file."""
    from clew.features.scoring import score_labels

    if judge is None:
        return []
    labels = {label.feature: label for label in made}
    scores: list[tuple[Score, ...]] = []
    pool = None if len(made) > _FEW else [text for text in store.texts() if text != UNCLEAR]
    waiting: dict[int, tuple[Score, ...]] = {}
    with bar("scoring", len(labels)) as report:
        for label, found in score_labels(labels, atlas.__getitem__, judge, pool):
            waiting[_number(label)] = found
            scores.append(found)
            if len(waiting) == _TOGETHER:
                store.score(waiting)
                waiting = {}
                report(len(scores), len(labels))
    store.score(waiting)
    return [score for found in scores for score in found]


def _number(label: Label) -> int:
    assert label.id is not None
    return label.id


# --- what is said ---------------------------------------------------------------------------------------------------


def _money(spent: Spent) -> str:
    money = f", {spent.money:.4g} in money" if spent.money else ""
    return f"{spent.calls} calls, {spent.tokens} tokens{money}"


def _budget(config: EndpointConfig) -> str:
    limits = [f"{config.budget_tokens} tokens"] if config.budget_tokens is not None else []
    limits += [f"{config.budget_money:g} in money"] if config.budget_money is not None else []
    return f"; the budget is {' and '.join(limits)}" if limits else "; there is no budget"


@contextmanager
def _spending(of: int) -> Iterator[Callable[[Spent], None]]:
    """A bar that also shows what is spent, on the error stream."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[spent]}")
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as drawn:
        task = drawn.add_task("asking", total=of, spent="")
        yield lambda spent: drawn.update(task, advance=1, spent=_money(spent))


def _say(outcome: _Outcome, labels: Path, as_json: bool) -> None:
    from clew.features.scoring import summarise

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
        console.print(f"Spent: {_money(outcome.spent)}.")
    if outcome.stopped:
        console.print(outcome.stopped[0].upper() + outcome.stopped[1:] + ".")


def _score_table(summaries: Sequence[Summary]) -> Table:
    shown = table("test", "judge", ">labels", ">score", "95 %", ">null", ">above null")
    for one in summaries:
        between = f"{one.low:.3f} to {one.high:.3f}" if one.labels > 1 else ""
        null = "–" if one.null is None else f"{one.null:.3f}"
        above = "–" if one.above_null is None else f"{one.above_null:.0%}"
        shown.add_row(one.test, one.judge, str(one.labels), f"{one.mean:.3f}", between, null, above)
    return shown


# --- clew labels ----------------------------------------------------------------------------------------------------


@app.command("show")
def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the labels of a feature, the one that stands for it first.

    Example: `clew labels show L3/120 --history`
    """
    from clew.features.exchange import as_json as written
    from clew.ids import FeatureId

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        wanted = FeatureId.parse(feature)
        opened.number(wanted)
        found = store.of(wanted, history=history)
    if as_json:
        print(json.dumps([written(label) for label in found], ensure_ascii=False, indent=1))
        return
    shown = table("label", "by", "method", "date", "scores", "rests on")
    for label in found:
        scores = ", ".join(f"{s.test} {s.value:.2f} [{s.low:.2f}, {s.high:.2f}]{_null(s)}" for s in label.scores)
        who = f"{label.author} ({label.kind})"
        shown.add_row(*map(Text, (label.text, who, label.method, label.date[:10], scores, label.note)))
    console_for_cards().print(shown if found else f"{feature} has no label: give it one with clew label")


def _null(score: Score) -> str:
    return "" if score.null is None else f" null {score.null:.2f}"


@app.command("export")
def export(
    path: Annotated[Path, typer.Argument(help="The file to write: labels as JSONL.")],
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of an export of that name.")] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
) -> None:
    """Write labels to a file that others can import; a file that is no such export is never replaced.

    Example: `clew labels export ours.jsonl`
    """
    from clew.features.exchange import export_labels

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        count = export_labels(store, path, dictionary=opened.dictionary, history=history, replace=replace)
    print(f"{count} labels in {path}")


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file that `clew labels export` wrote.")],
    keep_rest: Annotated[
        bool, typer.Option("--keep-rest", help="Leave broken lines out instead of adding nothing.")
    ] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
) -> None:
    """Add the labels of a file; yours stay as they are.

    Example: `clew labels import theirs.jsonl`
    """
    from clew.features.exchange import import_labels

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        found = import_labels(
            store, path, dictionary=opened.dictionary, keep_rest=keep_rest, exists=opened.__contains__
        )
    print(f"{found.labels} labels from {path}")
    for number, reason in found.broken[:_NAMED]:
        print(f"line {number} left out: {reason}")
    if len(found.broken) > _NAMED:
        print(f"{len(found.broken) - _NAMED} more lines left out")
