"""CLT-Forge: CLTs and PLTs in one file, or one a rank: `clt_cfg.json` and `[rank{r}_]clt_weights.safetensors`.

`W_enc` [layer, d_model, feature], `b_enc`, `log_threshold` [layer, feature]; `W_dec` [pair, feature, d_model] and
`b_dec` [pair, d_model], the pairs of layers (from, to) in the order (0, 0), (0, 1), ..., (1, 1), ...; without
`cross_layer_decoders` one a layer. Each rank has a part of every layer's features, and the same `b_dec`. What is read
is multiplied by `estimated_norm_scaling_factor_in` [layer], what is written divided by `..._out`. They read behind the
MLP's norm and before its weight, and write the MLP's output.
"""

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import name_of
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, read_settings, readable
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.mapped_rows import mapped_rows
from clew.dictionary.nonlinearity import JumpReLU, Nonlinearity, TopK
from clew.errors import FileError

CONFIG, FILE, RANK_FILE = "clt_cfg.json", "clt_weights.safetensors", r"rank(\d+)_clt_weights\.safetensors"
FACTORS = ("estimated_norm_scaling_factor_in", "estimated_norm_scaling_factor_out")
AXES = {"W_enc": 3, "b_enc": 2, "W_dec": 3, "b_dec": 2}
KNOWN = (*AXES, *FACTORS, "log_threshold", "layer_mask", "feature_count", "l_idx", "k_idx")


def load(folder: Path) -> Dictionary:
    """Map a folder in this layout; FileError says what is wrong with it."""
    config = read_settings(folder / CONFIG)
    ranks = _ranks(folder, config)
    shards = [_tensors(folder / name) for name in ranks]
    first = shards[0]
    n_layers, d_model, _ = first["W_enc"].shape
    cross = bool(config.get("cross_layer_decoders", True))
    pairs = [(i, t) for i in range(n_layers) for t in (range(i, n_layers) if cross else (i,))]
    for name, tensors in zip(ranks, shards, strict=True):
        if len(tensors["W_dec"]) != len(pairs) or len(tensors["b_dec"]) != len(pairs):
            counts = f"{len(tensors['W_dec'])} and {len(tensors['b_dec'])}"
            raise FileError(f"{folder / name}: W_dec and b_dec have {counts} decoders, expected {len(pairs)}")
    writes = {i: tuple(t for source, t in pairs if source == i) for i in range(n_layers)}
    with faults_of(folder):
        layers = {i: _layer(folder, i, pairs, shards, config) for i in range(n_layers)}
        return Dictionary(
            kind="clt" if cross else "plt",
            layers=layers,
            writes=writes,
            read_site="mlp_normalized",
            write_site="mlp_out",
            n_layers=n_layers,
            d_model=d_model,
            name=name_of(folder),
            provenance={"layout": "CLT-Forge", **config},
        )


def _ranks(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """The files of weights, by rank; FileError when one is missing, or the configuration says otherwise."""
    names = files.names_below(folder, 1)
    ranks = sorted(int(match[1]) for name in names if (match := re.fullmatch(RANK_FILE, name)))
    if FILE in names and ranks:
        raise FileError(f"{folder} holds {FILE} and shards of {len(ranks)} ranks: move one of the two away")
    if FILE in names:
        return [FILE]
    count = config.get("world_size") or max(ranks) + 1
    if missing := sorted(set(range(int(count))) - set(ranks)):
        raise FileError(f"{folder} is incomplete: rank{missing[0]}_{FILE} is missing")
    return [f"rank{rank}_{FILE}" for rank in ranks]


def _tensors(path: Path) -> dict[str, Tensor]:
    stored = files.load_tensors(path)
    counted = {name: t for name, t in stored.items() if t.is_floating_point() and not name.startswith("model.")}
    tensors = readable(path, counted, KNOWN)
    check_axes(path, tensors, AXES)
    return tensors


def _layer(
    folder: Path,
    i: int,
    pairs: Sequence[tuple[int, int]],
    shards: Sequence[Mapping[str, Tensor]],
    config: Mapping[str, Any],
) -> Layer:
    first, slots = shards[0], [number for number, (source, _) in enumerate(pairs) if source == i]
    n_features = sum(tensors["W_enc"].shape[2] for tensors in shards)
    if config.get("d_latent") not in (None, n_features):
        raise FileError(
            f"{folder} is incomplete: its files hold {n_features} features a layer, {config['d_latent']} wanted"
        )
    for tensors in shards:
        decoders = [tensors["W_dec"][number] for number in slots]
        check_fit(folder, tensors["W_enc"][i].T, {"bias": tensors["b_enc"][i]}, decoders, tensors["b_dec"][slots[0]])
    into, out = (_factor(folder, first, name) for name in FACTORS)
    biases = first["b_dec"].to(torch.promote_types(first["b_dec"].dtype, torch.float32))
    bias = torch.stack([biases[number] for number, (_, t) in enumerate(pairs) if t == i]).sum(0)
    return Layer(
        encoder=mapped_rows(
            [[tensors["W_enc"][i].T] for tensors in shards], slots=False, columns=None if into is None else [into[i]]
        ),
        bias=torch.cat([tensors["b_enc"][i] for tensors in shards]),
        nonlinearity=_nonlinearity(folder, i, shards, config),
        decoder=mapped_rows(
            [[tensors["W_dec"][number] for number in slots] for tensors in shards],
            slots=True,
            columns=None if out is None else [1 / out[pairs[number][1]] for number in slots],
        ),
        decoder_bias=bias if out is None else bias / out[i],
    )


def _factor(folder: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The factors of all layers; None where they are one, as in files whose weights have them already."""
    factors = tensors.get(name)
    if factors is None or bool((factors == 1).all()):
        return None
    if factors.shape != (len(tensors["W_enc"]),) or not bool((factors > 0).all()):
        raise FileError(f"{folder}: {name} is {list(factors.shape)}, expected a positive number for each layer")
    return factors


def _nonlinearity(
    folder: Path, i: int, shards: Sequence[Mapping[str, Tensor]], config: Mapping[str, Any]
) -> Nonlinearity:
    name = config.get("activation_fn", "jumprelu")
    if name == "topk":
        if not isinstance(config.get("k"), int) or config["k"] < 1:
            raise FileError(f"{folder / CONFIG}: k is {config.get('k')!r}: expected a whole number above zero")
        return TopK(k=config["k"])
    if name != "jumprelu":
        raise FileError(f"{folder / CONFIG}: activation_fn {name!r} is not computed here: jumprelu and topk are")
    if any("log_threshold" not in tensors for tensors in shards):
        raise FileError(f"{folder}: its activation function is jumprelu, but log_threshold is missing")
    return JumpReLU(threshold=torch.cat([tensors["log_threshold"][i] for tensors in shards]).exp())


def _recognise(names: Set[str]) -> bool:
    return FILE in names or any(re.fullmatch(RANK_FILE, name) for name in names)


LAYOUT = Layout(
    name="CLT-Forge",
    recognise=_recognise,
    load=load,
    save=None,
    files="`clt_cfg.json`, `clt_weights.safetensors` or `rank{r}_clt_weights.safetensors`",
    published_by="CLT-Forge",
    notes="JumpReLU and TopK; CLT and PLT, sharded by rank or not; factors of norms folded in",
    verified="its program's source",
)
