"""How a study's result is printed."""

from __future__ import annotations

import math

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from clew.stats import Interval
from clew.studies.case_findings import CaseFindings
from clew.studies.result import Result

_STYLES = {"holds": "bold green", "fails": "bold red", "cannot say": "bold"}


def print_result(result: Result) -> None:
    """Print the question, the claims beside their nulls, and the absent case."""
    console = Console(highlight=False)
    about = f"{result.study} of {result.kit.get('name')} with {result.kit.get('dictionary')}, after {result.source}"
    console.print(Text(result.question, style="bold"), Text(about, style="dim"), "", sep="\n")
    _print_claims(console, result.found)
    _print_beside(console, result)
    console.print(Text("Where it must be absent", style="bold"), Text(result.why_absent, style="dim"), "", sep="\n")
    _print_claims(console, result.absent)
    effects = [claim for claim in result.absent.claims if claim.effect]
    seen = len(result.false_effects)
    line = f"{seen} of {len(effects)} effects are seen there" + (": do not trust this study here" if seen else "")
    console.print(Text(line, style="bold red" if seen else ""))


def _print_beside(console: Console, result: Result) -> None:
    if not result.side_by_side:
        return
    console.print(Text("Beside the model's own neurons", style="bold"), "", sep="\n")
    for own, other in result.side_by_side:
        console.print(Text(own.text))
        for who, claim in (("dictionary", own), ("neurons", other)):
            line = f"{who}: {_shown(claim.value)} {claim.unit}".rstrip() + f"; null: {_shown(claim.null.range)}"
            console.print(Padding(Text(f"{line}: {claim.verdict}", style="dim"), (0, 0, 0, 4), expand=False))
        console.print()


def _print_claims(console: Console, findings: CaseFindings) -> None:
    for claim in findings.claims:
        verdict = Text(claim.verdict, style=_STYLES[claim.verdict])
        console.print(verdict, Padding(Text(claim.text), (0, 0, 0, 4), expand=False), sep="\n")
        unit, null_bar = f" {claim.unit}" if claim.unit else "", str(claim.null_bar)
        lines = [f"{_shown(claim.value)}{unit}; bar: {claim.bar}", f"null: {_shown(claim.null.range)}; {claim.null}"]
        if null_bar != "none":
            lines[1] += f"; its own bar: {null_bar}"
        console.print(Padding(Text("\n".join(lines), style="dim"), (0, 0, 0, 4), expand=False), "")


def _shown(interval: Interval) -> str:
    value, low, high = ("?" if math.isnan(x) else f"{x:.3g}" for x in interval)
    return f"{value} ({low} to {high})"
