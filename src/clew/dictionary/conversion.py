"""A dictionary of any layout of the table written in the native one, or in circuit-tracer's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from clew.dictionary import origin
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layouts import native
from clew.dictionary.layouts.circuit_tracer import save_circuit_tracer
from clew.errors import FileError, InputError
from clew.progress import Report, silent

TARGETS = ("native", "circuit-tracer")
"""The layouts that can be written."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was read and written."""

    name: str
    source_layout: str
    layout: str
    kind: str
    read_site: str
    write_site: str
    layers: tuple[int, ...]
    n_layers: int
    d_model: int
    features: int
    model: str
    """The model that it was made for, as far as it is recorded."""
    bytes: int
    """Of the files that were written."""


def convert(
    source: Path | str,
    folder: Path | str,
    *,
    layout: str = "native",
    model: str | None = None,
    packed: bool = False,
    replace: bool = False,
    report: Report = silent,
) -> Conversion:
    """Read a dictionary and write it, whole or not at all; `model` is recorded as the one that it was made for.

    InputError for a layout that cannot be written, or that has no place for what the dictionary holds. FileError when
    the source is none, or the folder holds something that was not written here and `replace` does not say so.
    """
    if layout not in TARGETS:
        raise InputError(f"layout {layout!r} cannot be written: choose from {', '.join(TARGETS)}")
    if packed and layout != "native":
        raise InputError(f"--packed is of the native layout, not of {layout}")
    target = Path(folder)
    _check_target(target, source, replace)
    dictionary = Dictionary.load(source)
    recorded = model or origin.model_of(dictionary.provenance)
    if layout == "native":
        provenance = {**dictionary.provenance, **({"model_name": recorded} if recorded else {})}
        native.save(dataclasses.replace(dictionary, provenance=provenance), target, packed=packed, report=report)
    else:
        save_circuit_tracer(dictionary, target, model_name=recorded, scan=dictionary.name, report=report)
    return Conversion(
        name=dictionary.name,
        source_layout=str(dictionary.provenance.get("layout", "native")),
        layout=layout,
        kind=dictionary.kind,
        read_site=dictionary.read_site,
        write_site=dictionary.write_site,
        layers=tuple(sorted(dictionary.layers)),
        n_layers=dictionary.n_layers,
        d_model=dictionary.d_model,
        features=sum(dictionary.d_features(layer) for layer in dictionary.layers),
        model=recorded,
        bytes=sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
    )


def _check_target(target: Path, source: Path | str, replace: bool) -> None:
    """FileError where something that is there would be lost."""
    if target.is_file():
        raise FileError(f"{target} is a file: give a new folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if Path(source).exists() and target.resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
        raise FileError(f"{target} holds what is converted: give another folder")
    ours = (target / "config.json").is_file() and native.is_ours(target)
    if not ours and not replace:
        raise FileError(f"{target} is there already and was not written here: give another folder, or --replace")
