"""Answers about series as HTML: a page that opens anywhere, and short forms in notebooks.

A page holds the picture of the first cases, and a table of all, each with a small drawing. There is no script, and
nothing is asked for elsewhere.
"""

from __future__ import annotations

import html

import numpy as np

from clew.timeseries.answers import Attribution, Counterfactual
from clew.timeseries.evaluate import SeriesEvaluation
from clew.timeseries.figures import AGAINST, FOR, GREY, INK, picture
from clew.version import __version__

_MOST_ROWS = 200
_SHOWN = 12  # rows in a notebook
_WIDTH, _HEIGHT = 180, 36
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1.2rem }
h1 { font-size: 1.35rem } figure { margin: 1rem 0; overflow-x: auto } figure svg { background: #fff; height: auto;
max-width: 100% } table { border-collapse: collapse } .note { color: #7a7f85; font-size: .9em }
"""
_CELL = "padding:3px 14px 3px 0;border-bottom:1px solid #8883;vertical-align:middle;text-align:"

Answer = Attribution | Counterfactual


def series_page(answer: Answer) -> str:
    """A self-contained page of an answer."""
    svg = picture(answer, "svg").decode()
    drawing = svg[svg.index("<svg") :]
    notes = "".join(f"<li>{_text(note)}</li>" for note in answer.notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="clew {_text(__version__)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(answer.method)}</title><style>{_STYLE}</style></head><body><h1>{_text(answer.method)}</h1>"
        f'<p class="note">{_about(answer)}</p>{f"<ul>{notes}</ul>" if notes else ""}'
        f"<figure>{drawing}</figure>{_table(answer, _MOST_ROWS)}</body></html>\n"
    )


def attribution_html(answer: Attribution) -> str:
    """All cases as a table, for a notebook."""
    return f"<div><b>{_text(answer.method)}</b> <small>{_about(answer)}</small>{_table(answer, _SHOWN)}</div>"


def counterfactual_html(answer: Counterfactual) -> str:
    """All cases as a table, for a notebook."""
    return f"<div><b>{_text(answer.method)}</b> <small>{_about(answer)}</small>{_table(answer, _SHOWN)}</div>"


def evaluation_html(value: SeriesEvaluation) -> str:
    """Methods and nulls as a table, for a notebook."""
    names = ("", *(("AUROC", "AUPRC", "AUP", "AUR") if value.scores[0].truth else ()), "deletion", "insertion",
             "random weights", "other seed")  # fmt: skip
    rows = []
    for score in value.scores:
        name = f"<i>{_text(score.name)}</i>" if score.null else _text(score.name)
        truth = [f"{score.truth[key]:.3f}" for key in ("AUROC", "AUPRC", "AUP", "AUR")] if score.truth else []
        more = [f"{score.deletion.value:.3f}", f"{score.insertion.value:.3f}"]
        rows.append([name, *truth, *more, _number(score.randomised), _number(score.stability)])
    return f"<div><b>{_text(value.name)}</b>, {value.cases} cases, in {_text(value.unit)}{_rows(names, rows)}</div>"


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.2f}"


def _about(answer: Answer) -> str:
    if isinstance(answer, Attribution):
        how = f"in {answer.units}, baseline {answer.baseline}, segments {answer.segments}, seed {answer.seed}"
        return _text(f"{how}; without: the output when the tenth of points that matters most goes to the baseline, "
                     "random: as many points elsewhere")  # fmt: skip
    rows = answer.summary()
    return _text(
        "; ".join(
            f"{name}: valid {row['valid']:.2f}, L1 {row['L1']:.3g}, changed {row['changed']:.0%}"
            for name, row in rows.items()
        )
        + f"; seed {answer.seed}"
    )


def _table(answer: Answer, most: int) -> str:
    if isinstance(answer, Attribution):
        names: tuple[str, ...] = ("case", "", "model says", "asked about", "output", "without", "random", "strongest")
    else:
        names = ("case", "", "model says", "changed to", "valid", "probability", "L1", "neighbour L1", "changed")
    rows = [_row(answer, case) for case in range(min(len(answer), most))]
    left = len(answer) - len(rows)
    return _rows(names, rows) + (f"<small>and {left:,} more cases</small>" if left else "")


def _row(answer: Answer, case: int) -> list[str]:
    if isinstance(answer, Attribution):
        strongest = answer.runs(case)[:1]
        where = ""
        if strongest:
            channel, start, end, value = strongest[0]
            where = f"channel {channel}, times {start} to {end}: {value:+.3g}"
        tested = [
            "" if numbers is None else f"{numbers[case]:.3f}" for numbers in (answer.deleted, answer.deleted_null)
        ]
        return [
            str(case), _drawing(answer, case), _text(answer.predicted[case]), _text(answer.target[case]),
            f"{answer.scores[case]:.3f}", *tested, _text(where),
        ]  # fmt: skip
    probability = answer.probabilities[case, answer.classes.index(answer.target[case])]
    return [
        str(case), _drawing(answer, case), _text(answer.origin[case]), _text(answer.target[case]),
        "yes" if answer.valid[case] else "no", f"{probability:.3f}", f"{answer.distance()[case]:.3g}",
        f"{answer.distance(neighbour=True)[case]:.3g}", f"{answer.changed[case].mean():.0%}",
    ]  # fmt: skip


def _drawing(answer: Answer, case: int) -> str:
    """The channel that matters most, as a small drawing: bars of its values, or what it was before."""
    if isinstance(answer, Attribution):
        sizes = np.abs(answer.values[case]).sum(1)
        channel = int(sizes.argmax())
        lines = _bars(answer.values[case, channel]) + _line(answer.series[case, channel], INK)
    else:
        channel = int(np.abs(answer.series[case] - answer.original[case]).sum(1).argmax())
        both = np.concatenate([answer.original[case, channel], answer.series[case, channel]])
        lines = _line(answer.original[case, channel], GREY, both) + _line(answer.series[case, channel], FOR, both)
    label = f"channel {channel}"
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">{lines}</svg>'


def _line(values: np.ndarray, colour: str, within: np.ndarray | None = None) -> str:
    scale = values if within is None else within
    low, span = float(scale.min()), float(np.ptp(scale)) or 1.0
    x = np.linspace(1, _WIDTH - 1, len(values))
    y = _HEIGHT - 2 - (values - low) / span * (_HEIGHT - 4)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>'


def _bars(values: np.ndarray) -> str:
    most, width = float(np.abs(values).max()) or 1.0, _WIDTH / len(values)
    return "".join(
        f'<rect x="{n * width:.1f}" y="0" width="{width:.2f}" height="{_HEIGHT}" '
        f'fill="{FOR if value > 0 else AGAINST}" fill-opacity="{0.6 * abs(value) / most:.2f}"/>'
        for n, value in enumerate(values)
        if abs(value) > 0.02 * most
    )


def _rows(names: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f'<th style="{_CELL}left">{name}</th>' for name in names)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}left">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(text)
