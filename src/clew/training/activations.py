"""Activations for training: rows in, shuffled batches of what every layer reads and writes out.

1. An epoch takes the rows in a random order. They fill a buffer of a given number of positions, whose activations are
   computed (or read from a cache), shuffled and handed out in batches. How many positions are shuffled together does
   not depend on the model's width: a buffer that is too large for memory lies in a file.
2. A row keeps its own positions and sees nothing but itself, so that the activations are those of a prompt that stands
   alone. Rows of like length go through the model together.
3. What a batch holds depends on seed and step alone, so that a resumed run sees the same batches.

Special tokens are left out, and a first position that is an attention sink: its MLP outputs are huge, the same for
every prompt, and left real when a prompt is traced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew import files
from clew.distributed import ALONE, Ranks
from clew.errors import InputError
from clew.subject.subject import Subject
from clew.training.documents import Batch, Documents

__all__ = [
    "Batch",
    "Documents",
    "buffer_bytes",
    "check_fills",
    "collect",
    "fits_in_memory",
    "parts_of",
    "stream",
    "stream_among",
]

PART = 2048  # padded positions in one run of the model; what fits a CPU's cache is fastest
BUFFER_BYTES = 1 << 30  # of a buffer in memory; a larger one lies in a file
DRAWN = 32  # parts of rows that are drawn and sorted together
LEAST_BYTES = 192 << 20  # of the activations that a corpus must have


def buffer_bytes(subject: Subject, positions: int) -> int:
    """Bytes of a buffer of so many positions: what every layer reads and writes, in float32."""
    return 2 * 4 * subject.n_layers * subject.d_model * positions


def fits_in_memory(subject: Subject, positions: int) -> bool:
    """Whether a buffer of so many positions is kept in memory; a larger one lies in a file."""
    return buffer_bytes(subject, positions) <= BUFFER_BYTES


def check_fills(subject: Subject, documents: Documents, buffer: int) -> None:
    """InputError when the corpus is smaller than the buffer: training would repeat it unnoticed.

    Of a wide model's buffer LEAST_BYTES must be filled.
    """
    size = min(buffer, max(1, LEAST_BYTES // buffer_bytes(subject, 1)))
    available = int(documents.counts.sum())
    if available < size:
        raise InputError(
            f"the corpus has {available:,} positions to train on, fewer than the buffer's {size:,}: give more text, or "
            f"a smaller buffer"
        )


def collect(
    subject: Subject, documents: Documents, rows: Int[Tensor, " n"], read_site: str, write_site: str, where: str = ""
) -> Batch:
    """The activations of some rows at every position that counts, rows sorted by length.

    InputError at NaN, which says the layer, and `where` the rows are.
    """
    batch = _gather(subject, documents, rows, read_site, write_site)
    _check_finite(batch, read_site, write_site, where)
    return batch


def _gather(
    subject: Subject, documents: Documents, rows: Tensor, read_site: str, write_site: str, ranks: Ranks = ALONE
) -> Batch:
    if documents.cache is not None:
        stored = documents.cache.read(torch.cat(list(parts_of(documents, rows))), read_site, write_site)
        return Batch(inputs=stored.inputs.to(subject.device), outputs=stored.outputs.to(subject.device))
    shape = subject.n_layers, int(documents.counts[rows].sum()), subject.d_model
    inputs, outputs = (torch.empty(shape, dtype=torch.float32, device=subject.device) for _ in range(2))
    _run_into(inputs, outputs, subject, documents, rows, read_site, write_site, ranks)
    return Batch(inputs=inputs, outputs=outputs)


def _run_into(
    inputs: Tensor, outputs: Tensor, subject: Subject, documents: Documents, rows: Tensor, read: str, write: str,
    ranks: Ranks,
) -> None:  # fmt: skip
    """Run the model over some rows, part by part, into tensors `layer pos d_model`; ranks take turns and share."""
    parts = list(parts_of(documents, rows))
    ends = [0, *accumulate(int(documents.counts[part].sum()) for part in parts)]
    for number in range(ranks.rank, len(parts), ranks.size):
        ids, counted = documents.padded(parts[number])
        streams = subject.capture(ids, [read, write])  # type: ignore[list-item]
        counted, place = counted.to(subject.device), slice(ends[number], ends[number + 1])
        for layer in range(subject.n_layers):
            inputs[layer, place] = streams[read, layer][counted]  # type: ignore[index]
            outputs[layer, place] = streams[write, layer][counted]  # type: ignore[index]
    if ranks.size > 1:
        for number in range(len(parts)):
            place, source = slice(ends[number], ends[number + 1]), number % ranks.size
            for side in (inputs, outputs):
                side[:, place] = ranks.copy(side[:, place].contiguous(), source)


def _gather_into(
    scratch: Float[Tensor, "pos side layer d_model"], subject: Subject, documents: Documents, rows: Tensor, read: str,
    write: str, ranks: Ranks,
) -> Batch:  # fmt: skip
    """`_gather` into a file, in which all that belongs to a position is adjacent."""
    whole = scratch[: int(documents.counts[rows].sum())].permute(1, 2, 0, 3)
    if documents.cache is None:
        _run_into(whole[0], whole[1], subject, documents, rows, read, write, ranks)
        return Batch(inputs=whole[0], outputs=whole[1])
    start = 0
    for part in parts_of(documents, rows):
        stored = documents.cache.read(part, read, write)
        stop = start + stored.inputs.shape[1]
        whole[0, :, start:stop], whole[1, :, start:stop] = stored.inputs, stored.outputs
        start = stop
    return Batch(inputs=whole[0], outputs=whole[1])


def _finite(
    subject: Subject, buffered: Batch, part: Int[Tensor, " pos"], read_site: str, write_site: str, number: int
) -> Batch:
    """One batch of a buffer; InputError at NaN."""
    inputs, outputs = (side[:, part].contiguous().to(subject.device) for side in (buffered.inputs, buffered.outputs))
    batch = Batch(inputs=inputs, outputs=outputs)
    _check_finite(batch, read_site, write_site, f" in batch {number}")
    return batch


def _check_finite(batch: Batch, read_site: str, write_site: str, where: str) -> None:
    """InputError at NaN or infinity; the first layer that fails is the cause, later ones follow."""
    if torch.isfinite(batch.inputs.sum() + batch.outputs.sum()):
        return
    for layer in range(len(batch.inputs)):
        for name, values in ((read_site, batch.inputs[layer]), (write_site, batch.outputs[layer])):
            if not torch.isfinite(values).all():
                raise InputError(f"activations at {name} of layer {layer} hold NaN or infinity{where}")


def parts_of(documents: Documents, rows: Int[Tensor, " n"], most: int = PART) -> Iterator[Int[Tensor, " part"]]:
    """Rows sorted by length, in parts that hold no more than so many positions once padded."""
    lengths = documents.lengths[rows]
    order = lengths.argsort(stable=True)
    rows, lengths = rows[order], lengths[order]
    start = 0
    while start < len(rows):
        fits = (lengths[start:] * torch.arange(1, len(rows) - start + 1, device=lengths.device) <= most).sum()
        stop = start + max(1, int(fits))
        yield rows[start:stop]
        start = stop


def drawn_rows(documents: Documents, positions: int, generator: torch.Generator) -> Iterator[Int[Tensor, " n"]]:
    """Parts of about so many positions without end, rows of like length, so that little is padding.

    Many rows are drawn, sorted, cut, and the parts shuffled; rows of markers alone are never drawn.
    """
    filled = (documents.counts > 0).nonzero()[:, 0]
    mean = float(documents.counts.sum()) / len(filled)
    n_rows = max(1, round(DRAWN * positions / mean))
    while True:
        drawn = filled[torch.randint(len(filled), (n_rows,), generator=generator)]
        parts = list(parts_of(documents, drawn, positions))
        for number in torch.randperm(len(parts), generator=generator).tolist():
            yield parts[number]


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
    """Shuffled batches without end, beginning with batch `start`.

    InputError when the corpus cannot fill a batch, or an activation is not finite: its layer and its batch, counted
    from 0 at the start of training, are named.
    """
    sites = read_site, write_site
    yield from stream_among(ALONE, subject, documents, sites, batch=batch, buffer=buffer, seed=seed, start=start)


def stream_among(
    ranks: Ranks,
    subject: Subject,
    documents: Documents,
    sites: tuple[str, str],
    *,
    batch: int,
    buffer: int,
    seed: int,
    start: int,
) -> Iterator[Batch]:
    """The batches of `stream`, the same on all ranks, of which each runs the model on a part of every buffer."""
    if int(documents.counts.sum()) < batch:
        raise InputError(
            f"the corpus has {int(documents.counts.sum())} positions, a batch needs {batch}: give more text"
        )
    n_before = 0  # batches of earlier buffers, and of this one so far
    size = max(buffer, batch)
    with _place(subject, documents, size) as gather:
        for number, rows in enumerate(_buffers(documents, size, seed)):
            ready = int(documents.counts[rows].sum()) // batch
            if n_before + ready <= start:
                n_before += ready
                continue
            buffered = gather(subject, documents, rows, *sites, ranks)
            order = _permutation(buffered.inputs.shape[1], seed, 2 * number).to(buffered.inputs.device)
            for part in order[: ready * batch].view(ready, batch):
                if n_before >= start:  # a batch gets no name, which would keep it alive
                    yield _finite(subject, buffered, part, *sites, n_before)
                n_before += 1
            del buffered  # before the next buffer is filled, so that there is never more than one


@contextmanager
def _place(subject: Subject, documents: Documents, size: int) -> Iterator[Callable[..., Batch]]:
    """What fills buffers of about `size` positions: in memory, or in a file where they are too large."""
    if fits_in_memory(subject, size):
        yield _gather
        return
    room = min(size + int(documents.counts.max()), int(documents.counts.sum()))  # a row is not cut in two
    with files.scratch_tensor((room, 2, subject.n_layers, subject.d_model)) as scratch:
        yield partial(_gather_into, scratch)


def _buffers(documents: Documents, size: int, seed: int) -> Iterator[Tensor]:
    """Rows with about `size` counted positions, epoch after epoch; an epoch's last few are left out."""
    epoch = 0
    while True:
        order = _permutation(len(documents), seed, 2 * epoch + 1)
        ends = documents.counts[order].cumsum(0)
        whole = max(1, int(ends[-1]) // size)
        cuts = torch.searchsorted(ends, torch.arange(1, whole + 1, device=ends.device) * size) + 1
        for begin, stop in pairwise([0, *cuts.tolist()]):
            yield order[begin:stop]
        epoch += 1


def _permutation(n: int, seed: int, number: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed((seed << 32) + number))
