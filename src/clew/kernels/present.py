"""Whether a device that somebody names is there."""

from __future__ import annotations

import torch

from clew.errors import InputError


def present_device(device: str | torch.device) -> torch.device:
    """The device; InputError when it is none, or when this machine or this build of torch has no such device."""
    try:
        place = torch.device(device)
    except (RuntimeError, ValueError):
        raise InputError(f"{device!r} is no device: give cpu, cuda, cuda:1 or mps") from None
    if place.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (place.index or 0) >= count:
            seen = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
            reason = "" if torch.version.cuda or torch.version.hip else ", and torch was built without CUDA"
            raise InputError(f"the device {place} is not there{reason}: this machine has {seen}")
    elif place.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("the device mps is not there: it is that of Apple's own processors")
    elif place.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"{device!r} is no device that Clew computes on: give cpu, cuda, cuda:1 or mps")
    return place
