"""What a model folder says of itself, checked before any weight is read.

transformers fills what a folder lacks with random numbers, imports what a quantised folder asks for, and explains
faults by the names of its own options. Here each of these is refused in a sentence of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError, UnsupportedModelError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files that may hold a folder's weights, or say which files hold them."""
_SHOWN = 3  # names in a message
_MXFP4_PARTS = ("_blocks", "_scales")


def check_folder(folder: Path) -> None:
    """FileError unless a folder (or what is no folder) holds a configuration and every file of its weights.

    UnsupportedModelError for an adapter.
    """
    if folder.is_file():
        raise FileError(f"{folder} is a file: give a model folder in Hugging Face layout, or a GGUF file")
    names = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in names:
        raise UnsupportedModelError(
            f"{folder} holds an adapter, not a whole model: merge it into its base model and save that"
        )
    if "config.json" not in names:
        quantised = sorted(name for name in names if name.lower().endswith(".gguf"))
        also = f", or one of its GGUF files ({listed(quantised)})" if quantised else ""
        raise FileError(f"{folder} holds no config.json: give a model folder in Hugging Face layout{also}")
    index = next((name for name in WEIGHTS if name in names), None)
    if index is None:
        raise FileError(f"{folder} holds no weights: put model.safetensors beside its config.json")
    for name in _shards(folder / index, names) if index.endswith(".index.json") else [index]:
        if name.endswith(".safetensors"):
            _check_numbers(folder / name)


def _shards(index: Path, names: set[str]) -> list[str]:
    """The files that an index names; FileError unless all are there."""
    head = files.read_json(index)
    by_weight = head.get("weight_map") if isinstance(head, dict) else None
    if not isinstance(by_weight, dict) or not all(isinstance(name, str) for name in by_weight.values()):
        raise FileError(f"{index} does not say which file holds which weight: download the model again")
    shards = sorted(set(by_weight.values()))
    if missing := [name for name in shards if name not in names]:
        raise FileError(f"{index.parent} lacks {listed(missing)}, which its {index.name} names: download them again")
    return shards


def _check_numbers(path: Path) -> None:
    """UnsupportedModelError for weights in whole numbers, of which nothing says what they stand for.

    FileError when the file is truncated.
    """
    whole = [
        name
        for name, tensor in files.load_tensors(path).items()
        if not (tensor.is_floating_point() or is_old_buffer(name) or name.endswith(_MXFP4_PARTS))
    ]
    if whole:
        raise UnsupportedModelError(
            f"{path} is quantised, {listed(whole)} in whole numbers: give the model unquantised"
        )


def is_mxfp4(config: Mapping[str, Any]) -> bool:
    """Whether weights are in the four bits of GPT-OSS, which become numbers of any dtype without loss."""
    quantised = config.get("quantization_config")
    return isinstance(quantised, Mapping) and quantised.get("quant_method") == "mxfp4"


def check_config(where: str, config: Any) -> str:
    """The architecture that a configuration names.

    FileError when it is no configuration, UnsupportedModelError for a quantised model, unless `is_mxfp4`.
    """
    if not isinstance(config, Mapping):
        raise FileError(f"config.json of {where} holds no settings: it is damaged")
    quantised = config.get("quantization_config") or config.get("compression_config")
    if quantised and not is_mxfp4(config):
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
        raise UnsupportedModelError(
            f"{where} is quantised ({method or 'its config.json says so'}): "
            "give the model in float32, bfloat16 or float16"
        )
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind) if isinstance(kind, str) else None
    if not isinstance(architecture, str):
        raise FileError(f"config.json of {where} names no architecture: it is not that of a language model")
    return architecture


def check_loaded(where: str, report: Mapping[str, Any]) -> None:
    """FileError unless the weights on disk are those of the architecture, no more, no fewer, and of its sizes."""
    superfluous = sorted(name for name in report["unexpected_keys"] if not is_old_buffer(name))
    missing = sorted(report["missing_keys"])
    faults = []
    if missing:
        faults.append(f"{len(missing)} weights are missing ({listed(missing)})")
    if superfluous:
        faults.append(f"{len(superfluous)} are not the architecture's ({listed(superfluous)})")
    if sizes := sorted((name, list(stored), list(built)) for name, stored, built in report["mismatched_keys"]):
        name, stored, built = sizes[0]
        faults.append(f"{len(sizes)} differ in size from what its config.json says ({name} is {stored}, not {built})")
    if faults:
        raise FileError(f"the weights in {where} are not those of the model: {'; '.join(faults)}")


def is_old_buffer(name: str) -> bool:
    """Whether a tensor is a mask or a rotary table, which older versions of transformers saved among the weights."""
    parts = name.split(".")
    if parts[-1] == "inv_freq":
        return True
    return parts[-1] in ("bias", "masked_bias") and parts[-2:-1] in (["attn"], ["attention"])


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
