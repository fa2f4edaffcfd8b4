"""Dictionaries put together of layers that were published one by one: some of a model's, or all."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clew.dictionary import origin
from clew.dictionary.dictionary import Dictionary, Kind
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.checks import faults_of
from clew.dictionary.layouts.hook_names import place_of
from clew.errors import FileError
from clew.subject.recording import SiteName


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """One layer that was read, and what its files say of it."""

    index: int
    layer: Layer
    kind: Kind
    read_site: SiteName
    write_site: SiteName
    source: Path
    settings: Mapping[str, Any]


def assembled(
    folder: Path,
    layout: str,
    stored: Sequence[StoredLayer],
    *,
    n_layers: int | None = None,
    name: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Dictionary:
    """One Dictionary of per-layer transcoders or SAEs; where the model's depth is not known its provenance says so.

    FileError when layers do not belong to one set, or one is there twice.
    """
    by_index: dict[int, StoredLayer] = {}
    for part in stored:
        if part.index in by_index:
            other = by_index[part.index].source
            raise FileError(
                f"{folder} holds two dictionaries of layer {part.index}, {_below(folder, other)} and "
                f"{_below(folder, part.source)}: name the folder of one"
            )
        by_index[part.index] = part
    first, *others = (by_index[index] for index in sorted(by_index))
    for part in others:
        what = (first.kind, first.read_site, first.write_site), (part.kind, part.read_site, part.write_site)
        if what[0] != what[1]:
            texts = [f"a {kind} from {read} to {write}" for kind, read, write in what]
            raise FileError(
                f"{folder} holds two sets: {_below(folder, first.source)} is {texts[0]}, "
                f"{_below(folder, part.source)} is {texts[1]}: name the folder of one"
            )
    known = {} if n_layers is not None else {origin.AT_LEAST: True}
    with faults_of(folder):
        return Dictionary(
            kind=first.kind,
            layers={index: by_index[index].layer for index in sorted(by_index)},
            writes={index: (index,) for index in by_index},
            read_site=first.read_site,
            write_site=first.write_site,
            n_layers=max(by_index) + 1 if n_layers is None else n_layers,
            d_model=first.layer.encoder.shape[1],
            name=name or name_of(folder),
            provenance={"layout": layout, **known, **(first.settings if settings is None else settings)},
        )


def ends_of(settings: Path, hooks: Sequence[Any]) -> tuple[int, SiteName, SiteName]:
    """The layer of one dictionary, and where it reads and writes there, by its two hooks in a file of settings.

    FileError for a hook that is none, or two of different layers.
    """
    with faults_of(settings):
        (read, layer), (write, written) = (place_of(hook) for hook in hooks)
    if layer != written:
        raise FileError(f"{settings}: it reads layer {layer} and writes to layer {written}")
    return layer, read, write


def name_of(folder: Path) -> str:
    """What a folder is called: in the hub's cache `owner/name/path`, elsewhere by its own name."""
    parts = folder.absolute().parts
    for place, part in enumerate(parts):
        if part.startswith("models--") and part.count("--") > 1 and parts[place + 1 : place + 2] == ("snapshots",):
            return "/".join([*part.split("--")[1:], *parts[place + 3 :]])
    return folder.absolute().name


def places(names: Set[str], *ends: str) -> list[str]:
    """The files of these names in a folder and below it, sorted."""
    return sorted(name for name in names if name.rsplit("/", 1)[-1] in ends)


def check_complete(folder: Path, names: Set[str], config: str, file: str) -> None:
    """FileError where a folder below holds settings and not the weights that belong to them."""
    for name in sorted(names):
        if name.rsplit("/", 1)[-1] == config and "/" in name and not beside(names, name, file):
            raise FileError(f"{folder} is incomplete: {name.rsplit('/', 1)[0]}/{file} is missing beside its {config}")


def beside(names: Iterable[str], name: str, other: str) -> bool:
    """Whether a file stands in the same folder as another."""
    return "/".join([*name.split("/")[:-1], other]) in names


def _below(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
