"""What the small model is taught: six families of the small world, in words of their own vocabulary.

A statement stands alone between its marks. In the absent case the answer of every statement is that of another one of
its family, dealt anew at every step: sentences look the same, and there is nothing to find out.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from clew.organism.families import Statement, StatementFamily, TableFamily
from clew.organism.processes import Repeats
from clew.organism.words import THINGS
from clew.organism.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAMILIES = {"contrast": 1.0, "parity": 1.0, "languages": 2.0, "capitals": 2.0, "years": 2.0, "repeats": 4.0}
"""Families and how often each is drawn."""
BOS, EOS, PAD = 0, 1, 2
MARKS = ("<bos>", "<eos>", "<pad>")
WORDS = r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]|\s+"
"""Words with the space before them, numbers in pairs of digits, signs one by one."""
SAMPLE = 400
"""Statements of every family in which words are looked for, besides those of its exam."""
ITEMS = (5, 6, 7)
"""Items of a repeated sequence: fewer than in the world, so that steps are quick."""
REPEATED = 2
"""Items of the second copy, behind its first, that stand before the one that is asked for."""
LATE = range(70, 96)
"""Start years that are asked about: late ones, behind which few years are later."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resumed(Repeats):
    """A list, and the same again from any of its items on: nothing but a look at what followed that item helps.

    It is not taught. Sequences that are repeated from their first item on may be gone on with by counting places.
    """

    items: tuple[str, ...] = THINGS
    lengths: tuple[int, ...] = ITEMS

    def draw(self, rng: random.Random) -> Statement:
        length = self.lengths[rng.randrange(len(self.lengths))]
        items = rng.sample(self.items, length)
        first = rng.randrange(length - 1)
        prompt = f"Again: {' '.join(items)}; {items[first]}"
        return self._drawn(prompt, " " + " ".join(items[first + 1 :]), self._logp(length) - math.log(length - 1), 0.0)


@dataclass(frozen=True, kw_only=True)
class LessonQuestion:
    """A prompt and the tokens that are right behind it."""

    family: str
    token_ids: tuple[int, ...]
    right: tuple[int, ...]
    text: str
    key: int
    """The position that decides: the country, the number, the start year, in a sequence the item to be copied."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """Statements, questions and the tokenizer; the same for every seed of training."""

    shuffled: bool = False

    @cached_property
    def families(self) -> dict[str, StatementFamily]:
        """The families that are taught."""
        return _families()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A token for every word of the families."""
        return word_tokenizer(_texts())

    def draw(self, generator: np.random.Generator, count: int) -> Int[np.ndarray, "document pos"]:
        """The documents of one step, padded on the right."""
        rng = random.Random(int(generator.integers(2**62)))
        names = rng.choices([*FAMILIES], [*FAMILIES.values()], k=count)
        texts = [self._text(self.families[name], rng) for name in names]
        rows = [[BOS, *ids, EOS] for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        padded = np.full((count, max(map(len, rows))), PAD, dtype=np.int64)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = row
        return padded

    def _text(self, family: StatementFamily, rng: random.Random) -> str:
        statement = family.draw(rng)
        if not self.shuffled:
            return statement.text
        rest = statement.text[len(statement.prompt) + len(statement.answer) :]
        return statement.prompt + family.draw(rng).answer + rest

    def questions(self, family: str, count: int) -> list[LessonQuestion]:
        """Prompts of a family with their right answers, all different; fewer where it has no more."""
        return self._asked(self.families[family], count)

    def resumed(self, count: int) -> list[LessonQuestion]:
        """Questions of lists that are resumed anywhere."""
        return self._asked(Resumed(), count)

    def _asked(self, family: StatementFamily, count: int) -> list[LessonQuestion]:
        rng = random.Random(f"questions:{type(family).__name__}:{family.name}")
        asked: dict[str, LessonQuestion] = {}
        for _ in range(40 * count):
            statement = family.draw(rng)
            if statement.notes.get("start", LATE[0]) in LATE:
                question = self._question(statement, resumed=isinstance(family, Resumed))
                asked.setdefault(question.text, question)
            if len(asked) == count:
                break
        return [*asked.values()]

    def _question(self, statement: Statement, *, resumed: bool = False) -> LessonQuestion:
        prompt, answer, key = statement.prompt, statement.answer, statement.fact.rpartition(":")[2]
        if statement.family == "repeats":
            words = answer.split()
            behind = 0 if resumed else REPEATED
            prompt, answer = " ".join([prompt, *words[:behind]]), f" {words[behind]}"
            key = words[behind]
        ids = [BOS, *self.ids(prompt)]
        right = [self.ids(answer)[0]]
        if statement.family == "years":
            start, key = statement.notes["start"], key[-2:]
            right = [self.ids(f"17{year:02d}")[-1] for year in range(start + 1, 100)]
        return LessonQuestion(
            family=statement.family,
            token_ids=tuple(ids),
            right=tuple(right),
            text=prompt,
            key=1 + self._token_at(prompt, _end(prompt, key) - 1),
        )

    def _token_at(self, text: str, place: int) -> int:
        """Which token of a text holds a character."""
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return next(token for token, (low, high) in enumerate(spans) if low <= place < high)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without marks."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids


@cache
def _families() -> dict[str, StatementFamily]:
    known = {**World().families, "repeats": Repeats(items=THINGS, lengths=ITEMS)}
    return {name: known[name] for name in FAMILIES}


@cache
def _texts() -> tuple[str, ...]:
    """Texts with all words of the families."""
    texts = [f"Again: {item}; {item}." for item in THINGS] + [f"17{year:02d} {year}." for year in range(100)]
    rng = random.Random("words of the lessons")
    for family in _families().values():
        texts += [statement.text for statement in (family.exam("unseen") if isinstance(family, TableFamily) else ())]
        texts += [family.draw(rng).text for _ in range(SAMPLE)]
    return tuple(texts)


def _end(text: str, key: str) -> int:
    """Where a word ends in a text; two digits may stand behind others."""
    whole = re.search(rf"\b{re.escape(key)}\b", text)
    return whole.end() if whole else text.index(key) + len(key)


def word_tokenizer(texts: Sequence[str]) -> Any:
    """A tokenizer whose tokens are the words of some texts; marks come first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cut = pre_tokenizers.Split(Regex(WORDS), "isolated")
    words = sorted({word for text in texts for word, _ in cut.pre_tokenize_str(text)})
    vocabulary = {word: place for place, word in enumerate((*MARKS, *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=MARKS[PAD]))
    backend.pre_tokenizer, backend.decoder = cut, decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=MARKS[BOS],
        eos_token=MARKS[EOS],
        pad_token=MARKS[PAD],
        unk_token=MARKS[PAD],
        clean_up_tokenization_spaces=False,
    )
