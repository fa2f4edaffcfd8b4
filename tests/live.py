"""Edits in the real model by plain hooks, one prompt at a time, without a cache: the reference of *live*.

It shares no code with clew.intervention: run once and note what every MLP reads and gives out, work out densely what
the edits write, run again with those outputs put in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tests.frozen import PATHS

Change = tuple[int, int, Sequence[int], Callable[[Tensor], Tensor]]  # layer, feature, positions, new activation


class Plain:
    """A model whose MLPs can be watched and overruled."""

    def __init__(self, model: Any, read_site: str, write_site: str) -> None:
        self.model = model
        root, blocks, norm, mlp, post, _ = PATHS[type(model).__name__]
        self.blocks = list(getattr(getattr(model, root), blocks))
        self.mlps = [getattr(block, mlp) for block in self.blocks]
        at_post = post is not None and write_site == "mlp_out"
        self.writers = [getattr(block, post) for block in self.blocks] if at_post else self.mlps
        at_mlp = norm is None or read_site == "mlp_in"
        self.readers = self.mlps if at_mlp else [getattr(block, norm) for block in self.blocks]
        assert read_site in ("mlp_in", "resid_mid")

    @torch.no_grad()
    def run(self, ids: Sequence[int], outputs: dict[int, Tensor] | None = None) -> tuple[Tensor, list[Any], list[Any]]:
        """Logits after a soft-cap, reads and writes by layer; `outputs` overrule what MLPs give out."""
        reads, writes = [None] * len(self.blocks), [None] * len(self.blocks)

        def reading(layer: int) -> Callable[..., None]:
            def hook(module: Any, args: Any) -> None:
                reads[layer] = args[0][0].clone()

            return hook

        def writing(layer: int) -> Callable[..., Any]:
            def hook(module: Any, args: Any, out: Any) -> Any:
                real, *routing = out if isinstance(out, tuple) else (out,)  # experts give their routing too
                new = real if outputs is None or layer not in outputs else outputs[layer][None]
                writes[layer] = new[0].clone()
                return (new, *routing) if routing else new

            return hook

        with ExitStack() as stack:
            for layer in range(len(self.blocks)):
                stack.callback(self.readers[layer].register_forward_pre_hook(reading(layer)).remove)
                stack.callback(self.writers[layer].register_forward_hook(writing(layer)).remove)
            logits = self.model(torch.tensor([list(ids)]), use_cache=False).logits[0]
        return logits, reads, writes


def edited_logits(plain: Plain, dictionary: Any, ids: Sequence[int], changes: Sequence[Change], e: int) -> Tensor:
    """Logits with the MLP outputs of layers l..e clamped to what they were plus what the changed features write."""
    _, reads, writes = plain.run(ids)
    moved = {layer: torch.zeros_like(writes[layer]) for layer in range(len(plain.blocks))}
    for layer, feature, positions, new in changes:
        tensors = dictionary.layers[layer]
        pre = reads[layer] @ tensors.encoder[feature] + tensors.bias[feature]
        threshold = getattr(tensors.nonlinearity, "threshold", torch.zeros(len(tensors.bias), dtype=pre.dtype))
        before = torch.where(pre > threshold[feature], pre, 0.0)
        edited = torch.zeros(len(ids), dtype=pre.dtype)
        edited[list(positions)] = 1
        difference = (new(before) - before) * edited
        for slot, out in enumerate(dictionary.writes[layer]):
            if out <= e:
                moved[out] += difference[:, None] * tensors.decoder[feature, slot]
    first = min(layer for layer, *_ in changes)
    return plain.run(ids, {layer: writes[layer] + moved[layer] for layer in range(first, e + 1)})[0]
