"""Gemma Scope 2: JumpReLU transcoders, SAEs and CLTs of Gemma 3, one safetensors file a layer.

PLTs and SAEs: `layer_N_width_16k_l0_small[_affine]/params.safetensors`: `w_enc` [d_model, feature], `w_dec` [feature,
d_model], `b_enc`, `b_dec`, `threshold`, `affine_skip_connection` [d_in, d_out] (adds x @ it). A CLT has a file a layer
in one folder, `params_layer_N.safetensors`, and `w_dec` [feature, layer, d_model] with a slot for every layer of the
model. `config.json` beside names the Hugging Face modules that are read and written; where it is missing, the folder's
name says which (`transcoder`, `clt`, `resid_post`, `mlp_out`).
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary, Kind
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import StoredLayer, assembled, check_complete, name_of, places
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, read_settings, readable
from clew.dictionary.layouts.hook_names import place_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.nonlinearity import JumpReLU
from clew.errors import FileError
from clew.subject.recording import SiteName

FILE, CLT_FILE = "params.safetensors", r"params_layer_(\d+)\.safetensors"
NEEDED = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
SETS: Mapping[str, tuple[Kind, SiteName, SiteName]] = {
    "transcoder": ("plt", "mlp_in", "mlp_out"),
    "clt": ("clt", "mlp_in", "mlp_out"),
    "resid_post": ("sae", "resid_post", "resid_post"),
    "mlp_out": ("sae", "mlp_out", "mlp_out"),
}
"""What folders are called, and what they hold."""
_SAMPLE = 64  # features whose unused decoder slots are looked at


def load(folder: Path) -> Dictionary:
    """Map the folder of one layer, of several with one dictionary each, or of a CLT; FileError says what is wrong."""
    names = files.names_below(folder, 4)
    numbers = {int(match[1]): folder / name for name in names if (match := re.fullmatch(CLT_FILE, name))}
    if numbers:
        return cross_layer(folder, numbers, read_settings(folder / "config.json", needed=False))
    if nested := sorted(name for name in names if re.search(CLT_FILE, name)):
        raise FileError(f"{folder} holds the folder of a CLT, {Path(nested[0]).parent}: name that one")
    check_complete(folder, names, "config.json", FILE)
    paths = [folder / name for name in places(names, FILE)]
    return assembled(folder, "Gemma Scope 2", [stored_layer(path) for path in paths])


def stored_layer(path: Path, index: int | None = None) -> StoredLayer:
    """Map one file; its layer is in its path where no index is given. FileError says what is wrong with it."""
    settings = settings_of(path)
    numbers = re.findall(r"/layer_(\d+)", path.absolute().as_posix())
    if index is None and not numbers:
        raise FileError(f"{path} names no layer in its path (layer_N_...), which this layout needs")
    kind, read, write = _sites(path, settings)
    return StoredLayer(
        index=int(numbers[-1]) if index is None else index,
        layer=layer_of(path, files.load_tensors(path), 2, settings),
        kind=kind,
        read_site=read,
        write_site=write,
        source=path.parent,
        settings=settings,
    )


def cross_layer(
    folder: Path, paths: Mapping[int, Path], settings: Mapping[str, Any], sites: tuple[SiteName, SiteName] | None = None
) -> Dictionary:
    """Map a CLT whose layers are files, with these sites or what its settings say; FileError when one is missing."""
    tensors = {index: files.load_tensors(path) for index, path in sorted(paths.items())}
    first = next(iter(tensors.values()))
    n_layers = first["w_dec"].shape[1] if "w_dec" in first and first["w_dec"].ndim == 3 else max(paths) + 1
    if missing := sorted(set(range(n_layers)) - set(paths)):
        raise FileError(f"{folder} is incomplete: params_layer_{missing[0]}.safetensors is missing")
    read, write = sites or _sites(next(iter(paths.values())), settings, "clt")[1:]
    layers = {index: layer_of(paths[index], tensors[index], 3, settings) for index in tensors}
    for index, layer in layers.items():
        if layer.decoder.shape[1] == n_layers and bool(layer.decoder[:_SAMPLE, :index].any()):
            raise FileError(f"{paths[index]}: w_dec writes to layers before {index}, where no feature can")
    with faults_of(folder):
        return Dictionary(
            kind="clt",
            layers={i: layer.with_tensors({"decoder": layer.decoder[:, i:]}) for i, layer in layers.items()},
            writes={index: tuple(range(index, n_layers)) for index in layers},
            read_site=read,
            write_site=write,
            n_layers=n_layers,
            d_model=layers[0].encoder.shape[1],
            name=str(settings.get("scan") or name_of(folder)),
            provenance={"layout": "Gemma Scope 2 CLT", **settings},
        )


def settings_of(path: Path) -> dict[str, Any]:
    """The settings beside a file, with the model's name as the hub spells it."""
    settings = read_settings(path.parent / "config.json", needed=False)
    name = settings.get("model_name")
    if isinstance(name, str):
        settings["model_name"] = name.replace("-v3", "-3") if "/" in name else f"google/{name.replace('-v3', '-3')}"
    return settings


def layer_of(path: Path, stored: Mapping[str, Tensor], decoder_axes: int, settings: Mapping[str, Any]) -> Layer:
    """The layer that a file's tensors are; the encoder stays mapped as it lies, [d_model, feature]."""
    tensors = readable(path, stored, (*NEEDED, "affine_skip_connection"))
    check_axes(path, tensors, {"w_enc": 2, "w_dec": decoder_axes, "b_enc": 1, "b_dec": 1, "threshold": 1})
    if (architecture := settings.get("architecture", "jump_relu")) not in ("jump_relu", "jumprelu"):
        raise FileError(f"{path}: its architecture is {architecture!r}, and only jump_relu is known here")
    skip = tensors.get("affine_skip_connection")
    if bool(settings.get("affine_connection", skip is not None)) != (skip is not None):
        fault = "has none" if skip is None else "has one"
        raise FileError(f"{path} {fault}, but its config.json says otherwise of a skip connection (affine_connection)")
    vectors = {name: tensors[name] for name in ("b_enc", "threshold")}
    slots = [tensors["w_dec"]] if decoder_axes == 2 else list(tensors["w_dec"].unbind(1))
    check_fit(path, tensors["w_enc"].T, vectors, slots, tensors["b_dec"], skip)
    return Layer(
        encoder=tensors["w_enc"].T,
        bias=tensors["b_enc"],
        nonlinearity=JumpReLU(threshold=tensors["threshold"].clamp_min(0)),  # a ReLU stands behind the threshold
        decoder=tensors["w_dec"] if decoder_axes == 3 else tensors["w_dec"][:, None],
        decoder_bias=tensors["b_dec"],
        skip=None if skip is None else skip.T,
    )


def _sites(path: Path, settings: Mapping[str, Any], name: str = "") -> tuple[Kind, SiteName, SiteName]:
    """What a dictionary is, by the modules that its settings name, else by the folder's name."""
    text = path.absolute().as_posix()
    known = [part for part in SETS if part in (name or text)]
    if "hf_hook_point_in" in settings:
        with faults_of(path):
            read = place_of(settings["hf_hook_point_in"])[0]
            write = place_of(settings.get("hf_hook_point_out") or settings["hf_hook_point_in"])[0]
        return ("clt" if name == "clt" else "sae" if read == write else "plt"), read, write
    if not known:
        raise FileError(
            f"{path}: nothing says where it reads: put its config.json (hf_hook_point_in, hf_hook_point_out) beside it"
        )
    return SETS[known[0]]


def _recognise(names: Set[str]) -> bool:
    return bool(places(names, FILE)) or any(re.search(CLT_FILE, name) for name in names)


LAYOUT = Layout(
    name="Gemma Scope 2",
    recognise=_recognise,
    load=load,
    save=None,
    files="`layer_N_width_16k_l0_small/params.safetensors`, a CLT's `params_layer_N.safetensors`; `config.json`",
    published_by="`google/gemma-scope-2-*`, of Gemma 3 at 270M to 27B",
    notes="JumpReLU; PLT, SAE and CLT, with an affine skip or without; the modules in `config.json` say where",
    verified="circuit-tracer 0.5's readers of it, to 3e-7",
)
