"""OpenMOSS (Language-Model-SAEs, Llamascopium): SAEs, transcoders and CLTs of `config.json` and weights.

`sae_weights.safetensors` of an SAE or transcoder: `W_E` [d_model, feature], `b_E`, `W_D` [feature, d_model], `b_D`; of
a CLT: `W_E` [layer, d_model, feature], `b_E`, `W_D.{t}` [t + 1, feature, d_model] with the decoders of all layers that
write to t, `b_D.{t}`. Thresholds are logarithms, `activation_function.log_jumprelu_threshold`. Earlier files say
`encoder.weight` [feature, d_model] and `decoder.weight` [d_model, feature]. Hooks stand in `config.json`.

`norm_activation: dataset-wise`: what is read is multiplied by sqrt(d_model) / `dataset_average_activation_norm.{hook}`,
what is written divided by the same of its hook. Folded in as the publisher folds it: the encoder stays, bias and
threshold are divided by the first factor, so that activations are of the model's own size. `inference`: folded already.
With `sparsity_include_decoder_norm` a feature is on where its pre-activation times the norm of its decoders passes.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import StoredLayer, assembled, beside, check_complete, ends_of, name_of, places
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, read_settings, readable
from clew.dictionary.layouts.folding import decoder_norms
from clew.dictionary.layouts.hook_names import place_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.mapped_rows import mapped_rows
from clew.dictionary.nonlinearity import JumpReLU, ReLU, TopK
from clew.errors import FileError

FILE, CONFIG, NORM = "sae_weights.safetensors", "config.json", "dataset_average_activation_norm."
LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"
OLD_NAMES = {"encoder.weight": "W_E", "encoder.bias": "b_E", "decoder.weight": "W_D", "decoder.bias": "b_D"}
OLD_NAMES |= {"log_jumprelu_threshold": LOG_THRESHOLD}
KNOWN = ("W_E", "b_E", "W_D", "b_D", LOG_THRESHOLD)
REFUSED = {"use_glu_encoder": (False,), "norm_activation": ("dataset-wise", "inference")}
"""Settings that change what is computed, and the values that are known here."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The features of one layer as they are stored, and how their program computes with them."""

    path: Path
    config: Mapping[str, Any]
    encoder: Tensor
    bias: Tensor
    slots: Sequence[Tensor]
    decoder_bias: Tensor
    log_threshold: Tensor | None
    into: float
    """The factor of what is read."""
    out: Sequence[float]
    """The factor of what is written, by slot."""

    def layer(self) -> Layer:
        """The same in the model's own units."""
        thresholds = {} if self.log_threshold is None else {"threshold": self.log_threshold}
        check_fit(self.path, self.encoder, {"bias": self.bias} | thresholds, self.slots, self.decoder_bias)
        act, norms, bias, rows = str(self.config.get("act_fn", "relu")).lower(), None, self.bias / self.into, None
        if self.config.get("sparsity_include_decoder_norm", True) and act != "relu":
            norms = decoder_norms(self.slots)  # before the factors of what is read and written
        columns: list[float] = [self.into / factor for factor in self.out]
        nonlinearity: ReLU | JumpReLU | TopK = ReLU()
        if act == "jumprelu":
            if self.log_threshold is None:
                raise FileError(f"{self.path}: its activation function is jumprelu, but {LOG_THRESHOLD} is missing")
            threshold = self.log_threshold.exp() / self.into
            nonlinearity = JumpReLU(threshold=threshold if norms is None else threshold / norms)
        elif act == "topk":
            k = self.config.get("top_k")
            if not isinstance(k, int) or k < 1:
                raise FileError(f"{self.path}: top_k is {k!r}: expected a whole number above zero")
            nonlinearity, rows = TopK(k=k), norms
            bias = bias if norms is None else bias * norms
        elif act != "relu":
            raise FileError(f"{self.path}: its activation function {act!r} depends on other layers or positions")
        shares = None if rows is None else 1 / rows.clamp_min(torch.finfo(rows.dtype).tiny)
        plain = all(factor == 1 for factor in columns)
        return Layer(
            encoder=mapped_rows([[self.encoder]], slots=False, rows=rows),
            bias=bias if self.into != 1 or rows is not None else self.bias,
            nonlinearity=nonlinearity,
            decoder=mapped_rows([self.slots], slots=True, columns=None if plain else columns, rows=shares),
            decoder_bias=self.decoder_bias if self.out[0] == 1 else self.decoder_bias / self.out[0],
        )


def load(folder: Path) -> Dictionary:
    """Map the folder of one dictionary, or one that holds several layers'; FileError says what is wrong with it."""
    names = files.names_below(folder, 5)
    check_complete(folder, names, CONFIG, FILE)
    paths = [folder / name for name in places(names, FILE)]
    configs = {path: _settings(path.parent / CONFIG) for path in paths}
    clts = [path for path in paths if configs[path].get("sae_type") == "clt"]
    if clts and len(paths) > 1:
        raise FileError(f"{folder} holds several dictionaries: name the folder of one, such as {clts[0].parent}")
    if clts:
        return _cross_layer(clts[0], configs[clts[0]])
    return assembled(folder, "OpenMOSS", [_stored(path, configs[path]) for path in paths])


def _settings(path: Path) -> dict[str, Any]:
    config = read_settings(path)
    if config.get("sae_type", "sae") not in ("sae", "clt"):
        raise FileError(f"{path}: sae_type {config['sae_type']!r} is not read here: sae and clt are")
    for key, known in REFUSED.items():
        if config.get(key, known[0]) not in known:
            raise FileError(f"{path}: {key} is {config[key]!r}: this is not computed here")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor under its present name; matrices of earlier files turned as views."""
    stored = files.load_tensors(path)
    parts = [name for name in stored if name.startswith((NORM, "W_D.", "b_D."))]
    tensors = readable(path, {n: t for n, t in stored.items() if not n.startswith(NORM)}, [*KNOWN, *OLD_NAMES, *parts])
    renamed = {
        OLD_NAMES.get(name, name): t.T if t.ndim == 2 and name in OLD_NAMES else t for name, t in tensors.items()
    }
    return renamed | {name: stored[name] for name in parts if name.startswith(NORM)}


def _factor(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], hook: str, d_model: int) -> float:
    """What activations at a hook are multiplied by before the dictionary sees them."""
    if config.get("norm_activation", "dataset-wise") == "inference":
        return 1.0
    norm = tensors.get(NORM + hook)
    if norm is None or norm.numel() != 1 or not 0 < float(norm) < math.inf:
        raise FileError(f"{path}: norm_activation is dataset-wise, but {NORM}{hook} is missing or no positive number")
    return math.sqrt(d_model) / float(norm)


def _stored(path: Path, config: Mapping[str, Any]) -> StoredLayer:
    tensors = _tensors(path)
    check_axes(path, tensors, {"W_E": 2, "b_E": 1, "W_D": 2})
    hooks = [config.get("hook_point_in"), config.get("hook_point_out") or config.get("hook_point_in")]
    index, read, write = ends_of(path.parent / CONFIG, hooks)
    d_model = tensors["W_E"].shape[0]
    into, out = (_factor(path, config, tensors, str(hook), d_model) for hook in hooks)
    weights = Weights(
        path=path,
        config=config,
        encoder=tensors["W_E"].T,
        bias=tensors["b_E"],
        slots=[tensors["W_D"]],
        decoder_bias=tensors["b_D"] if "b_D" in tensors else torch.zeros(d_model, dtype=tensors["b_E"].dtype),
        log_threshold=tensors.get(LOG_THRESHOLD),
        into=into,
        out=[out],
    )
    return StoredLayer(
        index=index,
        layer=weights.layer(),
        kind="sae" if read == write else "plt",
        read_site=read,
        write_site=write,
        source=path.parent,
        settings=config,
    )


def _cross_layer(path: Path, config: Mapping[str, Any]) -> Dictionary:
    tensors = _tensors(path)
    check_axes(path, tensors, {"W_E": 3, "b_E": 2})
    n_layers, d_model, _ = tensors["W_E"].shape
    check_axes(path, tensors, {f"W_D.{t}": 3 for t in range(n_layers)} | {f"b_D.{t}": 1 for t in range(n_layers)})
    hooks = [config.get("hook_points_in"), config.get("hook_points_out")]
    with faults_of(path.parent / CONFIG):
        ends = [[place_of(hook) for hook in names or ()] for names in hooks]
        for names, sites in zip(hooks, ends, strict=True):
            if [layer for _, layer in sites] != list(range(n_layers)) or len({site for site, _ in sites}) != 1:
                raise FileError(
                    f"{path.parent / CONFIG}: {names!r} are not one hook of each of {n_layers} layers in turn"
                )
        into, out = ([_factor(path, config, tensors, str(hook), d_model) for hook in names or ()] for names in hooks)
        layers = {
            i: Weights(
                path=path,
                config=config,
                encoder=tensors["W_E"][i].T,
                bias=tensors["b_E"][i],
                slots=[tensors[f"W_D.{t}"][i] for t in range(i, n_layers)],
                decoder_bias=tensors[f"b_D.{i}"],
                log_threshold=tensors[LOG_THRESHOLD][i] if LOG_THRESHOLD in tensors else None,
                into=into[i],
                out=out[i:],
            ).layer()
            for i in range(n_layers)
        }
        return Dictionary(
            kind="clt",
            layers=layers,
            writes={i: tuple(range(i, n_layers)) for i in range(n_layers)},
            read_site=ends[0][0][0],
            write_site=ends[1][0][0],
            n_layers=n_layers,
            d_model=d_model,
            name=name_of(path.parent),
            provenance={"layout": "OpenMOSS CLT", **config},
        )


def _recognise(names: Set[str]) -> bool:
    return any(beside(names, name, CONFIG) and not beside(names, name, "cfg.json") for name in places(names, FILE))


LAYOUT = Layout(
    name="OpenMOSS",
    recognise=_recognise,
    load=load,
    save=None,
    files="`config.json`, `sae_weights.safetensors`",
    published_by="Language-Model-SAEs and Llamascopium (`OpenMOSS-Team/Llama-Scope-*`)",
    notes="ReLU, JumpReLU and TopK; SAE, transcoder and CLT; averaged norms folded in, those of a token's own refused",
    verified="its program's source",
)
