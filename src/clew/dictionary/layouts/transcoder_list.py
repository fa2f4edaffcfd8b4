"""circuit-tracer's lists: a `config.yaml` whose `transcoders:` are files of the hub or of its own folder, one a layer.

    model_kind: transcoder_set            # or cross_layer_transcoder, of Gemma Scope 2
    feature_input_hook: ln2.hook_normalized
    feature_output_hook: hook_mlp_out
    transcoders:
      - hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz
      - hf://google/gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_65/params.npz?revision=main

Each file is read as what its tensors say: Gemma Scope, Gemma Scope 2 or circuit-tracer PLT. They come from the hub's
cache where they are there already. A name that leaves the folder, and a pickle, are refused.
"""

from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts import circuit_tracer, gemma_scope, gemma_scope_2
from clew.dictionary.layouts.assembly import name_of
from clew.dictionary.layouts.checks import faults_of
from clew.dictionary.layouts.hook_names import READ_HOOKS, WRITE_HOOKS, site_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.layouts.yaml_settings import CONFIGS, read_yaml
from clew.errors import FileError

KEY = "transcoders"


def load(folder: Path) -> Dictionary:
    """Map the files that a folder's configuration lists; FileError says which is missing, and where to put it."""
    name, config = read_yaml(folder)
    listed = config.get(KEY)
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, str) for entry in listed):
        raise FileError(f"{folder} holds no weights, and its {name} lists none ({KEY}: one file a layer)")
    paths = {index: _local(folder, entry) for index, entry in enumerate(listed)}
    settings = {key: value for key, value in config.items() if key != KEY} | {"config": name, KEY: listed}
    hooks = circuit_tracer.DEFAULT_HOOKS | config
    with faults_of(folder):
        sites = (
            site_of(hooks["feature_input_hook"], READ_HOOKS),
            site_of(hooks["feature_output_hook"], WRITE_HOOKS),
        )
        if config.get("model_kind") == "cross_layer_transcoder":
            return gemma_scope_2.cross_layer(folder, paths, settings, sites)
        layers = {index: _layer(path, config) for index, path in paths.items()}
        return Dictionary(
            kind="plt",
            layers=layers,
            writes={index: (index,) for index in layers},
            read_site=sites[0],
            write_site=sites[1],
            n_layers=len(layers),
            d_model=layers[0].encoder.shape[1],
            name=str(config.get("scan") or name_of(folder)),
            provenance={"layout": "circuit-tracer list", **settings},
        )


def _local(folder: Path, entry: str) -> Path:
    if entry.startswith(files.SCHEME):
        return files.local_file(entry)
    path = PurePosixPath(entry.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry:
        raise FileError(
            f"{folder}: {KEY} names {entry!r}, which lies outside: give hf://owner/name/path, or a file in it"
        )
    if not (folder / path).is_file():
        raise FileError(f"{folder} is incomplete: {entry} is missing, which its {KEY} name")
    return folder / path


def _layer(path: Path, config: Mapping[str, Any]) -> Layer:
    if path.suffix == ".npz":
        return gemma_scope.layer_of(path, files.load_arrays(path))
    if path.suffix != ".safetensors":
        raise FileError(f"{path} is no file that holds a transcoder here: .npz and .safetensors do")
    tensors = files.load_tensors(path)
    if "w_enc" in tensors:
        return gemma_scope_2.layer_of(path, tensors, 2, {})
    return circuit_tracer.layer_of(path, tensors, config, 2)


def lists_files(folder: Path) -> bool:
    """Whether a folder's configuration lists files; FileError when it cannot be read."""
    return KEY in read_yaml(folder)[1]


def _recognise(names: Set[str]) -> bool:
    return any(name in names for name in CONFIGS)


LAYOUT = Layout(
    name="circuit-tracer list",
    recognise=_recognise,
    load=load,
    save=None,
    files="`config.yaml` with `transcoders:`, a list of `hf://` files",
    published_by="`mntss/gemma-scope-transcoders`, `mwhanna/gemma-scope-2-*`",
    notes="the files are followed into the hub's cache; each is Gemma Scope, Gemma Scope 2 or circuit-tracer PLT",
    verified="a cache as the hub's client lays it out, offline",
)
