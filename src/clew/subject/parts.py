"""A transformer block as a list of parts, in the order in which a run passes them.

Serial and parallel blocks, norms before and after a sublayer are different lists of the same parts. The recorder turns
each part into steps of a Recording, `Subject` finds the modules where a site can be read or changed, and `freeze` finds
the norms: all from this list. A register holds one vector a position: `stream` (the residual stream), `normed`, `mixed`
(the attention's output), `out` (the MLP's output).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clew.subject.recording import SiteName

Side = Literal["input", "scaled", "output"]
"""Where a site lies at its module: what goes in, the input after a norm's scaling, what comes out."""


@dataclass(frozen=True, kw_only=True)
class NormPart:
    """A norm: scaling, then its weight and bias."""

    role: str
    path: str
    source: str
    target: str
    site: SiteName | None = None
    """The name of what lies between the scaling and the weight."""


@dataclass(frozen=True, kw_only=True)
class AttentionPart:
    """The attention: it reads one register and fills another."""

    path: str
    source: str = "normed"
    target: str = "mixed"
    role: str = "attention"


@dataclass(frozen=True, kw_only=True)
class MlpPart:
    """The MLP: it reads one register and fills another."""

    path: str
    source: str = "normed"
    target: str = "out"
    role: str = "mlp"


@dataclass(frozen=True, kw_only=True)
class AddPart:
    """A register added to the residual stream."""

    source: str
    target: str = "stream"


@dataclass(frozen=True, kw_only=True)
class SitePart:
    """A name for what a register holds here, and the module of a running model that takes it in or gives it out."""

    name: SiteName
    register: str
    role: str
    side: Side


Part = NormPart | AttentionPart | MlpPart | AddPart | SitePart
ModulePart = NormPart | AttentionPart | MlpPart
Block = tuple[Part, ...]


def serial_block(
    *,
    attention_norm: str,
    attention: str,
    mlp_norm: str,
    mlp: str,
    post_attention_norm: str | None = None,
    post_mlp_norm: str | None = None,
) -> Block:
    """The attention is added to the stream before the MLP reads it; paths of modules are relative to the block."""
    return (
        *_start(),
        *_attention(attention_norm, attention, post_attention_norm),
        AddPart(source="mixed"),
        *_mlp(mlp_norm, mlp, post_mlp_norm),
        AddPart(source="out"),
        *_end(),
    )


def parallel_block(*, attention_norm: str, attention: str, mlp_norm: str, mlp: str) -> Block:
    """Attention and MLP both read the block's input, through a norm each or through the same one."""
    return (
        *_start(),
        *_attention(attention_norm, attention, None),
        *_mlp(mlp_norm, mlp, None),
        AddPart(source="mixed"),
        AddPart(source="out"),
        *_end(),
    )


def post_norm_block(*, attention: str, post_attention_norm: str, mlp: str, post_mlp_norm: str) -> Block:
    """Attention and MLP read the stream as it is, one after the other, and what they give is normed.

    Without a norm before the MLP its input has three names: `resid_mid`, `mlp_normalized` and `mlp_in`.
    """
    return (
        *_start(),
        AttentionPart(path=attention, source="stream"),
        NormPart(role="post_attention_norm", path=post_attention_norm, source="mixed", target="mixed"),
        AddPart(source="mixed"),
        SitePart(name="resid_mid", register="stream", role="mlp", side="input"),
        SitePart(name="mlp_normalized", register="stream", role="mlp", side="input"),
        SitePart(name="mlp_in", register="stream", role="mlp", side="input"),
        *_mlp_out(mlp, "stream", post_mlp_norm),
        AddPart(source="out"),
        *_end(),
    )


def _start() -> Iterator[Part]:
    yield SitePart(name="resid_pre", register="stream", role="block", side="input")


def _attention(norm: str, attention: str, post_norm: str | None) -> Iterator[Part]:
    yield NormPart(role="attention_norm", path=norm, source="stream", target="normed")
    yield AttentionPart(path=attention)
    if post_norm is not None:
        yield NormPart(role="post_attention_norm", path=post_norm, source="mixed", target="mixed")


def _mlp(norm: str, mlp: str, post_norm: str | None) -> Iterator[Part]:
    yield SitePart(name="resid_mid", register="stream", role="mlp_norm", side="input")
    yield NormPart(role="mlp_norm", path=norm, source="stream", target="normed", site="mlp_normalized")
    yield SitePart(name="mlp_in", register="normed", role="mlp", side="input")
    yield from _mlp_out(mlp, "normed", post_norm)


def _mlp_out(mlp: str, source: str, post_norm: str | None) -> Iterator[Part]:
    yield MlpPart(path=mlp, source=source)
    yield SitePart(name="mlp_raw_out", register="out", role="mlp", side="output")
    if post_norm is not None:
        yield NormPart(role="post_mlp_norm", path=post_norm, source="out", target="out")
    last = "mlp" if post_norm is None else "post_mlp_norm"
    yield SitePart(name="mlp_out", register="out", role=last, side="output")


def _end() -> Iterator[Part]:
    yield SitePart(name="resid_post", register="stream", role="block", side="output")


def places(block: Block) -> dict[SiteName, tuple[str, Side]]:
    """Where a running model can be watched or changed at each site: the role of a module, and the side of it."""
    sites: dict[SiteName, tuple[str, Side]] = {}
    for part in block:
        if isinstance(part, SitePart):
            sites[part.name] = part.role, part.side
        elif isinstance(part, NormPart) and part.site is not None:
            sites[part.site] = part.role, "scaled"
    return sites
