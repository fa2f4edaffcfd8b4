"""Fidelity of one Dictionary on some text: what it reconstructs, and how the model predicts when it replaces the MLPs.

1. On the *real* stream: relative squared error and active features of every layer, how often each feature fires.
2. On the *replaced* stream, where all MLPs are replaced at once and features are computed on what the replaced layers
   before left (attention live, no errors, what does not count real): divergence from the real model in nats, how
   often both put the same token on top, and how much of the loss is recovered that is lost when every MLP writes its
   mean. Where the real model is unsure, agreement measures the text's entropy rather than the Dictionary; so it is also
   given where the real model's top probability is at least one half.
3. The same with *one layer* replaced by its reconstruction from the real stream, everything else real.

Probabilities are taken after a final soft-cap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.dictionary import Dictionary
from clew.progress import Progress, Report, silent
from clew.subject.subject import Subject
from clew.training.activations import collect, parts_of
from clew.training.documents import Documents

SURE = 0.5
PART_ROWS = 256
BLOCK = 1 << 22  # logits compared at once
DENSITY_EDGES = tuple(-6 + step / 2 for step in range(13))  # log10 of the share of positions at which a feature fires


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """How well a model predicts with MLPs replaced, over all positions that count."""

    kl: float
    """Divergence of the replaced model's prediction from the real one's, in nats a position."""
    agreement: float
    """Share of positions where both models put the same token on top."""
    agreement_sure: float
    """The same where the real model's top probability is at least one half; NaN when it never is."""
    loss: float
    """Cross-entropy of the next token where it is text, in nats."""
    loss_recovered: float
    """1 for the real model's loss, 0 for its loss with the same outputs replaced by their mean."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Quality of a Dictionary on some text; lists run over the Dictionary's layers in rising order."""

    positions: int
    layers: tuple[int, ...]
    nmse: tuple[float, ...]
    """Squared error of the reconstruction on the real stream, relative to the output's variance."""
    l0: tuple[float, ...]
    """Active features a position."""
    dead: tuple[float, ...]
    """Share of features that never fired on this text."""
    density: tuple[tuple[int, ...], ...]
    """How many features never fired, then how many fired at a share of positions between DENSITY_EDGES (log10)."""
    sure: float
    """Share of positions where the real model's top probability is at least one half."""
    loss: float
    """The real model's cross-entropy of the next token, in nats."""
    replaced: Replacement
    """All layers replaced at once."""
    by_layer: tuple[Replacement, ...]
    """One layer replaced at a time; empty when it was not asked for."""

    @property
    def kl(self) -> float:
        """Divergence with all layers replaced, in nats a position."""
        return self.replaced.kl

    @property
    def agreement(self) -> float:
        """Agreement with all layers replaced."""
        return self.replaced.agreement

    @property
    def agreement_sure(self) -> float:
        """Agreement with all layers replaced, where the real model is sure."""
        return self.replaced.agreement_sure

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is None."""
        return plain(asdict(self))


def plain(value: Any) -> Any:
    """A value as JSON has it: lists and names, None for what is not a number."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@torch.no_grad()
def measure_fidelity(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    *,
    by_layer: bool = False,
    report: Report = silent,
) -> Fidelity:
    """Measure a Dictionary on every position that counts; MismatchError when it does not fit the model."""
    dictionary.check_fits(subject)
    local, means = _on_the_real_stream(subject, dictionary, documents)
    tallies: dict[str, Tensor] = {}
    done = 0
    for rows in parts_of(documents, torch.arange(len(documents))):
        for name, sums in _compared(subject, dictionary, documents, rows, means, by_layer).items():
            tallies[name] = tallies[name] + sums if name in tallies else sums
        done += len(rows)
        report(Progress(what=f"measuring {dictionary.name}", done=done, of=len(documents), unit="rows"))
    real = _Tally(tallies.pop("real"))
    replaced, *layers = (
        _summary(_Tally(tallies[name]), _Tally(tallies[f"mean {name}"]), real)
        for name in tallies
        if not name.startswith("mean ")
    )
    return Fidelity(
        positions=int(documents.counts.sum()),
        layers=tuple(sorted(dictionary.layers)),
        **local,
        sure=real.sure,
        loss=real.loss,
        replaced=replaced,
        by_layer=tuple(layers),
    )


# The real stream


def _on_the_real_stream(
    subject: Subject, dictionary: Dictionary, documents: Documents
) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Errors and counts by layer, and the mean of every layer's output."""
    order = sorted(dictionary.layers)
    n, error, square = 0, dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)
    total = {i: torch.zeros(dictionary.d_model, dtype=torch.float64, device=subject.device) for i in order}
    fired = {i: torch.zeros(dictionary.d_features(i), dtype=torch.long, device=subject.device) for i in order}
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
            fired[i] += active[i].index.bincount(minlength=len(fired[i]))
        n += n_pos
    variance = {i: square[i] - float(total[i].square().sum()) / n for i in order}
    local = {
        "nmse": tuple(error[i] / max(variance[i], 1e-30) for i in order),
        "l0": tuple(float(fired[i].sum()) / n for i in order),
        "dead": tuple(float((fired[i] == 0).double().mean()) for i in order),
        "density": tuple(histogram(fired[i], n) for i in order),
    }
    return local, {i: (total[i] / n).float() for i in order}


def histogram(fired: Int[Tensor, " feature"], positions: int) -> tuple[int, ...]:
    """How many features never fired, then how many fired at a share of positions between DENSITY_EDGES.

    What is rarer than the first edge counts with the first bin; a feature that fires everywhere with the last.
    """
    share = (fired[fired > 0].double() / positions).log10().clamp_min(DENSITY_EDGES[0])
    bins = torch.bucketize(
        share, torch.tensor(DENSITY_EDGES[1:-1], dtype=torch.float64, device=share.device), right=True
    )
    return int((fired == 0).sum()), *bins.bincount(minlength=len(DENSITY_EDGES) - 1).tolist()


# The replaced stream


@dataclass(frozen=True)
class _Tally:
    """Sums over positions: number, divergence, same top token, sure, same and sure, with a next token, loss."""

    sums: Float[Tensor, "7"]

    @property
    def sure(self) -> float:
        return float(self.sums[3] / self.sums[0])

    @property
    def loss(self) -> float:
        return float(self.sums[6] / self.sums[5])


def _summary(new: _Tally, mean: _Tally, real: _Tally) -> Replacement:
    n, kl, same, sure, same_sure, _, _ = new.sums.tolist()
    span = mean.loss - real.loss
    return Replacement(
        kl=kl / n,
        agreement=same / n,
        agreement_sure=same_sure / sure if sure else math.nan,
        loss=new.loss,
        loss_recovered=(mean.loss - new.loss) / span if span else math.nan,
    )


def _compared(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    rows: Int[Tensor, " n"],
    means: Mapping[int, Tensor],
    by_layer: bool,
) -> dict[str, Tensor]:
    """The tallies of some rows under the real model, the replaced one, one layer replaced, and each with means."""
    ids, counted = documents.padded(rows)
    left_out = documents.left_out(rows).to(subject.device)
    following = torch.full_like(ids, -1)
    following[:, :-1] = torch.where(counted[:, 1:], ids[:, 1:], -1)  # a marker is no text that could be predicted
    shape = (*ids.shape, dictionary.d_model)
    constant = {i: mean.expand(shape) for i, mean in means.items()}
    finals = {
        "real": subject.run(ids).final,
        "all": _replaced(subject, dictionary, ids, left_out),
        "mean all": _with(subject, dictionary, ids, left_out, constant),
    }
    for i, whole in _rebuilt(subject, dictionary, ids).items() if by_layer else ():
        finals[str(i)] = _with(subject, dictionary, ids, left_out, {i: whole.view(shape)})
        finals[f"mean {i}"] = _with(subject, dictionary, ids, left_out, {i: constant[i]})
    counted = counted.to(subject.device)
    return _tallies(subject, {name: x[counted] for name, x in finals.items()}, following.to(subject.device)[counted])


def _tallies(subject: Subject, finals: Mapping[str, Tensor], following: Tensor) -> dict[str, Tensor]:
    """Compare predictions with the real ones, a block of positions at a time; `following` is -1 at a row's end."""
    totals = {name: torch.zeros(7, dtype=torch.float64) for name in finals}
    size = max(1, BLOCK // len(subject.unembedding))
    for start in range(0, len(following), size):
        block, token = slice(start, start + size), following[start : start + size]
        p, top, known = None, None, token >= 0
        for name, final in finals.items():  # the real one first
            q = subject.probabilities(subject.unembed(final[block])).clamp_min_(1e-38)
            log_q, first = q.log(), q.argmax(-1)
            if p is None or top is None:
                p, top, sure = q, first, q.amax(-1) >= SURE
                entropy = (p * log_q).sum(-1)
            same, kl = first == top, entropy - (p * log_q).sum(-1)
            loss = -log_q[known].gather(1, token[known, None]).double()
            sums = (len(token), kl.double().sum(), same.sum(), sure.sum(), (same & sure).sum(), known.sum(), loss.sum())
            totals[name] += torch.tensor([float(x) for x in sums], dtype=torch.float64)
    return totals


def _with(
    subject: Subject, dictionary: Dictionary, ids: Tensor, left_out: Tensor, outputs: Mapping[int, Tensor]
) -> Tensor:
    """The final stream with some layers' outputs replaced; positions that are left out stay real."""
    keep = left_out[:, :, None]

    def replacement(layer: int, real: Tensor, seen: Any) -> Tensor:
        return torch.where(keep, real, outputs[layer].to(real.dtype))

    return subject.run(ids, change={(dictionary.write_site, i): partial(replacement, i) for i in outputs}).final


def _rebuilt(subject: Subject, dictionary: Dictionary, ids: Tensor) -> dict[int, Tensor]:
    """Every layer's reconstruction from the real stream, `pos d_model`, the rows behind one another."""
    streams = subject.capture(ids, [dictionary.read_site])
    inputs = {i: streams[dictionary.read_site, i].flatten(0, 1).float() for i in dictionary.layers}
    active = {i: dictionary.encode(i, x) for i, x in inputs.items()}
    whole = dictionary.reconstruct(active, inputs, ids.numel())
    return {i: whole[i] for i in sorted(dictionary.layers)}


def _replaced(subject: Subject, dictionary: Dictionary, ids: Tensor, left_out: Tensor) -> Tensor:
    """The final stream with all layers replaced at once."""
    n_pos, keep = ids.numel(), left_out[:, :, None]
    written: dict[int, Tensor] = {}

    def stand_in(layer: int, real: Tensor, seen: Any) -> Tensor:
        x = seen(dictionary.read_site, layer).reshape(n_pos, dictionary.d_model)
        if layer in dictionary.layers:
            for out, part in dictionary.decode_layer(layer, dictionary.encode(layer, x), n_pos).items():
                written[out] = written[out] + part if out in written else part
        if layer not in written:
            return real
        rebuilt = written.pop(layer)
        rebuilt = rebuilt + dictionary.offset(layer, x, rebuilt)
        return torch.where(keep, real, rebuilt.view_as(real).to(real.dtype))

    sites: Any = {(dictionary.write_site, layer): partial(stand_in, layer) for layer in range(subject.n_layers)}
    return subject.run(ids, change=sites).final


def replaced_logits(
    subject: Subject,
    dictionary: Dictionary,
    ids: Int[Tensor, "batch pos"],
    left_out: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos vocab"]:
    """Logits, before a final soft-cap, with all layers replaced at once; positions that are left out stay real."""
    with torch.no_grad():
        return subject.unembed(_replaced(subject, dictionary, ids, left_out.to(subject.device)))
