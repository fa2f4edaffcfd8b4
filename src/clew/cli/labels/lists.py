"""`clew labels list`: lists of features that a person keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.text import Text

from clew.cli.atlases import AtlasOptions
from clew.cli.options import JsonOption, with_settings
from clew.cli.tables import table, wide_console
from clew.errors import InputError
from clew.ids import FeatureId
from clew.labels.display_names import named


@with_settings()
def list_(
    source: AtlasOptions,
    name: Annotated[str | None, typer.Argument(help="The list; left out, all lists.", show_default=False)] = None,
    add: Annotated[list[str] | None, typer.Option(help="A feature to put into it; as often as wanted.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A feature to take out of it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep features in lists of your own: show them, put features in, take them out.

    Example: `clew labels list capitals --add L3/120 --add L4/1590`

    `clew features search --list capitals` searches in one.
    """
    changed = bool(add or remove)
    if changed and not (name or "").strip():
        raise InputError("say which list: clew labels list NAME --add L3/120")
    if both := set(add or ()) & set(remove or ()):
        raise InputError(f"--add and --remove both name {min(both)}: give it to one of them")
    with source.load() as atlas:
        added, removed = ([FeatureId.parse(feature) for feature in features or ()] for features in (add, remove))
        for feature in (*added, *removed):
            atlas.number(feature)  # an unknown one is refused before anything is written
        with source.write_labels(atlas) if changed else source.read_labels(atlas) as store:
            if store is not None and name is not None and changed:
                store.put_in_list(name, added)
                store.take_from_list(name, removed)
            lists = {} if store is None else store.lists()
            chosen = lists if name is None else {name: lists.get(name, ())}
            members = [feature for features in chosen.values() for feature in features]
            names = named(members, labels=store, atlas=atlas)
    _print_lists(chosen, {feature: label.text for feature, label in names.items()}, name, as_json)


def _print_lists(
    lists: Mapping[str, Sequence[FeatureId]], names: Mapping[FeatureId, str], name: str | None, as_json: bool
) -> None:
    if as_json:
        print(json.dumps({each: list(map(str, members)) for each, members in lists.items()}, ensure_ascii=False))
        return
    console = wide_console()
    if name is None:
        shown = table("list", ">features")
        for each, members in lists.items():
            shown.add_row(Text(each), str(len(members)))
        console.print(shown if lists else "There is no list: begin one with clew labels list NAME --add L3/120")
        return
    shown = table("feature", "label")
    for feature in lists[name]:
        shown.add_row(str(feature), Text(names.get(feature, "")))
    console.print(shown if lists[name] else Text(f"The list {name} is empty."))
