"""How good a Dictionary is: what it reconstructs, and how the model fares when it stands in for every MLP.

Two separate questions. On the *real* stream: relative squared error and active features of every layer, features that
never fire. On the *replaced* stream, where all MLPs are replaced at once and features are computed on what the
replaced layers before left (attention live, no errors, a left-out first position real): divergence from the real model
in nats, and how often both put the same token on top. Where the real model is unsure, agreement measures the
text's entropy rather than the Dictionary; so it is also given where the real model's top probability is at least one
half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.subject.subject import Subject
from clew.training.activations import Documents, collect, parts_of

SURE = 0.5
PART_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Quality of a Dictionary on some text; lists run over the Dictionary's layers in rising order."""

    positions: int
    nmse: tuple[float, ...]
    """Squared error of the reconstruction on the real stream, relative to the output's variance."""
    l0: tuple[float, ...]
    """Active features a position."""
    dead: tuple[float, ...]
    """Share of features that never fired on this text."""
    kl: float
    """Divergence of the replaced model's prediction from the real one's, in nats a position."""
    agreement: float
    """Share of positions where both models put the same token on top."""
    agreement_sure: float
    """The same where the real model's top probability is at least one half; NaN when it never is."""
    sure: float
    """Share of such positions."""


@torch.no_grad()
def evaluate(subject: Subject, dictionary: Dictionary, documents: Documents) -> Evaluation:
    """Measure a Dictionary on every position that counts; MismatchError when it does not fit the model.

    InputError for an SAE, which has nothing to put in the place of an MLP.
    """
    dictionary.check_fits(subject)
    if dictionary.kind == "sae":
        raise InputError("an SAE does not replace MLPs: evaluate a PLT or a CLT")
    positions = int(documents.counts.sum())
    local = _on_the_real_stream(subject, dictionary, documents)
    divergence, same, sure = _on_the_replaced_stream(subject, dictionary, documents)
    return Evaluation(
        positions=positions,
        **local,
        kl=float(divergence.mean()),
        agreement=float(same.double().mean()),
        agreement_sure=float(same[sure].double().mean()),
        sure=float(sure.double().mean()),
    )


def _on_the_real_stream(subject: Subject, dictionary: Dictionary, documents: Documents) -> dict[str, tuple[float, ...]]:
    order = sorted(dictionary.layers)
    n, error, square, count = 0, dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0), dict.fromkeys(order, 0)
    total = {i: torch.zeros(dictionary.d_model, dtype=torch.float64, device=subject.device) for i in order}
    fired = {i: torch.zeros(dictionary.d_features(i), dtype=torch.bool, device=subject.device) for i in order}
    for rows in torch.arange(len(documents)).split(PART_ROWS):
        batch = collect(subject, documents, rows, dictionary.read_site, dictionary.write_site)
        n_pos = batch.inputs.shape[1]
        active = {i: dictionary.encode(i, batch.inputs[i]) for i in order}
        rebuilt = dictionary.reconstruct(active, dict(enumerate(batch.inputs)), n_pos)
        for i in order:
            real = batch.outputs[i].double()
            error[i] += float((real - rebuilt[i]).square().sum())
            square[i] += float(real.square().sum())
            total[i] += real.sum(0)
            count[i] += len(active[i])
            fired[i][active[i].index] = True
        n += n_pos
    variance = {i: square[i] - float(total[i].square().sum()) / n for i in order}
    return {
        "nmse": tuple(error[i] / max(variance[i], 1e-30) for i in order),
        "l0": tuple(count[i] / n for i in order),
        "dead": tuple(1 - float(fired[i].double().mean()) for i in order),
    }


def _on_the_replaced_stream(
    subject: Subject, dictionary: Dictionary, documents: Documents
) -> tuple[Tensor, Tensor, Tensor]:
    """For every position that counts: divergence, whether the top tokens agree, whether the real model is sure."""
    found = []
    for rows in parts_of(documents, torch.arange(len(documents))):
        ids, counted = documents.padded(rows)
        left_out = documents.first[rows] > 0
        counted = counted.to(subject.device)
        real = subject.logits(ids)[counted].float().log_softmax(-1)
        new = replaced_logits(subject, dictionary, ids, left_out)[counted].float().log_softmax(-1)
        probabilities = real.exp()
        divergence = (probabilities * (real - new)).sum(-1)
        found.append((divergence.double(), real.argmax(-1) == new.argmax(-1), probabilities.amax(-1) >= SURE))
    divergence, same, sure = (torch.cat(part) for part in zip(*found, strict=True))
    return divergence, same, sure


def replaced_logits(
    subject: Subject,
    dictionary: Dictionary,
    ids: Int[Tensor, "batch pos"],
    left_out: Bool[Tensor, " batch"],
) -> Float[Tensor, "batch pos vocab"]:
    """Logits with all MLPs replaced at once; the first position of rows in `left_out` keeps its real MLP outputs."""
    shape = (*ids.shape, dictionary.d_model)
    n_pos = ids.numel()
    written: dict[int, Tensor] = {}
    keep = torch.zeros(ids.shape, dtype=torch.bool, device=subject.device)
    keep[:, 0] = left_out.to(subject.device)

    def stand_in(layer: int, read: Tensor, real: Tensor) -> Tensor:
        x = read.reshape(n_pos, dictionary.d_model)
        if layer in dictionary.layers:
            for out, part in dictionary.decode_layer(layer, dictionary.encode(layer, x), n_pos).items():
                written[out] = written[out] + part if out in written else part
        if layer not in written:
            return real
        rebuilt = written[layer] + dictionary.offset(layer, x, written[layer])
        return torch.where(keep[..., None], real, rebuilt.view(shape).to(real.dtype))

    sites: dict[str, Any] = {"read_site": dictionary.read_site, "write_site": dictionary.write_site}
    return subject.replaced_logits(ids, stand_in, **sites)
