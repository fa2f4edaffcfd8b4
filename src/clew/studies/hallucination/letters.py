"""Questions that are hard for the way a model reads: how often a letter stands in a word.

A model reads tokens. Which letters a token has, no text says outright, so a model that knows the word may not know its
letters. The same words spelled out, a letter a token, are the control: there nothing is hidden.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from clew.organism.words import ANIMALS, EVENTS, THINGS
from clew.studies.hallucination.question_set import UserQuestion

WHOLE, SPELLED = "letters", "letters-spelled"
NUMBERS = ("zero", "one", "two", "three", "four")
COUNT = 80
_EXAMPLE = "bottle"


def letter_questions(*, spelled: bool, count: int = COUNT, seed: int = 0) -> list[UserQuestion]:
    """Questions with the answers in digits and in words; each has a worked example in front, of another word.

    Half of them ask for letters that stand once, the others for letters that stand more often or not at all.
    """
    rng = random.Random(seed)
    once: list[UserQuestion] = []
    others: list[UserQuestion] = []
    for word in sorted({*ANIMALS, *EVENTS, *THINGS} - {_EXAMPLE}):
        for letter in sorted({*word, rng.choice([each for each in "abcdefghiklmnoprstuw" if each not in word])}):
            found = word.count(letter)
            (once if found == 1 else others).append(_question(word, letter, found, spelled=spelled))
    chosen = [*rng.sample(once, min(count // 2, len(once))), *rng.sample(others, min(count // 2, len(others)))]
    rng.shuffle(chosen)
    return chosen


def _question(word: str, letter: str, found: int, *, spelled: bool) -> UserQuestion:
    return UserQuestion(
        text="\n".join(_lines(word, letter, spelled=spelled)), answers=(str(found), NUMBERS[found])
    )  # fmt: skip


def _lines(word: str, letter: str, *, spelled: bool) -> Iterator[str]:
    for each, of, answer in ((_EXAMPLE, "t", " 2"), (word, letter, "")):
        yield f'How many times does the letter {of} stand in "{" ".join(each) if spelled else each}"? Answer:{answer}'
