"""`clew eval`: a dictionary beside its nulls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clew import files
from clew.cli.kits import say_other_model
from clew.cli.options import JsonOption, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.prompts import lines_of
from clew.cli.tables import mean, table
from clew.errors import InputError
from clew.progress import Progress, Report
from clew.runs import evaluate as evaluation
from clew.runs.density_figure import density_figure
from clew.runs.evaluate import SHUFFLED, Assessment, within
from clew.runs.fidelity import DENSITY_EDGES
from clew.runs.options import EvaluateOptions
from clew.stats import Interval
from clew.training.corpus_config import BosChoice, CorpusConfig

NAMES = ("dictionary", "untrained", "shuffled weights")  # the columns, the dictionary first
BARS = "▁▂▃▄▅▆▇█"


@with_settings(EvaluateOptions, CorpusConfig, BosChoice)
def evaluate(
    dictionary: Annotated[
        str | None, typer.Argument(help="A run's folder, a dictionary folder or hub id; left out, the kit's own.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to trace, one a line; left out, the small world's or held-out text.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw how often features fire into this PNG.")] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Measure a dictionary on text that it was not trained on, beside two nulls: one never trained, one trained on a
    model that knows nothing.

    Example: `clew eval runs/clt`

    A dictionary in a run's folder is measured with the run's model, on the rows that the run held out.
    """
    if figure is not None:
        if figure.suffix.lower() != ".png":
            raise InputError(f"--figure is {figure}: it is drawn as PNG, give a name that ends in .png")
        check_outputs([OutputFile("--figure", figure, files.PICTURE)], replace=replace, inputs=[("--prompts", prompts)])
    if prompts is not None:
        settings["prompts"] = lines_of(prompts)
    with _stages() as report:
        assessments = evaluation.evaluate(dictionary, report=report, **settings)
    say_other_model(assessments[0].name, assessments[0].other_model)
    if figure is not None:
        files.write_figure(figure, density_figure([(a.name, a.evaluation) for a in assessments]))
    if as_json:
        print(json.dumps([assessment.to_json() for assessment in assessments], ensure_ascii=False, indent=1))
    else:
        print_assessments(assessments)


@contextmanager
def _stages() -> Iterator[Report]:
    """A line on the error stream with the stage of the work; where that is no terminal, only how training begins."""
    console = Console(stderr=True, highlight=False)
    with console.status("loading") if console.is_terminal else nullcontext() as status:

        def show(progress: Progress) -> None:
            if progress.what == SHUFFLED and not progress.done:
                console.print(
                    f"{progress.what}: {progress.of:,} steps; --null-steps takes fewer, --no-nulls leaves it out",
                    soft_wrap=True,
                )
            if status is not None:
                status.update(f"{progress.what}: {progress.done:,} of {progress.of:,}")

        yield show


# What is printed fits 80 columns


def print_assessments(assessments: Sequence[Assessment]) -> None:
    """Print every figure of a dictionary beside those of its nulls."""
    console = Console(highlight=False)
    first = assessments[0].evaluation
    console.print(f"{assessments[0].name} on {first.positions:,} positions of text that were held out", soft_wrap=True)
    for name, assessment in zip(NAMES[1:], assessments[1:], strict=False):
        console.print(f"{name}: {assessment.name}", style="dim", soft_wrap=True)
    for part in (_summary(assessments), _layers(assessments), _densities(assessments)):
        console.print("", part)
    if len(assessments) < len(NAMES):
        console.print("", "left out: a dictionary trained on the model with shuffled weights (--nulls)", style="dim")


def _summary(assessments: Sequence[Assessment]) -> Any:
    shown = table("", *(f">{name}" for name in NAMES[: len(assessments)]), title="All layers replaced at once")
    every = [a.evaluation for a in assessments]
    shown.add_row("divergence, nats", *(f"{e.kl:.4f}" for e in every))
    shown.add_row("agreement", *(f"{e.agreement:.4f}" for e in every))
    shown.add_row("where the model is sure", *(f"{e.agreement_sure:.4f} ({e.sure:.0%})" for e in every))
    shown.add_row("loss recovered", *(f"{e.replaced.loss_recovered:.4f}" for e in every))
    shown.add_row("mean relative error", *(f"{mean(e.nmse):.4f}" for e in every))
    shown.add_row("mean active", *(f"{mean(e.l0):.2f}" for e in every))
    shown.add_row("mean never fired", *(f"{mean(e.dead):.1%}" for e in every))
    if any(a.scores for a in assessments):
        scores = [a.scores for a in assessments]
        number = next(s.prompts for s in scores if s)
        for name in ("replacement", "completeness"):
            cells = [_with_margin(getattr(s, name)) if s else "" for s in scores]
            shown.add_row(f"{name}, {number} prompts", *cells)
    if hops := [a.hops for a in assessments if a.hops]:
        for name in ("share", "null"):
            cells = ["" if a.hops is None else _with_spread(getattr(a.hops, name)) for a in assessments]
            label = f"hops skipped, {hops[0].prompts} prompts" if name == "share" else "  by chance"
            shown.add_row(label, *cells)
    if told := [a.truth for a in assessments if a.truth]:
        for name, label in (("best", f"best feature's F1, {told[0].prompts} prompts"), ("each", "all features' F1")):
            truths = [a.truth for a in assessments]
            shown.add_row(label, *("" if t is None else _with_margin(getattr(t, name)) for t in truths))
            nulls = ["" if t is None else f"{getattr(t, name + '_null'):.4f}" for t in truths]
            shown.add_row("  shuffled labels", *nulls)
    return shown


def _with_spread(interval: Interval) -> str:
    """With half the width of an interval that need not be symmetric."""
    return f"{interval.value:.4f} ± {(interval.high - interval.low) / 2:.4f}"


def _with_margin(interval: Interval) -> str:
    return f"{interval.value:.4f} ± {within(interval):.4f}"


def _layers(assessments: Sequence[Assessment]) -> Any:
    alone = assessments[0].evaluation.by_layer
    columns = [">error", ">active", ">unfired", *([">nats", ">agreement", ">recovered"] if alone else [])]
    title = "By layer" + ("; nats of divergence to loss recovered with this layer alone replaced" if alone else "")
    shown = table("layer", "", *columns, title=title)
    for number, layer in enumerate(assessments[0].evaluation.layers):
        for name, assessment in zip(NAMES, assessments, strict=False):
            e = assessment.evaluation
            cells = [f"{e.nmse[number]:.4f}", f"{e.l0[number]:.2f}", f"{e.dead[number]:.1%}"]
            if alone:
                r = e.by_layer[number]
                cells += [f"{r.kl:.5f}", f"{r.agreement:.4f}", f"{r.loss_recovered:.4f}"]
            first = assessment is assessments[0]
            shown.add_row(f"L{layer}" if first else "", name, *cells, style=None if first else "dim")
    return shown


def _densities(assessments: Sequence[Assessment]) -> Any:
    """How often features fire: a bar for every half decade, as high as the number of features is beside the highest."""
    low, high = DENSITY_EDGES[0], DENSITY_EDGES[-1]
    title = f"Features by the share of positions they fire at, 1e{low:g} to 1e{high:g}, two bars a decade"
    shown = table("layer", *NAMES[: len(assessments)], title=title)
    for number, layer in enumerate(assessments[0].evaluation.layers):
        shown.add_row(f"L{layer}", *(bars(a.evaluation.density[number][1:]) for a in assessments))
    return shown


def bars(counts: Sequence[int]) -> str:
    """Counts as a line of bars; every count above zero has one."""
    most = max(max(counts), 1)
    return "".join(" " if not n else BARS[-(-n * len(BARS) // most) - 1] for n in counts)
