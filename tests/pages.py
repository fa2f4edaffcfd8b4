"""What a Markdown page holds to run: Python blocks, command lines, and the output that it shows for them.

- A block fenced as `python` is run, and one fenced as `sh` line by line; so is an indented block of `clew` commands.
- A block fenced as `text` right after one of them is what it prints. A line that is `…` stands for any lines.
- `<!-- not run: reason -->` before a block keeps it from being run; its commands are still checked for their options.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*")
MEASURED = {"s", "s,", "s.", "MB", "MB,", "tokens/s", "CPU"}  # units of what differs from machine to machine


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a page. `language` is `python`, `sh`, `text` or what else its fence says."""

    language: str
    text: str
    line: int
    not_run: str | None = None

    @property
    def commands(self) -> list[list[str]]:
        """The words of every command of a `sh` block, without comments."""
        return [words for line in self.text.splitlines() for words in split_commands(line)]


def blocks(markdown: str) -> Iterator[Block]:
    """Every fenced block of a page and every indented block of commands, in order."""
    lines, reason, number = markdown.splitlines(), None, 0
    while number < len(lines):
        line, start = lines[number], number
        number += 1
        if match := NOT_RUN.search(line):
            reason = match[1]
        elif line.startswith("```"):
            while lines[number] != "```":
                number += 1
            yield Block(language=line[3:], text="\n".join(lines[start + 1 : number]), line=start + 1, not_run=reason)
            reason, number = None, number + 1
        elif line.startswith("    clew ") and (start == 0 or not lines[start - 1].strip()):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            text = "\n".join(each[4:] for each in lines[start:number])
            yield Block(language="sh", text=text, line=start + 1, not_run=reason)
            reason = None
        elif line.strip():
            reason = None


def split_commands(line: str) -> list[list[str]]:
    """`clew trace "a b"; clew kit show  # both` as two lists of words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word == ";":
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def difference(shown: str, printed: str) -> str | None:
    """What a page shows and the program does not print; None when it prints all of it, in that order.

    Line breaks and spaces do not count, numbers may differ in their last digit, and what was measured of the machine
    may differ altogether.
    """
    words, place = printed.split(), 0
    for part in re.split(r"^…$", shown, flags=re.MULTILINE):
        expected = part.split()
        starts = range(place, len(words) - len(expected) + 1)
        match = next((start for start in starts if _same(expected, words[start : start + len(expected)])), None)
        if match is None:
            return " ".join(expected)
        place = match + len(expected)
    return None


def _same(expected: list[str], printed: list[str]) -> bool:
    units = [*expected[1:], ""][: len(expected)]
    return all(
        unit in MEASURED or _same_word(shown, word) for shown, word, unit in zip(expected, printed, units, strict=True)
    )


def _same_word(shown: str, word: str) -> bool:
    if shown == word:
        return True
    if NUMBER.sub("", shown) != NUMBER.sub("", word):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(word), strict=True)
    return all(_close(first.replace(",", ""), second.replace(",", "")) for first, second in pairs)


def _close(shown: str, printed: str) -> bool:
    unit = 10.0 ** -len(shown.partition(".")[2])
    return shown == printed or ("." in shown and abs(float(shown) - float(printed)) < 1.5 * unit)
