"""`clew features`: look at what is known of features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.cli.atlases import AtlasOfModelOptions
from clew.cli.label_text import known_labels, scores_of
from clew.cli.options import JsonOption, with_settings
from clew.cli.tables import table, wide_console
from clew.features.card import Card, Context, Related, TokenWeight
from clew.features.label import Label
from clew.features.promoted_tokens import label_of
from clew.labels.exchange import as_json as label_as_json
from clew.labels.likeness import Likeness, alike

_BARS = 40  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHADES = ("#5c3a00", "#8a5500", "#c27700", "#ff9c00")  # from weak to strong


@with_settings()
def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    source: AtlasOfModelOptions,
    as_json: JsonOption = False,
) -> None:
    """Show the card of one feature, and its labels with their scores.

    Example: `clew features show L3/120 --kit minnow`
    """
    with source.load() as atlas:
        card = atlas[feature]
        with source.read_labels(atlas) as store:
            labels = known_labels(card.feature, store, atlas)
        density = atlas.summary.density
        same = alike(card, lambda other: float(density[atlas.number(other)]))
    if as_json:
        likeness = [{"feature": str(each.feature), "together": each.together, "decoder": each.decoder} for each in same]
        value = card.to_json() | {"labels": list(map(label_as_json, labels)), "alike": likeness}
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        print_card(card, wide_console(), labels, same)


def print_card(card: Card, console: Console, labels: Sequence[Label] = (), same: Sequence[Likeness] = ()) -> None:
    """A card as a person reads it: what it is called and how well that holds, how often it fires, what it does."""
    names = [(label.text, f"{label.kind} {label.author}", scores_of(label)) for label in labels if label.clear]
    first = f"{names[0][0]}  ({names[0][1]})" if names else label_of(each.token for each in card.promoted[:3])
    console.print(Text().append(str(card.feature), style="bold").append(f"  {first}"))
    for number, (text, who, scores) in enumerate(names):
        line = Text("  ").append(scores or "not scored", style="dim")
        console.print(line if number == 0 else Text(f"also {text}  ({who})").append(line))
    for other in same:
        console.print(Text(f"nearly the same feature: {other.feature} {other.text}"))
    if card.dead:
        console.print(
            f"never fired on {card.positions:,} positions of {card.documents:,} documents: a dead feature", ""
        )
    else:
        console.print(
            f"fires at {card.density:.3%} of {card.positions:,} positions, in {card.document_density:.2%} of "
            f"{card.documents:,} documents; activation {card.mean_activation:.2f} on average, at most "
            f"{card.max_activation:.2f}"
        )
        console.print(*_places(card), "", sep="\n")
        console.print(_bars(card), "", sep="\n")
        _contexts(console, "Strongest", card.top, card.max_activation)
        for band in card.bands[1:]:
            _contexts(console, f"From {band.low:g} to {band.high:g}", band.contexts, card.max_activation)
    console.print(_tokens("promotes", card.promoted))
    console.print(_tokens("suppresses", card.suppressed), "", sep="\n")
    related = table("related", "")
    for name, features in (
        ("nearest by decoder", card.nearest_decoder),
        ("nearest by encoder", card.nearest_encoder),
        ("fire together (PMI)", card.together),
        ("strongest from", card.inputs),
        ("strongest to", card.outputs),
    ):
        if features:
            related.add_row(name, _related(features))
    console.print(related)


def _places(card: Card) -> list[str]:
    """Where it fires much more often than tokens are, if there is such a place."""
    places, lines = card.places, []
    bounds = [*(str(b) for b in places.bounds), None]
    share, usual, place = max(zip(places.fired, places.everything, range(len(places.fired)), strict=True))
    if share > 2 * usual:
        low, after = bounds[place], bounds[place + 1]
        where = f"position {low}" if after and int(after) == int(low or 0) + 1 else f"positions from {low}"
        lines.append(f"{share:.0%} of this at {where}, where {usual:.0%} of all tokens are")
    if places.at_last > 2 * places.everything_at_last:
        lines.append(f"{places.at_last:.0%} of this at a document's end, where {places.everything_at_last:.0%} are")
    return lines


def _bars(card: Card) -> Text:
    """How often it fires with what activation, a line for each half octave or so."""
    counts, edges = list(card.log_histogram.counts), card.log_histogram.edges
    step = 1 if len(counts) <= 12 else 2 if len(counts) <= 24 else 4
    rows = [(edges[i], sum(counts[i : i + step])) for i in range(0, len(counts), step)]
    most, drawn = max(n for _, n in rows), Text().append("activation\n", style="dim")
    for low, count in rows:
        eighths = round(8 * _BARS * count / most) or (count > 0)
        line = _EIGHTHS[-1] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        drawn.append(f"{low:>10.3g} ").append(line, style="orange3")
        drawn.append(f" {count:,}\n" if count else "\n", style="dim")
    drawn.rstrip()
    return drawn


def _contexts(console: Console, title: str, contexts: Sequence[Context], most: float) -> None:
    console.print(title, style="bold")
    for context in contexts:
        line = Text(f"{context.activation:>10.3g}  ")
        for i, (token, value) in enumerate(zip(context.shown, context.activations, strict=True)):
            shown = token.replace("\n", "↵")
            if i == context.at and console.color_system is None:
                shown = f"{shown[: -len(shown.lstrip())]}«{shown.lstrip()}»" if shown.strip() else f"«{shown}»"
            line.append(shown, style=_shade(value / most, i == context.at))
        console.print(line, no_wrap=True, overflow="ellipsis", crop=console.is_terminal)
    console.print()


def _shade(share: float, here: bool) -> str:
    if share <= 0:
        return ""
    shade = _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))]
    ink = "black" if shade in _SHADES[2:] else "white"
    return f"{'bold underline ' if here else ''}{ink} on {shade}"


def _tokens(what: str, tokens: Sequence[TokenWeight]) -> Text:
    line = Text().append(f"{what:<11}", style="bold")
    for each in tokens:
        line.append(f" {each.token!r}").append(f" {each.weight:+.2f} ", style="dim")
    return line


def _related(features: Sequence[Related]) -> Text:
    line = Text()
    for each in features:
        line.append(f"{each.feature}").append(f" {each.value:+.2f}   ", style="dim")
    return line
