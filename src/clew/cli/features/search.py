"""`clew features search`: find features by label, by meaning, by token, by text, by example."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from clew.cli.atlases import AtlasOptions
from clew.cli.kits import open_kit
from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.tables import table, wide_console
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.ids import FeatureId
from clew.search.finder import Finder, Hit
from clew.search.query import Query


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched, in one of five ways. InputError when it is said in none or several, or of another way."""

    words: Annotated[str | None, typer.Argument(help="Words that a label holds.", show_default=False)] = None
    meaning: Annotated[str | None, typer.Option(help="What a label should mean (needs the extra minilm).")] = None
    token: Annotated[
        str | None, typer.Option(help="A token among the five that a feature promotes most (its card shows more).")
    ] = None
    text: Annotated[str | None, typer.Option(help="A text on which a feature fires.")] = None
    like: Annotated[str | None, typer.Option(help="A feature; found are those like it.", metavar="FEATURE")] = None
    by_token: Annotated[bool, typer.Option("--by-token", help="Of --text: the strongest at every token.")] = False
    max_density: Annotated[
        float | None, typer.Option(help="Of --text: leave out what fires on a larger share of all tokens.")
    ] = None
    order: Annotated[
        Literal["activation", "share"] | None,
        typer.Option(help="Of --text: by activation (if left out), or by its share of the feature's largest."),
    ] = None

    add_bos: Annotated[
        bool,
        typer.Option("--add-bos/--no-bos", help="Of --text: begin with what the tokenizer puts there, or its BOS."),
    ] = True

    def __post_init__(self) -> None:
        if len(self._ways()) != 1:
            raise InputError("say in one way what to search: words of a label, or --meaning, --token, --text or --like")
        if (options := self._of_text()) and self.text is None:
            name = next(iter(options)).replace("add_bos", "no-bos").replace("_", "-")
            raise InputError(f"--{name} belongs to --text: give a text, or leave it out")
        if self.max_density is not None and not 0 <= self.max_density <= 1:
            raise InputError(f"--max-density is {self.max_density:g}: give a share between 0 and 1")

    @property
    def way(self) -> str:
        """The name of the way that was chosen."""
        return next(iter(self._ways()))

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of a search."""
        return self._ways() | self._of_text()

    def _ways(self) -> dict[str, str]:
        names = ("words", "meaning", "token", "text", "like")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _of_text(self) -> dict[str, Any]:
        options = {"by_token": self.by_token or None, "max_density": self.max_density, "order": self.order}
        options["add_bos"] = None if self.add_bos else False
        return {name: value for name, value in options.items() if value is not None}


@with_settings()
def search(
    query: SearchOptions,
    source: AtlasOptions,
    within: Annotated[str | None, typer.Option("--list", help="Only in this list (clew labels list).")] = None,
    limit: Annotated[int, typer.Option(help="How many features.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find features: by words of their labels, or in one of the other ways.

    Example: `clew features search --text "The capital of France is" --max-density 0.05`
    """
    kit = open_kit(source.kit) if query.way in ("token", "text") else None
    with source.load() as atlas, bar("reading labels") as report:
        finder = Finder(
            atlas=atlas,
            labels=source.labels_path,
            subject=None if kit is None else kit.subject,
            dictionary=None if kit is None else kit.dictionary,
        )
        members = _members(within, source, atlas)
        hits, total = finder.counted(Query(**query.arguments(), within=members, limit=limit, report=report))
    more = f"{len(hits)} of {total:,} features: --limit {total} shows all" if total > len(hits) else ""
    rows = [_row(hit, query.way) for hit in hits]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        if more:
            typer.echo(more, err=True)
        return
    console = wide_console()
    if not rows:
        console.print("No feature found.")
        return
    shown = table(*(name if isinstance(rows[0][name], str) else f">{name}" for name in rows[0]))
    for row in rows:
        shown.add_row(
            *(Text(f"{v:.3g}" if isinstance(v, float) else "–" if v is None else str(v)) for v in row.values())
        )
    console.print(shown)
    if more:
        console.print(more, style="dim")


def _members(name: str | None, source: AtlasOptions, atlas: Atlas) -> frozenset[FeatureId] | None:
    """The features of a list; None where none is named, InputError where there is no such list."""
    with source.read_labels(atlas) as store:
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
