"""`clew features search`: find features by label, by meaning, by token, by text, by example."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from clew.cli.features.show import AtlasOption, console_for_cards, labels_read, open_atlas
from clew.cli.kits import WORKSPACE, JsonOption, KitOption, LabelsOption, bar, open_kit, table
from clew.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from clew.features.atlas import Atlas
    from clew.ids import FeatureId
    from clew.search.finder import Hit


def search(
    words: Annotated[str | None, typer.Argument(help="Words that a label holds.", show_default=False)] = None,
    meaning: Annotated[str | None, typer.Option(help="What a label should mean (needs the extra minilm).")] = None,
    token: Annotated[
        str | None, typer.Option(help="A token among the five that a feature promotes most (its card shows more).")
    ] = None,
    text: Annotated[str | None, typer.Option(help="A text on which a feature fires.")] = None,
    like: Annotated[str | None, typer.Option(help="A feature; found are those like it.", metavar="FEATURE")] = None,
    by_token: Annotated[bool, typer.Option("--by-token", help="Of --text: the strongest at every token.")] = False,
    max_density: Annotated[
        float | None, typer.Option(help="Of --text: leave out what fires on a larger share of all tokens.")
    ] = None,
    order: Annotated[
        Literal["activation", "share"] | None,
        typer.Option(help="Of --text: by activation (if left out), or by its share of the feature's largest."),
    ] = None,
    within: Annotated[str | None, typer.Option("--list", help="Only in this list (clew labels list).")] = None,
    limit: Annotated[int, typer.Option(help="How many features.")] = 20,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Find features: by words of their labels, or in one of the other ways.

    Example: `clew features search --text "The capital of France is" --max-density 0.05`
    """
    from clew.search.finder import Finder

    ways = {"words": words, "meaning": meaning, "token": token, "text": text, "like": like}
    given: dict[str, Any] = {name: value for name, value in ways.items() if value is not None}
    if len(given) != 1:
        raise InputError("say in one way what to search: words of a label, or --meaning, --token, --text or --like")
    given |= _of_text(text, by_token, max_density, order)
    loaded = open_kit(kit, None, None) if token is not None or text is not None else None
    with open_atlas(kit, atlas, None, None) as opened, bar("reading labels") as report:
        finder = Finder(
            atlas=opened,
            labels=labels,
            subject=None if loaded is None else loaded.subject,
            dictionary=None if loaded is None else loaded.dictionary,
        )
        members = _members(within, labels, opened)
        hits = finder.find(
            **given, within=members, limit=limit, report=lambda progress: report(progress.done, progress.of)
        )
    rows = [_row(hit, next(iter(given))) for hit in hits]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    console = console_for_cards()
    if not rows:
        console.print("No feature found.")
        return
    shown = table(*(name if isinstance(rows[0][name], str) else f">{name}" for name in rows[0]))
    for row in rows:
        shown.add_row(
            *(Text(f"{v:.3g}" if isinstance(v, float) else "–" if v is None else str(v)) for v in row.values())
        )
    console.print(shown)


def _of_text(text: str | None, by_token: bool, max_density: float | None, order: str | None) -> dict[str, Any]:
    """What only a search by text takes; InputError where it was given to another, or is no share."""
    some = {"by_token": by_token or None, "max_density": max_density, "order": order}
    found = {name: value for name, value in some.items() if value is not None}
    if found and text is None:
        raise InputError(f"--{next(iter(found)).replace('_', '-')} belongs to --text: give a text, or leave it out")
    if max_density is not None and not 0 <= max_density <= 1:
        raise InputError(f"--max-density is {max_density:g}: give a share between 0 and 1")
    return found


def _members(name: str | None, labels: Path, atlas: Atlas) -> frozenset[FeatureId] | None:
    """The features of a list; None where none is named."""
    with labels_read(labels, atlas) as store:
        if name is None:
            return None
        lists = {} if store is None else store.lists()
    if name not in lists:
        raise InputError(f"there is no list {name!r}: there are {', '.join(lists) or 'none'}")
    return frozenset(lists[name])


def _row(hit: Hit, way: str) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if way == "meaning":
        more = {"cosine": hit.value}
    elif way == "text":
        more = {"at": repr(hit.how), "activation": hit.value, "share": hit.share}
    elif way == "like":
        more = {"how": hit.how, "strength": hit.value}
    return {"feature": str(hit.feature), **more, "label": hit.label, "by": hit.by}
