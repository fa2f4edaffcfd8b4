"""Activations for training: documents in, shuffled batches of what every layer reads and writes out.

1. Every document is one row, or several when it is longer than the context. Rows keep their own positions; nothing
   is packed behind something else, so that the activations are those of a prompt that stands alone.
2. An epoch takes the rows in a random order. They fill a buffer of a given number of positions, whose activations
   are computed, shuffled and handed out in batches.
3. What a batch holds depends on seed and step alone, so that a resumed run sees the same batches.

The first position is left out when it is a special token: its MLP outputs are huge, the same for every prompt, and left
real when a prompt is traced.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.subject.subject import Subject

PART = 2048  # padded positions in one run of the model: what fits a CPU's cache is fastest


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Token ids of many rows behind one another; row i is `tokens[starts[i] : starts[i + 1]]`."""

    tokens: Int[Tensor, " token"]
    starts: Int[Tensor, " bound"]
    first: Int[Tensor, " row"]
    """The first position that counts: 1 where the row begins with a special token, else 0."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Int[Tensor, " row"]:
        """Tokens of every row."""
        return self.starts.diff()

    @property
    def counts(self) -> Int[Tensor, " row"]:
        """Positions of every row that are trained on."""
        return (self.lengths - self.first).clamp_min(0)

    def padded(self, rows: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n pos"], Bool[Tensor, "n pos"]]:
        """Some rows padded on the right, and which positions count."""
        lengths = self.lengths[rows]
        at = torch.arange(int(lengths.max()))
        real = at < lengths[:, None]
        source = (self.starts[rows][:, None] + at).clamp_max(len(self.tokens) - 1)
        return self.tokens[source] * real, real & (at >= self.first[rows][:, None])

    def slice(self, start: int, stop: int) -> "Documents":
        """Some rows in a run as documents of their own, for example to hold them out."""
        bounds = self.starts[start : stop + 1]
        tokens = self.tokens[int(bounds[0]) : int(bounds[-1])]
        return Documents(tokens=tokens, starts=bounds - bounds[0], first=self.first[start:stop])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What every layer reads and writes at some positions."""

    inputs: Float[Tensor, "layer pos d_model"]
    outputs: Float[Tensor, "layer pos d_model"]


def encode_documents(subject: Subject, documents: Iterable[str | Sequence[int] | np.ndarray | Tensor]) -> Documents:
    """Texts (a BOS is prepended as for a prompt) or token ids as rows no longer than the model's context.

    InputError when there is no row with a position to train on.
    """
    rows: list[np.ndarray] = []
    texts: list[str] = []
    for document in documents:
        if isinstance(document, str):
            texts.append(document)
            if len(texts) == 4096:
                rows += _encode_texts(subject, texts)
                texts = []
        else:
            rows.append(np.asarray(document))
    rows += _encode_texts(subject, texts)
    length = subject.context_length
    rows = [row[start : start + length] for row in rows for start in range(0, len(row), length)]
    special = subject.special_ids
    first = [int(int(row[0]) in special) for row in rows]
    if not any(len(row) > skip for row, skip in zip(rows, first, strict=True)):
        raise InputError("the corpus is empty: give at least one document with one token")
    return Documents(
        tokens=torch.from_numpy(np.concatenate(rows)).long(),
        starts=torch.tensor([0, *(len(row) for row in rows)]).cumsum(0),
        first=torch.tensor(first),
    )


def _encode_texts(subject: Subject, texts: list[str]) -> list[np.ndarray]:
    if not texts:
        return []
    if subject.tokenizer is None:
        raise InputError(f"{subject.name} came without a tokenizer: give token ids instead of texts")
    bos = subject.tokenizer.bos_token_id
    encoded = subject.tokenizer(texts)["input_ids"]
    return [np.asarray(ids if bos is None or ids[:1] == [bos] else [bos, *ids]) for ids in encoded if ids]


def collect(subject: Subject, documents: Documents, rows: Int[Tensor, " n"], read_site: str, write_site: str) -> Batch:
    """The activations of some rows at every position that counts, rows sorted by length; InputError at NaN."""
    parts = [_capture(subject, documents, part, read_site, write_site) for part in parts_of(documents, rows)]
    inputs, outputs = (torch.cat(side, 1) for side in zip(*parts, strict=True))
    for layer in range(subject.n_layers):  # the first layer that fails is the cause, later ones follow
        for name, values in ((read_site, inputs[layer]), (write_site, outputs[layer])):
            if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
                raise InputError(f"activations at {name} of layer {layer} hold NaN or infinity")
    return Batch(inputs=inputs, outputs=outputs)


def parts_of(documents: Documents, rows: Int[Tensor, " n"]) -> Iterator[Tensor]:
    """Rows sorted by length, in parts that hold no more than PART positions once padded."""
    lengths = documents.lengths[rows]
    order = lengths.argsort(stable=True)
    rows, lengths = rows[order], lengths[order]
    start = 0
    while start < len(rows):
        fits = (lengths[start:] * torch.arange(1, len(rows) - start + 1) <= PART).sum()
        stop = start + max(1, int(fits))
        yield rows[start:stop]
        start = stop


def _capture(
    subject: Subject, documents: Documents, rows: Tensor, read_site: str, write_site: str
) -> tuple[Tensor, Tensor]:
    ids, counted = documents.padded(rows)
    held = subject.capture(ids, [read_site, write_site])  # type: ignore[list-item]
    counted = counted.to(subject.device)
    read, written = (
        torch.stack([held[site, layer][counted].float() for layer in range(subject.n_layers)])  # type: ignore[index]
        for site in (read_site, write_site)
    )
    return read, written


def stream(
    subject: Subject,
    documents: Documents,
    *,
    read_site: str,
    write_site: str,
    batch: int,
    buffer: int,
    seed: int,
    start: int = 0,
) -> Iterator[Batch]:
    """Shuffled batches without end, beginning with batch `start`; InputError when the corpus cannot fill one."""
    if int(documents.counts.sum()) < batch:
        raise InputError(
            f"the corpus has {int(documents.counts.sum())} positions, a batch needs {batch}: give more text"
        )
    made = 0
    for number, rows in enumerate(_buffers(documents, max(buffer, batch), seed)):
        ready = int(documents.counts[rows].sum()) // batch
        if made + ready <= start:
            made += ready
            continue
        held = collect(subject, documents, rows, read_site, write_site)
        order = _permutation(held.inputs.shape[1], seed, 2 * number).to(held.inputs.device)
        for part in order[: ready * batch].view(ready, batch):
            if made >= start:
                yield Batch(inputs=held.inputs[:, part], outputs=held.outputs[:, part])
            made += 1


def _buffers(documents: Documents, size: int, seed: int) -> Iterator[Tensor]:
    """Rows with about `size` counted positions, epoch after epoch; an epoch's last few are left out."""
    epoch = 0
    while True:
        order = _permutation(len(documents), seed, 2 * epoch + 1)
        ends = documents.counts[order].cumsum(0)
        whole = max(1, int(ends[-1]) // size)
        cuts = torch.searchsorted(ends, torch.arange(1, whole + 1) * size) + 1
        for begin, stop in pairwise([0, *cuts.tolist()]):
            yield order[begin:stop]
        epoch += 1


def _permutation(n: int, seed: int, number: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed((seed << 32) + number))
