"""`clew labels`: look at labels, share them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clew.cli.common import WORKSPACE, JsonOption, KitOption, LabelsOption, table
from clew.cli.features import AtlasOption, console_for_cards, open_atlas

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.features.label import Score
    from clew.features.labels import LabelStore

_NAMED = 5  # broken lines that are printed

app = typer.Typer(help="Labels: look at them, share them.", no_args_is_help=True)


@contextmanager
def store_of(labels: Path, atlas: Atlas) -> Iterator[LabelStore]:
    """The labels of an atlas' dictionary."""
    from clew.features.labels import LabelStore

    with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
        yield store


@app.command("show")
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
    from clew.features.exchange import as_json as written
    from clew.ids import FeatureId

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        wanted = FeatureId.parse(feature)
        opened.number(wanted)
        found = store.of(wanted, history=history)
    if as_json:
        print(json.dumps([written(label) for label in found], ensure_ascii=False, indent=1))
        return
    shown = table("label", "by", "method", "date", "scores", "rests on")
    for label in found:
        scores = ", ".join(f"{s.test} {s.value:.2f} [{s.low:.2f}, {s.high:.2f}]{_null(s)}" for s in label.scores)
        who = f"{label.author} ({label.kind})"
        shown.add_row(*map(Text, (label.text, who, label.method, label.date[:10], scores, label.note)))
    console_for_cards().print(shown if found else f"{feature} has no label: give it one with clew label")


def _null(score: Score) -> str:
    return "" if score.null is None else f" null {score.null:.2f}"


@app.command("export")
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
    from clew.features.exchange import export_labels

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        count = export_labels(store, path, dictionary=opened.dictionary, history=history, replace=replace)
    print(f"{count} labels in {path}")


@app.command("import")
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
    from clew.features.exchange import import_labels

    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        found = import_labels(
            store, path, dictionary=opened.dictionary, keep_rest=keep_rest, exists=opened.__contains__
        )
    print(f"{found.labels} labels from {path}")
    for number, reason in found.broken[:_NAMED]:
        print(f"line {number} left out: {reason}")
    if len(found.broken) > _NAMED:
        print(f"{len(found.broken) - _NAMED} more lines left out")
