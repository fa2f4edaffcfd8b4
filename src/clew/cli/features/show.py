"""`clew features`: look at what is known of features."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.cli.kits import (
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
    from clew.features.atlas import Atlas
    from clew.features.card import Card, Context, Related, TokenWeight
    from clew.features.label import Label, Score
    from clew.ids import FeatureId
    from clew.labels.store import LabelStore

AtlasOption = Annotated[Path | None, typer.Option("--atlas", help="An atlas file, in place of the kit's.")]
BARS = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = ("#5c3a00", "#8a5500", "#c27700", "#ff9c00")  # from weak to strong


def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the card of one feature, and its labels with their scores.

    Example: `clew features show L3/120 --kit minnow`
    """
    with open_atlas(kit, atlas, model, dictionary) as opened:
        card = opened[feature]
        found = known_labels(card.feature, labels, opened)
    if as_json:
        from clew.labels.exchange import as_json as written

        print(json.dumps(card.to_json() | {"labels": list(map(written, found))}, ensure_ascii=False, indent=1))
    else:
        print_card(card, console_for_cards(), found)


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


@contextmanager
def labels_read(labels: Path, atlas: Atlas) -> Iterator[LabelStore | None]:
    """The labels in a file, to be read: None where the workspace has none yet, and none is made.

    FileError when a file was named that is not there.
    """
    from clew.labels.store import LabelStore

    check_labels(labels)
    if not labels.is_file():
        yield None
        return
    with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
        yield store


def known_labels(feature: FeatureId, labels: Path, atlas: Atlas) -> tuple[Label, ...]:
    """What is said of a feature, the label that stands for it first: those in the file, then what the rules say.

    Labels of programs that say nothing are left out; a person's "unclear" hides what programs say.
    """
    with labels_read(labels, atlas) as store:
        own = () if store is None else store.of(feature)
    if own and own[0].kind == "person" and not own[0].clear:
        return own[:1]
    found = tuple(label for label in own if label.clear)
    if any(label.kind == "heuristic" for label in own):
        return found
    return found + tuple(label for label in atlas.rules([feature]).values() if label.clear)


def scores_of(label: Label) -> str:
    """Every score with its interval and its null, in a line."""
    return ", ".join(f"{s.test} {s.value:.2f} [{s.low:.2f}, {s.high:.2f}]{_null(s)} by {s.judge}" for s in label.scores)


def _null(score: Score) -> str:
    return "" if score.null is None else f" null {score.null:.2f}"


def print_card(card: Card, console: Console, labels: Sequence[Label] = ()) -> None:
    """A card as a person reads it: what it is called and how well that holds, how often it fires, what it does."""
    from clew.features.promoted_tokens import label_of

    said = [(label.text, f"{label.kind} {label.author}", scores_of(label)) for label in labels if label.clear]
    first = f"{said[0][0]}  ({said[0][1]})" if said else label_of(each.token for each in card.promoted[:3])
    console.print(Text().append(str(card.feature), style="bold").append(f"  {first}"))
    for number, (text, who, scores) in enumerate(said):
        line = Text("  ").append(scores or "not scored", style="dim")
        console.print(line if number == 0 else Text(f"also {text}  ({who})").append(line))
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
