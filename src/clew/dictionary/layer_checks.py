"""Whether the tensors of a layer fit each other, the model's width and its depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clew.dictionary.layer import Layer
from clew.dictionary.nonlinearity import BatchTopK
from clew.errors import InputError

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""What weights may be stored in; files in 8-bit floats are converted when they are read."""


def check_layer(kind: str, index: int, layer: Layer, written: Sequence[int], n_layers: int, d_model: int) -> None:
    """InputError when a layer's tensors, or the layers that it writes to, do not fit."""
    if not 0 <= index < n_layers:
        raise InputError(f"layer {index} is read, but the model has {n_layers}")
    if list(written) != sorted(set(written)) or not written or written[0] < index or written[-1] >= n_layers:
        raise InputError(f"layer {index} writes to {list(written)}: give rising layers {index}..{n_layers - 1}")
    if kind != "clt" and tuple(written) != (index,):
        raise InputError(f"layer {index} of a {kind} writes to {list(written)}, not to itself alone")
    n_features = len(layer.encoder)
    n_experts = 1 if layer.router is None else layer.router.n_experts
    if n_features % n_experts:
        raise InputError(f"layer {index} has {n_features} neurons for {n_experts} experts: give each as many")
    threshold: tuple[tuple[int, ...], ...] = ((n_features,),)
    expected: dict[str, tuple[tuple[int, ...], ...]] = {
        "encoder": ((n_features, d_model),),
        "bias": ((n_features,),),
        "threshold": (*threshold, ()) if isinstance(layer.nonlinearity, BatchTopK) else threshold,
        "decoder": ((n_features, len(written), d_model),),
        "decoder_bias": ((d_model,),),
        "skip": ((d_model, d_model),),
        "gate": ((n_features, d_model),),
        "gate_bias": ((n_features,),),
        "router": ((n_experts, d_model),),
    }
    for name, tensor in layer.tensors().items():
        if tuple(tensor.shape) not in expected[name]:
            raise InputError(f"layer {index}: {name} is {list(tensor.shape)}, expected {list(expected[name][0])}")
        if tensor.dtype not in DTYPES:
            known = ", ".join(map(str, DTYPES))
            raise InputError(f"layer {index}: {name} is in {tensor.dtype}: convert it to one of {known}")
