"""Hooks on a model's modules: watch what passes in one call, change it, or replace it by recorded maps.

This is the only module that registers hooks, always in a context manager that removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clew.subject.families import Family
from clew.subject.parts import ModulePart
from clew.subject.routing import LogitChange, router_of

GROUPED_EXPERTS = "grouped_mm"
"""What transformers calls the products of all experts at once."""


def module_at(root: nn.Module, path: str) -> Any:
    """The submodule at a dotted path."""
    return reduce(getattr, path.split("."), root)


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


@contextmanager
def eager_parts(model: Any) -> Iterator[None]:
    """Let the model compute attention and experts step by step.

    Other implementations of attention do not return patterns, and those of experts have no forward derivative.
    """
    attention = model.config._attn_implementation
    experts = getattr(model.config, "_experts_implementation", None)
    if attention != "eager":
        model.set_attn_implementation("eager")
    if experts == GROUPED_EXPERTS:
        model.set_experts_implementation("eager")
    try:
        yield
    finally:
        if attention != "eager":
            model.set_attn_implementation(attention)
        if experts == GROUPED_EXPERTS:
            model.set_experts_implementation(experts)


class Watch:
    """Inputs and outputs of the watched modules in the last call, by key; an input is known once its module starts."""

    def __init__(self) -> None:
        self.inputs: dict[Any, Tensor] = {}
        self.outputs: dict[Any, Any] = {}


@contextmanager
def watching(inputs: Mapping[Any, nn.Module], outputs: Mapping[Any, nn.Module] | None = None) -> Iterator[Watch]:
    """Watch the inputs of some modules and the outputs of others, of the same ones if `outputs` is left out."""
    watch = Watch()

    def note_input(key: Any) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            watch.inputs[key] = _first(args, kwargs)

        return hook

    def note_output(key: Any) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            watch.outputs[key] = output

        return hook

    with ExitStack() as stack:
        for key, module in inputs.items():
            stack.callback(module.register_forward_pre_hook(note_input(key), with_kwargs=True).remove)
        for key, module in (inputs if outputs is None else outputs).items():
            stack.callback(module.register_forward_hook(note_output(key)).remove)
        yield watch


@contextmanager
def changing(
    inputs: Mapping[nn.Module, Callable[[Tensor], Tensor]], outputs: Mapping[nn.Module, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Replace the inputs and outputs of modules by `new(value)`.

    An input is overwritten in place, so that whatever shares its memory (a residual connection) sees the change too.
    """

    def overwrite(new: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = _first(args, kwargs)
            value.copy_(new(value.clone()))

        return hook

    def swap(new: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return new(output) if isinstance(output, Tensor) else (new(output[0]), *output[1:])

        return hook

    with ExitStack() as stack:
        for module, new in inputs.items():
            stack.callback(module.register_forward_pre_hook(overwrite(new), with_kwargs=True).remove)
        for module, new in outputs.items():
            stack.callback(module.register_forward_hook(swap(new)).remove)
        yield


@contextmanager
def rerouting(routers: Mapping[int, nn.Module], change: LogitChange) -> Iterator[None]:
    """Let the router of every layer choose experts by changed logits; gradients reach its weight through them."""

    def choosing(layer: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            router = router_of(module)
            logits = change(layer, router.logits(args[0].reshape(-1, router.weight.shape[1])))
            shares, experts = router.chosen(logits)
            return logits, shares, experts

        return hook

    with ExitStack() as stack:
        for layer, module in routers.items():
            stack.callback(module.register_forward_hook(choosing(layer)).remove)
        yield


@dataclass(frozen=True, kw_only=True)
class FrozenParts:
    """Recorded linear maps that stand in for modules: attention layers, norms."""

    maps: Mapping[nn.Module, Callable[[Tensor], Tensor]]


@contextmanager
def freezing(parts: FrozenParts) -> Iterator[None]:
    """Replace the output of a module by its recorded map of the input, in the input's dtype.

    Maps are recorded in float32 at least, and are applied in it.
    """

    def substitute(linear: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            x = _first(args, kwargs)
            mapped = linear(x.to(torch.promote_types(x.dtype, torch.float32))).to(x.dtype)
            return mapped if isinstance(output, Tensor) else (mapped, *output[1:])

        return hook

    with ExitStack() as stack:
        for module, linear in parts.maps.items():
            stack.callback(module.register_forward_hook(substitute(linear), with_kwargs=True).remove)
        yield


def named_modules(model: Any, family: Family) -> dict[tuple[str, int], nn.Module]:
    """The modules of a model by role and layer: every block, and every part of it that is a module."""
    modules: dict[tuple[str, int], nn.Module] = {}
    parts = [part for part in family.block(model.config) if isinstance(part, ModulePart)]
    blocks = module_at(model, family.blocks)
    for layer in range(model.config.num_hidden_layers):
        modules["block", layer] = blocks[layer]
        modules |= {(part.role, layer): module_at(blocks[layer], part.path) for part in parts}
    return modules


def normalized(
    x: Float[Tensor, "*pos d_model"], norm: nn.Module, centred: bool
) -> tuple[Float[Tensor, "*pos d_model"], Float[Tensor, " *pos"]]:
    """`x` after a norm without its weight, and the scale 1/sigma by which it was multiplied."""
    eps = next(getattr(norm, name) for name in ("eps", "variance_epsilon", "epsilon") if hasattr(norm, name))
    x = x - x.mean(-1, keepdim=True) if centred else x
    scale = torch.rsqrt(x.square().mean(-1) + eps)
    return x * scale[..., None], scale
