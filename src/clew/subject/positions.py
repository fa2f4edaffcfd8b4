"""Which positions of a row are text, and whether the first one is an attention sink.

1. *Markers* are special tokens: begin, end, padding, roles of a chat. They keep their place in what the model reads,
   but nothing is learned from them or counted at them. A token for words that the vocabulary lacks is text.
2. The first position is a *sink* when its MLP output is out of all proportion, whether its token is special or not:
   attention rests there when it has nowhere else to go, and the same huge vector stands there before every text. It is
   decided by measurement: the largest of its MLP outputs over the layers, beside the row's median in that layer.

The first position sees itself alone, so that its outputs follow from its token. Huge activations at later positions,
such as those of a delimiter in some models, are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.subject.recording import Recording

if TYPE_CHECKING:
    from clew.subject.subject import Subject

SINK = 20.0
"""Times the median's norm from which the first position is a sink: its squared error is then that of a whole row of 400
tokens. First positions of models without a sink reach 3, minnow's begin token 13, those of models with one 30 to 1,000.
"""
_ROLES = ("bos", "eos", "pad", "sep", "cls", "mask")


@dataclass(frozen=True, kw_only=True)
class FirstPosition:
    """What is known of the first position of a row."""

    special: bool
    """Whether its token is a marker."""
    ratio: float
    """The norm of its largest MLP output beside the row's median in that layer; 0 where nothing follows it."""
    layer: int
    """That layer."""

    @property
    def left_out(self) -> bool:
        """Whether it has no features, no errors, and does not count."""
        return self.special or self.ratio >= SINK

    @property
    def reason(self) -> str:
        """Why it is left out or not, in a few words."""
        if self.special:
            return "its token is special"
        measured = f"its MLP output in layer {self.layer} is {self.ratio:,.3g} times the row's median"
        return f"{'an attention sink' if self.left_out else 'no attention sink'}: {measured}"


def marker_ids(tokenizer: Any) -> frozenset[int]:
    """The special tokens that are no text; a token for unknown text is one only if it is also one of the others."""
    if tokenizer is None:
        return frozenset()
    others = {getattr(tokenizer, f"{role}_token_id", None) for role in _ROLES}
    return frozenset(tokenizer.all_special_ids) - ({getattr(tokenizer, "unk_token_id", None)} - others)


def without_padding(ids: np.ndarray, tokenizer: Any) -> np.ndarray:
    """A row of ids without the padding in front and behind, which would move its positions.

    Where padding and begin token are the same, as in GPT-2, one stays in front if there was one.
    """
    pad = getattr(tokenizer, "pad_token_id", None)
    if pad is None:
        return ids
    filled = (ids != pad).nonzero()[0]
    if not len(filled):
        return ids[:0]
    begins = filled[0] > 0 and pad == getattr(tokenizer, "bos_token_id", None)
    return ids[filled[0] - begins : filled[-1] + 1]


def is_text(subject: Subject, ids: Int[Tensor, " *row"]) -> Bool[Tensor, " *row"]:
    """Where a token is no marker."""
    return ~torch.isin(ids, torch.tensor(sorted(subject.marker_ids), dtype=ids.dtype, device=ids.device))


@torch.no_grad()
def first_position(subject: Subject, ids: Int[Tensor, " pos"], recording: Recording | None = None) -> FirstPosition:
    """What the first position of a prompt is; the model is run where there is no recording."""
    special = int(ids[0]) in subject.marker_ids
    sites = subject.capture(ids[None], ["mlp_out"]) if recording is None else recording.sites
    norms = torch.stack([mlp_norms(sites["mlp_out", layer]) for layer in range(subject.n_layers)])
    if len(ids) == 1:
        return FirstPosition(special=special, ratio=0.0, layer=int(norms[:, 0].argmax()))
    ratio, layer = sink_ratios(norms[:, :1], norms[:, 1:].median(1).values)
    return FirstPosition(special=special, ratio=float(ratio), layer=int(layer))


def first_counted(subject: Subject, ids: Int[Tensor, " pos"]) -> int:
    """The first position that counts: 1 behind one that is left out. The model is run unless the token is special."""
    return int(int(ids[0]) in subject.marker_ids or first_position(subject, ids).left_out)


def mlp_norms(outputs: Float[Tensor, "*row d_model"]) -> Float[Tensor, " pos"]:
    """The norms of MLP outputs, in float32 at least: half precision would overflow."""
    values = outputs.flatten(0, -2)
    return torch.linalg.vector_norm(values, dim=-1, dtype=torch.promote_types(values.dtype, torch.float32))


def sink_ratios(
    first: Float[Tensor, "layer row"], typical: Float[Tensor, " layer"]
) -> tuple[Float[Tensor, " row"], Int[Tensor, " row"]]:
    """Of the norms of first positions, each one's largest beside what is typical of its layer, and that layer."""
    largest, layer = first.max(0)
    return largest / typical[layer].clamp_min(torch.finfo(typical.dtype).tiny), layer
