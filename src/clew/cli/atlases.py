"""The atlas that a command reads, and the labels that lie over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from clew.cli.kits import (
    DictionaryOption,
    KitOption,
    ModelOption,
    OtherModelOption,
    check_source,
    labels_file,
    open_kit,
)
from clew.errors import FileError
from clew.features.atlas import Atlas
from clew.kit import Kit
from clew.labels.store import LabelStore


@dataclass(frozen=True, kw_only=True)
class AtlasOptions:
    """The kit's atlas, or one in a file, and a file of labels."""

    kit: KitOption = None
    atlas: Annotated[Path | None, typer.Option("--atlas", help="An atlas file, in place of the kit's.")] = None
    labels: Annotated[
        Path | None, typer.Option("--labels", help="The file that keeps your labels, in place of the workspace's.")
    ] = None

    @property
    def labels_path(self) -> Path:
        """The file of labels that was named, else the workspace's."""
        return labels_file() if self.labels is None else self.labels

    @contextmanager
    def load(self) -> Iterator[Atlas]:
        """The atlas; FileError when there is none, MismatchError when it is not that of a kit that is named with it."""
        if self.atlas is not None and self.kit is None:
            atlas = Atlas.load(self.atlas)
        else:
            atlas = _atlas_of(open_kit(self.kit), self.atlas)
        with atlas:
            yield atlas

    @contextmanager
    def read_labels(self, atlas: Atlas) -> Iterator[LabelStore | None]:
        """The labels, to be read: None where the workspace has none yet, and none is made.

        FileError when a file was named that is not there.
        """
        self.check_labels()
        if not self.labels_path.is_file():
            yield None
            return
        with self.write_labels(atlas) as store:
            yield store

    @contextmanager
    def write_labels(self, atlas: Atlas) -> Iterator[LabelStore]:
        """The labels, to be read and written; the file is made where there is none."""
        with LabelStore(self.labels_path, atlas.dictionary, name=atlas.model) as store:
            yield store

    def check_labels(self) -> None:
        """FileError when a file of labels was named that is not there; the workspace's own may be missing."""
        if self.labels is not None and not self.labels.is_file():
            raise FileError(f"there is no file {self.labels}: name a file of labels, or leave --labels out")


@dataclass(frozen=True, kw_only=True)
class AtlasOfModelOptions(AtlasOptions):
    """An atlas that may be checked against the dictionary of a model."""

    model: ModelOption = None
    dictionary: DictionaryOption = None
    other_model: OtherModelOption = False

    def __post_init__(self) -> None:
        check_source(self.kit, self.model, self.dictionary)

    @contextmanager
    def load(self) -> Iterator[Atlas]:
        """The atlas; MismatchError when it does not fit the dictionary that is named with it."""
        if self.atlas is not None and self.model is None and self.dictionary is None:
            with super().load() as atlas:
                yield atlas
            return
        with _atlas_of(self.open_kit(), self.atlas) as atlas:
            yield atlas

    def open_kit(self) -> Kit:
        """The kit, or the model and its dictionary."""
        return open_kit(self.kit, self.model, self.dictionary, other_model=self.other_model)


def _atlas_of(kit: Kit, atlas: Path | None) -> Atlas:
    """A kit's atlas, or another of its dictionary; tokens go by the kit's names. Errors are those of `Kit.atlas`."""
    return (kit if atlas is None else replace(kit, atlas_path=atlas)).atlas
