"""`clew series explain`: what in a series made the answer, or what would have changed it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew import files
from clew.cli.options import JsonOption, Only, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.progress_bar import bar
from clew.cli.series.source import DataOption, SeriesSource, chosen_cases
from clew.cli.tables import table
from clew.errors import InputError
from clew.timeseries.answers import ATTRIBUTION, COUNTERFACTUAL, Attribution, Counterfactual
from clew.timeseries.explain_series import ExplainSettings, explain_with
from clew.timeseries.figures import save_picture
from clew.timeseries.labelled_series import LabelledSeries
from clew.timeseries.methods import METHODS, method_named
from clew.web.series import series_page

_RUNS = 6  # runs of points that are listed
MethodOption = Annotated[
    str,
    typer.Option(
        help="Attributions: "
        + ", ".join(m.name for m in METHODS.values() if m.kind == "attribution")
        + ". Counterfactuals: "
        + ", ".join(m.name for m in METHODS.values() if m.kind == "counterfactual")
        + "."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the cases."""

    method: MethodOption = "integrated-gradients"
    index: Annotated[
        list[int] | None, typer.Option(help="The number of a test case; may be repeated.", show_default="0")
    ] = None
    target: Annotated[
        str | None,
        typer.Option(help="The class that is asked about; the predicted one, or for counterfactuals the most probable "
                     "other, when left out.", show_default=False),
    ] = None  # fmt: skip
    baseline: Annotated[
        str, typer.Option(help="What stands for a point that is not there: mean, zero, reference, or a number.")
    ] = "mean"
    segments: Annotated[
        str | None,
        typer.Option(help="Points that go together: points, a count of uniform segments, changes:8, shapelets:20.",
                     show_default=False),
    ] = None  # fmt: skip


@with_settings()
def explain(
    data: DataOption,
    source: SeriesSource,
    asked: Asked,
    settings: Annotated[ExplainSettings, Only("unit", "samples", "seed")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw it into this file: .png, .svg or .html.", show_default=False)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep the answer in this file, as JSON.", show_default=False)
    ] = None,
    overwrite: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which points of a series made a model's answer, or which change would have changed it, and test it.

    Example: `clew series explain --data GunPoint --index 0 --method integrated-gradients --plot out.png`
    """
    method = method_named(asked.method)
    check_plot(plot, replace_files=overwrite)
    if save is not None:
        kind = (ATTRIBUTION if method.kind == "attribution" else COUNTERFACTUAL).format
        check_outputs([OutputFile("--save", save, kind)], replace=overwrite)
    train, test, model = source.load(data, settings.seed)
    numbers = chosen_cases(test, asked.index)
    with bar(method.name) as report:
        answer = explain_with(
            model, test.values[numbers], replace(
                settings, method=method.name, target=asked.target, baseline=_baseline(asked.baseline),
                segments=asked.segments, reference=train.values, report=report,
            ),
        )  # fmt: skip
    if save is not None:
        answer.save(save)
    if plot is not None:
        write_plot(answer, plot)
    if as_json:
        print(json.dumps(answer.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        print_answer(answer, test, numbers.tolist())


def _baseline(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def check_plot(path: Path | None, *, replace_files: bool) -> None:
    """InputError for an ending that is not drawn, FileError for a file that is another's."""
    if path is None:
        return
    kinds = {".png": files.PICTURE, ".svg": None, ".html": files.PAGE}
    ending = files.ending(path)
    if ending not in kinds:
        raise InputError(f"--plot {path}: give a name that ends in .png, .svg or .html")
    kind = kinds[ending]
    if kind is None and path.exists() and not replace_files:
        raise InputError(f"--plot {path} is there already: it is left as it is, give another name or --replace")
    check_outputs([OutputFile("--plot", path, kind)], replace=replace_files)


def write_plot(answer: Attribution | Counterfactual, path: Path) -> None:
    """Draw an answer into a picture or a page."""
    if files.ending(path) == ".html":
        files.write_text(path, series_page(answer))
    else:
        save_picture(answer, path)


def print_answer(answer: Attribution | Counterfactual, test: LabelledSeries | None, numbers: list[int]) -> None:
    """Print what the model says, the strongest runs of points or changes, and the test beside its null."""
    console = Console(highlight=False)
    for case, number in enumerate(numbers):
        name = f"case {number}" if test is None else f"{test.name}, case {number} (labelled {test.labels[number]})"
        if isinstance(answer, Attribution):
            _print_attribution(console, answer, case, name)
        else:
            _print_counterfactual(console, answer, case, name)
    if isinstance(answer, Counterfactual):
        for method, row in answer.summary().items():
            console.print(
                f"{method}: valid {row['valid']:.2f}, L1 {row['L1']:.3g}, L2 {row['L2']:.3g}, changed "
                f"{row['changed']:.0%}", markup=False,
            )  # fmt: skip
    for note in answer.notes:
        console.print(f"note: {note}", style="dim", markup=False)


def _print_attribution(console: Console, answer: Attribution, case: int, name: str) -> None:
    what = answer.units if answer.units in ("logit", "value") else "probability"
    console.print(Text(f"{name}: the model says {answer.predicted[case]}", style="bold"))
    console.print(
        f"{answer.method} to {answer.target[case]} ({what} {answer.scores[case]:.3f}), baseline {answer.baseline}, "
        f"segments {answer.segments}", markup=False,
    )  # fmt: skip
    shown = table("channel", "times", f">{answer.units}")
    for channel, start, end, value in answer.runs(case)[:_RUNS]:
        shown.add_row(str(channel), f"{start} to {end}", f"{value:+.4f}")
    console.print(shown)
    if answer.residual is not None:
        total = answer.values[case].sum()
        console.print(f"sum of all points {total:+.4f}, off the output's difference by {answer.residual[case]:+.4f}")
    if answer.deleted is not None and answer.deleted_null is not None:
        console.print(
            f"tested: without the tenth of points that matters most the output is {answer.deleted[case]:.3f}, without "
            f"as many elsewhere {answer.deleted_null[case]:.3f}", soft_wrap=True,
        )  # fmt: skip
    console.print()


def _print_counterfactual(console: Console, answer: Counterfactual, case: int, name: str) -> None:
    p = answer.probabilities[case, answer.classes.index(answer.target[case])]
    verdict = "valid" if answer.valid[case] else "not valid: the model keeps its answer"
    console.print(Text(f"{name}: {answer.origin[case]} to {answer.target[case]}, {verdict}", style="bold"))
    runs = answer.changes(case)
    listed = ", ".join(f"channel {channel} {start} to {end}" for channel, start, end in runs[:_RUNS])
    more = f" and {len(runs) - _RUNS} more runs" if len(runs) > _RUNS else ""
    console.print(f"probability {p:.3f}; changed: {listed or 'nothing'}{more}", markup=False, soft_wrap=True)
    console.print()
