"""`clew labels`: look at labels, share them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clew.cli.features.show import AtlasOption, console_for_cards, labels_read, open_atlas, scores_of
from clew.cli.kits import WORKSPACE, JsonOption, KitOption, LabelsOption, table
from clew.errors import FileError, InputError

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.ids import FeatureId
    from clew.labels.store import LabelStore

_NAMED = 5  # broken lines that are printed


@contextmanager
def store_of(labels: Path, atlas: Atlas) -> Iterator[LabelStore]:
    """The labels of an atlas' dictionary."""
    from clew.labels.store import LabelStore

    with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
        yield store


def show(
    feature: Annotated[str, typer.Argument(help="For example L3/120.")],
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the labels of a feature, the one that stands for it first.

    Example: `clew labels show L3/120 --history`
    """
    from clew.ids import FeatureId
    from clew.labels.exchange import as_json as written

    with open_atlas(kit, atlas, None, None) as opened, labels_read(labels, opened) as store:
        wanted = FeatureId.parse(feature)
        opened.number(wanted)
        found = () if store is None else store.of(wanted, history=history)
    if as_json:
        print(json.dumps([written(label) for label in found], ensure_ascii=False, indent=1))
        return
    shown = table("label", "by", "method", "date", "scores", "rests on")
    for label in found:
        who = f"{label.author} ({label.kind})"
        shown.add_row(*map(Text, (label.text, who, label.method, label.date[:10], scores_of(label), label.note)))
    console_for_cards().print(shown if found else f"{feature} has no label: give it one with clew label")


def export(
    path: Annotated[Path, typer.Argument(help="The file to write: labels as JSONL.")],
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of an export of that name.")] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
) -> None:
    """Write labels to a file that others can import; a file that is no such export is never replaced.

    Example: `clew labels export ours.jsonl`
    """
    from clew.labels.exchange import export_labels

    with open_atlas(kit, atlas, None, None) as opened, labels_read(labels, opened) as store:
        if store is None:
            raise FileError(f"there is no file {labels}: label something first, with clew label")
        count = export_labels(store, path, dictionary=opened.dictionary, history=history, replace=replace)
    print(f"{count} labels in {path}")


def import_(
    path: Annotated[Path, typer.Argument(help="A file that `clew labels export` wrote.")],
    keep_rest: Annotated[
        bool, typer.Option("--keep-rest", help="Leave broken lines out instead of adding nothing.")
    ] = False,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
) -> None:
    """Add the labels of a file; yours stay as they are.

    Example: `clew labels import theirs.jsonl`
    """
    from clew.labels.exchange import import_labels

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        found = import_labels(
            store, path, dictionary=opened.dictionary, keep_rest=keep_rest, exists=opened.__contains__
        )
    print(f"{found.labels} labels from {path}")
    for number, reason in found.broken[:_NAMED]:
        print(f"line {number} left out: {reason}")
    if len(found.broken) > _NAMED:
        print(f"{len(found.broken) - _NAMED} more lines left out")


def list_(
    name: Annotated[str | None, typer.Argument(help="The list; left out, all lists.", show_default=False)] = None,
    add: Annotated[list[str] | None, typer.Option(help="A feature to put into it; as often as wanted.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A feature to take out of it.")] = None,
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Keep features in lists of your own: show them, put features in, take them out.

    Example: `clew labels list capitals --add L3/120 --add L4/1637`

    `clew features search --list capitals` searches in one.
    """
    from clew.ids import FeatureId
    from clew.labels.display_names import named

    changed = bool(add or remove)
    if changed and not (name or "").strip():
        raise InputError("say which list: clew labels list NAME --add L3/120")
    with open_atlas(kit, atlas, None, None) as opened:
        new, gone = ([FeatureId.parse(feature) for feature in some or ()] for some in (add, remove))
        for feature in (*new, *gone):
            opened.number(feature)  # an unknown one is refused before anything is written
        with store_of(labels, opened) if changed else labels_read(labels, opened) as store:
            if store is not None and name is not None and changed:
                store.put_in_list(name, new)
                store.take_from_list(name, gone)
            lists = {} if store is None else store.lists()
            found = lists if name is None else {name: lists.get(name, ())}
            members = [feature for some in found.values() for feature in some]
            names = named(members, labels=store, atlas=opened)
    _say_lists(found, {feature: label.text for feature, label in names.items()}, name, as_json)


def _say_lists(
    lists: Mapping[str, Sequence[FeatureId]], names: Mapping[FeatureId, str], name: str | None, as_json: bool
) -> None:
    if as_json:
        print(json.dumps({each: list(map(str, members)) for each, members in lists.items()}, ensure_ascii=False))
        return
    console = console_for_cards()
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
