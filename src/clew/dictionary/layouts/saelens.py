"""SAELens: SAEs and transcoders, a folder each with `cfg.json` and `sae_weights.safetensors`.

`W_enc` [d_in, feature], `W_dec` [feature, d_out], `b_enc`, `b_dec`, `threshold` (JumpReLU), `W_skip` [d_out, d_in]
(adds x @ W_skip.T); gated: `b_gate`, `b_mag`, `r_mag` in place of `b_enc`. From version 6 on, `cfg.json` keeps names of
hooks and model under `metadata`; before, it was flat, and the decoder's bias was subtracted from the input unless it
said otherwise.

A gated feature is exp(r) u + b_mag above zero where u + b_gate is positive, u its row of W_enc times x. Both ask u to
pass a bound, so it is a JumpReLU of its own threshold: encoder exp(r) W_enc, bias b_mag, threshold the larger of 0 and
b_mag - exp(r) b_gate.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts import activation_keys
from clew.dictionary.layouts.assembly import StoredLayer, assembled, beside, check_complete, ends_of, places
from clew.dictionary.layouts.checks import check_axes, check_fit, read_settings, readable
from clew.dictionary.layouts.folding import centred_bias, decoder_norms
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.mapped_rows import mapped_rows
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity
from clew.errors import FileError

FILE, CONFIG = "sae_weights.safetensors", "cfg.json"
GATED = ("b_gate", "b_mag", "r_mag")
KNOWN = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "topk_threshold", "W_skip", "scaling_factor", *GATED)
ARCHITECTURES = ("standard", "jumprelu", "topk", "batchtopk", "gated", "matryoshka_batchtopk")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}


def load(folder: Path) -> Dictionary:
    """Map the folder of one dictionary, or one that holds several layers'; FileError says what is wrong with it."""
    names = files.names_below(folder, 5)
    check_complete(folder, names, CONFIG, FILE)
    paths = [folder / name for name in places(names, FILE)]
    return assembled(folder, "SAELens", [_stored(path) for path in paths])


def _stored(path: Path) -> StoredLayer:
    config = _settings(path.parent / CONFIG)
    architecture = config["architecture"]
    if architecture not in (*ARCHITECTURES, *TRANSCODERS):
        known = ", ".join((*ARCHITECTURES, *TRANSCODERS))
        raise FileError(f"{path.parent / CONFIG}: architecture {architecture!r} is not read here: {known} are")
    if architecture in TRANSCODERS and "norm_scaling_factor" in config:
        raise FileError(f"{path.parent / CONFIG}: norm_scaling_factor is for SAEs, and this is a {architecture}")
    if config.get("hook_head_index") is not None or config.get("reshape_activations") not in (None, "none"):
        raise FileError(f"{path.parent / CONFIG}: it reads single heads of attention, which no dictionary can here")
    transcoder = architecture in TRANSCODERS
    names = [config.get("hf_hook_name") or config.get("hook_name")]
    names += [config.get("hf_hook_name_out") or config.get("hook_name_out")] if transcoder else names
    index, read, write = ends_of(path.parent / CONFIG, names)
    return StoredLayer(
        index=index,
        layer=_layer(path, config),
        kind="plt" if transcoder else "sae",
        read_site=read,
        write_site=write,
        source=path.parent,
        settings={key: value for key, value in config.items() if key != "metadata"},
    )


def _settings(path: Path) -> dict[str, Any]:
    """The settings of either form, flat, with the names and defaults of version 6."""
    stored = read_settings(path)
    metadata = stored.get("metadata")
    flat = stored | metadata if isinstance(metadata, dict) else stored
    config = {_OLD_NAMES.get(key, key): value for key, value in flat.items()}
    config["architecture"] = config.get("architecture") or "standard"
    config.setdefault("apply_b_dec_to_input", config["architecture"] not in TRANSCODERS)
    normalization = config.get("normalize_activations")
    if normalization not in (None, False, "none") and not (
        normalization in (True, "expected_average_only_in") and "norm_scaling_factor" in config
    ):
        raise FileError(
            f"{path}: normalize_activations is {normalization!r}: fold it into the weights (as SAELens' "
            "fold_activation_norm_scaling_factor does), or give the factor as norm_scaling_factor"
        )
    return config


def _layer(path: Path, config: Mapping[str, Any]) -> Layer:
    tensors = readable(path, files.load_tensors(path), KNOWN)
    gated = config["architecture"] == "gated"
    biases = dict.fromkeys(GATED if gated else ("b_enc",), 1)
    check_axes(path, tensors, {"W_enc": 2, "W_dec": 2, "b_dec": 1} | biases)
    encoder, decoder, skip = tensors["W_enc"].T, tensors["W_dec"], tensors.get("W_skip")
    vectors = {name: tensors[name] for name in biases}
    check_fit(path, encoder, vectors, [decoder], tensors["b_dec"], skip)
    if ("skip" in config["architecture"]) != (skip is not None):
        fault = "has none" if skip is None else "has one"
        raise FileError(f"{path} {fault}, but its architecture, {config['architecture']}, says otherwise of W_skip")
    rows, columns = None, None
    if gated:
        bias, nonlinearity, rows = _gate(path, tensors)
    else:
        bias, nonlinearity = tensors["b_enc"], _nonlinearity(path, tensors, config)
    if config["apply_b_dec_to_input"]:
        bias = centred_bias(bias, encoder, tensors["b_dec"], rows)
    decoder_bias, factors = tensors["b_dec"], _finetuned(path, tensors, config)
    if factor := config.get("norm_scaling_factor"):
        columns, decoder_bias = float(factor), decoder_bias / float(factor)
        factors = factors / float(factor) if factors is not None else torch.full((len(bias),), 1 / float(factor))
    if config.get("rescale_acts_by_decoder_norm"):
        norms = decoder_norms([decoder])
        shares = 1 / norms.clamp_min(torch.finfo(norms.dtype).tiny)
        rows = norms if rows is None else rows * norms
        bias, factors = bias * norms, shares if factors is None else factors * shares
    return Layer(
        encoder=mapped_rows([[encoder]], slots=False, columns=None if columns is None else [columns], rows=rows),
        bias=bias,
        nonlinearity=nonlinearity,
        decoder=mapped_rows([[decoder]], slots=True, rows=factors),
        decoder_bias=decoder_bias,
        skip=skip,
    )


def _gate(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Nonlinearity, Tensor]:
    """Bias, nonlinearity and factors of the encoder's rows of a gated SAE, in float32 or better."""
    if "b_enc" in tensors or "threshold" in tensors:
        raise FileError(f"{path}: it is gated, but b_enc or a threshold is there")
    b_gate, b_mag, r_mag = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (tensors[n] for n in GATED))
    size = r_mag.exp()
    return b_mag, JumpReLU(threshold=(b_mag - size * b_gate).clamp_min(0)), size


def _nonlinearity(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Nonlinearity:
    if unmeant := [name for name in GATED if name in tensors]:
        raise FileError(f"{path}: {', '.join(unmeant)} are there, but its architecture is {config['architecture']}")
    present = dict(tensors)
    batch = "batchtopk" in config["architecture"]
    if batch and "topk_threshold" in present:
        present["threshold"] = present.pop("topk_threshold").to(tensors["b_enc"].dtype)
    kwargs = config.get("activation_fn_kwargs") or {}
    k = config.get("k", kwargs.get("k") if isinstance(kwargs, dict) else None)
    named = {
        "architecture": "batchtopk" if batch else config["architecture"],
        "activation_fn": config.get("activation_fn"),
    }
    named["k"] = int(k) if isinstance(k, float) and k.is_integer() else k
    rule = activation_keys.activation_of(path, present, named)
    if isinstance(rule, JumpReLU):
        return JumpReLU(threshold=rule.threshold.clamp_min(0))  # a ReLU stands before the threshold
    return BatchTopK(k=rule.k, threshold=rule.threshold.clamp_min(0)) if isinstance(rule, BatchTopK) else rule


def _finetuned(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensor | None:
    """The factor of each activation before it is decoded; None where all are one."""
    factors = tensors.get("scaling_factor")
    if factors is None or bool((factors == 1).all()):
        return None
    if not config.get("finetuning_scaling_factor"):
        raise FileError(f"{path}: scaling_factor is not one, but {CONFIG} does not say that it is applied")
    return factors


def _recognise(names: Set[str]) -> bool:
    return any(beside(names, name, CONFIG) or not beside(names, name, "config.json") for name in places(names, FILE))


LAYOUT = Layout(
    name="SAELens",
    recognise=_recognise,
    load=load,
    save=None,
    files="`cfg.json`, `sae_weights.safetensors`",
    published_by="SAELens 3 to 6 and what is trained with it",
    notes="standard, jumprelu, topk, batchtopk, gated (as the JumpReLU it is); transcoders with `W_skip`; "
    "normalisation by a token's own norm is refused",
    verified="SAELens 6.54's own classes, to 3e-7; earlier settings by its rules",
)
