"""Gemma Scope: JumpReLU transcoders and SAEs of Gemma 2, one NumPy file a layer.

`layer_N/width_16k/average_l0_X/params.npz`: `W_enc` [d_model, feature], `W_dec` [feature, d_model], `b_enc`, `b_dec`,
`threshold`. The files do not say where they read; their repository's name does (`gemma-scope-2b-pt-transcoders`,
`-res`, `-mlp`, `-att`), or a `config.yaml` at the top with `feature_input_hook` and `feature_output_hook`. Transcoders
read behind the norm and before its weight, and write what a second norm has passed.
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Kind
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import StoredLayer, assembled, name_of, places
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, readable
from clew.dictionary.layouts.hook_names import READ_HOOKS, WRITE_HOOKS, site_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.layouts.yaml_settings import read_yaml
from clew.dictionary.nonlinearity import JumpReLU
from clew.errors import FileError
from clew.subject.recording import SiteName

FILE = "params.npz"
AXES = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1, "threshold": 1}
SETS: Mapping[str, tuple[Kind, SiteName, SiteName]] = {
    "transcoders": ("plt", "mlp_normalized", "mlp_out"),
    "res": ("sae", "resid_post", "resid_post"),
    "mlp": ("sae", "mlp_out", "mlp_out"),
}
"""How repositories end, and what they hold."""
_REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(\w+)")
_DEPTHS = {"2b": 26, "9b": 42, "27b": 46}


def load(folder: Path) -> Any:
    """Map a folder of one layer, or of several with one dictionary each; FileError says what is wrong with it."""
    paths = [folder / name for name in places(files.names_below(folder, 5), FILE)]
    config = read_yaml(folder)[1]
    stored = [stored_layer(path, config) for path in paths]
    repository = _REPOSITORY.search(str(folder.absolute()))
    return assembled(
        folder,
        "Gemma Scope",
        stored,
        n_layers=_DEPTHS.get(repository[1]) if repository else None,
        name=str(config.get("scan") or name_of(folder)),
    )


def stored_layer(path: Path, config: Mapping[str, Any], index: int | None = None) -> StoredLayer:
    """Map one file; its layer is in its path where no index is given. FileError says what is wrong with it."""
    text = path.absolute().as_posix()
    numbers = re.findall(r"/layer_(\d+)/", text)
    if index is None and not numbers:
        raise FileError(f"{path} names no layer in its path (layer_N/...), which this layout needs")
    kind, read, write = _sites(path, config)
    repository = _REPOSITORY.search(text)
    settings = dict(config)
    if repository is not None:
        instructed = "-it" if repository[2] == "it" else ""
        settings.setdefault("model_name", f"google/gemma-2-{repository[1]}{instructed}")
    return StoredLayer(
        index=int(numbers[-1]) if index is None else index,
        layer=layer_of(path, files.load_arrays(path)),
        kind=kind,
        read_site=read,
        write_site=write,
        source=path.parent,
        settings=settings,
    )


def layer_of(path: Path, arrays: Mapping[str, Tensor]) -> Layer:
    """The layer that a file's arrays are; the encoder stays mapped as it lies, [d_model, feature]."""
    tensors = readable(path, arrays, AXES)
    check_axes(path, tensors, AXES)
    vectors = {name: tensors[name] for name in ("b_enc", "threshold")}
    check_fit(path, tensors["W_enc"].T, vectors, [tensors["W_dec"]], tensors["b_dec"])
    return Layer(
        encoder=tensors["W_enc"].T,
        bias=tensors["b_enc"],
        nonlinearity=JumpReLU(threshold=tensors["threshold"].clamp_min(0)),  # a ReLU stands behind the threshold
        decoder=tensors["W_dec"][:, None],
        decoder_bias=tensors["b_dec"],
    )


def _sites(path: Path, config: Mapping[str, Any]) -> tuple[Kind, SiteName, SiteName]:
    if "feature_input_hook" in config and "feature_output_hook" in config:
        with faults_of(path):
            read, write = (
                site_of(config[f"feature_{end}_hook"], READ_HOOKS | WRITE_HOOKS) for end in ("input", "output")
            )
        return ("sae" if read == write else "plt"), read, write
    match = _REPOSITORY.search(path.absolute().as_posix())
    if match is None:
        raise FileError(
            f"{path}: nothing says where it reads: name the folder as its repository is "
            "(gemma-scope-2b-pt-transcoders, gemma-scope-2b-pt-res), or put a config.yaml with feature_input_hook and "
            "feature_output_hook at its top"
        )
    if match[3] not in SETS:
        raise FileError(
            f"{path}: {match[0]} reads inside attention, which no dictionary can here: {', '.join(SETS)} can"
        )
    return SETS[match[3]]


def _recognise(names: Set[str]) -> bool:
    return bool(places(names, FILE))


LAYOUT = Layout(
    name="Gemma Scope",
    recognise=_recognise,
    load=load,
    save=None,
    files="`layer_N/width_16k/average_l0_X/params.npz`",
    published_by="`google/gemma-scope-2b-pt-transcoders`, `-res`, `-mlp`, of Gemma 2 at 2B, 9B and 27B",
    notes="JumpReLU; one layer or several; SAEs of attention outputs are refused",
    verified="circuit-tracer 0.5's reader of it, to 1e-7",
)
