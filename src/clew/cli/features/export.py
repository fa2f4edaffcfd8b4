"""`clew features export`: cards and labels as files for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clew.cli.features.show import AtlasOption, open_atlas
from clew.cli.kits import (
    WORKSPACE,
    DictionaryOption,
    KitOption,
    LabelsOption,
    ModelOption,
    bar,
    check_labels,
    open_kit,
)
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.dictionary.dictionary import Dictionary
    from clew.features.atlas import Atlas
    from clew.features.card import Card
    from clew.features.label import Label
    from clew.ids import FeatureId

Layout = Literal["parquet", "neuronpedia", "json"]


def export(
    path: Annotated[Path, typer.Argument(help="A .parquet file, or a folder for the other layouts.")],
    layout: Annotated[
        Layout,
        typer.Option(
            "--as", help="One table; Neuronpedia's bulk files; or a JSON a feature, as attribution pages read."
        ),
    ] = "parquet",
    source: Annotated[str, typer.Option(help="Of neuronpedia: what the dictionary will be known as.")] = "clew",
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    labels: LabelsOption = WORKSPACE,
) -> None:
    """Write all cards with their labels for other programs.

    Example: `clew features export minnow.parquet`
    """
    from clew.features import neuronpedia
    from clew.labels import exchange

    check_labels(labels)
    if path.exists():
        raise InputError(f"{path} exists already: give another name")
    if layout == "parquet" and path.suffix != ".parquet":
        raise InputError(
            f"{path} would be a Parquet table: give a name that ends in .parquet, or another layout by --as"
        )
    with open_atlas(kit, atlas, model, dictionary) as opened:
        given = _labels(opened, labels)
        with bar("features", len(opened)) as report:
            cards = _reported(opened, report)
            if layout == "parquet":
                written = exchange.write_parquet(path, cards, {feature: some[0] for feature, some in given.items()})
            elif layout == "neuronpedia":
                writes = _dictionary(opened, kit, model, dictionary)
                name = Path(opened.model).name
                written = neuronpedia.write_bulk(path, cards, given, model=name, source=source, dictionary=writes)
            else:
                written = neuronpedia.write_features(path, cards)
    print(f"{written:,} features in {path}")


def _dictionary(atlas: Atlas, kit: str, model: str | None, dictionary: str | None) -> Dictionary | None:
    """The dictionary that the atlas is of, if it is that of the kit."""
    found = open_kit(kit, model, dictionary).dictionary
    if found.fingerprint == atlas.dictionary:
        return found
    typer.echo("hookName and vector are left empty: --kit, or --model and --dictionary, would give them", err=True)
    return None


def _labels(atlas: Atlas, labels: Path) -> dict[FeatureId, tuple[Label, ...]]:
    """The labels of every feature, the one that stands for it first; those by rule are among them."""
    from clew.labels.store import LabelStore

    found: dict[FeatureId, tuple[Label, ...]] = {}
    if labels.is_file():
        with LabelStore(labels, atlas.dictionary, name=atlas.model) as store:
            for label in store.all():
                if label.clear:
                    found[label.feature] = (*found.get(label.feature, ()), label)
    for feature, label in atlas.rules().items():
        own = found.get(feature, ())
        if label.clear and all(each.kind != "heuristic" for each in own):
            found[feature] = (*own, label)
    return found


def _reported(atlas: Atlas, report: Callable[..., None]) -> Iterator[Card]:
    for done, card in enumerate(atlas.cards(), 1):
        yield card
        if done % 100 == 0 or done == len(atlas):
            report(done, len(atlas))
