"""`clew features export`: cards and labels as files for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from clew.cli.atlases import AtlasOfModelOptions
from clew.cli.options import with_settings
from clew.cli.progress_bar import bar
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.features import neuronpedia
from clew.features.atlas import Atlas
from clew.features.card import Card
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels import exchange
from clew.labels.store import LabelStore
from clew.progress import Progress, Report

Layout = Literal["parquet", "neuronpedia", "json"]


@with_settings()
def export(
    path: Annotated[Path, typer.Argument(help="A .parquet file, or a folder for the other layouts.")],
    atlases: AtlasOfModelOptions,
    layout: Annotated[
        Layout,
        typer.Option(
            "--as", help="One table; Neuronpedia's bulk files; or a JSON a feature, as attribution pages read."
        ),
    ] = "parquet",
    source: Annotated[
        str | None,
        typer.Option(help="Of neuronpedia: what the dictionary will be known as.", show_default="clew"),
    ] = None,
) -> None:
    """Write all cards with their labels for other programs.

    Example: `clew features export minnow.parquet`
    """
    atlases.check_labels()
    if source is not None and layout != "neuronpedia":
        raise InputError(f"--source is for --as neuronpedia, not for {layout}: leave it out")
    if path.exists():
        raise InputError(f"{path} exists already: give another name")
    if layout == "parquet" and path.suffix.lower() != ".parquet":
        raise InputError(
            f"{path} would be a Parquet table: give a name that ends in .parquet, or another layout by --as"
        )
    with atlases.load() as atlas:
        labels = _labels(atlas, atlases)
        with bar("features", len(atlas)) as report:
            cards = _reported(atlas, report)
            if layout == "parquet":
                first = {feature: labels_of_one[0] for feature, labels_of_one in labels.items()}
                count = exchange.write_parquet(path, cards, first)
            elif layout == "neuronpedia":
                dictionary, name = _dictionary(atlas, atlases), Path(atlas.model).name
                count = neuronpedia.write_bulk(
                    path, cards, labels, model=name, source=source or "clew", dictionary=dictionary
                )
            else:
                count = neuronpedia.write_features(path, cards)
    print(f"{count:,} features in {path}")


def _dictionary(atlas: Atlas, source: AtlasOfModelOptions) -> Dictionary | None:
    """The dictionary that the atlas is of, if it is that of the kit."""
    dictionary = source.open_kit().dictionary
    if dictionary.fingerprint == atlas.dictionary:
        return dictionary
    typer.echo("hookName and vector are left empty: --kit, or --model and --dictionary, would give them", err=True)
    return None


def _labels(atlas: Atlas, source: AtlasOfModelOptions) -> dict[FeatureId, tuple[Label, ...]]:
    """The labels of every feature, the one that stands for it first; those by rule are among them."""
    labels: dict[FeatureId, tuple[Label, ...]] = {}
    if source.labels_path.is_file():
        with source.write_labels(atlas) as store:
            labels = _clear(store)
    for feature, label in atlas.rules().items():
        stored = labels.get(feature, ())
        if label.clear and all(other.kind != "heuristic" for other in stored):
            labels[feature] = (*stored, label)
    return labels


def _clear(store: LabelStore) -> dict[FeatureId, tuple[Label, ...]]:
    labels: dict[FeatureId, tuple[Label, ...]] = {}
    for label in store.all():
        if label.clear:
            labels[label.feature] = (*labels.get(label.feature, ()), label)
    return labels


def _reported(atlas: Atlas, report: Report) -> Iterator[Card]:
    for done, card in enumerate(atlas.cards(), 1):
        yield card
        if done % 100 == 0 or done == len(atlas):
            report(Progress(what="export", done=done, of=len(atlas), unit="features"))
