"""Sentences with their grammar, from a CoNLL-U file: words, and for each the word that it depends on and how.

Multiword tokens (`3-4`) and empty nodes (`3.1`) are left out, as the words inside them stand in rows of their own. What
is no tree is refused with its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clew import files
from clew.errors import FileError

_COLUMNS = 10


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """A word's place, the place of the word it depends on (None for the root), and the relation."""

    word: str
    governor: int | None
    relation: str
    space_after: bool


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words in their order; `line` is where the first one stands."""

    line: int
    words: tuple[Dependency, ...]


def read_sentences(path: Path | str) -> list[Sentence]:
    """The sentences of a CoNLL-U file.

    FileError, with the line: for a row without ten columns, ids that do not count up from 1, a head that is no word of
    the sentence, no root or several, a cycle; and for a file without a sentence.
    """
    found = [_sentence(path, block) for block in _blocks(path)]
    if not found:
        raise FileError(f"{path} holds no sentence: it must be CoNLL-U, ten columns with tabs between them")
    return found


def _blocks(path: Path | str) -> Iterator[list[tuple[int, list[str]]]]:
    """The rows of every sentence, with their lines."""
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate(files.lines(path), 1):
        if not line.strip():
            if block:
                yield block
            block = []
        elif not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != _COLUMNS:
                raise FileError(
                    f"line {number} of {path} has {len(cells)} columns: CoNLL-U has {_COLUMNS}, with tabs between them"
                )
            if "-" not in cells[0] and "." not in cells[0]:
                block.append((number, cells))
    if block:
        yield block


def _sentence(path: Path | str, block: Sequence[tuple[int, list[str]]]) -> Sentence:
    words = []
    for place, (number, cells) in enumerate(block, 1):
        where = f"line {number} of {path}"
        if cells[0] != str(place):
            raise FileError(f"{where} has the id {cells[0]!r}, and {place} is next: count words from 1")
        if not cells[6].isascii() or not cells[6].isdigit() or int(cells[6]) > len(block) or int(cells[6]) == place:
            raise FileError(
                f"{where}: {cells[1]!r} depends on {cells[6]!r}, which is no other word of its sentence: give 0 for "
                f"the root, or a word from 1 to {len(block)}"
            )
        head = int(cells[6])
        relation = cells[7].partition(":")[0]
        words.append(
            Dependency(
                word=cells[1],
                governor=head - 1 if head else None,
                relation=relation,
                space_after="SpaceAfter=No" not in cells[9].split("|"),
            )
        )
    first = block[0][0]
    roots = sum(word.governor is None for word in words)
    if roots != 1:
        raise FileError(f"the sentence at line {first} of {path} has {roots} roots: one word must depend on 0")
    for place, (number, _) in enumerate(block):
        if _in_a_circle(words, place):
            raise FileError(f"line {number} of {path}: {words[place].word!r} depends on itself through others: a cycle")
    return Sentence(line=first, words=tuple(words))


def _in_a_circle(words: Sequence[Dependency], start: int) -> bool:
    """Whether the way up from a word comes back to it."""
    place = words[start].governor
    for _ in words:
        if place is None or place == start:
            break
        place = words[place].governor
    return place == start
