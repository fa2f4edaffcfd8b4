"""The activation function of a published dictionary: what its configuration and its tensors say together.

Programs spell it in many ways: `activation: topk` with `k`, `activation_fn: topk` with `activation_fn_kwargs: {k: 32}`,
`architecture: topk`, `topk: true`, a tensor `k`. Thresholds are called `threshold` or `activation_function.threshold`,
or are kept as logarithms (`log_threshold`). `relu` is the weakest word: programs leave it where a threshold or k
decides. What contradicts itself, or is not understood, is refused: another activation function would be another
dictionary.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError, InputError

THRESHOLDS = ("threshold", "activation_function.threshold")
LOG_THRESHOLDS = ("log_threshold", "activation_function.log_threshold")
TENSORS = (*THRESHOLDS, *LOG_THRESHOLDS, "k")
"""The tensors that belong to an activation function."""
_NAMED = ("activation", "activation_fn", "activation_fn_str", "activation_function", "nonlinearity")
_KWARGS = ("activation_fn_kwargs", "activation_kwargs", "activation_function_kwargs")
_COUNTS = ("k", "top_k", "topk")
_WITHOUT_EFFECT = ("activation_dim",)
_RULES = {"relu", "topk", "jumprelu", "batchtopk"}
_OFF = (None, False, "none", "None", "")


def activation_of(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Nonlinearity:
    """The activation function of one layer; FileError when keys and tensors contradict each other, or are unknown."""
    check_keys(path, config)
    threshold = _threshold(path, tensors)
    rules = _rules(path, config)
    counts = _counts(path, tensors, config)
    if "k" in tensors and not rules - {"relu"}:
        rules.add("topk")
    strong = rules - {"relu"}
    if len(strong) > 1:
        raise FileError(f"{path}: its activation function is {' and '.join(sorted(strong))}: one must go")
    rule = strong.pop() if strong else ("relu" if threshold is None else "jumprelu")
    return _built(path, rule, threshold, counts)


def _built(path: Path, rule: str, threshold: Tensor | None, counts: set[int]) -> Nonlinearity:
    if (rule in ("jumprelu", "batchtopk")) != (threshold is not None):
        fault = "but a threshold is there" if threshold is not None else "but its threshold is missing"
        raise FileError(f"{path}: its activation function is {rule}, {fault}")
    if rule == "jumprelu" and threshold is not None:
        return JumpReLU(threshold=threshold)
    if rule == "relu":
        return ReLU()
    if len(counts) != 1:
        seen = ", ".join(map(str, sorted(counts))) or "not given as a whole number"
        raise FileError(f"{path}: its activation function is {rule}, and k is {seen}: one number is needed")
    k = counts.pop()
    try:
        return TopK(k=k) if threshold is None else BatchTopK(k=k, threshold=threshold)
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def check_keys(path: Path, config: Mapping[str, Any]) -> None:
    """FileError for a key of a configuration that would change what is computed, and is not understood."""
    known = {*_NAMED, *_KWARGS, *_COUNTS, *_WITHOUT_EFFECT}
    for key in config:
        if re.match(r"activation|nonlinear|.*top_?k", str(key)) and key not in known:
            raise FileError(f"{path}: the key {key!r} of its configuration is not known here")
    for key in ("normalize_activations", "finetuning_scaling_factor", "reshape_activations"):
        if config.get(key) not in _OFF:
            raise FileError(f"{path}: {key} is {config[key]!r}: this is not computed here")


def _threshold(path: Path, tensors: Mapping[str, Tensor]) -> Tensor | None:
    names = [name for name in (*THRESHOLDS, *LOG_THRESHOLDS) if name in tensors]
    if len(names) > 1:
        raise FileError(f"{path}: it holds both {names[0]} and {names[1]}")
    if not names:
        return None
    tensor = tensors[names[0]]
    threshold = tensor.exp() if names[0] in LOG_THRESHOLDS else tensor
    return threshold.expand(len(tensors["b_enc"])).contiguous() if threshold.numel() == 1 else threshold


def _rules(path: Path, config: Mapping[str, Any]) -> set[str]:
    """The activation functions that a configuration names, under any key."""
    rules = {"topk"} if config.get("topk") not in (*_OFF, 0) else set()
    for key in _NAMED:
        value = config.get(key)
        name = (
            next((value[part] for part in ("name", "type", "fn") if part in value), value)
            if isinstance(value, Mapping)
            else value
        )
        if name in _OFF:
            continue
        rule = re.sub(r"[^a-z]", "", str(name).lower())
        if rule not in _RULES:
            raise FileError(f"{path}: {key} {name!r} cannot be read: known are {', '.join(sorted(_RULES))}")
        rules.add(rule)
    architecture = re.sub(r"[^a-z]|skip|transcoder|sae", "", str(config.get("architecture") or "").lower())
    return rules | ({architecture} & _RULES)


def _counts(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[int]:
    """Every number that stands for k."""
    inner = [config.get(key) for key in (*_KWARGS, *_NAMED)]
    values = [part.get(key) for part in (config, *inner) if isinstance(part, Mapping) for key in _COUNTS]
    if "k" in tensors:
        if tensors["k"].numel() != 1:
            raise FileError(f"{path}: k is {list(tensors['k'].shape)}, expected one number")
        values.append(int(tensors["k"]))
    return {value for value in values if isinstance(value, int) and not isinstance(value, bool)}
