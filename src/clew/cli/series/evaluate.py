"""`clew series evaluate`: methods beside nulls, on planted causes or on data."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from clew.cli.options import JsonOption, Only, with_settings
from clew.cli.progress_bar import bar
from clew.cli.series.source import SeriesSource, chosen_cases
from clew.cli.tables import table
from clew.errors import InputError
from clew.progress import Report
from clew.timeseries.evaluate import SeriesEvaluation, evaluate_methods, evaluate_planted
from clew.timeseries.explain_series import ExplainSettings
from clew.timeseries.labelled_series import BUNDLED
from clew.timeseries.methods import method_named
from clew.timeseries.nets import train_state_net
from clew.timeseries.planted_series import PLANTED, hidden_markov, planted
from clew.timeseries.states import evaluate_states

_METHODS = "integrated-gradients,occlusion,feature-ablation,gradient"
_TRUTH = ("AUROC", "AUPRC", "AUP", "AUR")
_STATE_CASES, _STATE_EPOCHS = 200, 12


@with_settings()
def evaluate(
    data: Annotated[
        str,
        typer.Option(help=f"A planted set: {', '.join(PLANTED)}; or data: a file, {', '.join(BUNDLED)}."),
    ],
    source: SeriesSource,
    settings: Annotated[ExplainSettings, Only("unit", "samples", "seed")],
    methods: Annotated[str, typer.Option(help="Methods, with commas between them.")] = _METHODS,
    cases: Annotated[int, typer.Option(help="How many cases are explained.", min=1)] = 10,
    as_json: JsonOption = False,
) -> None:
    """Measure how right attributions are: on planted causes, by deletion and insertion, each beside nulls.

    Example: `clew series evaluate --data rare-feature --methods integrated-gradients,occlusion`
    """
    names = [method_named(name).name for name in methods.split(",") if name.strip()]
    shared: dict[str, Any] = {"unit": settings.unit, "samples": settings.samples, "seed": settings.seed}
    with bar("evaluating") as report:
        if data == "hidden-markov":
            _states(names, cases, shared, as_json, report)
            return
        if data in PLANTED:
            sizes = {} if data.startswith("rare") else {"cases": 200 + 2 * cases}
            found = evaluate_planted(
                planted(data, seed=settings.seed, **sizes), names, cases=cases, report=report, **shared
            )
        else:
            train, test, model = source.load(data, settings.seed)
            numbers = chosen_cases(test, None, cases)
            found = evaluate_methods(
                model, test.values[numbers], names, name=test.name, reference=train.values, report=report, **shared
            )
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False, indent=1, allow_nan=False))
    else:
        _print(found)


def _states(names: list[str], cases: int, shared: dict[str, Any], as_json: bool, report: Report) -> None:
    """The hidden-Markov truth: a recurrent net with a label at every time."""
    seed = shared["seed"]
    train, test = hidden_markov(_STATE_CASES, seed=seed), hidden_markov(cases, seed=seed + 1)
    if not names:
        raise InputError("--methods is empty: name at least one")
    net = train_state_net(train.values, train.labels, epochs=_STATE_EPOCHS, seed=seed, report=report)
    rows = evaluate_states(net, test, names, baseline="zero", report=report, **shared)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    shown = table("", *(f">{name}" for name in _TRUTH), title=f"hidden-markov, {cases} cases")
    for name, row in rows.items():
        shown.add_row(Text(name, style="none" if name in names else "dim"), *(f"{row[key]:.3f}" for key in _TRUTH))
    console = Console(highlight=False)
    console.print(shown)
    console.print(_READ, style="dim")


_READ = (
    "AUROC and AUPRC depend on the order of points alone: read them first. AUP and AUR also move with how a map is "
    "spread, so that noise may win on AUR."
)


def _print(found: SeriesEvaluation) -> None:
    console = Console(highlight=False)
    planted_set = found.scores[0].truth is not None
    truth = tuple(f">{name}" for name in _TRUTH) if planted_set else ()
    title = f"{found.name}, {found.cases} cases, deletion and insertion in {found.unit}"
    shown = table("", *truth, ">deletion", ">insertion", ">random weights", ">other seed", title=title)
    for score in found.scores:
        areas = [f"{score.truth[key]:.3f}" for key in _TRUTH] if score.truth else []
        shown.add_row(
            Text(score.name, style="dim" if score.null else "none"), *areas,
            f"{score.deletion.value:.3f}", f"{score.insertion.value:.3f}",
            _number(score.randomised), _number(score.stability),
        )  # fmt: skip
    console.print(shown)
    for name, reason in found.skipped.items():
        console.print(f"{name} was left out: {reason}", style="dim", markup=False, soft_wrap=True)
    console.print((_READ + " " if planted_set else "") + _LEGEND, style="dim", markup=False)


_LEGEND = (
    "Dim rows know nothing of the model (oracle: the truth). deletion: mean output while the most important points go, "
    "low is good; insertion: while they come, high is good; random weights, other seed: rank correlation with the maps "
    "of an untrained net (low is good) and of another seed (high is good)."
)


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.2f}"
