"""What the command line prints, as tables for a person in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from clew.attribution.summary import FeatureSummary, Summary
    from clew.organism.exam import ExamReport
    from clew.training.evaluate import Evaluation


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        number = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if number else "left", style="none", header_style="dim"
        )
    return table


def print_summary(summary: Summary, *, seconds: float, megabytes: float) -> None:
    """Print one traced prompt: tokens, outputs, scores, paths, features."""
    console = Console(highlight=False)
    console.print(Text(summary.prompt, style="bold"))
    console.print(Text(f"{summary.subject}, {summary.dictionary}", style="dim"))
    console.print(_tokens(summary.tokens), "", sep="\n")
    outputs = _table("next token", ">probability", "")
    for token, probability in summary.outputs[:5]:
        outputs.add_row(Text(repr(token)), f"{probability:.4f}", Text("█" * round(30 * probability), style="blue"))
    console.print(outputs, "")
    left = f" ({summary.n_left_out:,} more left out)" if summary.n_left_out else ""
    console.print(
        f"explains {', '.join(repr(t) for t in summary.targets)} with {summary.n_features:,} active features{left}\n"
        f"replacement {summary.replacement:.3f}   completeness {summary.completeness:.3f}   "
        f"share of error {summary.error_share:.1%}   of offsets {summary.offset_share:.1%}\n",
        markup=False,
    )
    paths = _table(">weight", "", title="Strongest paths")
    for path in summary.paths:
        style = "blue" if path.weight > 0 else "dark_orange"
        paths.add_row(Text(f"{path.weight:+.4f}", style=style), Text(" → ".join(path.words)))
    if summary.paths:
        console.print(paths, "")
    _print_features(console, "Input features (most of their input comes from tokens)", summary.input_features)
    _print_features(
        console, "Output features (most of their influence goes straight to the output)", summary.output_features
    )
    console.print(Text(f"{seconds:.2f} s, {megabytes:.0f} MB more memory at the peak\n", style="dim"))


def _tokens(tokens: tuple[str, ...]) -> Text:
    line = Text()
    for position, token in enumerate(tokens):
        line.append(f"{position}", style="dim").append(f" {token!r}  ")
    return line


def _print_features(console: Console, title: str, features: tuple[FeatureSummary, ...]) -> None:
    table = _table("feature", "at", ">activation", ">influence", "", title=title)
    for feature in features:
        row = (
            feature.id,
            Text(repr(feature.token)),
            f"{feature.activation:.2f}",
            f"{feature.share:.3f}",
            Text(feature.label),
        )
        table.add_row(*row)
    if features:
        console.print(table, "")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print how good a Dictionary is on text that it was not trained on."""
    console = Console(highlight=False)
    table = _table("layer", ">relative error", ">active", ">never fired", title="On unseen text")
    for layer, row in enumerate(zip(evaluation.nmse, evaluation.l0, evaluation.dead, strict=True)):
        table.add_row(f"L{layer}", f"{row[0]:.4f}", f"{row[1]:.2f}", f"{row[2]:.1%}")
    console.print(table, "")
    console.print(
        f"all MLPs replaced: KL {evaluation.kl:.4f} nats, agreement {evaluation.agreement:.4f}, "
        f"{evaluation.agreement_sure:.4f} where the model is sure ({evaluation.sure:.0%} of {evaluation.positions:,})"
    )


def print_exam(report: ExamReport) -> None:
    """Print an exam: scores beside chance, loss beside entropy."""
    console = Console(highlight=False)
    table = _table("family", "split", "measure", ">score", ">chance", ">questions", ">bar", "", title="Exam")
    for row in report.rows:
        verdict = "" if row.passed is None else "ok" if row.passed else "MISSED"
        bar = "" if row.bar is None else f"{row.bar:.2f}"
        table.add_row(
            row.name, row.split, row.measure, f"{row.score:.4f}", f"{row.chance:.4f}", str(row.n), bar, verdict
        )
    console.print(table, "")
    losses = _table(
        "family", ">loss", ">entropy", ">difference", ">statements", title="Nats a statement, beside the law's own"
    )
    for loss in report.losses:
        losses.add_row(
            loss.family, f"{loss.loss:.3f}", f"{loss.entropy:.3f}", f"{loss.loss - loss.entropy:+.3f}", str(loss.n)
        )
    console.print(losses, "")
    console.print(f"{'all bars reached' if report.passed else 'bars missed'} in {report.seconds:.0f} s")
