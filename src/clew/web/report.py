"""The report of a study: one page that opens anywhere and asks for nothing elsewhere, and its short form in notebooks.

Every text is escaped, pictures lie in the page as data, and there is no script.
"""

from __future__ import annotations

import base64
import html
import json
import math
from typing import Any

from clew.stats import Interval
from clew.studies.case_findings import CaseFindings, Picture, Table
from clew.studies.claim import Claim
from clew.studies.result import Result
from clew.version import __version__

_MOST_ROWS = 60  # of a table; the whole is in its Parquet file
_COLOURS = {"holds": "#2f7d4f", "fails": "#b3402a", "cannot say": "#7a7f85"}
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: .6rem 0; display: block; overflow-x: auto }
th, td { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8883 }
th { font-weight: 600 } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 1.2rem 0 } figure img { max-width: 100%; background: #fff }
figcaption, .note { color: #7a7f85; font-size: .9em } .verdict { font-weight: 700; white-space: nowrap }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85em }
"""


def report_html(result: Result) -> str:
    """The whole report."""
    about = {"config": result.config, "kit": result.kit, "provenance": result.provenance}
    absent_config = json.dumps(result.absent_config, ensure_ascii=False)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="clew {_text(__version__)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{_text(result.study)}: {_text(result.question)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(result.question)}</h1>"
        f'<p class="note">Study {_text(result.study)} of {_text(str(result.kit.get("name", "")))} with the dictionary '
        f"{_text(str(result.kit.get('dictionary', '')))}. After {_text(result.source)}.</p>"
        f"{_claims(result.claims)}{_side_by_side(result)}{_exhibits(result.found)}"
        f"<h2>Where it must be absent</h2><p>{_text(result.why_absent)} {_absence(result)}</p>"
        f"{_claims(result.absent.claims)}{_exhibits(result.absent)}"
        f'<p class="note">Its settings: {_text(absent_config)}</p>'
        f"<h2>How this came about</h2><pre>{_text(json.dumps(about, ensure_ascii=False, indent=1))}</pre>"
        "</body></html>\n"
    )


def result_html(result: Result) -> str:
    """Question, claims and absent case, for a notebook."""
    return (
        f'<div style="line-height:1.5"><b>{_text(result.question)}</b>{_claims(result.claims)}'
        f"<div>{_text(result.why_absent)} {_absence(result)}</div></div>"
    )


def _absence(result: Result) -> str:
    """One sentence on what holds there that must not."""
    effects = [claim for claim in result.absent.claims if claim.effect]
    if result.false_effects:
        texts = "; ".join(_text(claim.text) for claim in result.false_effects)
        return f"<b>{len(result.false_effects)} of {len(effects)} effects are seen here all the same: {texts}</b>"
    return f"None of the {len(effects)} effects is seen here."


def _claims(claims: tuple[Claim, ...]) -> str:
    rows = "".join(
        f'<tr><td class="verdict" style="color:{_COLOURS[claim.verdict]}">{claim.verdict}</td>'
        f"<td>{_text(claim.text)}{_reference(claim)}</td>"
        f'<td class="number">{_interval(claim.value)} {_text(claim.unit)}</td>'
        f"<td>{_text(str(claim.bar))}</td>"
        f'<td><span style="white-space:nowrap">{_interval(claim.null.range)}</span>'
        f'<div class="note">{_text(str(claim.null))}{_null_bar(claim)}</div></td></tr>'
        for claim in claims
    )
    return (
        "<table><tr><th>verdict</th><th>claim</th><th>value (95 %)</th><th>bar</th><th>null (95 % of its draws)</th>"
        f"</tr>{rows}</table>"
    )


def _side_by_side(result: Result) -> str:
    """Every claim by the dictionary and by the model's own neurons; nothing where these were not measured."""
    rows = "".join(
        f"<tr><td>{_text(own.text)}</td>{_measured(own)}{_measured(other)}</tr>" for own, other in result.side_by_side
    )
    if not rows:
        return ""
    changed = {name: value for name, value in result.beside_config.items() if value != result.config.get(name)}
    settings = f"; for the neurons {_text(json.dumps(changed, ensure_ascii=False))}" if changed else ""
    return (
        "<h2>Beside the model's own neurons</h2><table><tr><th>claim</th><th colspan=2>the dictionary</th>"
        f"<th colspan=2>the neurons</th></tr>{rows}</table>"
        f'<p class="note">The same is measured with both{settings}. Numbers of features in a claim are those of the '
        "dictionary.</p>"
    )


def _measured(claim: Claim) -> str:
    colour = _COLOURS[claim.verdict]
    return (
        f'<td class="verdict" style="color:{colour}">{claim.verdict}</td><td class="number">{_interval(claim.value)}'
        f'<div class="note">null {_interval(claim.null.range)}</div></td>'
    )


def _reference(claim: Claim) -> str:
    return f'<div class="note">{_text(claim.reference)}</div>' if claim.reference else ""


def _null_bar(claim: Claim) -> str:
    bar = str(claim.null_bar)
    return "" if bar == "none" else f"; its own bar: {_text(bar)}"


def _exhibits(findings: CaseFindings) -> str:
    figures = "".join(_figure(picture) for picture in findings.figures.values())
    return figures + "".join(_table(name, table) for name, table in findings.tables.items())


def _figure(picture: Picture) -> str:
    drawn = base64.b64encode(picture.svg).decode()
    return (
        f'<figure><img alt="{_text(picture.title)}" src="data:image/svg+xml;base64,{drawn}">'
        f"<figcaption><b>{_text(picture.title)}.</b> {_text(picture.text)}</figcaption></figure>"
    )


def _table(name: str, table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows()[:_MOST_ROWS])
    n, most = len(table), _MOST_ROWS
    cut = f" The first {most} of {n:,} rows; all are in {name}.parquet." if n > most else ""
    note = f'<p class="note">{_text(table.note + cut)}</p>' if table.note or cut else ""
    return f"<h2>{_text(table.title)}</h2><table><tr>{head}</tr>{body}</table>{note}"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{'' if value is None else _text(str(value))}</td>"
    return f'<td class="number">{"" if math.isnan(value) else _number(value)}</td>'


def _interval(interval: Interval) -> str:
    value, low, high = (("?" if math.isnan(x) else _number(x)) for x in interval)
    return f"{value} ({low} to {high})"


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
