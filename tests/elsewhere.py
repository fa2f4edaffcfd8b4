"""A device that is not there: tensors that compute on the CPU but say that they are elsewhere.

The device is called `meta`, which torch lets everyone name without hardware. A tensor of it wraps a CPU tensor. Inside
`pretending()`, what is made on `meta` is such a tensor, and an operation that takes tensors of both devices fails, as
it would on a GPU. Numbers without dimensions may come from the CPU, as torch allows.
"""

from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")


class MixedDevicesError(AssertionError):
    """An operation took tensors of two devices."""


class Elsewhere(torch.Tensor):
    """A tensor that says it is on `meta`, around one on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Elsewhere":
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=ELSEWHERE, requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner!r})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy: move it to the CPU first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


_INDEXING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
)
"""Here torch takes places from the CPU, whatever they are places of."""


def dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    there = any(isinstance(x, Elsewhere) for x in tensors)
    copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if func in _INDEXING and isinstance(args[0], Elsewhere):
        tensors = [x for x in tree_flatten((args[0], args[2:]))[0] if isinstance(x, torch.Tensor)]
    if any(
        x.device == ELSEWHERE and not isinstance(x, Elsewhere)
        for x in tree_flatten((args, kwargs))[0]
        if isinstance(x, torch.Tensor)
    ):
        raise MixedDevicesError(f"{func}: a list stands for an index; give a tensor that names its device")
    if there and not copies:
        strangers = [x for x in tensors if not isinstance(x, Elsewhere) and x.ndim > 0]
        if strangers:
            raise MixedDevicesError(f"{func}: {[tuple(x.shape) for x in strangers]} are on the CPU, others are not")
    device = kwargs.get("device")
    if device is not None:
        there = torch.device(device) == ELSEWHERE
        kwargs = {**kwargs, "device": "cpu"}
    unwrapped = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, kwargs))
    results = func(*unwrapped[0], **unwrapped[1])
    if func is torch.ops.aten.copy_.default or func._schema.name.endswith("_"):
        return args[0]  # in place: the same tensor, whose inner one has changed
    if "out" in kwargs:
        return kwargs["out"]
    return tree_map(lambda x: Elsewhere(x) if there and type(x) is torch.Tensor else x, results)


class _Pretend(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


class _PretendFromData(TorchFunctionMode):
    """`torch.tensor` and `new_tensor` copy data to a device without asking the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == ELSEWHERE:
            return Elsewhere(func(*args, **{**kwargs, "device": "cpu"}))
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return Elsewhere(args[0].inner.new_tensor(*args[1:], **kwargs))
        return func(*args, **kwargs)


@contextmanager
def pretending() -> Any:
    """What is made on `meta` in this block is a tensor that computes."""
    with _PretendFromData(), _Pretend():
        yield


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its parameters and buffers elsewhere."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(Elsewhere(parameter.detach()), requires_grad=False)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = Elsewhere(buffer.detach())
    return module
