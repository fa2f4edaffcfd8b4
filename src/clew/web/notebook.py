"""Rich displays in notebooks: a graph, a card, an effect and an audit as small pieces of HTML without script.

Styles are attributes of the elements, because a notebook may show a piece alone. Colours follow the text colour of the
notebook, so that light and dark themes both work. Every text from prompts, tokens and labels is escaped. `show` puts
the whole page of a graph into a frame, whose script has no access to the notebook.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clew.attribution.graph import Graph
from clew.attribution.summary import FeatureSummary, summarise
from clew.features.card import Card, Context, Histogram, Related, TokenWeight
from clew.features.promoted_tokens import label_of
from clew.intervention.audit import KINDS, Audit
from clew.intervention.run import Effect
from clew.labels.rules import heuristic_label
from clew.subject.token_names import whole_characters

if TYPE_CHECKING:
    from clew.kit import Kit

_SHOWN = 6  # contexts, features, tokens
_CHANGES = 12  # rows of an effect; it has the texts of at least as many tokens
_TOKEN = "font-family:ui-monospace,monospace;white-space:pre-wrap"
_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top;border:0;background:none"
_NUMBER = _CELL.replace("text-align:left", "text-align:right")


@dataclass(frozen=True)
class Frame:
    """A page in a frame of a notebook: its script can run, but has no access to anything outside the frame."""

    page: str
    title: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{_text(self.title)}" srcdoc="{_text(self.page)}" sandbox="allow-scripts allow-downloads" '
            f'style="width:100%;height:{self.height}px;border:1px solid rgba(128,128,128,.4)"></iframe>'
        )


def show(graph: Graph, *, kit: Kit | None = None, height: int = 760) -> Frame:
    """The graph's page, the same as `export_html` writes, without a server."""
    from clew.web.export import page_options, render_html

    with page_options(kit) as options:
        return Frame(render_html(graph, **options), graph.prompt, height)


def graph_html(graph: Graph) -> str:
    """Prompt, outputs, scores, the strongest features and paths, and how to see more."""
    summary = summarise(graph, features=_SHOWN, paths=3)
    outputs = _table(("next token", ">probability"), ((_token(t), _percent(p)) for t, p in summary.outputs[:_SHOWN]))
    scores = (
        f"replacement <b>{summary.replacement:.3f}</b>, completeness <b>{summary.completeness:.3f}</b>; errors give "
        f"{_percent(summary.error_share)} of the input"
    )
    paths = "".join(
        f'<div style="{_TOKEN}">{_text(" → ".join(path.words))} <small>{path.weight:+.3f}</small></div>'
        for path in summary.paths
    )
    return _box(
        f'<div style="{_TOKEN};font-size:1.1em">{_text(summary.prompt)}</div>',
        f"<div>{_count(len(graph.targets), 'target')}, {summary.n_features:,} features; {scores}</div>",
        _columns(
            outputs,
            _features("Input features", summary.input_features),
            _features("Output features", summary.output_features),
        ),
        f"<div><b>Strongest paths</b></div>{paths}" if paths else "",
        "<small>graph.show() opens it here; clew.export_html(graph, 'graph.html') writes it as a page</small>",
    )


def card_html(card: Card) -> str:
    """How often a feature fires, where, and what it does."""
    rule = heuristic_label(card)
    name = rule.text if rule.clear else label_of(weight.token for weight in card.promoted[:3])
    head = f"<div><b>{_text(str(card.feature))}</b> {_text(name)}</div>"
    if card.dead:
        return _box(head, f"<div>never fired on {card.positions:,} positions: a dead feature</div>", _weights(card))
    facts = (
        f"<div>fires at {card.density:.3%} of {card.positions:,} positions, in {card.document_density:.2%} of "
        f"documents; at most {card.max_activation:.3g}, {card.mean_activation:.3g} on average</div>"
    )
    contexts = "".join(_context(context, card.max_activation) for context in card.top[:_SHOWN])
    return _box(head, facts, _bars(card.log_histogram), contexts, _weights(card), _near(card.nearest_decoder))


def effect_html(effect: Effect) -> str:
    """What edits changed: next tokens and features, before, as predicted, as measured."""
    rows = []
    for token, before, predicted, measured in effect.top_tokens(count=_CHANGES):
        prediction = "–" if predicted is None else _percent(predicted)
        text = effect.likely.get(token, f"token {token}")
        rows.append((_token(text), _percent(before), prediction, f"<b>{_percent(measured)}</b>"))
    changes = (
        (
            _text(str(change.node)),
            f"{change.before:.3g}",
            "–" if change.predicted is None else f"{change.predicted:.3g}",
            f"<b>{change.measured:.3g}</b>",
        )
        for change in effect.changes[:_CHANGES]
    )
    edits = ", ".join(
        f"{edit.verb} {edit.written if edit.direction is None else 'a direction'}" for edit in effect.edits
    )
    prompt = "".join(whole_characters(effect.tokens))
    head = f'<div style="{_TOKEN}">{_text(prompt)}</div><div><b>{_text(edits)}</b></div>'
    columns = (">before", ">predicted", ">measured")
    return _box(head, _columns(_table(("next token", *columns), rows), _table(("feature", *columns), changes)))


def audit_html(audit: Audit) -> str:
    """The verdict, the table of agreements, and the figure."""
    from clew.intervention.audit_figure import draw

    rows = []
    for name, line in audit.lines.items():
        agreements = [getattr(line, kind) for kind in KINDS]
        rows.append((_text(name), *(_text(str(agreement.spearman)) for agreement in agreements)))
    picture = base64.b64encode(draw(audit)).decode()
    figure = (
        f'<img alt="predicted against measured effects" style="max-width:100%" src="data:image/png;base64,{picture}">'
    )
    table = _table(("Spearman of", *(f">{kind}" for kind in KINDS)), rows)
    return _box(f"<div><b>{_text(audit.verdict)}</b></div>", table, figure)


# --- parts ----------------------------------------------------------------------------------------------------------


def _features(title: str, features: Sequence[FeatureSummary]) -> str:
    rows = ((_text(f.id), _token(f.token), _text(f.label), _percent(f.share)) for f in features)
    return _table((title, "at", "", ">influence"), rows)


def _weights(card: Card) -> str:
    return _columns(_tokens("promotes", card.promoted), _tokens("suppresses", card.suppressed))


def _tokens(title: str, weights: Sequence[TokenWeight]) -> str:
    return _table((title, ">logit"), ((_token(w.token), f"{w.weight:+.3f}") for w in weights[:_SHOWN]))


def _near(related: Sequence[Related]) -> str:
    texts = ", ".join(f"{_text(str(each.feature))} {each.value:+.2f}" for each in related)
    return f"<div>writes like {texts}</div>" if texts else ""


def _context(context: Context, most: float) -> str:
    spans = []
    for place, (token, value) in enumerate(zip(context.shown, context.activations, strict=True)):
        share = max(0.0, min(1.0, value / most)) if most > 0 else 0.0
        shade = f"background:rgba(255,150,0,{0.75 * share:.2f})" if share else ""
        line = ";text-decoration:underline" if place == context.at else ""
        spans.append(f'<span style="{shade}{line}" title="{value:.4g}">{_text(token)}</span>')
    return f'<div style="{_TOKEN}"><small>{context.activation:.3g}</small> {"".join(spans)}</div>'


def _bars(histogram: Histogram) -> str:
    most = max(histogram.counts, default=0)
    if not most:
        return ""
    bars = "".join(
        f'<span style="display:inline-block;width:8px;margin-right:1px;background:currentColor;opacity:.55;'
        f'height:{1 + round(38 * count / most)}px" title="{low:.3g} to {high:.3g}: {count:,}"></span>'
        for count, low, high in zip(histogram.counts, histogram.edges, histogram.edges[1:], strict=False)
    )
    return f'<div role="img" aria-label="histogram of activations" style="height:40px">{bars}</div>'


def _table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells; a column whose name begins with `>` holds numbers."""
    columns = tuple(columns)
    styles = [_NUMBER if name.startswith(">") else _CELL for name in columns]
    head = "".join(f'<th style="{s}">{_text(n.removeprefix(">"))}</th>' for s, n in zip(styles, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f'<td style="{s}">{cell}</td>' for s, cell in zip(styles, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>'


def _columns(*parts: str) -> str:
    return f'<div style="display:flex;gap:32px;flex-wrap:wrap">{"".join(parts)}</div>'


def _box(*parts: str) -> str:
    return f'<div style="display:grid;gap:8px;line-height:1.5;overflow-x:auto">{"".join(parts)}</div>'


def _token(text: str) -> str:
    return f'<span style="{_TOKEN}">{_text(text)}</span>'


def _percent(share: Any) -> str:
    return f"{float(share):.1%}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
