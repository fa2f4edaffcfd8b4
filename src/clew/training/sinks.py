"""First positions of a corpus that are attention sinks: they do not count.

The first position sees itself alone, so that its MLP outputs follow from its token: every different first token is put
through the model once, by itself, and compared with what is typical of each layer, the median over a sample of text.
So a row is judged before it is read, all of a corpus' rows by one measure, and the same in training, caches, harvests
and measurements.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.subject.positions import SINK, mlp_norms, sink_ratios
from clew.subject.subject import Subject
from clew.training.documents import Documents

SAMPLE = 4096  # positions from which the typical norms are taken
ALONE = 1024  # first tokens that go through the model together


@torch.no_grad()
def without_sinks(subject: Subject, documents: Documents) -> Documents:
    """The same rows, whose first positions do not count where they are sinks; nothing is run where none counted."""
    begins = documents.starts[:-1][documents.counted[documents.starts[:-1]]]
    if not len(begins):
        return documents
    typical = _typical_norms(subject, documents)
    if typical is None:
        return documents
    tokens, row_token = documents.tokens[begins].long().unique(return_inverse=True)
    parts = [sink_ratios(_norms(subject, part[:, None]), typical)[0] for part in tokens.split(ALONE)]
    sinks = (torch.cat(parts) >= SINK).cpu()[row_token]
    if not bool(sinks.any()):
        return documents
    counted = documents.counted.clone()
    counted[begins[sinks]] = False
    return replace(documents, counted=counted)


def _typical_norms(subject: Subject, documents: Documents) -> Float[Tensor, " layer"] | None:
    """The median norm of each layer's MLP outputs behind the first position; None without such a position."""
    n = int((documents.lengths.cumsum(0) < SAMPLE).sum()) + 1
    norms = []
    for row in torch.arange(min(n, len(documents))).split(16):
        ids, counted = documents.padded(row)
        behind = counted[:, 1:].flatten().to(subject.device)
        if bool(behind.any()):
            norms.append(_norms(subject, ids, skip=1)[:, behind])
    return torch.cat(norms, 1).median(1).values if norms else None


def _norms(subject: Subject, ids: Int[Tensor, "batch pos"], *, skip: int = 0) -> Float[Tensor, "layer place"]:
    """The norms of every layer's MLP outputs, rows behind one another without their first `skip` positions."""
    outputs = subject.capture(ids, ["mlp_out"])
    return torch.stack([mlp_norms(outputs["mlp_out", layer][:, skip:]) for layer in range(subject.n_layers)])
