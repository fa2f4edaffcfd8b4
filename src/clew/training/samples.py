"""The model's own text: documents that it writes at its own probabilities.

What a model was trained on is seldom at hand. What it writes holds whatever it knows as often as it says it. A
document begins as every text of the model does, or with one of some given *openings*: a model of chats says little
without a question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from clew import files
from clew.errors import InputError
from clew.subject.subject import Subject

Opening = Sequence[int]


@torch.no_grad()
def sample_documents(
    subject: Subject, *, seed: int, length: int = 0, batch: int = 64, openings: Sequence[Opening] = ()
) -> Iterator[list[int]]:
    """Token ids that the model writes, without end.

    A document begins with an opening drawn at random, as every text of the model does without any, or with the
    tokenizer's BOS where nothing is put there; it ends before the model's end token or with `length` tokens (0: its
    context). InputError when there is nothing to begin with, or an opening that leaves no room.
    """
    longest = min(length or subject.context_length, subject.context_length)
    if (most := max(map(len, openings), default=0)) >= longest:
        raise InputError(f"an opening of {most} tokens leaves no room in rows of {longest}: give a larger context")
    generator = torch.Generator().manual_seed(seed)
    for together in _drawn(openings or [_usual(subject)], batch, generator):
        yield from _continued(subject, torch.tensor(together), longest, generator)


def read_openings(subject: Subject, path: Path | str) -> list[list[int]]:
    """The openings of a file, one a line: a text, or the messages of a chat as a JSON list, read as prompts are.

    FileError when there is no such file, InputError for a line that is no prompt or a file without any.
    """
    openings = []
    for number, line in enumerate(files.lines(path), 1):
        if not line.strip():
            continue
        try:
            openings.append(subject.encode(json.loads(line) if line.lstrip().startswith("[{") else line).tolist())
        except (ValueError, InputError) as error:
            raise InputError(f"line {number} of {path} is no opening: {error}") from error
    if not openings:
        raise InputError(f"{path} holds no opening: write a text, or a chat's messages as a JSON list, on each line")
    return openings


def _usual(subject: Subject) -> list[int]:
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    start = list(subject.start_ids) or ([] if bos is None else [int(bos)])
    if not start:
        raise InputError(f"{subject.name} has no BOS to begin a text with: give openings, or text of another kind")
    return start


def _drawn(openings: Sequence[Opening], batch: int, generator: torch.Generator) -> Iterator[list[Opening]]:
    """Openings drawn with replacement, those of one length together as soon as they make a batch."""
    waiting: dict[int, list[Opening]] = {}
    while True:
        opening = openings[int(torch.randint(len(openings), (), generator=generator))]
        alike = waiting.setdefault(len(opening), [])
        alike.append(opening)
        if len(alike) == batch:
            yield waiting.pop(len(opening))


def _continued(
    subject: Subject, ids: Int[Tensor, "row pos"], longest: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Each row with what the model writes behind it."""
    end = getattr(subject.tokenizer, "eos_token_id", None)
    rows, n_given = len(ids), ids.shape[1]
    ids = ids.to(subject.device)
    written, ended, cache = [ids], torch.zeros(rows, dtype=torch.bool, device=subject.device), subject.new_cache()
    for _ in range(longest - n_given):
        final = subject.run(ids, cache=cache).final[:, -1]
        probabilities = subject.probabilities(subject.unembed(final)).cpu()
        ids = torch.multinomial(probabilities, 1, generator=generator).to(subject.device)
        written.append(ids)
        ended |= ids[:, 0] == (-1 if end is None else end)
        if bool(ended.all()):
            break
    for row in torch.cat(written, 1).tolist():
        stop = row.index(end, n_given) if end in row[n_given:] else len(row)
        yield row[:stop]
