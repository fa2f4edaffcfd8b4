"""sparsify: TopK transcoders and SAEs, and the CLTs of clt-training, a folder each with `cfg.json`.

`{hookpoint}/cfg.json` and `sae.safetensors`: `encoder.weight` [feature, d], `encoder.bias`, `W_dec` [feature, d],
`b_dec`, `W_skip` (adds x @ W_skip.T). The folder is called by the module (`layers.3.mlp`): a transcoder reads what goes
into it and writes what comes out, an SAE reads what comes out and has `b_dec` subtracted first.

A CLT has a folder a layer and its targets in it, this layer first: `W_decs.{t}`, `b_decs.{t}`, `post_enc_scales.{t}`
(factors of the activations), `in_norm` and `out_norm` where `normalize_io` is set; `b_decs` of all that write to a
layer add up. Where a trained `post_encs.{t}` is added to activations that are on, or `W_skips.{t}` reach later layers,
a Dictionary cannot say it, and it is refused.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary import origin
from clew.dictionary.dictionary import Dictionary, Kind
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import StoredLayer, assembled, check_complete, name_of, places
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, read_settings, readable
from clew.dictionary.layouts.folding import centred_bias
from clew.dictionary.layouts.hook_names import place_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.mapped_rows import mapped_rows
from clew.dictionary.nonlinearity import TopK
from clew.errors import FileError
from clew.subject.recording import SiteName

FILE, CONFIG = "sae.safetensors", "cfg.json"
FIRST = {
    "W_dec": "W_decs.0",
    "b_dec": "b_decs.0",
    "W_skip": "W_skips.0",
    "post_enc": "post_encs.0",
    "post_enc_scale": "post_enc_scales.0",
}
"""How the tensors of one target are called among those of several."""
KNOWN = ("encoder.weight", "encoder.bias", "in_norm", "out_norm", *FIRST)
LISTS = tuple(name.removesuffix(".0") for name in FIRST.values())
REFUSED = {"divide_cross_layer": (False,), "coalesce_topk": ("none",), "secondary_target_tied": (False,)}
"""Settings that change what is computed, and the values at which they do not."""


@dataclass(frozen=True, kw_only=True)
class Hookpoint:
    """One folder."""

    path: Path
    index: int
    kind: Kind
    read_site: SiteName
    write_site: SiteName
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    """By the names of lists."""
    n_targets: int

    def factor(self, name: str) -> float | None:
        """What a norm makes of activations that are normalised by it; None where there is none."""
        if not self.config.get("normalize_io"):
            return None
        if name not in self.tensors or self.tensors[name].numel() != 1:
            raise FileError(f"{self.path}: normalize_io is set, but {name} is missing or no single number")
        return float(self.tensors[name]) / math.sqrt(self.tensors["encoder.weight"].shape[1])

    def slots(self) -> list[Tensor]:
        """The decoder of each target, with the factors of its activations."""
        tied = bool(self.config.get("per_source_tied"))
        names = ["W_decs.0" if tied else f"W_decs.{t}" for t in range(self.n_targets)]
        if missing := next((name for name in names if name not in self.tensors), None):
            raise FileError(f"{self.path}: {missing} is missing: {CONFIG} says {self.n_targets} targets")
        scales = [self.tensors.get(f"post_enc_scales.{t}") for t in range(self.n_targets)]
        pairs = zip(names, scales, strict=True)
        return [mapped_rows([[self.tensors[name]]], slots=False, rows=scale) for name, scale in pairs]

    def bias(self, target: int) -> Tensor:
        """What it adds to a target whether a feature is on or not, in the target's normalised units."""
        name = f"b_decs.{target}"
        if name not in self.tensors:
            raise FileError(f"{self.path}: {name} is missing: {CONFIG} says {self.n_targets} targets")
        tensor = self.tensors[name]
        return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if self.kind == "clt" else tensor


def load(folder: Path) -> Dictionary:
    """Map the folder of one hookpoint, or one that holds those of several; FileError says what is wrong with it."""
    names = files.names_below(folder, 3)
    check_complete(folder, names, CONFIG, FILE)
    points = [_hookpoint(folder / name) for name in places(names, FILE)]
    run = read_settings(folder / "config.json", needed=False)
    if run.get("hookpoints_in") not in (None, [], run.get("hookpoints")):
        raise FileError(f"{folder / 'config.json'}: hookpoints_in differ from hookpoints: this is not read here")
    settings = dict(points[0].config) | ({"model_name": run["model"]} if isinstance(run.get("model"), str) else {})
    if any(point.kind == "clt" for point in points):
        return _cross_layer(folder, sorted(points, key=lambda point: point.index), settings)
    stored = [
        StoredLayer(
            index=point.index,
            layer=_layer(point, [point.factor("out_norm")], point.bias(0)),
            kind=point.kind,
            read_site=point.read_site,
            write_site=point.write_site,
            source=point.path.parent,
            settings=point.config,
        )
        for point in points
    ]
    return assembled(folder, "sparsify", stored, settings=settings)


def _hookpoint(path: Path) -> Hookpoint:
    config = read_settings(path.parent / CONFIG)
    _check_settings(path.parent / CONFIG, config)
    name, transcodes = path.absolute().parent.name, bool(config.get("transcode"))
    with faults_of(path.parent / CONFIG):
        write, index = place_of(name)
        read = place_of(f"{name}.input")[0] if transcodes else write
    tensors = _tensors(path)
    listed = sum(key.startswith("W_decs.") for key in tensors)
    n_targets = max(1, int(config.get("n_targets") or 0) if config.get("per_source_tied") else listed)
    point = Hookpoint(
        path=path,
        index=index,
        kind="clt" if n_targets > 1 else "plt" if transcodes else "sae",
        read_site=read,
        write_site=write,
        config=config,
        tensors=tensors,
        n_targets=n_targets,
    )
    _check_targets(point)
    return point


def _check_settings(path: Path, config: Mapping[str, Any]) -> None:
    if config.get("activation", "topk") != "topk" or config.get("signed"):
        what = "signed" if config.get("signed") else config["activation"]
        raise FileError(f"{path}: its activation function is {what}, and only topk of a ReLU is known here")
    if not isinstance(config.get("k"), int) or config["k"] < 1:
        raise FileError(f"{path}: k is {config.get('k')!r}: expected a whole number above zero")
    for key, allowed in REFUSED.items():
        if config.get(key) not in (None, *allowed):
            raise FileError(f"{path}: {key} is {config[key]!r}: this is not computed here")


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, the only target's under the names of lists."""
    stored = files.load_tensors(path)
    listed = [name for name in stored if name.rpartition(".")[0] in LISTS]
    tensors = readable(path, stored, [*KNOWN, *listed])
    check_axes(path, tensors, {"encoder.weight": 2, "encoder.bias": 1})
    return {FIRST.get(name, name): tensor for name, tensor in sorted(tensors.items(), reverse=True)}


def _check_targets(point: Hookpoint) -> None:
    """FileError for what a target gets that is no feature's decoder and no bias."""
    if point.config.get("skip_connection") and "W_skips.0" not in point.tensors:
        raise FileError(f"{point.path}: W_skip is missing, but {CONFIG} says skip_connection")
    for name, tensor in point.tensors.items():
        kind, _, target = name.rpartition(".")
        if kind == "post_encs" and bool(tensor.any()):
            raise FileError(f"{point.path}: {name} adds to activations that are on, which no dictionary here can say")
        if kind == "W_skips" and target != "0" and bool(tensor.any()):
            raise FileError(f"{point.path}: {name} reaches a later layer, which no dictionary here can say")


def _layer(point: Hookpoint, out: Sequence[float | None], decoder_bias: Tensor) -> Layer:
    """The features of one hookpoint; `out` are the factors of its targets."""
    encoder, bias, skip = point.tensors["encoder.weight"], point.tensors["encoder.bias"], point.tensors.get("W_skips.0")
    check_fit(point.path, encoder, {"bias": bias}, point.slots(), decoder_bias, skip)
    if not point.config.get("transcode"):
        bias = centred_bias(bias, encoder, point.tensors["b_decs.0"])
    norm = point.factor("in_norm")
    into, columns = (None, None) if norm is None else (1 / norm, [1.0 if factor is None else factor for factor in out])
    own = 1.0 if out[0] is None else out[0]
    return Layer(
        encoder=mapped_rows([[encoder]], slots=False, columns=None if into is None else [into]),
        bias=bias,
        nonlinearity=TopK(k=point.config["k"]),
        decoder=mapped_rows([point.slots()], slots=True, columns=columns),
        decoder_bias=decoder_bias if out[0] is None else decoder_bias * own,
        skip=skip if skip is None or into is None else skip * (into * own),
    )


def _cross_layer(folder: Path, points: Sequence[Hookpoint], settings: Mapping[str, Any]) -> Dictionary:
    """A CLT of hookpoints in a row, each of which writes to itself and those behind it."""
    indices = [point.index for point in points]
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise FileError(f"{folder} is incomplete: of the layers {indices[0]} to {indices[-1]} it holds {indices}")
    by_index = {point.index: point for point in points}
    writes = {i: tuple(range(i, i + point.n_targets)) for i, point in by_index.items()}
    beyond = next((i for i, targets in writes.items() if targets[-1] > indices[-1]), None)
    if beyond is not None:
        last = writes[beyond][-1]
        raise FileError(f"{folder} is incomplete: layer {beyond} writes up to layer {last}, which is missing")
    layers = {}
    for i, point in by_index.items():
        arriving = [by_index[source].bias(i - source) for source in indices if i in writes[source]]
        out = [by_index[target].factor("out_norm") for target in writes[i]]
        layers[i] = _layer(point, out, torch.stack(arriving).sum(0))
    with faults_of(folder):
        return Dictionary(
            kind="clt",
            layers=layers,
            writes=writes,
            read_site=points[0].read_site,
            write_site=points[0].write_site,
            n_layers=indices[-1] + 1,
            d_model=layers[indices[0]].encoder.shape[1],
            name=name_of(folder),
            provenance={"layout": "sparsify CLT", origin.AT_LEAST: True, **settings},
        )


def _recognise(names: Set[str]) -> bool:
    return bool(places(names, FILE))


LAYOUT = Layout(
    name="sparsify",
    recognise=_recognise,
    load=load,
    save=None,
    files="`{hookpoint}/cfg.json`, `{hookpoint}/sae.safetensors`",
    published_by="sparsify (`EleutherAI/sae-*`, `EleutherAI/skip-transcoder-*`) and clt-training",
    notes="TopK; SAEs, transcoders with `W_skip`; CLTs unless a trained `post_encs` or a skip to later layers is there",
    verified="sparsify 1.3.3's own class, to 2e-7; CLTs by clt-training's source",
)
