"""What heads are watched on: texts with their domain and kind, and sequences that are said twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clew.errors import FileError, InputError
from clew.organism.world import World
from clew.studies.heads.head_model import HeadModel
from clew.studies.user_rows import read_rows

FEWEST = 8
"""Texts that are needed at least: heads are chosen on half of them."""
OWN, RANDOM, FRAMED = "own", "random", "random, in the frame"


@dataclass(frozen=True, kw_only=True)
class DomainText:
    """A text; its domain, and the kind of sentence within it, where they are known."""

    text: str
    ids: tuple[int, ...]
    domain: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A sequence that is said twice: token ids, where both copies begin, and how long they are."""

    ids: tuple[int, ...]
    first: int
    second: int
    length: int


def world_texts(model: HeadModel, per_kind: int, seed: int) -> list[DomainText]:
    """As many statements of every kind of the small world."""
    texts = []
    for name, family in World().families.items():
        rng = random.Random(f"heads: {name}: {seed}")
        for _ in range(per_kind):
            statement = family.draw(rng)
            ids = tuple(model.text_ids(statement.text))
            texts.append(DomainText(text=statement.text, ids=ids, domain=statement.domain, kind=name))
    return texts


def read_texts(path: Path | str, model: HeadModel) -> list[DomainText]:
    """The texts of a user's table: `text`, and where there is one `domain`; domain by domain, since heads are chosen on
    every other text, and both halves need all domains.

    FileError, with the line, for what `read_rows` refuses, a text that is longer than the model's context, one of fewer
    than three tokens, and a domain that has but one text; and for fewer than eight texts.
    """
    found, lines = [], []
    for row in read_rows(path, ("text",), optional=("domain",)):
        ids = tuple(model.text_ids(row.cells["text"]))
        n_content = int(model.content(ids).sum())
        if len(ids) > model.longest:
            raise FileError(
                f"line {row.line} of {path} has {len(ids)} tokens, and {model.name} reads {model.longest}: cut it"
            )
        if n_content < 3:
            raise FileError(f"line {row.line} of {path} has {n_content} tokens: give at least three")
        found.append(DomainText(text=row.cells["text"], ids=ids, domain=row.cells.get("domain", "")))
        lines.append(row.line)
    if len(found) < FEWEST:
        raise FileError(f"{path} has {len(found)} texts: give at least {FEWEST}")
    domains = [text.domain for text in found]
    for line, domain in zip(lines, domains, strict=True):
        if domains.count(domain) < 2:
            raise FileError(f"line {line} of {path}: the domain {domain!r} has one text: give every domain two or more")
    return sorted(found, key=lambda text: text.domain)


def repeats(
    model: HeadModel, texts: Sequence[DomainText], count: int, length: int, seed: int, *, world: bool
) -> dict[str, list[Repeat]]:
    """Sequences said twice, by where their tokens come from.

    `own`: of the model's own domain: in the small world its lists ("Again: a b c; a b c."), else the first tokens of
    texts. `random`: random tokens of the vocabulary; of these, too, in the world's frame.

    InputError when no text has tokens enough.
    """
    generator = np.random.default_rng([seed, 11])
    plain = [token for token in range(model.n_vocabulary) if token not in model.special]
    blocks = [generator.choice(plain, length, replace=False).tolist() for _ in range(count)]
    random_ones = [_twice(model, [], block, [], []) for block in blocks]
    if world:
        opening, between, end = (model.piece_ids(part) for part in ("Again:", ";", "."))
        rows = [[i for word in words for i in model.piece_ids(f" {word}")] for words in _lists(count, seed)]
        own = [_twice(model, opening, row, between, end) for row in rows]
        framed = [_twice(model, opening, block, between, end) for block in blocks]
        return {OWN: own, RANDOM: random_ones, FRAMED: framed}
    rows = [[token for token in text.ids if token not in model.special] for text in texts]
    long_enough = [row[:length] for row in rows if len(row) >= length]
    if not long_enough:
        raise InputError(f"no text has {length} tokens: give longer texts, or a smaller --length")
    chosen = [long_enough[place % len(long_enough)] for place in range(min(count, len(long_enough)))]
    return {OWN: [_twice(model, [], row, [], []) for row in chosen], RANDOM: random_ones}


def _lists(count: int, seed: int) -> list[list[str]]:
    """The words that the world's `Again: a b c; a b c.` says twice."""
    family, rng = World().families["repeats"], random.Random(f"heads: repeats: {seed}")
    texts = [family.draw(rng).text for _ in range(count)]
    return [text.removeprefix("Again:").partition(";")[0].split() for text in texts]


def _twice(
    model: HeadModel, opening: Sequence[int], block: Sequence[int], between: Sequence[int], end: Sequence[int]
) -> Repeat:
    first = len(model.prefix) + len(opening)
    ids = (*model.prefix, *opening, *block, *between, *block, *end, *model.suffix)
    if len(ids) > model.longest:
        raise InputError(f"{len(block)} tokens said twice are more than {model.name} reads: give a smaller --length")
    return Repeat(ids=ids, first=first, second=first + len(block) + len(between), length=len(block))
