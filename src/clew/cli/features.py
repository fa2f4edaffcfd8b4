"""`clew features`: look at what is known of features."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.cli.common import (
    WORKSPACE,
    DictionaryOption,
    JsonOption,
    KitOption,
    LabelsOption,
    ModelOption,
    check_labels,
    open_kit,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.features.atlas import Atlas
    from clew.features.card import Card, Context, Related, TokenWeight

app = typer.Typer(help="Features: what an atlas knows of them.", no_args_is_help=True)

AtlasOption = Annotated[Path | None, typer.Option("--atlas", help="An atlas file, in place of the kit's.")]
BARS = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = ("#5c3a00", "#8a5500", "#c27700", "#ff9c00")  # from weak to strong


@app.callback()
def _root() -> None:
    pass


@app.command("show")
def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the card of one feature.

    Example: `clew features show L3/120 --kit minnow`
    """
    with open_atlas(kit, atlas, model, dictionary) as opened:
        card = opened[feature]
        label = label_line(card, labels, opened)
    if as_json:
        print(json.dumps(card.to_json(), ensure_ascii=False, indent=1))
    else:
        print_card(card, console_for_cards(), label)


@contextmanager
def open_atlas(kit: str, atlas: Path | None, model: str | None, dictionary: str | None) -> Iterator[Atlas]:
    """The kit's atlas, or one in a file, which must fit the dictionary that is named with it."""
    from clew.features.atlas import Atlas

    if atlas is None or model is not None:
        loaded = open_kit(kit, model, dictionary)
        found = loaded.atlas if atlas is None else Atlas.load(atlas)
        found.check_fits(loaded.dictionary)
    else:
        found = Atlas.load(atlas)
    with found:
        yield found


def console_for_cards() -> Console:
    """A terminal as wide as it is, a file or pipe wide enough for a context."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def label_line(card: Card, labels: Path, atlas: Atlas) -> str:
    """The label that is shown of a feature and who gave it; where it has no clear one, what it promotes."""
    from clew.features.labels import LabelStore
    from clew.features.names import named
    from clew.features.promoted import label_of

    check_labels(labels)
    if labels.is_file():
        with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
            found = named([card.feature], labels=store, atlas=atlas)
    else:
        found = named([card.feature], atlas=atlas)
    for label in found.values():
        return f"{label.text}  ({label.kind} {label.author})"
    return label_of(each.token for each in card.promoted[:3])


def print_card(card: Card, console: Console, label: str) -> None:
    """A card as a person reads it: how often it fires, where, and what it does."""
    console.print(Text().append(str(card.feature), style="bold").append(f"  {label}"))
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
    for name, found in (
        ("nearest by decoder", card.nearest_decoder),
        ("nearest by encoder", card.nearest_encoder),
        ("fire together (PMI)", card.together),
        ("strongest from", card.inputs),
        ("strongest to", card.outputs),
    ):
        if found:
            related.add_row(name, _related(found))
    console.print(related)


def _places(card: Card) -> list[str]:
    """Where it fires much more often than tokens are, if there is such a place."""
    places, said = card.places, []
    bounds = [*(str(b) for b in places.bounds), None]
    share, usual, at = max(zip(places.fired, places.everything, range(len(places.fired)), strict=True))
    if share > 2 * usual:
        low, after = bounds[at], bounds[at + 1]
        where = f"position {low}" if after and int(after) == int(low or 0) + 1 else f"positions from {low}"
        said.append(f"{share:.0%} of this at {where}, where {usual:.0%} of all tokens are")
    if places.at_last > 2 * places.everything_at_last:
        said.append(f"{places.at_last:.0%} of this at a document's end, where {places.everything_at_last:.0%} are")
    return said


def _bars(card: Card) -> Text:
    """How often it fires with what activation, a line for each half octave or so."""
    counts, edges = list(card.log_histogram.counts), card.log_histogram.edges
    step = 1 if len(counts) <= 12 else 2 if len(counts) <= 24 else 4
    rows = [(edges[i], sum(counts[i : i + step])) for i in range(0, len(counts), step)]
    most, drawn = max(n for _, n in rows), Text().append("activation\n", style="dim")
    for low, count in rows:
        eighths = round(8 * BARS * count / most) or (count > 0)
        line = EIGHTHS[-1] * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        drawn.append(f"{low:>10.3g} ").append(line, style="orange3")
        drawn.append(f" {count:,}\n" if count else "\n", style="dim")
    drawn.rstrip()
    return drawn


def _contexts(console: Console, title: str, contexts: Sequence[Context], most: float) -> None:
    console.print(title, style="bold")
    for context in contexts:
        line = Text(f"{context.activation:>10.3g}  ")
        for i, (token, value) in enumerate(zip(context.tokens, context.activations, strict=True)):
            shown = token.replace("\n", "↵")
            if i == context.at and console.color_system is None:
                shown = f"{shown[: -len(shown.lstrip())]}«{shown.lstrip()}»" if shown.strip() else f"«{shown}»"
            line.append(shown, style=_shade(value / most, i == context.at))
        console.print(line, no_wrap=True, overflow="ellipsis", crop=console.is_terminal)
    console.print()


def _shade(share: float, here: bool) -> str:
    if share <= 0:
        return ""
    shade = SHADES[min(len(SHADES) - 1, int(share * len(SHADES)))]
    ink = "black" if shade in SHADES[2:] else "white"
    return f"{'bold underline ' if here else ''}{ink} on {shade}"


def _tokens(what: str, tokens: Sequence[TokenWeight]) -> Text:
    line = Text().append(f"{what:<11}", style="bold")
    for each in tokens:
        line.append(f" {each.token!r}").append(f" {each.weight:+.2f} ", style="dim")
    return line


def _related(found: Sequence[Related]) -> Text:
    line = Text()
    for each in found:
        line.append(f"{each.feature}").append(f" {each.value:+.2f}   ", style="dim")
    return line
