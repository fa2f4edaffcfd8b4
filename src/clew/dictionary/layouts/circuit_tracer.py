"""Published layouts, read and written: circuit-tracer's cross-layer and per-layer transcoder sets.

CLT: `config.yaml`; `W_enc_{i}.safetensors` with `W_enc_{i}` [feature, d_model], `b_enc_{i}`, `b_dec_{i}` and an
optional `threshold_{i}` (absent: ReLU); `W_dec_{i}.safetensors` with `W_dec_{i}` [feature, L - i, d_model].

PLT: `layer_{i}.safetensors` with `W_enc`, `W_dec` [feature, d_model], `b_enc`, `b_dec` and optional
`activation_function.threshold` and `W_skip` (adds x @ W_skip.T). TopK stands in the configuration, which is sometimes
missing and once named `wanb-config.yaml`.

Hooks carry TransformerLens names: `mlp.hook_out` is the MLP's output before a post-norm, `hook_mlp_out` after it.
"""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary, Layer
from clew.dictionary.layouts.native import check_replaceable, check_vector
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError, InputError
from clew.subject.recording import SiteName

READ_HOOKS: dict[str, SiteName] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "ln2.hook_normalized": "mlp_normalized",
    "mlp.hook_in": "mlp_in",
}
WRITE_HOOKS: dict[str, SiteName] = {"mlp.hook_out": "mlp_raw_out", "hook_mlp_out": "mlp_out"}
CONFIGS = ("config.yaml", "wanb-config.yaml")
DEFAULT_HOOKS = ("mlp.hook_in", "mlp.hook_out")


def load(folder: Path | str) -> Dictionary:
    """Map a folder in one of the layouts above; FileError names what was found instead."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"no dictionary at {folder}: no such folder")
    names = {path.name for path in folder.iterdir()}
    clt, plt = _numbered(names, r"W_enc_(\d+)\.safetensors"), _numbered(names, r"layer_(\d+)\.safetensors")
    if not clt and not plt:
        seen = ", ".join(sorted(names)[:6]) or "nothing"
        raise FileError(
            f"{folder} is in no known dictionary layout (native, circuit-tracer CLT or PLT): it holds {seen}"
        )
    kind, indices = ("clt", clt) if clt else ("plt", plt)
    n_layers = indices[-1] + 1
    if missing := sorted(set(range(n_layers)) - set(indices)):
        file = f"W_enc_{missing[0]}.safetensors" if clt else f"layer_{missing[0]}.safetensors"
        raise FileError(f"{folder} is incomplete: {file} is missing")
    config_name, config = _config(folder)
    hooks = [
        config.get(f"feature_{end}_hook", hook) for end, hook in zip(("input", "output"), DEFAULT_HOOKS, strict=True)
    ]
    read_layer = _clt_layer if clt else _plt_layer
    layers = {i: read_layer(folder, i, config) for i in indices}
    try:
        return Dictionary(
            kind="clt" if clt else "plt",
            layers=layers,
            writes={i: tuple(range(i, n_layers)) if clt else (i,) for i in indices},
            read_site=_site(READ_HOOKS, hooks[0]),
            write_site=_site(WRITE_HOOKS, hooks[1]),
            n_layers=n_layers,
            d_model=layers[0].encoder.shape[1],
            name=str(config.get("scan") or folder.name),
            provenance={
                "layout": f"circuit-tracer {kind}",
                "config": config_name or "missing: hooks assumed",
                **config,
            },
        )
    except InputError as error:
        raise FileError(f"{folder} is no whole dictionary: {error}") from error


def save_circuit_tracer(dictionary: Dictionary, folder: Path | str, *, model_name: str, scan: str) -> None:
    """Write the CLT or PLT layout; InputError when the layout has no place for something this Dictionary holds.

    A BatchTopK becomes the JumpReLU it computes.
    """
    dictionary.validate()
    check_replaceable(folder)
    n_layers, clt = dictionary.n_layers, dictionary.kind == "clt"
    config = _new_config(dictionary, model_name, scan)
    with files.new_folder(folder) as new:
        for i, layer in sorted(dictionary.layers.items()):
            threshold = _threshold(layer)
            if not clt:
                tensors = {"W_enc": layer.encoder, "b_enc": layer.bias, "b_dec": layer.decoder_bias}
                tensors |= {"W_dec": layer.decoder[:, 0]} | ({} if layer.skip is None else {"W_skip": layer.skip})
                tensors |= {} if threshold is None else {"activation_function.threshold": threshold}
                files.save_tensors(new / f"layer_{i}.safetensors", tensors)
                continue
            if dictionary.writes[i] != tuple(range(i, n_layers)) or layer.skip is not None:
                raise InputError(
                    f"layer {i} has a skip or does not write to all later layers: this layout cannot say it"
                )
            tensors = {f"W_enc_{i}": layer.encoder, f"b_enc_{i}": layer.bias, f"b_dec_{i}": layer.decoder_bias}
            tensors |= {} if threshold is None else {f"threshold_{i}": threshold}
            files.save_tensors(new / f"W_enc_{i}.safetensors", tensors)
            files.save_tensors(new / f"W_dec_{i}.safetensors", {f"W_dec_{i}": layer.decoder})
        files.write_text(new / "config.yaml", _yaml().safe_dump(config))


def _new_config(dictionary: Dictionary, model_name: str, scan: str) -> dict[str, Any]:
    if dictionary.kind == "sae":
        raise InputError("an SAE has no circuit-tracer layout: save it natively")
    if set(dictionary.layers) != set(range(dictionary.n_layers)):
        raise InputError(f"this layout needs all {dictionary.n_layers} layers, got {sorted(dictionary.layers)}")
    config: dict[str, Any] = {
        "model_kind": "cross_layer_transcoder" if dictionary.kind == "clt" else "transcoder_set",
        "feature_input_hook": {site: hook for hook, site in READ_HOOKS.items()}[dictionary.read_site],
        "feature_output_hook": {site: hook for hook, site in WRITE_HOOKS.items()}[dictionary.write_site],
        "model_name": model_name,
        "scan": scan,
    }
    ks = {n.k for n in (layer.nonlinearity for layer in dictionary.layers.values()) if isinstance(n, TopK)}
    if not ks:
        return config
    mixed = not all(isinstance(layer.nonlinearity, TopK) for layer in dictionary.layers.values())
    if dictionary.kind == "clt" or mixed or len(ks) > 1:
        raise InputError("this layout holds TopK for per-layer transcoders only, with one k for all layers")
    return config | {"activation": "topk", "k": ks.pop()}


def _threshold(layer: Layer) -> Tensor | None:
    match layer.nonlinearity:
        case JumpReLU(threshold=threshold):
            return threshold
        case BatchTopK(threshold=threshold):
            return threshold.clamp_min(0).expand(len(layer.encoder)).contiguous()
        case _:
            return None


def _clt_layer(folder: Path, i: int, config: dict[str, Any]) -> Layer:
    path = folder / f"W_enc_{i}.safetensors"
    tensors = files.load_tensors(path) | files.load_tensors(folder / f"W_dec_{i}.safetensors")
    tensors = {name.removesuffix(f"_{i}"): tensor for name, tensor in tensors.items()}
    return _layer(path, tensors, tensors.get("threshold"), config, 3)


def _plt_layer(folder: Path, i: int, config: dict[str, Any]) -> Layer:
    path = folder / f"layer_{i}.safetensors"
    tensors = files.load_tensors(path)
    return _layer(path, tensors, tensors.get("activation_function.threshold"), config, 2)


def _layer(
    path: Path, tensors: dict[str, Tensor], threshold: Tensor | None, config: dict[str, Any], ndim: int
) -> Layer:
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        if name not in tensors:
            raise FileError(f"{path}: {name} is missing; it holds {', '.join(sorted(tensors)) or 'nothing'}")
    for name, tensor in tensors.items():
        check_vector(path, name, tensor)
    encoder, bias, decoder = tensors["W_enc"], tensors["b_enc"], tensors["W_dec"]
    if encoder.ndim != 2 or bias.ndim != 1 or decoder.ndim != ndim or tensors["b_dec"].ndim != 1:
        shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
        raise FileError(f"{path}: shapes disagree with the layout: {shapes}")
    if len({len(encoder), len(bias), len(decoder)}) > 1 or decoder.shape[-1] != encoder.shape[1]:
        shapes = f"W_enc {list(encoder.shape)}, b_enc {list(bias.shape)}, W_dec {list(decoder.shape)}"
        raise FileError(f"{path}: shapes disagree: {shapes}")
    return Layer(
        encoder=encoder,
        bias=bias,
        nonlinearity=_nonlinearity(path, threshold, config),
        decoder=decoder if ndim == 3 else decoder[:, None],
        decoder_bias=tensors["b_dec"],
        skip=tensors.get("W_skip"),
    )


def _nonlinearity(path: Path, threshold: Tensor | None, config: dict[str, Any]) -> Nonlinearity:
    if threshold is not None:
        return JumpReLU(threshold=threshold)
    named = re.sub(r"[^a-z]", "", str(config.get("activation") or "relu").lower())
    if named == "relu":
        return ReLU()
    if named == "topk" and isinstance(config.get("k"), int):
        return TopK(k=config["k"])
    raise FileError(f"{path}: activation {config.get('activation')!r} with k {config.get('k')!r} cannot be read")


def _config(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """The configuration and the name of its file; empty when there is none."""
    yaml = _yaml()
    for name in CONFIGS:
        if (folder / name).is_file():
            try:
                config = yaml.safe_load(files.read_text(folder / name))
            except yaml.YAMLError as error:
                raise FileError(f"{folder / name} is not YAML: {error}") from error
            if not isinstance(config, dict):
                raise FileError(f"{folder / name} holds no settings")
            return name, config
    return None, {}


def _yaml() -> Any:
    import yaml

    return yaml


def _site(hooks: dict[str, SiteName], hook: Any) -> SiteName:
    if hook not in hooks:
        raise InputError(f"hook {hook!r} is not known: {', '.join(hooks)}")
    return hooks[hook]


def _numbered(names: set[str], pattern: str) -> list[int]:
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(pattern, name)))
