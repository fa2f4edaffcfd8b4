"""Text for training: from whatever holds it to rows of token ids.

1. `read_documents` (`clew.training.corpus_readers`) yields the documents of a file or data set one by one, in the order
   in which they lie there.
2. `encode_documents` makes rows of them. A document is one row, or several when it is longer than the context; nothing
   is laid behind something else, so that no document sees another and every row is a prompt that stands alone. Little
   is lost by it: the model is given rows of like length together.
3. Padding around rows of ids is cut away. Special tokens inside a row stay in what the model reads and do not count;
   neither does a first position that is an attention sink (`clew.training.sinks`).
4. The first positions of a corpus are held out, so that they are the same whatever is read after them.
5. Tokens can be kept in a file, which knows the tokenizer that made them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.subject.positions import is_text, without_padding
from clew.subject.subject import Subject
from clew.training.corpus_config import Bos, CorpusConfig
from clew.training.corpus_readers import read_documents
from clew.training.documents import Documents, split_held_out
from clew.training.samples import read_openings, sample_documents
from clew.training.sinks import without_sinks

AT_ONCE = 1 << 22  # characters given to the tokenizer together
ENVELOPE = files.Envelope(format="clew.tokens", schema=1, what="tokens")

__all__ = [
    "CorpusConfig",
    "Documents",
    "encode_documents",
    "load_tokens",
    "open_corpus",
    "read_documents",
    "save_tokens",
    "split_held_out",
]

Document = str | Sequence[int] | np.ndarray | Tensor


def open_corpus(
    subject: Subject,
    config: CorpusConfig,
    *,
    positions: int,
    seed: int = 0,
    world: Callable[[int], Iterable[Document]] | None = None,
) -> Documents:
    """Rows with at least `positions` to train on, or all that the source holds.

    `world` gives documents of the small world with about so many positions; `seed` is that of the model's own samples.
    InputError when the text is neither a file nor the name of a source.
    """
    path = Path(config.text)
    if path.suffix == ".safetensors" and path.is_file():
        return load_tokens(path, subject, context=config.context)
    if config.text == "samples" and not path.exists():
        openings = read_openings(subject, config.openings) if config.openings else ()
        documents: Iterable[Document] = sample_documents(subject, seed=seed, length=config.context, openings=openings)
    else:
        documents = documents_of(config, positions, world)
    return encode_documents(subject, documents, bos=config.bos, context=config.context, positions=positions)


def documents_of(
    config: CorpusConfig, positions: int, world: Callable[[int], Iterable[Document]] | None = None
) -> Iterator[Document]:
    """The documents of a source of text, as it holds them; of the small world as many as make so many positions."""
    if Path(config.text).exists() or config.text != "world":
        yield from read_documents(config)
    elif world is None:
        raise InputError("the small world's text is not at hand here: give a file, a dataset or samples")
    else:
        yield from world(positions)


# Rows


def encode_documents(
    subject: Subject,
    documents: Iterable[Document],
    *,
    bos: Bos = "row",
    context: int = 0,
    positions: int | None = None,
) -> Documents:
    """Texts or token ids (as they are) as rows no longer than the context; reading ends with `positions`, if given.

    InputError when there is no row with a position to train on, MismatchError when an id is not in the vocabulary.
    """
    longest = min(context or subject.context_length, subject.context_length)
    if bos == "row" and longest <= len(subject.start_ids):
        raise InputError("a row of one token has room for its BOS alone: give a context of 2 or more, or --bos never")
    markers, n_vocab = np.array(sorted(subject.marker_ids), np.int64), subject.n_tokens
    rows: list[np.ndarray] = []
    counted = 0
    for ids, prefix in _encoded(subject, documents, bos):
        for row in _cut(ids, prefix if bos == "row" else [], longest):
            if len(row) and not 0 <= row.min() <= row.max() < n_vocab:
                raise MismatchError(
                    f"the text holds token {row.min() if row.min() < 0 else row.max()}, but {subject.name} has "
                    f"{n_vocab}: it was made with another tokenizer"
                )
            rows.append(row)
            counted += len(row) - int(np.isin(row, markers).sum())
        if positions is not None and counted >= positions:
            break
    if not counted:
        raise InputError("the corpus is empty: give at least one document with one token that is text")
    return _documents(
        subject,
        tokens=torch.from_numpy(np.concatenate(rows).astype(np.int32)),
        starts=torch.tensor([0, *(len(row) for row in rows)]).cumsum(0),
    )


def _documents(subject: Subject, *, tokens: Int[Tensor, " token"], starts: Int[Tensor, " bound"]) -> Documents:
    """Rows of which text alone counts, without first positions that are attention sinks."""
    return without_sinks(subject, Documents(tokens=tokens, starts=starts, counted=is_text(subject, tokens)))


def _cut(ids: np.ndarray, prefix: list[int], longest: int) -> Iterator[np.ndarray]:
    """Pieces no longer than `longest`, each with the prefix that the first one begins with."""
    yield ids[:longest]
    step = max(1, longest - len(prefix))
    for start in range(longest, len(ids), step):
        piece = ids[start : start + step]
        yield np.concatenate([prefix, piece]).astype(ids.dtype) if prefix else piece


def _encoded(subject: Subject, documents: Iterable[Document], bos: Bos) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Every document's ids, and what its later rows shall begin with; the order is kept."""
    texts: list[str] = []
    size = 0
    for document in documents:
        if isinstance(document, str):
            texts.append(document)
            size += len(document)
            if size < AT_ONCE:
                continue
        yield from _encode_texts(subject, texts, bos)
        texts, size = [], 0
        if not isinstance(document, str):
            ids = without_padding(np.asarray(document), subject.tokenizer)
            if len(ids):
                yield ids, []
    yield from _encode_texts(subject, texts, bos)


def _encode_texts(subject: Subject, texts: list[str], bos: Bos) -> Iterator[tuple[np.ndarray, list[int]]]:
    if not texts:
        return
    if subject.tokenizer is None:
        raise InputError(f"{subject.name} came without a tokenizer: give token ids instead of texts")
    prefix = [] if bos == "never" else list(subject.start_ids)
    for ids in subject.encode_texts(texts, add_bos=bos != "never"):
        if ids:
            yield np.asarray(ids), prefix


# Token files


def tokenizer_mark(subject: Subject) -> str:
    """What tells tokenizers apart: a hash of the vocabulary with its ids, or its size where there is no tokenizer."""
    if not hasattr(subject.tokenizer, "get_vocab"):
        return f"{subject.n_tokens} ids"
    vocabulary = sorted(subject.tokenizer.get_vocab().items())  # type: ignore[union-attr]
    return hashlib.sha256(json.dumps([vocabulary, sorted(subject.special_ids)]).encode()).hexdigest()


def save_tokens(path: Path | str, documents: Documents, subject: Subject) -> None:
    """Keep rows in one file, with the mark of the tokenizer that made them."""
    tensors = {"tokens": documents.tokens.int(), "starts": documents.starts.long(), "first": documents.first.long()}
    note = ENVELOPE.note(tokenizer=tokenizer_mark(subject), name=subject.name)
    files.save_tensors(path, tensors, note)


def load_tokens(path: Path | str, subject: Subject, *, context: int = 0) -> Documents:
    """Map a token file; rows longer than the context are cut.

    MismatchError when another tokenizer made it, FileError when it is none or not whole.
    """
    note, tensors = files.load_note(path), files.load_tensors(path)
    if not ENVELOPE.matches(note) or not {"tokens", "starts", "first"} <= set(tensors):
        raise FileError(f"{path} is no token file of Clew")
    ENVELOPE.check_note(note, path)
    if note["tokenizer"] != tokenizer_mark(subject):
        raise MismatchError(
            f"{path} was made with the tokenizer of {note['name']}, which is not that of {subject.name}"
        )
    tokens, starts = tensors["tokens"], tensors["starts"]
    longest = min(context or subject.context_length, subject.context_length)
    if int(starts.diff().max()) <= longest:
        return _documents(subject, tokens=tokens, starts=starts)
    rows = (tokens[start:stop] for start, stop in pairwise(starts.tolist()))
    return encode_documents(subject, rows, context=longest)
