"""What tells two models apart that have one name: hashes of their weights.

`weights_hash` reads every byte. `rounded_hashes` is cheap even for a large model and says the same of the same weights
in another dtype, so that a dictionary trained on a model in float32 is known as that model's when it runs in bfloat16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WHOLE = 1 << 20
"""Parameters with up to so many numbers are read whole."""
SAMPLE = 1 << 16
"""About how many numbers are read of a larger one, evenly spaced."""
_ROUNDINGS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def weights_hash(model: nn.Module) -> str:
    """Hexadecimal SHA-256 of every parameter's name and bytes, in the model's order; half a second a gigabyte or so.

    The same weights in another dtype have another hash.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def rounded_hashes(model: nn.Module) -> dict[str, str]:
    """SHA-256 of the parameters' names, shapes and values, rounded to bfloat16 and to float16, beside the dtype.

    Of two dtypes of the same weights at least one hash agrees, but for bfloat16 beside float16, whose roundings differ.
    Of parameters with more than WHOLE numbers a sample is read: one changed number may go unnoticed, a fine-tuned
    matrix does not.
    """
    digests = {name: hashlib.sha256() for name in _ROUNDINGS}
    dtype = None
    for name, parameter in sorted(model.named_parameters()):
        dtype = dtype or parameter.dtype
        sample = _sample(parameter.detach())
        for rounding, digest in digests.items():
            digest.update(f"{name} {list(parameter.shape)}".encode())
            digest.update(sample.to(_ROUNDINGS[rounding]).view(torch.uint8).numpy().data)
    return {"dtype": str(dtype).removeprefix("torch.")} | {name: d.hexdigest() for name, d in digests.items()}


def same_weights(recorded: Mapping[str, Any], hashes: Mapping[str, str]) -> bool | None:
    """Whether two `rounded_hashes` are of the same weights; None where their dtypes do not allow to tell."""
    if any(recorded.get(name) == hashes[name] for name in _ROUNDINGS):
        return True
    return None if {recorded.get("dtype"), hashes["dtype"]} == set(_ROUNDINGS) else False


def _sample(parameter: Tensor) -> Tensor:
    flat = parameter.reshape(-1)
    step = 1 if len(flat) <= WHOLE else (len(flat) // SAMPLE) | 1  # odd, so that it meets many columns of a matrix
    return flat[::step].contiguous().cpu()
